//! `memtrace report`: a recording, told again.
//!
//! Owns the file, the progress that a person sees, and the thread that reads ahead. Must not know what events mean.

use std::{
    fs::{File, Metadata},
    io::IsTerminal as _,
    os::{fd::AsFd as _, unix::fs::MetadataExt as _},
    path::Path,
    process::ExitCode,
    sync::mpsc::sync_channel,
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use memtrace_common::Nanos;

use super::{
    args::{ReplayArgs, Voice},
    failure::{Failure, INCONCLUSIVE},
    made::Made,
    sink, terminal,
};
use crate::{
    ledger::entry::Request,
    record::{
        Asked, Preamble,
        read::{Block, Losses, Malformed, ReadError, Reader},
    },
    run::{Closed, Ending, Look, Run},
    timeline::Detail,
};

/// Blocks that are read ahead, a few MiB each: enough for one thread to read while the other tells.
const AHEAD: usize = 1;
/// Progress is shown where it takes longer than this.
const PATIENCE: Duration = Duration::from_secs(1);
/// Malformed blocks that are remembered, at most.
const MALFORMED_MAX: usize = 1024;

/// Runs `memtrace report`.
pub(super) fn report(args: &ReplayArgs) -> Result<ExitCode, Failure> {
    let (output, drawing) = (args.report.output.as_deref(), args.report.perfetto.as_deref());
    sink::apart(&[output, drawing])?;
    let recording = Recorded::open(&args.recording, args.voice)?;
    let mut report = recording.make("the report", output)?;
    let trace = drawing.map(|path| recording.make("the trace", Some(path)));
    let mut trace = trace.transpose()?;
    let asked = asked(args, &recording.preamble().asked)?;
    let began = recording.preamble().began();
    let clocks = recording.preamble().origin.clocks;
    let mut look = args
        .report
        .look(terminal::table_options(output.is_some(), clocks));
    look.view.since = args.since.map(|time| after(began, time));
    look.view.until = args.until.map(|time| after(began, time));
    look.view.ids.clone_from(&args.id);
    let mut run = recording.run(&asked, look)?;
    let mut bytes = Vec::new();
    run.open(&mut bytes);
    let (run, ending) = recording.tell(run, |run| {
        run.report(&mut bytes, |_| {});
        report.write(&mut bytes)?;
        if let Some(trace) = &mut trace {
            trace.write(&mut run.take_trace())?;
        }
        Ok(report.has_reader() || trace.is_some())
    })?;
    let mut closed = run.close(ending, &mut bytes, |_| {});
    report.write(&mut bytes)?;
    report.complete()?;
    if let Some(mut trace) = trace {
        trace.write(&mut closed.trace)?;
        trace.complete()?;
    }
    Ok(told_status(&closed))
}

/// What memtrace exits with after a recording has been told. COMMAND's own status was for those who ran it.
pub(super) fn told_status(closed: &Closed) -> ExitCode {
    if closed.is_conclusive {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(INCONCLUSIVE)
    }
}

/// What shapes the report: what the run was asked for, unless something else is asked for now.
fn asked(args: &ReplayArgs, of_run: &Asked) -> Result<Asked, Failure> {
    let report = &args.report;
    if report.query && !of_run.query {
        return Err(Failure::new(
            "--query",
            "the recording has no query strings",
            "they are kept where `memtrace record` is given --query",
        ));
    }
    let mut asked = of_run.otherwise(&report.route, &report.only);
    if args.since.is_some() || args.until.is_some() || !args.id.is_empty() {
        // These narrow what was counted, too.
        asked.requests = None;
    }
    Ok(asked)
}

/// So long after tracing began.
fn after(began: Nanos, time: Duration) -> Nanos {
    Nanos(
        began
            .0
            .saturating_add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)),
    )
}

/// A recording that can be read.
pub(super) struct Recorded<'a> {
    path: &'a Path,
    found: Metadata,
    shows_progress: bool,
    reader: Reader<File>,
}

