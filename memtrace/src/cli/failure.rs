//! What a person is told when memtrace cannot do as asked: one line that says what and why, one that says what to do.
//!
//! Owns the shape of errors on standard error and the exit statuses. Must not know what can fail.

use std::{fmt, io::Write as _, path::Path, process::ExitCode};

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
            what: one_line(&what.into()),
            why: one_line(&why.to_string()),
            hint: one_line(&hint.into()),
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

    /// A file that is to be made cannot be opened.
    pub(super) fn cannot_create(path: &Path, why: impl fmt::Display) -> Self {
        Self::new(
            format!("cannot write {}", path.display()),
            why,
            "name a file in a folder that is there and can be written to",
        )
    }

    /// It could be opened, and then not be written. Status 3.
    pub(super) fn not_written(what: &str, path: Option<&Path>, why: impl fmt::Display) -> Self {
        let where_to = path.map_or("standard output".to_owned(), |p| p.display().to_string());
        Self::inconclusive(
            format!("cannot write {what} to {where_to}"),
            why,
            "make room or name another file; nothing was left behind",
        )
    }

    /// What to do.
    pub(super) fn hint(&self) -> &str {
        &self.hint
    }

    /// Prints the two lines; the exit status.
    pub(super) fn report(&self) -> ExitCode {
        // Where nobody reads, the status still tells; `eprintln!` would panic.
        let _ = write!(std::io::stderr(), "{self}");
        ExitCode::from(self.status)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "memtrace: {}: {}", self.what, self.why)?;
        writeln!(f, "hint: {}", self.hint)
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

/// What the user typed, or what a process calls itself, may be part of it, whatever characters that has.
pub(super) fn one_line(text: &str) -> String {
    let words: Vec<_> = text.split_whitespace().collect();
    words.join(" ").replace(char::is_control, "\u{fffd}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_part_is_on_one_line_and_moves_no_cursor() {
        let failure = Failure::new("--comm a\nb", "why\n  and \u{1b}[1Amore\n", "do\rthis");
        assert_eq!(
            failure.to_string(),
            "memtrace: --comm a b: why and \u{fffd}[1Amore\nhint: do this\n"
        );
    }
}
