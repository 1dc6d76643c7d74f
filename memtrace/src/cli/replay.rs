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

use super::{args::ReplayArgs, failure::Failure, run::exit_status, sink::Sink, terminal};
use crate::{
    event::Event,
    record::{
        Asked,
        read::{Block, Losses, Malformed, ReadError, Reader},
    },
    report::view::View,
    run::{Ending, Look, Run, only},
};

/// Blocks that are read ahead, a few MiB each: enough for one thread to read while the other tells.
const AHEAD: usize = 1;
/// Progress is shown where it takes longer than this.
const PATIENCE: Duration = Duration::from_secs(1);
/// Malformed blocks that are remembered, at most.
const MALFORMED_MAX: usize = 1024;

/// Runs `memtrace report`.
pub(super) fn report(args: &ReplayArgs) -> Result<ExitCode, Failure> {
    let recording = Recorded::open(&args.recording)?.with_progress(!args.quiet);
    let mut sink = match &args.report.output {
        None => {
            recording.refuse_standard_output()?;
            Sink::stdout()
        }
        Some(path) => recording.create(path)?,
    };
    let trace = args.report.perfetto.as_deref();
    let trace = trace.map(|path| recording.create(path)).transpose()?;
    let preamble = recording.reader.preamble().clone();
    let asked = asked(args, &preamble.asked)?;
    let began = preamble.began();
    let view = View {
        since: args.since.map(|time| after(began, time)),
        until: args.until.map(|time| after(began, time)),
        ids: args.id.clone(),
        only: only(&asked).map_err(|why| damaged(&args.recording, why))?,
        ..args.report.view()
    };
    let look = Look {
        format: args.report.format,
        view,
        table: terminal::table_options(args.report.output.is_some(), preamble.origin.clocks),
        timeline: args.report.timeline(),
        tables: false,
    };
    let mut run =
        Run::new(&asked, preamble.origin.clocks, look, false).map_err(|why| damaged(&args.recording, why))?;
    let mut bytes = Vec::new();
    run.open(&mut bytes);
    let mut is_read = true;
    let replayed = recording.replay(&mut run, Run::feed, |run| {
        // Nothing is lost: it is all in the recording.
        drop(run.take_directives());
        run.report(&mut bytes, |_| {});
        is_read = is_read && is_taken(&mut sink, &mut bytes)?;
        Ok(is_read)
    })?;
    let ending = Ending {
        command_status: replayed.command_status,
        kernel: preamble.origin.kernel,
        is_incomplete: !replayed.notes.is_empty(),
        notes: replayed.notes,
    };
    let mut closed = run.close(ending, &mut bytes, |_| {});
    if is_read && is_taken(&mut sink, &mut bytes)? {
        sink.complete().map_err(not_written)?;
    }
    if let Some(mut trace) = trace {
        trace.write(&closed.trace).map_err(not_written)?;
        trace.complete().map_err(not_written)?;
    }
    // COMMAND's own status was for those who ran it.
    closed.summary.command_status = None;
    Ok(exit_status(&closed))
}

/// What shapes the report: what the run was asked for, unless something else is asked for now.
fn asked(args: &ReplayArgs, of_run: &Asked) -> Result<Asked, Failure> {
    let report = &args.report;
    let mut asked = of_run.clone();
    if report.query && !of_run.query {
        return Err(Failure::new(
            "--query",
            "the recording has no query strings",
            "they are kept where `memtrace record` is given --query",
        ));
    }
    if !report.route.is_empty() {
        asked.route = report.route.iter().map(ToString::to_string).collect();
    }
    let only: Vec<String> = report.only.iter().map(ToString::to_string).collect();
    let other = !only.is_empty() && only != asked.only;
    if other || args.since.is_some() || args.until.is_some() || !args.id.is_empty() {
        // It counted the requests that were asked for then.
        asked.requests = None;
    }
    if other {
        asked.only = only;
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
    pub(super) reader: Reader<File>,
}

/// What the recording says beside its events.
pub(super) struct Replayed {
    pub(super) command_status: Option<i32>,
    /// What was not there, a sentence each.
    pub(super) notes: Vec<String>,
}

impl<'a> Recorded<'a> {
    pub(super) fn open(path: &'a Path) -> Result<Self, Failure> {
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
            shows_progress: true,
            reader,
        })
    }

    /// Whether a person is shown how far it is.
    pub(super) fn with_progress(self, shows_progress: bool) -> Self {
        Self {
            shows_progress,
            ..self
        }
    }

    /// Opens what is made of the recording, which must not be the recording itself.
    pub(super) fn create(&self, output: &Path) -> Result<Sink, Failure> {
        self.refuse(output)?;
        Sink::create(output).map_err(|why| {
            Failure::new(
                format!("cannot write {}", output.display()),
                why,
                "name a file in a folder that is there and can be written to",
            )
        })
    }

    /// Refuses to write onto the recording.
    pub(super) fn refuse(&self, output: &Path) -> Result<(), Failure> {
        self.refuse_itself(output.metadata(), &output.display().to_string())
    }

    /// Refuses to write onto the recording by standard output: `>> RECORDING`.
    pub(super) fn refuse_standard_output(&self) -> Result<(), Failure> {
        let stdout = std::io::stdout().as_fd().try_clone_to_owned();
        self.refuse_itself(
            stdout.and_then(|stdout| File::from(stdout).metadata()),
            "standard output",
        )
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

    /// Hands on all events, and says after each block that it is over. Ends early where that returns `false`.
    pub(super) fn replay<T>(
        self,
        to: &mut T,
        mut sink: impl FnMut(&mut T, Event<'_>),
        mut between: impl FnMut(&mut T) -> Result<bool, Failure>,
    ) -> Result<Replayed, Failure> {
        let Self {
            path,
            found,
            shows_progress,
            mut reader,
        } = self;
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
                if let Err(fault) = block.events(&mut losses, |event| sink(to, event))
                    && malformed.len() < MALFORMED_MAX
                {
                    malformed.push(fault);
                }
                match progress.aside(|| between(to)) {
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
            sink(to, event);
        }
        Ok(Replayed {
            command_status: reader.end().command_status,
            notes: reader.damage().notes(),
        })
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

/// Writes what there is. `false`: whoever reads has gone.
pub(super) fn is_taken(sink: &mut Sink, bytes: &mut Vec<u8>) -> Result<bool, Failure> {
    let written = sink.write(bytes);
    bytes.clear();
    match written {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(not_written(error)),
    }
}

pub(super) fn not_written(why: std::io::Error) -> Failure {
    Failure::inconclusive(
        "cannot write the report",
        why,
        "make room or name another file with -o; nothing was left behind",
    )
}

pub(super) fn damaged(path: &Path, why: impl std::fmt::Display) -> Failure {
    Failure::new(
        format!("cannot read {}", path.display()),
        why,
        "its beginning is damaged; record again",
    )
}
