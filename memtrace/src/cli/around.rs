//! `memtrace map --diff`: a process's memory before and after its next request, or some time.
//!
//! Owns when it is looked at. Must not know what is made of the looks.

use std::{
    cell::RefCell,
    process::ExitCode,
    rc::Rc,
    time::{Duration, Instant},
};

use memtrace_common::Nanos;

use super::{
    args::{LiveArgs, MapArgs},
    failure::{Failure, INCONCLUSIVE},
    held::Start,
    live::{Stop, Tracing},
    made::Made,
    map::read,
    output::Output,
    remedy,
    signals::Signals,
    target::Target,
    terminal,
};
use crate::{
    kernel::now,
    ledger::{SETTLE, entry::Request},
    map::{Around, Changes, Fault, Map, Moment},
    run::{self, Run},
    watch::Watch,
};

/// A process that answers one request after another is not looked at again sooner.
const PAUSE: Duration = Duration::from_millis(50);
/// How long a request that has been answered may take to be reported, beyond the time that it is given for work that may
/// still be its: of a process that does nothing at all, nobody hears how late it is.
const REPORT: Duration = Duration::from_secs(1);
/// Requests that are kept until it is known which of them is meant.
const REQUESTS_MAX: usize = 1024;

/// One look.
struct Look {
    map: Map,
    /// From when on.
    began: Nanos,
    /// Until when.
    ended: Nanos,
}

impl Look {
    fn at(args: &MapArgs) -> Result<Self, Failure> {
        let began = now();
        let map = read(args.pid)?;
        Ok(Self {
            map,
            began,
            ended: now(),
        })
    }
}

/// What has been seen so far.
struct Seen {
    /// Before the request: the last two, since one may begin while the process is looked at.
    before: Vec<Look>,
    after: Option<Look>,
    /// The process could not be looked at.
    failure: Option<Failure>,
    request: Option<Request>,
}

/// Runs `memtrace map --diff`.
pub(super) async fn around(args: &MapArgs) -> Result<ExitCode, Failure> {
    remedy::check_kernel()?;
    let mut signals = Signals::new()?;
    let mut made = Made::open("the map", args.output.as_deref())?;
    let live = LiveArgs::for_map(args);
    let start = Start {
        ignored: signals.ignored(),
        is_aside: true,
    };
    let target = Target::find(&live.run.target, &start)?;
    let wanted = args.duration.is_none().then(|| args.request.clone());
    let beside = run::Look {
        watch: Some(Watch::new(args.pid, wanted)),
        ..run::Look::default()
    };
    let mut tracing = Tracing::attach(&live, &target, Output::open(None)?, None, None, beside)?;
    let seen = Rc::new(RefCell::new(Seen {
        before: vec![Look::at(args)?],
        after: None,
        failure: None,
        request: None,
    }));
    tracing.keep(REQUESTS_MAX);
    if args.duration.is_none() {
        tracing.show(Box::new(onlooker(args.clone(), Rc::clone(&seen))));
    }
    tracing.begin(&live);
    let stop = tracing
        .until_over(&live, &target, std::future::pending::<()>(), &mut signals)
        .await?;
    if args.duration.is_some() && seen.borrow().after.is_none() {
        let after = Look::at(args)?;
        seen.borrow_mut().after = Some(after);
    }
    let (Stop::Over(()) | Stop::Enough) = stop;
    let over = tracing.close(None)?;
    drop(over.output);
    let Some(seen) = Rc::into_inner(seen).map(RefCell::into_inner) else {
        return Err(nothing_came(args));
    };
    if let Some(failure) = seen.failure {
        return Err(failure);
    }
    let (Some(after), Some(watch)) = (&seen.after, &over.closed.watch) else {
        return Err(nothing_came(args));
    };
    let request = seen
        .request
        .or_else(|| over.kept.into_iter().find(|request| watch.is_it(request)));
    let first = |look: &&Look| {
        request
            .as_ref()
            .is_none_or(|request| look.ended.0 <= request.start_ns)
    };
    let Some(before) = seen.before.iter().rev().find(first).or(seen.before.first()) else {
        return Err(nothing_came(args));
    };
    // What is taken while it is looked at may be in the look or not: it belongs to neither.
    let faults: Vec<Fault> = watch
        .faults_between(before.ended, after.began)
        .map(|(address, is_own)| Fault { address, is_own })
        .collect();
    let told = Around {
        changes: Changes::between(&before.map, &after.map, &faults),
        map: &after.map,
        request: request.as_ref(),
        looks: [
            Moment {
                began: before.began,
                ended: before.ended,
            },
            Moment {
                began: after.began,
                ended: after.ended,
            },
        ],
        is_whole: over.closed.is_conclusive && watch.lost() == 0,
    };
    let options = terminal::table_options(args.output.is_some(), crate::record::Clocks::default());
    let mut bytes = Vec::new();
    told.write(args.format, &options, &mut bytes);
    made.write(&mut bytes)?;
    made.complete()?;
    Ok(if told.is_whole {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(INCONCLUSIVE)
    })
}

/// Looks at the process when it is time to, until the request has been reported, or for too long.
fn onlooker(args: MapArgs, seen: Rc<RefCell<Seen>>) -> impl FnMut(&mut Run, &[Request]) -> bool {
    let deadline = Instant::now() + args.timeout;
    let mut last = Instant::now();
    let mut answered = None;
    move |run, reported| {
        let seen = &mut *seen.borrow_mut();
        let Some(watch) = run.watch() else { return true };
        if watch.is_over() {
            if seen.after.is_none() {
                match Look::at(&args) {
                    Ok(look) => seen.after = Some(look),
                    Err(failure) => seen.failure = Some(failure),
                }
            }
            let answered: &Instant = answered.get_or_insert_with(Instant::now);
            seen.request = reported.iter().find(|request| watch.is_it(request)).cloned();
            let is_late = answered.elapsed() > Duration::from_nanos(SETTLE.0) + REPORT;
            return seen.request.is_some() || seen.failure.is_some() || is_late;
        }
        if last.elapsed() >= PAUSE && watch.is_to_begin_anew() {
            match Look::at(&args) {
                Ok(look) => seen.before.push(look),
                Err(failure) => seen.failure = Some(failure),
            }
            if seen.before.len() > 2 {
                seen.before.remove(0);
            }
            last = Instant::now();
        }
        Instant::now() > deadline || seen.failure.is_some()
    }
}

fn nothing_came(args: &MapArgs) -> Failure {
    let which = match args.request.as_slice() {
        [] => "no request".to_owned(),
        some => {
            let some: Vec<String> = some.iter().map(ToString::to_string).collect();
            format!("no request of {}", some.join(", "))
        }
    };
    Failure::new(
        format!("nothing to compare in process {}", args.pid.0),
        format!("{which} was answered while it was waited for"),
        "make it meanwhile, wait longer with --timeout, or compare what a time changes with --duration 5s; of TLS and \
         HTTP/2 no request is seen",
    )
}
