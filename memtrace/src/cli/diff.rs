//! `memtrace diff`: two recordings, told again and compared.
//!
//! Owns which files there are. Must not know what is compared, nor how it reads.

use std::{path::Path, process::ExitCode};

use super::{
    args::DiffArgs,
    failure::{Failure, INCONCLUSIVE},
    replay::Recorded,
    terminal,
};
use crate::diff::{About, Diff, Gathering, Side};

/// Runs `memtrace diff`.
pub(super) fn diff(args: &DiffArgs) -> Result<ExitCode, Failure> {
    let before = Recorded::open(&args.before, args.voice)?;
    let after = Recorded::open(&args.after, args.voice)?;
    let output = args.output.as_deref();
    before.refuse(output)?;
    let mut made = after.make("the comparison", output)?;
    let options = terminal::table_options(output.is_some(), after.preamble().origin.clocks);
    let before = side(before, &args.before, args)?;
    let after = side(after, &args.after, args)?;
    let mut bytes = Vec::new();
    Diff::of(&before, &after).write(args.format, &options, &mut bytes);
    made.write(&mut bytes)?;
    made.complete()?;
    Ok(if before.is_conclusive() && after.is_conclusive() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(INCONCLUSIVE)
    })
}

/// Tells a recording again, and keeps what can be compared.
fn side(recording: Recorded<'_>, path: &Path, args: &DiffArgs) -> Result<Side, Failure> {
    let origin = recording.preamble().origin.clone();
    let asked = recording.preamble().asked.otherwise(&args.route, &args.only);
    let mut gathering = Gathering::default();
    let closed = recording.requests(&asked, None, |request| gathering.push(request))?;
    Ok(gathering.finish(About {
        name: path.display().to_string(),
        origin,
        asked,
        programs: closed.programs,
        summary: closed.summary,
        is_conclusive: closed.is_conclusive,
    }))
}
