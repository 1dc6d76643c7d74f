//! `memtrace diff`: two recordings, told again and compared.
//!
//! Owns which files there are. Must not know what is compared, nor how it reads.

use std::{path::Path, process::ExitCode};

use super::{
    args::DiffArgs,
    failure::{Failure, INCONCLUSIVE},
    replay::{Recorded, damaged, is_taken, not_written},
    sink::Sink,
    terminal,
};
use crate::{
    diff::{About, Diff, Gathering, Side},
    report::{Format, view::View},
    run::{Ending, Look, Run, only},
};

/// Runs `memtrace diff`.
pub(super) fn diff(args: &DiffArgs) -> Result<ExitCode, Failure> {
    let open = |path| Recorded::open(path).map(|recording| recording.with_progress(!args.quiet));
    let (before, after) = (open(&args.before)?, open(&args.after)?);
    let mut sink = match &args.output {
        None => {
            before.refuse_standard_output()?;
            after.refuse_standard_output()?;
            Sink::stdout()
        }
        Some(path) => {
            before.refuse(path)?;
            after.create(path)?
        }
    };
    let options = terminal::table_options(args.output.is_some(), after.reader.preamble().origin.clocks);
    let before = side(before, &args.before, args)?;
    let after = side(after, &args.after, args)?;
    let mut bytes = Vec::new();
    Diff::of(&before, &after).write(args.format, &options, &mut bytes);
    if is_taken(&mut sink, &mut bytes)? {
        sink.complete().map_err(not_written)?;
    }
    Ok(if before.is_conclusive() && after.is_conclusive() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(INCONCLUSIVE)
    })
}

/// Tells a recording again, and keeps what can be compared.
fn side(recording: Recorded<'_>, path: &Path, args: &DiffArgs) -> Result<Side, Failure> {
    let preamble = recording.reader.preamble().clone();
    let mut asked = preamble.asked.clone();
    if !args.route.is_empty() {
        asked.route = args.route.iter().map(ToString::to_string).collect();
    }
    let only_these: Vec<String> = args.only.iter().map(ToString::to_string).collect();
    if !only_these.is_empty() && only_these != asked.only {
        // It counted the requests that were asked for then.
        asked.requests = None;
        asked.only = only_these;
    }
    let view = View {
        only: only(&asked).map_err(|why| damaged(path, why))?,
        ..View::default()
    };
    let look = Look {
        format: Format::Ndjson,
        view: view.clone(),
        table: terminal::table_options(true, preamble.origin.clocks),
        timeline: None,
        tables: false,
    };
    let mut run = Run::new(&asked, preamble.origin.clocks, look, false).map_err(|why| damaged(path, why))?;
    let (mut gathering, mut report) = (Gathering::default(), Vec::new());
    let replayed = recording.replay(&mut run, Run::feed, |run| {
        drop(run.take_directives());
        run.report(&mut report, |request| {
            if view.selects(request) {
                gathering.push(request);
            }
        });
        report.clear();
        Ok(true)
    })?;
    let ending = Ending {
        command_status: replayed.command_status,
        kernel: preamble.origin.kernel.clone(),
        is_incomplete: !replayed.notes.is_empty(),
        notes: replayed.notes,
    };
    let closed = run.close(ending, &mut report, |request| {
        if view.selects(request) {
            gathering.push(request);
        }
    });
    Ok(gathering.finish(About {
        name: path.display().to_string(),
        origin: preamble.origin,
        asked,
        summary: closed.summary,
        is_conclusive: closed.is_conclusive,
    }))
}
