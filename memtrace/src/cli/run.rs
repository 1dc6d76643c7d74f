//! `memtrace [TARGET]` and `memtrace record [TARGET]`: what comes before and after a live run.
//!
//! Owns the order in which files, target and probes are got hold of and let go, and the exit status. Must not know the
//! loop, what events mean or how a report looks.

use std::{path::Path, process::ExitCode, time::Duration};

use tokio::process::Child;

use super::{
    args::LiveArgs,
    drive::{self, Drive},
    failure::{FAILED, Failure, INCONCLUSIVE},
    held::Start,
    live::{Stop, Tracing},
    output::{Output, Written},
    recording::Recording,
    remedy,
    signals::Signals,
    sink,
    target::Target,
};
use crate::run::{Closed, Look};

/// How long a report may take to be written once the user has asked twice for the end.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// How long a command that memtrace started may take to end when it is told to.
const GRACE: Duration = Duration::from_secs(5);

/// What came of a run.
pub(super) struct Traced {
    /// Of its events.
    pub closed: Closed,
    /// How it came to its end.
    pub end: End,
}

/// How a run ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// COMMAND has ended, with this status.
    Command(i32),
    /// The client has, with this one.
    Client(i32),
    /// It was told to, or had all that was wanted.
    Enough,
}

/// Runs `memtrace [TARGET]`.
pub(super) async fn live(args: &LiveArgs) -> Result<ExitCode, Failure> {
    let traced = trace(args, args.report.output.as_deref(), None, None, Look::default()).await?;
    Ok(exit_status(&traced.closed))
}

/// Runs `memtrace record [TARGET]`.
pub(super) async fn record(args: &LiveArgs) -> Result<ExitCode, Failure> {
    let Some(path) = &args.report.output else {
        return Err(Failure::new(
            "usage",
            "record: it has to know where to",
            "name the recording: memtrace record … -o run.mtr",
        ));
    };
    let traced = trace(args, None, Some(path), None, Look::default()).await?;
    Ok(exit_status(&traced.closed))
}

/// Records a run that is read again at once, driven by this client if there is one.
pub(super) async fn record_to_read(
    args: &LiveArgs,
    path: &Path,
    drive: Option<Drive<'_>>,
) -> Result<Traced, Failure> {
    trace(args, None, Some(path), drive, Look::default()).await
}

/// Traces a run of which no report is made, for the sake of what is made beside.
pub(super) async fn trace_for(args: &LiveArgs, beside: Look) -> Result<Traced, Failure> {
    trace(args, None, None, None, beside).await
}

async fn trace(
    args: &LiveArgs,
    report: Option<&Path>,
    recording: Option<&Path>,
    drive: Option<Drive<'_>>,
    beside: Look,
) -> Result<Traced, Failure> {
    remedy::check_kernel()?;
    let mut signals = Signals::new()?;
    let drawing = args.report.perfetto.as_deref();
    sink::apart(&[report, drawing, recording])?;
    let output = Output::open(report)?;
    let trace = drawing.map(|path| Output::open(Some(path))).transpose()?;
    let recording = recording.map(Recording::open).transpose()?;
    let start = Start {
        ignored: signals.ignored(),
        is_aside: args.report.is_left_out,
    };
    let mut target = Target::find(&args.run.target, &start)?;
    let mut run = Tracing::attach(args, &target, output, trace, recording, beside)?;
    let mut child = match target.held.take() {
        Some(held) => match held.release().await {
            Ok(child) => Some(child),
            // Ctrl-C goes to the whole foreground group: it has ended the helper too.
            Err(_) if signals.came().await => None,
            Err(failure) => return Err(failure),
        },
        None => None,
    };
    run.begin(args);
    let over = over(child.as_mut(), drive, &target);
    let end = match run.until_over(args, &target, over, &mut signals).await? {
        Stop::Over(Ok(end)) => end,
        Stop::Over(Err(failure)) => {
            run.stop_probes()?;
            if let Some(child) = &mut child {
                terminate(child).await;
            }
            return Err(failure);
        }
        Stop::Enough => End::Enough,
    };
    let status = match (end, child.as_mut()) {
        (End::Command(status), _) => Some(status),
        (_, Some(child)) => {
            run.stop_probes()?;
            terminate(child).await;
            None
        }
        _ => None,
    };
    let over = run.close(status)?;
    written(over.output, "the report", report, &mut signals).await?;
    if let Some(trace) = over.trace {
        written(trace, "the trace", drawing, &mut signals).await?;
    }
    if let Some(recording) = over.recording {
        recording.finish().await?;
    }
    let closed = over.closed;
    Ok(Traced { closed, end })
}

/// Until COMMAND has ended, or the client has.
async fn over(
    command: Option<&mut Child>,
    drive: Option<Drive<'_>>,
    target: &Target,
) -> Result<End, Failure> {
    let ended = async {
        match command {
            Some(child) => child.wait().await.map_or(i32::from(FAILED), drive::status),
            None => std::future::pending().await,
        }
    };
    let driven = async {
        match drive {
            Some(drive) => drive.run(target).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        biased;
        status = driven => status.map(End::Client),
        status = ended => Ok(End::Command(status)),
    }
}

/// What memtrace exits with after such a run.
pub(super) fn exit_status(closed: &Closed) -> ExitCode {
    match closed.summary.command_status {
        _ if !closed.is_conclusive => ExitCode::from(INCONCLUSIVE),
        Some(status) => ExitCode::from(u8::try_from(status).unwrap_or(u8::MAX)),
        None => ExitCode::SUCCESS,
    }
}

/// Waits for the writer, or for the user to lose patience with whoever reads.
pub(super) async fn written(
    output: Output,
    what: &str,
    path: Option<&Path>,
    signals: &mut Signals,
) -> Result<(), Failure> {
    let mut writing = tokio::task::spawn_blocking(move || output.finish());
    // The thread may still wait for its reader when nobody waits for the thread: it goes with the process.
    let written = tokio::select! {
        written = &mut writing => written.unwrap_or(Written::ReaderGone),
        () = signals.any() => match (tokio::time::timeout(LAST_WORDS, writing).await, path) {
            (Ok(written), _) => written.unwrap_or(Written::ReaderGone),
            // Whoever stalls is as good as gone.
            (Err(_), None) => Written::ReaderGone,
            (Err(late), Some(_)) => Written::Failed(late.into()),
        },
    };
    match written {
        Written::Whole | Written::ReaderGone => Ok(()),
        Written::Failed(why) => Err(Failure::not_written(what, path, why)),
    }
}

/// Ends a command that memtrace started and that runs on.
async fn terminate(child: &mut Child) {
    if let Some(pid) = child.id().and_then(|id| i32::try_from(id).ok()) {
        // It may have ended by itself.
        let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGTERM);
    }
    if tokio::time::timeout(GRACE, child.wait()).await.is_err() {
        tracing::warn!("the command did not end when told to; killing it");
        let _ = child.kill().await;
    }
}
