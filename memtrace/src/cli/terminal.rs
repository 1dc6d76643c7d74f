//! What the report has to know of its surroundings: the terminal, the clock, the kernel's name.
//!
//! Owns these look-ups, so that reports stay pure.

use std::{ffi::OsString, fs::File, io::IsTerminal as _, os::fd::AsFd as _};

use jiff::tz::TimeZone;

use crate::{
    record::{Clocks, Origin},
    report::table::{TableOptions, WallClock},
};

/// For standard output, or for a file. `clocks` are the run's.
pub(super) fn table_options(to_file: bool, clocks: Clocks) -> TableOptions {
    let is_terminal = !to_file && std::io::stdout().is_terminal();
    TableOptions {
        width: stdout_width().filter(|_| is_terminal),
        colour: is_terminal && may_colour(|name| std::env::var_os(name)),
        wall: WallClock {
            offset_ns: i128::from(clocks.realtime) - i128::from(clocks.monotonic),
            zone: TimeZone::try_system().unwrap_or(TimeZone::UTC),
        },
    }
}

/// The columns of standard output, if it is a terminal.
pub(super) fn stdout_width() -> Option<usize> {
    terminal_size::terminal_size_of(std::io::stdout().as_fd()).map(|(width, _)| usize::from(width.0))
}

/// Prose is no wider than this, on however wide a terminal.
const PROSE_MOST: usize = 100;

/// Paragraphs, broken between words; steps hang on their numbers.
pub(super) fn prose(text: &str) -> String {
    let width = stdout_width().map_or(PROSE_MOST, |width| width.min(PROSE_MOST));
    let mut wrapped = String::new();
    for line in text.lines() {
        let number = line.bytes().take_while(u8::is_ascii_digit).count();
        let indent = if number > 0 {
            " ".repeat(number + 2)
        } else {
            String::new()
        };
        wrapped.push_str(&textwrap::fill(
            line,
            textwrap::Options::new(width).subsequent_indent(&indent),
        ));
        wrapped.push('\n');
    }
    wrapped
}

/// The kernel's release, as `uname -r` has it.
pub(super) fn kernel_release() -> String {
    rustix::system::uname().release().to_string_lossy().into_owned()
}

/// Where a recording is made that begins now.
pub(super) fn origin(clocks: Clocks) -> Origin {
    Origin {
        memtrace: env!("CARGO_PKG_VERSION").to_owned(),
        kernel: kernel_release(),
        arch: std::env::consts::ARCH.to_owned(),
        page_size: rustix::param::page_size() as u64,
        clocks,
        huge_pages: huge_pages(),
    }
}

fn huge_pages() -> Option<String> {
    let modes = std::fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled").ok()?;
    let (_, rest) = modes.split_once('[')?;
    let (mode, _) = rest.split_once(']')?;
    Some(mode.to_owned())
}

/// Standard error, for memtrace's own log.
pub(super) fn log_is_coloured() -> bool {
    File::options()
        .write(true)
        .open("/dev/stderr")
        .is_ok_and(|f| f.is_terminal())
        && may_colour(|name| std::env::var_os(name))
}

/// Whether a terminal takes colour, and its user wants it (<https://no-color.org>: set and not empty).
fn may_colour(variable: impl Fn(&str) -> Option<OsString>) -> bool {
    variable("NO_COLOR").is_none_or(|v| v.is_empty()) && variable("TERM").is_none_or(|term| term != "dumb")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colour_is_for_terminals_that_take_it_and_users_who_want_it() {
        let may = |set: &[(&str, &str)]| {
            may_colour(|name| {
                set.iter()
                    .find(|(n, _)| *n == name)
                    .map(|(_, value)| value.into())
            })
        };
        assert!(may(&[]));
        assert!(may(&[("TERM", "xterm"), ("NO_COLOR", "")]));
        assert!(!may(&[("TERM", "dumb")]));
        assert!(!may(&[("TERM", "xterm"), ("NO_COLOR", "1")]));
    }
}
