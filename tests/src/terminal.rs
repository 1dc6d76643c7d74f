//! A terminal that nobody looks at: a pty whose other end keeps what is written.
//!
//! Owns the pair, its size, and telling text from escape codes. Must not know what is shown.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

/// A terminal of so many columns.
pub struct Terminal {
    path: PathBuf,
    /// While somebody has it open, reading the other end waits for more.
    held_open: File,
    screen: JoinHandle<Vec<u8>>,
}

impl Terminal {
    /// Opens one.
    #[track_caller]
    pub fn of_columns(columns: u16) -> Terminal {
        let controller =
            openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).expect("a pty");
        grantpt(&controller).expect("it is ours");
        unlockpt(&controller).expect("it is ours");
        let name = ptsname(&controller, Vec::new()).expect("it has a name");
        let path = Path::new(OsStr::from_bytes(name.as_bytes())).to_owned();
        // It must not become the terminal of whoever runs the tests.
        let held_open = File::options()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NOCTTY)
            .open(&path);
        let size = Winsize {
            ws_row: 25,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        tcsetwinsize(&controller, size).expect("it takes a size");
        let mut controller = File::from(controller);
        let screen = std::thread::spawn(move || {
            let mut shown = Vec::new();
            // Ends with EIO when nobody has the terminal open any more.
            let _ = controller.read_to_end(&mut shown);
            shown
        });
        Terminal {
            path,
            held_open: held_open.expect("it opens"),
            screen,
        }
    }

    /// What to open to write to it.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// All that was written to it, once whoever wrote has ended.
    #[track_caller]
    pub fn shown(self) -> String {
        drop(self.held_open);
        let bytes = self.screen.join().expect("a thread that reads");
        String::from_utf8_lossy(&bytes).replace("\r\n", "\n")
    }
}

/// The text without its colours: escape sequences for graphic rendition (ECMA-48, section 8.3.117), the only ones
/// that a report has.
pub fn uncoloured(text: &str) -> String {
    let mut parts = text.split("\u{1b}[");
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        match part.split_once('m') {
            Some((codes, rest)) if codes.bytes().all(|b| b.is_ascii_digit() || b == b';') => {
                plain.push_str(rest);
            }
            _ => plain.push_str(part),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use rustix::termios::tcgetwinsize;

    use super::*;

    #[test]
    fn a_terminal_has_its_size_and_keeps_what_is_written() {
        let terminal = Terminal::of_columns(77);
        let mut writer = File::options().write(true).open(terminal.path()).unwrap();
        assert_eq!(tcgetwinsize(&writer).unwrap().ws_col, 77);
        writeln!(writer, "one\ntwo").unwrap();
        drop(writer);
        assert_eq!(terminal.shown(), "one\ntwo\n");
    }

    #[test]
    fn colours_are_told_from_text() {
        assert_eq!(uncoloured("\u{1b}[1mA[m\u{1b}[0m \u{1b}[38;5;1mB"), "A[m B");
        assert_eq!(uncoloured("plain"), "plain");
    }
}
