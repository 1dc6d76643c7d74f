//! `memtrace check`: a recording, held to a baseline.
//!
//! Owns the two files and the exit status. Must not know how a run is judged.

use std::{fs, io, path::Path, process::ExitCode};

use super::{
    args::CheckArgs,
    failure::{Failure, INCONCLUSIVE},
    made::Made,
    replay::Recorded,
    terminal,
};
use crate::{
    check::{
        baseline::{Baseline, Environment},
        judge::judge,
        samples::{Gathering, Samples},
        text,
    },
    record::Origin,
    report::view::Only,
    run::Closed,
};

/// A regression, as CONTRACT has it.
const REGRESSION: u8 = 1;

/// Runs `memtrace check`.
pub(super) fn check(args: &CheckArgs) -> Result<ExitCode, Failure> {
    let recording = Recorded::open(&args.recording, args.voice)?;
    recording.refuse(Some(&args.baseline))?;
    let baseline = read(&args.baseline, args.update)?;
    let origin = recording.preamble().origin.clone();
    let mut report = recording.make("the verdict", None)?;
    let options = terminal::table_options(false, origin.clocks);
    let asked = recording.preamble().asked.otherwise(&args.route, &args.only);
    // Those of the recording were given to a live run, which took them.
    let only: Vec<Only> = asked.only.iter().filter_map(|text| text.parse().ok()).collect();
    let mut gathering = Gathering::default();
    let closed = recording.requests(&asked, |request| gathering.push(request))?;
    let samples = gathering.finish(args.warmup);
    let environment = environment(&origin);
    let mut judgement = judge(&baseline, &samples, &environment, &only);
    if !closed.is_conclusive {
        judgement
            .doubts
            .push("events of this run were lost, or its books do not balance".to_owned());
    }
    let mut bytes = Vec::new();
    text::write(&judgement, &samples, &options, &mut bytes);
    report.write(&mut bytes)?;
    report.complete()?;
    if args.update {
        return update(&args.baseline, &baseline, &samples, &environment, &closed);
    }
    Ok(if !closed.is_conclusive {
        ExitCode::from(INCONCLUSIVE)
    } else if judgement.is_regression() {
        ExitCode::from(REGRESSION)
    } else if judgement.is_inconclusive() {
        ExitCode::from(INCONCLUSIVE)
    } else {
        ExitCode::SUCCESS
    })
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

fn environment(origin: &Origin) -> Environment {
    Environment {
        kernel: origin.kernel.clone(),
        page_size: origin.page_size,
        memtrace: origin.memtrace.clone(),
    }
}

/// Writes the baseline anew, unless nobody could rely on what the run says.
fn update(
    path: &Path,
    baseline: &Baseline,
    samples: &Samples,
    environment: &Environment,
    closed: &Closed,
) -> Result<ExitCode, Failure> {
    let refuse = |why: &str, hint: &str| {
        Err(Failure::inconclusive(
            format!("cannot update {}", path.display()),
            why,
            hint,
        ))
    };
    if !closed.is_conclusive {
        return refuse(
            "events of the run were lost, or its books do not balance",
            "record again, with a larger --buffer",
        );
    }
    if samples.routes.is_empty() {
        return refuse("the run has no requests", "drive the server while it is recorded");
    }
    let mut made = Made::open("the baseline", Some(path))?;
    let mut bytes = baseline.updated(samples, environment).into_bytes();
    made.write(&mut bytes)?;
    made.complete()?;
    Ok(ExitCode::SUCCESS)
}
