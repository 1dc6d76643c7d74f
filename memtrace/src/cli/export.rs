//! `memtrace export`: a recording in the formats of other programs.
//!
//! Owns which files there are. Must not know their formats.

use std::{io, path::Path, process::ExitCode};

use super::{args::ExportArgs, failure::Failure, replay::Recorded, run::exit_status, sink::Sink, terminal};
use crate::{
    report::{Format, view::View},
    run::{Ending, Look, Run},
};

/// A file on its way.
struct File<'a> {
    path: std::borrow::Cow<'a, Path>,
    sink: Sink,
}

impl File<'_> {
    fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.sink.write(bytes).map_err(|why| not_written(&self.path, why))
    }

    fn complete(self) -> Result<(), Failure> {
        self.sink.complete().map_err(|why| not_written(&self.path, why))
    }
}

/// Runs `memtrace export`.
pub(super) fn export(args: &ExportArgs) -> Result<ExitCode, Failure> {
    let recording = Recorded::open(&args.recording)?;
    let preamble = recording.reader.preamble().clone();
    let create = |path: &Path| -> Result<_, Failure> {
        Ok(File {
            sink: recording.create(path)?,
            path: path.to_owned().into(),
        })
    };
    let mut trace = args.perfetto.as_deref().map(create).transpose()?;
    let mut tables = match &args.csv {
        None => None,
        Some(folder) => {
            std::fs::create_dir_all(folder).map_err(|why| {
                Failure::new(
                    format!("cannot make the folder {}", folder.display()),
                    why,
                    "name a folder that is there, or can be made",
                )
            })?;
            Some((
                create(&folder.join("requests.csv"))?,
                create(&folder.join("faults.csv"))?,
            ))
        }
    };
    let look = Look {
        format: Format::Ndjson,
        view: View::default(),
        table: terminal::table_options(true, preamble.origin.clocks),
        timeline: trace.is_some().then_some(args.perfetto_detail),
        tables: tables.is_some(),
    };
    let mut run = Run::new(&preamble.asked, preamble.origin.clocks, look, false)
        .map_err(|why| super::replay::damaged(&args.recording, why))?;
    let mut report = Vec::new();
    let replayed = recording.replay(&mut run, Run::feed, |run| {
        drop(run.take_directives());
        run.report(&mut report, |_| {});
        report.clear();
        if let Some(trace) = &mut trace {
            trace.write(&run.take_trace())?;
        }
        if let Some((requests, faults)) = &mut tables {
            let bytes = run.take_tables();
            requests.write(&bytes.requests)?;
            faults.write(&bytes.faults)?;
        }
        Ok(true)
    })?;
    for note in &replayed.notes {
        tracing::warn!("{note}");
    }
    let ending = Ending {
        is_incomplete: !replayed.notes.is_empty(),
        ..Ending::default()
    };
    let closed = run.close(ending, &mut report, |_| {});
    if let Some(mut trace) = trace {
        trace.write(&closed.trace)?;
        trace.complete()?;
    }
    if let Some((mut requests, mut faults)) = tables {
        requests.write(&closed.tables.requests)?;
        faults.write(&closed.tables.faults)?;
        requests.complete()?;
        faults.complete()?;
    }
    tracing::info!(
        requests = closed.summary.requests,
        faults = closed.summary.books.observed,
        "the recording is exported"
    );
    Ok(exit_status(&closed))
}

fn not_written(path: &Path, why: io::Error) -> Failure {
    Failure::inconclusive(
        format!("cannot write {}", path.display()),
        why,
        "make room or name another file; nothing was left behind",
    )
}
