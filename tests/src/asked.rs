//! Requests that were made, and whether a report lists each of them.
//!
//! Owns the comparison. Must not know which server answers or how it is traced.

use std::fmt::Debug;

use crate::client::Client;
use crate::process::Finished;
use crate::report::{Report, Request};

/// What was asked for while a server was traced.
#[derive(Clone, Debug, Default)]
pub struct Asked(Vec<Line>);

/// A request as it has to be listed: path, method, status, and that it is complete.
type Line = (String, String, Option<u16>, bool);

impl Asked {
    /// This was asked for, and answered with this status.
    pub fn note(&mut self, method: &str, path: &str, status: u16) {
        self.0
            .push((path.to_owned(), method.to_owned(), Some(status), true));
    }

    /// So was what another client asked for.
    pub fn extend(&mut self, other: Asked) {
        self.0.extend(other.0);
    }

    /// Asks `apps/shapes/server.py` in every way that matters for framing: with no body, a short one, and one that is
    /// longer than a capture.
    #[track_caller]
    pub fn each_way(&mut self, client: &mut Client, name: &str) {
        const WAYS: [(Option<usize>, u16, usize); 5] = [
            (None, 200, 10),
            (None, 404, 70_000),
            (Some(100), 201, 0),
            (Some(20_000), 503, 5_000),
            (None, 200, 0),
        ];
        for (number, (sends, status, receives)) in WAYS.into_iter().enumerate() {
            let path = format!("/{name}-{number}/{status}/{receives}");
            let (method, response) = match sends {
                None => ("GET", client.get(&path)),
                Some(length) => ("POST", client.post(&path, &"y".repeat(length))),
            };
            let response = response.unwrap_or_else(|error| panic!("{path}: {error}"));
            assert_eq!(
                (response.status, response.body.len()),
                (status, receives),
                "{path}"
            );
            self.note(method, &path, status);
        }
    }

    /// Each request is listed once, whole, and nothing else is; and the report adds up.
    #[track_caller]
    pub fn assert_listed(&self, run: &Finished) -> Report {
        run.assert_status(0);
        let report = Report::of(run);
        self.assert_listed_in(&report, run);
        report
    }

    /// The same, of a report that was not on standard output.
    #[track_caller]
    pub fn assert_listed_in(&self, report: &Report, run: &Finished) {
        if let Err(why) = report.check() {
            panic!("{why}\n{run}");
        }
        self.assert_only(&report.requests, run);
    }

    /// Each request is among these once, whole, and nothing else is.
    #[track_caller]
    pub fn assert_only(&self, requests: &[Request], run: &Finished) {
        let mut listed: Vec<Line> = requests.iter().map(line).collect();
        let mut asked = self.0.clone();
        listed.sort();
        asked.sort();
        let (missing, beside) = (without(&asked, &listed), without(&listed, &asked));
        run.assert(
            missing.is_empty() && beside.is_empty(),
            format_args!("asked for and not listed:{missing}\nlisted and not asked for:{beside}"),
        );
    }
}

fn line(request: &Request) -> Line {
    (
        request.path.clone(),
        request.method.clone(),
        request.status,
        request.complete,
    )
}

/// Those of `these` that are not among `those`, a line each; one that is there twice has to be twice.
fn without<T: PartialEq + Debug>(these: &[T], those: &[T]) -> String {
    let mut those: Vec<&T> = those.iter().collect();
    let mut left = Vec::new();
    for this in these {
        match those.iter().position(|that| *that == this) {
            Some(at) => drop(those.swap_remove(at)),
            None => left.push(format!("\n    {this:?}")),
        }
    }
    left.concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_twice_has_to_be_twice() {
        assert_eq!(without(&[1, 2, 2], &[2, 1, 2]), "");
        assert_eq!(without(&[1, 2, 2], &[1, 2]), "\n    2");
        assert_eq!(without(&[3], &[1, 2]), "\n    3");
    }
}