impl<'a> Recorded<'a> {
    /// Its path, as it was given.
    pub(super) fn name(&self) -> String {
        self.path.display().to_string()
    }

    pub(super) fn open(path: &'a Path, voice: Voice) -> Result<Self, Failure> {
        let fail = |why: ReadError| {
            let hint = match &why {
                ReadError::Io(_) | ReadError::NotARecording => {
                    "recordings are what `memtrace record -o FILE` writes"
                }
                ReadError::Empty | ReadError::NoBeginning | ReadError::DamagedBeginning => {
                    "nothing in it can be read; record again"
                }
                ReadError::Newer { .. } => "read it with the memtrace that wrote it, or a later one",
                ReadError::Architecture(_) => "read it on a machine like the one that it was made on",
            };
            Failure::new(format!("cannot read {}", path.display()), why, hint)
        };
        let file = File::open(path).map_err(|why| fail(why.into()))?;
        let found = file.metadata().map_err(|why| fail(why.into()))?;
        let reader = Reader::open(file).map_err(fail)?;
        Ok(Self {
            path,
            found,
            shows_progress: !voice.quiet,
            reader,
        })
    }

    /// What it is of.
    pub(super) fn preamble(&self) -> &Preamble {
        self.reader.preamble()
    }

    /// Opens what is made of it, a file or standard output: that must not be the recording itself.
    pub(super) fn make(&self, what: &'static str, path: Option<&Path>) -> Result<Made, Failure> {
        self.refuse(path)?;
        Made::open(what, path)
    }

    /// Refuses to write onto the recording, also by standard output: `>> RECORDING`.
    pub(super) fn refuse(&self, output: Option<&Path>) -> Result<(), Failure> {
        if let Some(path) = output {
            return self.refuse_itself(path.metadata(), &path.display().to_string());
        }
        let stdout = std::io::stdout().as_fd().try_clone_to_owned();
        let there = stdout.and_then(|stdout| File::from(stdout).metadata());
        self.refuse_itself(there, "standard output")
    }

    fn refuse_itself(&self, there: std::io::Result<Metadata>, what: &str) -> Result<(), Failure> {
        let same = |there: Metadata| (there.dev(), there.ino()) == (self.found.dev(), self.found.ino());
        if self.found.is_file() && there.is_ok_and(same) {
            return Err(Failure::new(
                format!("cannot write {what}"),
                "that is the recording itself",
                "name another file",
            ));
        }
        Ok(())
    }

    /// The run that it is of, asked for like this.
    pub(super) fn run(&self, asked: &Asked, look: Look) -> Result<Run, Failure> {
        let clocks = self.preamble().origin.clocks;
        Run::new(asked, clocks, look, false).map_err(|why| {
            Failure::new(
                format!("cannot read {}", self.path.display()),
                why,
                "its beginning is damaged; record again",
            )
        })
    }

    /// Tells it again as it was asked for, for the sake of its requests, and of a timeline if that is wanted.
    pub(super) fn requests(
        self,
        asked: &Asked,
        mut trace: Option<Made>,
        mut each: impl FnMut(&Request),
    ) -> Result<Closed, Failure> {
        let look = Look {
            timeline: trace.is_some().then(Detail::default),
            ..Look::default()
        };
        let run = self.run(asked, look)?;
        let mut nothing = Vec::new();
        let (run, ending) = self.tell(run, |run| {
            run.report(&mut nothing, &mut each);
            if let Some(trace) = &mut trace {
                trace.write(&mut run.take_trace())?;
            }
            Ok(true)
        })?;
        let mut closed = run.close(ending, &mut nothing, each);
        if let Some(mut trace) = trace {
            trace.write(&mut closed.trace)?;
            trace.complete()?;
        }
        Ok(closed)
    }

    /// Tells it again for the sake of what is made beside a report.
    pub(super) fn explained(self, asked: &Asked, look: Look) -> Result<Closed, Failure> {
        let run = self.run(asked, look)?;
        let mut nothing = Vec::new();
        let (run, ending) = self.tell(run, |run| {
            run.report(&mut nothing, |_| {});
            Ok(true)
        })?;
        Ok(run.close(ending, &mut nothing, |_| {}))
    }

