//! A live run, from attaching to the end of its events.
//!
//! Owns the loop: poll the ring, feed the run, pass on what is done, and notice why to stop. Must not know what events
//! mean, how a report looks, or what comes before and after.

use std::{
    collections::BTreeMap,
    io::Write as _,
    time::{Duration, Instant},
};

use memtrace_common::{
    Tgid,
    decode::{Payload, Record},
};
use tokio::time::MissedTickBehavior;

use super::{
    args::LiveArgs,
    failure::{Failure, one_line},
    output::Output,
    recording::Recording,
    remedy,
    signals::Signals,
    target::Target,
    terminal,
};
use crate::{
    event::Event,
    kernel::{Live, Options, procfs, tell_maps},
    ledger::entry::Request,
    pipeline::Directive,
    record::{End, Preamble, Program},
    report::figure::counted,
    run::{Closed, Ending, Look, Run},
};

/// How often the ring is looked at. The probes never wake memtrace: a wake-up costs more than a fault. Seldomer would be
/// cheaper, but what `/proc` has to add to a mapping or a process is gone with it.
const TICK: Duration = Duration::from_millis(5);
/// How often what needs `/proc` or a system call is done: new members of the target, the dead, losses.
const CHORES: Duration = Duration::from_millis(100);
/// How often it is looked whether others belong to the target (exec says so at once, this finds the rest), and what
/// the probes know of processes that are gone is cleared.
const CENSUS: Duration = Duration::from_secs(1);

/// Why a run is over.
pub(super) enum Stop<T> {
    /// What was to be traced is over: COMMAND, with its status.
    Over(T),
    /// The user, the clock, the count of requests, the target's end, or a reader who left.
    Enough,
}

/// Says to whoever wants to know (`-v`) why it is.
fn enough<T>(why: &str) -> Stop<T> {
    tracing::info!("the run ends: {why}");
    Stop::Enough
}

pub(super) struct Tracing {
    live: Option<Live>,
    intake: Intake,
    output: Output,
    /// Where the timeline goes.
    trace: Option<Output>,
    began: Instant,
    census: Instant,
    kept: Kept,
    /// Whoever looks at the run as it goes.
    onlooker: Option<Onlooker>,
    adopted: Adopted,
    /// What ran, once the probes have stopped.
    programs: BTreeMap<String, Program>,
}

/// Sees the run, and the requests that are kept, each time that events have been taken. Returns whether it has seen enough.
pub(super) type Onlooker = Box<dyn FnMut(&mut Run, &[Request]) -> bool>;

/// Requests that are kept beside the report, up to so many.
#[derive(Default)]
struct Kept {
    requests: Vec<Request>,
    at_most: usize,
}

impl Kept {
    fn push(&mut self, request: &Request) {
        if self.requests.len() < self.at_most {
            self.requests.push(request.clone());
        }
    }
}

/// Where events go: into the run, and into its recording.
struct Intake {
    run: Run,
    recording: Option<Recording>,
}

impl Intake {
    fn take(&mut self, event: Event<'_>) {
        let Some(recording) = &mut self.recording else {
            self.run.feed(event);
            return;
        };
        match event {
            // What may be kept of what went over a connection is known once it has been looked at.
            Event::Record(record @ Record::Io(io, payload)) => {
                self.run.feed(Event::Record(record));
                let kept = self.run.payload_to_keep();
                let payload = payload
                    .with_captured(kept)
                    .unwrap_or(Payload::unseen(payload.total()));
                recording.take(&Event::Record(Record::Io(io, payload)));
            }
            event => {
                recording.take(&event);
                self.run.feed(event);
            }
        }
    }
}

/// Who was there when the run began.
#[derive(Clone, Copy, Default)]
struct Adopted {
    first: Option<Tgid>,
    processes: usize,
    threads: usize,
}

