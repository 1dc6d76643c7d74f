//! What a person is told when memtrace cannot do as asked: one line that says what and why, one that says what to do.
//!
//! Owns the shape of errors on standard error and the exit statuses. Must not know what can fail.

use std::{fmt, process::ExitCode};

/// Exit statuses, as CONTRACT has them.
pub(super) const FAILED: u8 = 2;
/// Events were lost, the books do not balance, or the report could not be written whole.
pub(super) const INCONCLUSIVE: u8 = 3;

/// An end with a message.
#[derive(Debug)]
pub(super) struct Failure {
    what: String,
    why: String,
    hint: String,
    status: u8,
}

impl Failure {
    /// Status 2.
    pub(super) fn new(what: impl Into<String>, why: impl fmt::Display, hint: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            why: one_line(&why.to_string()),
            hint: hint.into(),
            status: FAILED,
        }
    }

    /// Status 3.
    pub(super) fn inconclusive(
        what: impl Into<String>,
        why: impl fmt::Display,
        hint: impl Into<String>,
    ) -> Self {
        Self {
            status: INCONCLUSIVE,
            ..Self::new(what, why, hint)
        }
    }

    /// What to do.
    pub(super) fn hint(&self) -> &str {
        &self.hint
    }

    /// Prints the two lines; the exit status.
    #[expect(clippy::print_stderr, reason = "the contract's two lines")]
    pub(super) fn report(&self) -> ExitCode {
        eprintln!("memtrace: {}: {}", self.what, self.why);
        eprintln!("hint: {}", self.hint);
        ExitCode::from(self.status)
    }
}

impl From<anyhow::Error> for Failure {
    /// An error nobody foresaw: its chain on one line.
    fn from(error: anyhow::Error) -> Self {
        Self::new(
            "internal error",
            format!("{error:#}"),
            "please report this, with `memtrace doctor`'s output",
        )
    }
}

/// The causes of an error, outermost first, on one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        // Some errors print their source themselves.
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        cause = error.source();
    }
    one_line(&text)
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_one_line() {
        let failure = Failure::new("what", "why\n  and more\n", "do this");
        assert_eq!(failure.why, "why and more");
    }
}
