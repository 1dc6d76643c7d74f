//! A judgement as commands to a runner of GitHub's, which shows them on the pull request's page.
//!
//! Source: <https://docs.github.com/actions/reference/workflows-and-actions/workflow-commands>

use super::{judge::Verdict, told::Told, words::Words};

/// A step's annotations of one kind, at most; GitHub shows no more.
const ANNOTATIONS_MAX: usize = 10;

/// The lines, for the job's log.
pub fn annotations(told: &Told<'_>) -> String {
    let judgement = told.judgement;
    let failing = |is: fn(Verdict) -> bool| {
        judgement
            .lines
            .iter()
            .filter(move |line| is(line.verdict))
            .map(|line| format!("{}: {}", line.route, Words::of(line).sentence()))
    };
    let regressions = failing(Verdict::is_regression);
    let unknown = failing(Verdict::is_inconclusive);
    let errors = regressions.chain(judgement.doubts.iter().cloned()).chain(unknown);
    let errors = errors.take(ANNOTATIONS_MAX).map(|text| command("error", &text));
    let notices = judgement.notes.iter().take(ANNOTATIONS_MAX);
    errors
        .chain(notices.map(|text| command("notice", text)))
        .collect()
}

fn command(kind: &str, text: &str) -> String {
    format!("::{kind} title=memtrace check::{}\n", data(text))
}

/// As the runner takes text apart.
fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_path_becomes_a_command() {
        assert_eq!(
            command("error", "GET /100%\n::stop-commands::x"),
            "::error title=memtrace check::GET /100%25%0A::stop-commands::x\n"
        );
    }
}