impl Tracing {
    /// `recording` is where it is kept, too; `beside` what is made of it beside its report.
    pub(super) fn attach(
        args: &LiveArgs,
        target: &Target,
        output: Output,
        trace: Option<Output>,
        recording: Option<Recording>,
        beside: Look,
    ) -> Result<Self, Failure> {
        let options = Options {
            ring_bytes: args.run.buffer,
            follow: target.follows(),
            comm: target.comm(),
            cgroup: target.cgroup(),
            fault_time: args.run.fault_time,
            kernel_log: args.voice.verbose > 1,
        };
        let mut live = Live::attach(&options).map_err(|e| remedy::for_load(&e))?;
        let asked = args.asked();
        let table = terminal::table_options(output.is_file(), live.began());
        let Look {
            report,
            view,
            timeline,
            ..
        } = args.report.look(table);
        let look = Look {
            report,
            view,
            timeline,
            ..beside
        };
        let run = Run::new(&asked, live.began(), look, recording.is_some())
            .map_err(|why| Failure::new("usage", why, "`memtrace --help` lists targets and options"))?;
        let mut intake = Intake { run, recording };
        if let Some(recording) = &mut intake.recording {
            recording.begin(&Preamble::new(terminal::origin(live.began()), asked));
        }
        live.tell_beginning(|event| intake.take(event));
        let mut adopted = Adopted::default();
        // What joins the target while it is being adopted is found on the second look.
        for _ in 0..2 {
            for tgid in target.processes() {
                let of_this = live.adopt(tgid, |event| intake.take(event));
                if of_this > 0 {
                    adopted.first.get_or_insert(tgid);
                    adopted.threads += of_this;
                    adopted.processes += 1;
                }
            }
        }
        Ok(Self {
            live: Some(live),
            intake,
            output,
            trace,
            began: Instant::now(),
            census: Instant::now(),
            kept: Kept::default(),
            onlooker: None,
            adopted,
            programs: BTreeMap::new(),
        })
    }

    /// From here on nothing can stand in the way: says so, and begins the report. A COMMAND runs by now, because one
    /// that cannot be run is an error of two lines and no report.
    pub(super) fn begin(&mut self, args: &LiveArgs) {
        if let Some(recording) = &mut self.intake.recording {
            recording.keep();
        }
        let mut opening = Vec::new();
        self.intake.run.open(&mut opening);
        self.output.send(opening);
        self.began = Instant::now();
        announce(args, self.adopted);
    }

    /// From here on the first requests, up to so many, are kept for whoever wants more of them than the report.
    pub(super) fn keep(&mut self, at_most: usize) {
        self.kept.at_most = at_most;
    }

    /// From here on this one looks on.
    pub(super) fn show(&mut self, onlooker: Onlooker) {
        self.onlooker = Some(onlooker);
    }

    /// Puts text between the pieces of the report.
    pub(super) fn say(&mut self, text: String) {
        self.output.send(text.into_bytes());
    }

    /// The loop, until `over` or enough.
    pub(super) async fn until_over<T>(
        &mut self,
        args: &LiveArgs,
        target: &Target,
        over: impl Future<Output = T>,
        signals: &mut Signals,
    ) -> Result<Stop<T>, Failure> {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut chores = Instant::now();
        let mut over = std::pin::pin!(over);
        let mut is_behind = false;
        loop {
            tokio::select! {
                biased;
                () = signals.any() => return Ok(enough("Ctrl-C or SIGTERM came")),
                over = &mut over => {
                    tracing::info!("the run ends: what was to be traced is over");
                    return Ok(Stop::Over(over));
                }
                () = tokio::task::yield_now(), if is_behind => {}
                _ = tick.tick() => {}
            }
            // Not until the ring is empty: where more comes than can be told, it never is.
            is_behind = self.pump();
            if let Some(onlooker) = &mut self.onlooker
                && onlooker(&mut self.intake.run, &self.kept.requests)
            {
                return Ok(enough("what was waited for has come, or was too long in coming"));
            }
            if self.output.is_closed() {
                return Ok(enough("nobody reads the report, or it cannot be written"));
            }
            if self.trace.as_ref().is_some_and(Output::is_closed) {
                return Ok(enough("the trace cannot be written"));
            }
            if self.intake.recording.as_ref().is_some_and(Recording::is_closed) {
                return Ok(enough("the recording cannot be written"));
            }
            if self.intake.run.is_enough() {
                return Ok(enough("there were as many requests as wanted"));
            }
            if args.run.duration.is_some_and(|d| self.began.elapsed() >= d) {
                return Ok(enough("its time is up"));
            }
            if chores.elapsed() >= CHORES {
                chores = Instant::now();
                if self.do_chores(target, is_behind)? && !target.is_own_child() {
                    return Ok(enough("nobody is left to trace"));
                }
            }
        }
    }

    /// Returns whether nobody is left to trace.
    fn do_chores(&mut self, target: &Target, is_behind: bool) -> Result<bool, Failure> {
        let Some(live) = &mut self.live else {
            return Ok(true);
        };
        let intake = &mut self.intake;
        live.flush_log();
        let is_time_for_census = self.census.elapsed() >= CENSUS;
        // What the ring still has is from before it was full: first that, then what was lost. It may never come to that.
        if !is_behind || is_time_for_census {
            live.tell_losses(|event| intake.take(event))
                .map_err(|e| remedy::for_load(&e))?;
        }
        if is_time_for_census {
            self.census = Instant::now();
            live.forget_the_gone();
            if target.may_grow() {
                for tgid in target.processes() {
                    live.adopt(tgid, |event| intake.take(event));
                }
            }
        }
        self.output.push();
        if let Some(trace) = &mut self.trace {
            trace.push();
        }
        if let Some(recording) = &mut intake.recording {
            recording.cut_in_time();
        }
        // Their last words may be in the ring still. Those that are named may come back.
        let is_any_running = is_behind || live.is_any_running(|event| intake.take(event));
        Ok(!is_any_running && !target.may_return())
    }