    /// Tells the run all events, and lets its report go on `between` blocks. Ends early where that returns `false`.
    pub(super) fn tell(
        self,
        mut run: Run,
        mut between: impl FnMut(&mut Run) -> Result<bool, Failure>,
    ) -> Result<(Run, Ending), Failure> {
        let Self {
            path,
            found,
            shows_progress,
            mut reader,
        } = self;
        let kernel = reader.preamble().origin.kernel.clone();
        let mut progress = Progress::of(&found, shows_progress);
        let mut losses = Losses::default();
        let mut malformed: Vec<Malformed> = Vec::new();
        let (read, mut reader) = std::thread::scope(|scope| {
            let (blocks, ahead) = sync_channel::<(Block, u64)>(AHEAD);
            let reading = scope.spawn(move || {
                let read = loop {
                    match reader.block() {
                        Ok(Some(block)) => {
                            if blocks.send((block, reader.position())).is_err() {
                                break Ok(());
                            }
                        }
                        Ok(None) => break Ok(()),
                        Err(error) => break Err(error),
                    }
                };
                drop(blocks);
                (read, reader)
            });
            let mut result = Ok(());
            for (block, position) in ahead {
                if let Err(fault) = block.events(&mut losses, |event| run.feed(event))
                    && malformed.len() < MALFORMED_MAX
                {
                    malformed.push(fault);
                }
                // There are no probes to tell.
                drop(run.take_directives());
                match progress.aside(|| between(&mut run)) {
                    Ok(true) => progress.at(position),
                    Ok(false) => break,
                    Err(failure) => {
                        result = Err(failure);
                        break;
                    }
                }
            }
            progress.end();
            // A thread that reads blocks does not panic.
            let (read, reader) = reading
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            result.map(|()| (read, reader))
        })?;
        read.map_err(|why| {
            Failure::new(
                format!("cannot read {}", path.display()),
                why,
                "see whether its disk is well",
            )
        })?;
        for fault in &malformed {
            reader.is_damaged(fault);
        }
        let (lost, gap) = reader.damage().lost();
        if let Some(event) = losses.found(lost, gap) {
            run.feed(event);
        }
        let end = reader.end();
        let ending = Ending {
            command_status: end.command_status,
            kernel,
            programs: end.programs,
            notes: reader.damage().notes(),
            is_incomplete: !reader.damage().is_none(),
        };
        Ok((run, ending))
    }
}

/// Shows on a terminal how far it is, where it takes its time.
struct Progress {
    began: Instant,
    length: u64,
    /// There is a person who sees it.
    is_seen: bool,
    /// The report goes to a terminal, too: likely the same.
    is_beside_report: bool,
    bar: Option<ProgressBar>,
}

impl Progress {
    fn of(found: &Metadata, is_wanted: bool) -> Self {
        Self {
            began: Instant::now(),
            length: found.len(),
            is_seen: is_wanted && std::io::stderr().is_terminal(),
            is_beside_report: std::io::stdout().is_terminal(),
            bar: None,
        }
    }

    /// Does what may write on the same terminal.
    fn aside<T>(&self, work: impl FnOnce() -> T) -> T {
        match &self.bar {
            Some(bar) if self.is_beside_report => bar.suspend(work),
            _ => work(),
        }
    }

    fn at(&mut self, position: u64) {
        if self.is_seen && self.bar.is_none() && self.began.elapsed() >= PATIENCE {
            let bar = ProgressBar::with_draw_target(Some(self.length), ProgressDrawTarget::stderr());
            let style = ProgressStyle::with_template(match self.length {
                // A pipe, which does not say how long it is.
                0 => "{bytes} read",
                _ => "{bar:40} {bytes} of {total_bytes}, {eta} left",
            });
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            self.bar = Some(bar);
        }
        if let Some(bar) = &self.bar {
            bar.set_position(position);
        }
    }

    fn end(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}
