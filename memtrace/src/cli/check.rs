//! `memtrace check`: a run, recorded before or traced for it, held to a baseline.
//!
//! Owns the files and the exit status. Must not know how a run is traced, nor how it is judged.

use std::{
    fs,
    io::{self, Write as _},
    path::Path,
    process::ExitCode,
};

use similar::TextDiff;

use super::{
    args::{CheckArgs, LiveArgs},
    drive::Drive,
    failure::Failure,
    forms::Forms,
    made::Made,
    replay::Recorded,
    run::{End, Traced, record_to_read},
    sink, terminal,
};
use crate::{
    check::{
        baseline::Baseline,
        environment::Environment,
        judge::judge,
        samples::{Gathering, Samples},
        why::whys,
    },
    report::view::Only,
};

/// Why nothing that a run says counts.
const LOST: &str = "events of this run were lost, or its books do not balance (a larger --buffer holds more)";

/// Runs `memtrace check`.
pub(super) async fn check(args: &CheckArgs) -> Result<ExitCode, Failure> {
    sink::apart(&[
        Some(&args.baseline),
        args.output.as_deref(),
        args.markdown.as_deref(),
        args.junit.as_deref(),
        args.perfetto.as_deref(),
        args.keep.as_deref(),
    ])?;
    let named = args.recording.iter().chain(&args.runs);
    let recordings = named.map(|path| Recorded::open(path, args.voice));
    let recordings = recordings.collect::<Result<Vec<_>, _>>()?;
    for recording in &recordings {
        recording.refuse(Some(&args.baseline))?;
    }
    let baseline = read(&args.baseline, args.update)?;
    // Before a run that takes a while.
    let made = Forms::open(args, &recordings)?;
    if !recordings.is_empty() {
        return judged(args, recordings, made, &baseline, None);
    }
    if !args.run.target.is_named() {
        return Err(Failure::new(
            "nothing to check",
            "neither a recording nor a TARGET is named",
            "memtrace check run.mtr --baseline FILE, or memtrace check --baseline FILE [--drive CLIENT] -- SERVER",
        ));
    }
    let folder = tempfile::tempdir().map_err(|why| Failure::cannot_create(&std::env::temp_dir(), why))?;
    let recording = args.keep.clone().unwrap_or_else(|| folder.path().join("run.mtr"));
    let drive = args.drive.as_deref().map(|client| Drive {
        client,
        port: args.run.target.port,
        patience: args.patience,
    });
    let traced = record_to_read(&LiveArgs::for_check(args), &recording, drive).await?;
    let recording = Recorded::open(&recording, args.voice)?;
    judged(args, vec![recording], made, &baseline, Some(&traced))
}

/// Holds recordings to the baseline as one run; perhaps of one that has just been traced.
fn judged(
    args: &CheckArgs,
    recordings: Vec<Recorded<'_>>,
    mut made: Forms,
    baseline: &Baseline,
    traced: Option<&Traced>,
) -> Result<ExitCode, Failure> {
    // What was traced for this run is gone after it, unless it is to be kept.
    let is_kept = traced.is_none() || args.keep.is_some();
    let kept: Vec<String> = recordings
        .iter()
        .filter(|_| is_kept)
        .map(Recorded::name)
        .collect();
    let clocks = recordings
        .first()
        .map(|recording| recording.preamble().origin.clocks);
    let options = terminal::table_options(args.output.is_some(), clocks.unwrap_or_default());
    let runs = recordings
        .into_iter()
        .map(|recording| Gathered::of(args, recording, made.take_trace()));
    let runs = runs.collect::<Result<Vec<_>, _>>()?;
    let first = runs.first();
    let environment = first.map(|run| run.environment.clone()).unwrap_or_default();
    let only = first.map(|run| run.only.clone()).unwrap_or_default();
    let is_whole = runs.iter().all(|run| run.is_conclusive);
    let are_alike = runs.iter().all(|run| run.environment == environment);
    let samples = Samples::pool(runs.into_iter().map(|run| run.samples).collect());
    let mut judgement = judge(baseline, &samples, &environment, &only);
    if args.update && baseline.is_new() {
        // That there is nothing to hold it to is no surprise.
        judgement.doubts.clear();
    }
    judgement.is_lost = !is_whole || traced.is_some_and(|traced| !traced.closed.is_conclusive);
    if !are_alike {
        let unlike = "the runs were not all made in the same surroundings: `memtrace diff` tells of two in what they differ";
        judgement.notes.push(unlike.to_owned());
    }
    let early = traced.and_then(|traced| ended_early(traced.end, args.drive.is_some()));
    let doubts: Vec<String> = judgement
        .is_lost
        .then(|| LOST.to_owned())
        .into_iter()
        .chain(early)
        .collect();
    judgement.doubts.extend(doubts.iter().cloned());
    let whys = whys(&judgement, baseline, &samples, &kept);
    made.write(args, &judgement, &whys, &samples, &options)?;
    if args.update {
        return update(&args.baseline, baseline, &samples, &environment, &doubts);
    }
    Ok(ExitCode::from(judgement.status().code()))
}

