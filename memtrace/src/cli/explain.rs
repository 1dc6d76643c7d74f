//! `memtrace explain`: one request of a run, told in plain words.
//!
//! Owns where the run comes from and which request was asked for. Must not know what is said of it.

use std::process::ExitCode;

use super::{
    args::{ExplainArgs, LiveArgs},
    failure::{Failure, INCONCLUSIVE},
    made::Made,
    replay::Recorded,
    run::trace_for,
    terminal::prose,
};
use crate::{
    explain::{Scene, Which, story},
    run::{Closed, Look},
};

/// What all of it is about.
const INTRODUCTION: &str = "A program that asks for memory gets addresses. Memory it gets page by page, 4 KiB each, when it \
     first touches one: the processor finds nothing there and calls the kernel, which gives a page and lets the program go \
     on. That is a page fault, and this is what one request took.";

/// Runs `memtrace explain`.
pub(super) async fn explain(args: &ExplainArgs) -> Result<ExitCode, Failure> {
    let (which, said) = match args.request {
        Some(id) => (Which::Id(id), format!("request {id}")),
        None if args.slowest => (Which::Slowest, "the slowest".to_owned()),
        None => (Which::MostFaults, "the one with the most faults".to_owned()),
    };
    let look = Look {
        explain: Some(which),
        ..Look::default()
    };
    let (made, closed) = match &args.recording {
        Some(path) => {
            let recording = Recorded::open(path, args.voice)?;
            let made = recording.make("the story", args.output.as_deref())?;
            let mut asked = recording.preamble().asked.otherwise(&[""; 0], &args.only);
            // Any of them may be the one.
            asked.requests = None;
            (made, recording.explained(&asked, look)?)
        }
        None if !args.run.target.is_named() => {
            return Err(Failure::new(
                "nothing to explain",
                "neither a recording nor a TARGET is named",
                "memtrace explain run.mtr, or memtrace explain --port PORT --duration 10s; or try `memtrace demo`",
            ));
        }
        None => {
            let made = Made::open("the story", args.output.as_deref())?;
            (made, trace_for(&LiveArgs::for_explain(args), look).await?.closed)
        }
    };
    tell(made, &closed, &said, args)
}

fn tell(mut made: Made, closed: &Closed, which: &str, args: &ExplainArgs) -> Result<ExitCode, Failure> {
    let Some((request, course)) = &closed.explained else {
        return Err(nothing(closed, args));
    };
    let which = match closed.summary.requests {
        1 => "the only one".to_owned(),
        all => format!("{which} of {all}"),
    };
    let scene = Scene {
        which,
        introduction: Some(INTRODUCTION),
        ..Scene::default()
    };
    let story = story(request, course.as_ref(), &closed.summary, &scene);
    made.write(&mut prose(&story).into_bytes())?;
    made.complete()?;
    Ok(if closed.is_conclusive {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(INCONCLUSIVE)
    })
}

fn nothing(closed: &Closed, args: &ExplainArgs) -> Failure {
    let what = "nothing to explain";
    match args.request {
        Some(id) if closed.summary.requests > 0 => Failure::new(
            what,
            format!("the run has no request {id}"),
            "`memtrace report RECORDING --format ndjson` lists them, each with its `id`",
        ),
        _ if !args.only.is_empty() && closed.summary.requests > 0 => Failure::new(
            what,
            "the run has no request of those that --only names",
            "`memtrace report RECORDING` lists the routes",
        ),
        _ => {
            let why = closed
                .summary
                .notes
                .first()
                .map_or("the run has no request", String::as_str);
            Failure::new(
                what,
                why,
                "drive the server while it is traced; of TLS and HTTP/2 no request is seen",
            )
        }
    }
}
