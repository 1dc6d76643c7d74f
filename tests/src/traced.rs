//! The known-truth workload while memtrace traces it.
//!
//! Owns the order: clients connect, memtrace attaches, each client asks for its targets one by one, memtrace stops. Must
//! not know what is claimed of the report, beyond that it adds up.

use crate::client::Client;
use crate::memtrace::Memtrace;
use crate::process::Finished;
use crate::report::{Report, Request};
use crate::require_root;
use crate::workload::{Counted, Mode, Truth, Workload};

/// A run that is over.
pub struct Traced {
    /// How memtrace ended, and what it printed.
    pub run: Finished,
    /// The same, read.
    pub report: Report,
}

impl Traced {
    /// Traces with these options beside; there is a client for each list of targets. Fails where the server's own
    /// count or the report's identities are not what they have to be, or a request is missing.
    #[track_caller]
    pub fn drive(mode: Mode, options: &[&str], plans: &[Vec<String>]) -> Traced {
        Traced::drive_on(&Workload::start(mode), options, plans)
    }

    /// The same, of a server that is there already.
    #[track_caller]
    pub fn drive_on(workload: &Workload, options: &[&str], plans: &[Vec<String>]) -> Traced {
        require_root();
        let mut clients: Vec<Client> = plans.iter().map(|_| workload.client()).collect();
        let pid = workload.pid().to_string();
        let always = ["--pid", &pid, "--format", "ndjson", "--query"];
        let memtrace = Memtrace::attach(always.iter().chain(options));
        std::thread::scope(|scope| {
            for (client, plan) in clients.iter_mut().zip(plans) {
                scope.spawn(move || ask(client, plan));
            }
        });
        let run = memtrace.interrupt();
        run.assert_status(0);
        let report = Report::of(&run);
        if let Err(why) = report.check() {
            panic!("{why}\n{run}");
        }
        let asked: usize = plans.iter().map(Vec::len).sum();
        let whole = report.requests.iter().filter(|request| request.complete).count();
        run.assert(
            (report.requests.len(), whole) == (asked, asked),
            format_args!("{asked} requests were made"),
        );
        Traced { run, report }
    }

    /// The most that a request took which asked for nothing.
    #[track_caller]
    pub fn most_for_nothing(&self, of: impl Fn(&Request) -> u64) -> u64 {
        let none = self
            .report
            .requests
            .iter()
            .filter(|request| request.path == "/none");
        self.run
            .assert(none.clone().count() >= 10, "/none is too rare to be measured");
        none.map(of).max().unwrap_or(0)
    }

    /// Requests with this path, without its query, and the number that each asked for.
    pub fn of_route<'t>(&'t self, route: &'t str) -> impl Iterator<Item = (u64, &'t Request)> {
        self.report.requests.iter().filter_map(move |request| {
            let query = request.path.strip_prefix(route)?.strip_prefix('?')?;
            let number = query.rsplit('=').next()?.parse().ok()?;
            Some((number, request))
        })
    }
}

#[track_caller]
fn ask(client: &mut Client, targets: &[String]) {
    for target in targets {
        let counted = Counted::of(&client.get(target).expect("an answer"));
        assert_eq!(
            counted.total(),
            Truth::of(target).counted(),
            "the server itself took something else for {target}"
        );
    }
}

/// These targets, again and again, with `/none` before each of them.
pub fn plan(rounds: usize, targets: impl Fn(usize) -> Vec<String>) -> Vec<String> {
    let all = (0..rounds).flat_map(targets);
    all.flat_map(|target| ["/none".to_owned(), target]).collect()
}
