//! How well memtrace finds whose the faults of a recording are, held to what the recorded server says itself:
//! `cargo xtask bench attribution` makes such recordings.
//!
//! Owns the telling: the pipeline hears everything but the server's markers. Prints one JSON object. Must not know
//! which server it was.

#![expect(clippy::print_stdout, reason = "its output is read by another program")]

use std::{fs::File, path::PathBuf};

use anyhow::{Context as _, Result, bail};
use memtrace::{
    event::Event,
    ledger::{entry::Request, journal::Posting, route::Routing},
    pipeline::{Config, Pipeline},
    record::read::{Losses, Reader},
    timed::{Completed, Timed},
    window::RequestId,
};
use memtrace_common::{Nanos, Tid, decode::Record, wire};

use crate::{
    score::{Mark, Moment, Score},
    sections::Sections,
};

mod score;
mod sections;

fn main() -> Result<()> {
    let path: PathBuf = std::env::args_os().nth(1).context("which recording?")?.into();
    let score = score(&path).with_context(|| format!("cannot score {}", path.display()))?;
    println!("{}", serde_json::to_string(&score)?);
    Ok(())
}

/// Tells the recording again, and holds what becomes of it to the sections.
fn score(path: &PathBuf) -> Result<Score> {
    let mut reader = Reader::open(File::open(path)?)?;
    let asked = &reader.preamble().asked;
    let mut pipeline = Pipeline::new(Config {
        routing: Routing::new(Vec::new(), asked.query),
        port: asked.port,
        ..Config::default()
    });
    pipeline.keep_journal();
    let mut sections = Sections::default();
    let mut heard = Heard::default();
    let mut losses = Losses::default();
    while let Some(block) = reader.block()? {
        let told = block.events(&mut losses, |event| {
            if let Event::Record(Record::Io(io, payload)) = &event
                && io.header.op == wire::OP_MARK
            {
                let len = u64::try_from(io.ret).unwrap_or(0);
                sections.wrote(Tid(io.header.tid), payload.beginning(), len);
                return;
            }
            if let Event::Record(Record::Fault(fault)) = &event {
                let header = &fault.header;
                let tid = Tid(header.tid);
                let moment = Moment(tid, Nanos(header.time_ns));
                heard.mark.taken(moment, sections.open_on(tid));
            }
            pipeline.feed(event);
        });
        heard.hear(&mut pipeline);
        if told.is_err() {
            bail!("a block is malformed");
        }
    }
    if !reader.damage().is_none() {
        bail!("{}", reader.damage().notes().join("; "));
    }
    pipeline.settle();
    heard.hear(&mut pipeline);
    let Heard { mut timed, mut mark } = heard;
    timed.finish(|fault| given(&fault, &mut mark));
    let outcome = pipeline.finish();
    for request in &outcome.requests {
        reported(request, &mut mark);
    }
    if mark.faults() != outcome.books.observed {
        bail!(
            "{} faults are said to be somebody's or nobody's, and {} were observed",
            mark.faults(),
            outcome.books.observed
        );
    }
    let lost = outcome.lost.records();
    if lost == 0 && sections.strays() > 0 {
        bail!("{} of its markers make no sections", sections.strays());
    }
    Ok(mark.score(lost))
}

/// What the pipeline has said.
#[derive(Default)]
struct Heard {
    /// Knows whose a fault is once that is decided.
    timed: Timed,
    mark: Mark,
}

impl Heard {
    /// Takes what it has to say by now.
    fn hear(&mut self, pipeline: &mut Pipeline) {
        let Self { timed, mark } = self;
        // A recording has no probes to tell.
        drop(pipeline.take_directives());
        let (postings, files) = pipeline.take_postings();
        for posting in postings {
            if let Posting::Withdrawn { id } = &posting {
                mark.withdrawn(*id);
            }
            timed.posting(&posting, files, |fault| given(&fault, mark));
        }
        for request in pipeline.take_done() {
            reported(&request, mark);
        }
    }
}

/// Whose memtrace says that a fault is.
fn given(fault: &Completed, mark: &mut Mark) {
    let moment = Moment(fault.taken.tid, fault.taken.at);
    mark.given(moment, fault.whose().map(RequestId));
}

/// The number that the request's client gave it is the last segment of its path.
fn reported(request: &Request, mark: &mut Mark) {
    let last = request.path.rsplit('/').next();
    if let Some(number) = last.and_then(|segment| segment.parse().ok()) {
        mark.is_numbered(RequestId(request.id), number);
    }
}