/// One run.
struct Gathered {
    samples: Samples,
    environment: Environment,
    /// The requests that were asked for.
    only: Vec<Only>,
    is_conclusive: bool,
}

impl Gathered {
    fn of(args: &CheckArgs, recording: Recorded<'_>, trace: Option<Made>) -> Result<Self, Failure> {
        let origin = recording.preamble().origin.clone();
        let asked = recording.preamble().asked.otherwise(&args.route, &args.only);
        let mut gathering = Gathering::default();
        let closed = recording.requests(&asked, trace, |request| gathering.push(request))?;
        Ok(Self {
            samples: gathering.finish(args.warmup),
            environment: Environment::of(&origin, &closed.programs),
            // Those of the recording were given to a live run, which took them.
            only: asked.only.iter().filter_map(|text| text.parse().ok()).collect(),
            is_conclusive: closed.is_conclusive,
        })
    }
}

/// Why the run may have had less than was wanted of it.
fn ended_early(end: End, is_driven: bool) -> Option<String> {
    match end {
        End::Command(status) if is_driven => Some(format!(
            "the server ended before its client did, with status {status}"
        )),
        End::Command(status @ 1..) => Some(format!("the command ended with status {status}")),
        End::Client(status @ 1..) => Some(format!("the client ended with status {status}")),
        End::Command(_) | End::Client(_) | End::Enough => None,
    }
}

fn read(path: &Path, is_to_be_made: bool) -> Result<Baseline, Failure> {
    let fail = |why: &dyn std::fmt::Display, hint: &str| {
        Failure::new(format!("cannot read {}", path.display()), why, hint)
    };
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(why) if why.kind() == io::ErrorKind::NotFound && is_to_be_made => {
            return Ok(Baseline::default());
        }
        Err(why) => {
            return Err(fail(
                &why,
                "a baseline is what `memtrace check … --baseline FILE --update` writes",
            ));
        }
    };
    Baseline::parse(&text).map_err(|why| fail(&why, "mend it, or take it from version control"))
}

/// Writes the baseline anew, unless nobody could rely on what the run says.
fn update(
    path: &Path,
    baseline: &Baseline,
    samples: &Samples,
    environment: &Environment,
    doubts: &[String],
) -> Result<ExitCode, Failure> {
    let refuse = |why: &str, hint: &str| {
        Err(Failure::inconclusive(
            format!("cannot update {}", path.display()),
            why,
            hint,
        ))
    };
    if let Some(doubt) = doubts.first() {
        return refuse(doubt, "nothing is known of such a run: once more");
    }
    if samples.routes.is_empty() {
        return refuse("the run has no requests", "drive the server while it is recorded");
    }
    let (before, after) = (baseline.text(), baseline.updated(samples, environment));
    let mut made = Made::open("the baseline", Some(path))?;
    made.write(&mut after.clone().into_bytes())?;
    made.complete()?;
    let name = path.display().to_string();
    let changes = TextDiff::from_lines(&before, &after);
    let changes = changes.unified_diff().header(&name, &name).to_string();
    // The baseline is written, whoever hears of it.
    let _ = io::stderr().write_all(changes.as_bytes());
    Ok(ExitCode::SUCCESS)
}
