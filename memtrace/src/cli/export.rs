//! `memtrace export`: a recording in the formats of other programs.
//!
//! Owns which files there are. Must not know their formats.

use std::process::ExitCode;

use super::{
    args::ExportArgs,
    failure::Failure,
    replay::{Recorded, told_status},
    sink,
};
use crate::{run::Look, tables::Bytes};

/// Runs `memtrace export`.
pub(super) fn export(args: &ExportArgs) -> Result<ExitCode, Failure> {
    let table = |name| args.csv.as_ref().map(|folder| folder.join(name));
    let (requests, faults) = (table("requests.csv"), table("faults.csv"));
    let paths = [args.perfetto.as_deref(), requests.as_deref(), faults.as_deref()];
    if let Some(folder) = &args.csv {
        std::fs::create_dir_all(folder).map_err(|why| {
            Failure::new(
                format!("cannot make the folder {}", folder.display()),
                why,
                "name a folder that is there, or can be made",
            )
        })?;
    }
    sink::apart(&paths)?;
    let recording = Recorded::open(&args.recording, args.voice)?;
    let make = |path| recording.make("what is exported", Some(path));
    let mut trace = paths[0].map(make).transpose()?;
    let mut requests = paths[1].map(make).transpose()?;
    let mut faults = paths[2].map(make).transpose()?;
    let mut write = |trace_bytes: &mut Vec<u8>, tables: &mut Bytes| {
        for (made, bytes) in [
            (&mut trace, trace_bytes),
            (&mut requests, &mut tables.requests),
            (&mut faults, &mut tables.faults),
        ] {
            if let Some(made) = made {
                made.write(bytes)?;
            }
        }
        Ok(true)
    };
    let look = Look {
        timeline: args.perfetto.is_some().then_some(args.perfetto_detail),
        tables: args.csv.is_some(),
        ..Look::default()
    };
    let run = recording.run(&recording.preamble().asked, look)?;
    let mut nothing = Vec::new();
    let (run, ending) = recording.tell(run, |run| {
        run.report(&mut nothing, |_| {});
        write(&mut run.take_trace(), &mut run.take_tables())
    })?;
    for note in &ending.notes {
        tracing::warn!("{note}");
    }
    let mut closed = run.close(ending, &mut nothing, |_| {});
    write(&mut closed.trace, &mut closed.tables)?;
    for made in [trace, requests, faults].into_iter().flatten() {
        made.complete()?;
    }
    tracing::info!(
        requests = closed.summary.requests,
        faults = closed.summary.books.observed,
        "the recording is exported"
    );
    Ok(told_status(&closed))
}