    /// Takes what the ring has, or the first of it. Returns whether there may be more.
    fn pump(&mut self) -> bool {
        let Some(live) = &mut self.live else { return false };
        let intake = &mut self.intake;
        let more = live.pump(|event| intake.take(event));
        for directive in intake.run.take_directives() {
            match directive {
                Directive::Ignore(tgid, fd, as_of) => live.ignore(tgid, fd, as_of),
                Directive::Read(tgid) => tell_maps(tgid, |event| intake.take(event)),
            }
        }
        self.report();
        more
    }

    fn report(&mut self) {
        let mut bytes = Vec::new();
        let kept = &mut self.kept;
        self.intake.run.report(&mut bytes, |request| kept.push(request));
        self.output.send(bytes);
        if let Some(trace) = &mut self.trace {
            trace.send(self.intake.run.take_trace());
        }
    }

    /// From here on nothing that happens is part of the run.
    pub(super) fn stop_probes(&mut self) -> Result<(), Failure> {
        if let Some(live) = self.live.take() {
            self.programs = live.programs();
            let intake = &mut self.intake;
            live.finish(|event| intake.take(event))
                .map_err(|e| remedy::for_load(&e))?;
        }
        Ok(())
    }

    /// Ends the run, and sends the rest of the report and of the recording on its way.
    pub(super) fn close(mut self, command_status: Option<i32>) -> Result<Over, Failure> {
        self.stop_probes()?;
        let Self {
            intake: Intake { run, mut recording },
            mut output,
            mut trace,
            mut kept,
            programs,
            ..
        } = self;
        let mut ending = Ending {
            command_status,
            kernel: terminal::kernel_release(),
            programs: programs.clone(),
            ..Ending::default()
        };
        let reader = [
            (Some(&output), "report", "reader"),
            (trace.as_ref(), "trace", "disk"),
        ];
        for (output, what, who) in reader {
            if let Some(dropped @ 1..) = output.map(Output::dropped) {
                ending.notes.push(format!(
                    "pieces of this {what} that were dropped because its {who} stalled: {dropped}"
                ));
            }
        }
        if let Some(recording) = &mut recording {
            recording.end(&End {
                command_status,
                programs: programs.clone(),
            });
            ending.notes.extend(recording.note());
        }
        ending.is_incomplete = !ending.notes.is_empty();
        let mut bytes = Vec::new();
        let mut closed = run.close(ending, &mut bytes, |request| kept.push(request));
        output.send(bytes);
        if let Some(trace) = &mut trace {
            trace.send(std::mem::take(&mut closed.trace));
        }
        Ok(Over {
            closed,
            kept: kept.requests,
            output,
            trace,
            recording,
        })
    }
}

/// A run that is over, with what is still being written.
pub(super) struct Over {
    pub closed: Closed,
    /// The requests that were to be kept.
    pub kept: Vec<Request>,
    pub output: Output,
    pub trace: Option<Output>,
    pub recording: Option<Recording>,
}

/// The line that scripts wait for, which `-q` does not silence.
fn announce(args: &LiveArgs, adopted: Adopted) {
    let Adopted {
        first,
        processes,
        threads,
    } = adopted;
    let name = match (&args.run.target.command.first(), first.and_then(procfs::process)) {
        (Some(command), _) => command.to_string_lossy().into_owned(),
        (None, Some(found)) => found.comm,
        (None, None) => "a target that is gone".to_owned(),
    };
    let name = one_line(&name);
    let pid = first.map_or(0, |t| t.0);
    let threads = counted(threads as u64, "thread");
    let who = match processes {
        0 | 1 => format!("pid {pid}, {threads}"),
        n => format!("pid {pid} and {} more, {threads}", n - 1),
    };
    let port = args
        .run
        .target
        .port
        .map_or(String::new(), |p| format!(" on port {p}"));
    let release = terminal::kernel_release();
    let line = format!("memtrace: tracing {name} ({who}){port}, kernel {release}, Ctrl-C to stop\n");
    // Whoever started memtrace may not listen, or not any more; `eprintln!` would panic.
    let _ = std::io::stderr().write_all(line.as_bytes());
}
