//! Running other programs: with their output shown, captured, or kept in a log.
//!
//! Owns the wording of their failures. Must not know what any of them is for.

use std::ffi::OsStr;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};

use anyhow::{Context, Result, bail};

use crate::workspace;

/// The cargo that runs this program, and so the toolchain that the workspace pins; in the workspace's top directory.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(workspace::root());
    command
}

/// Runs `command` with its output on this terminal.
pub(crate) fn stream(command: &mut Command) -> Result<()> {
    let status = command
        .status()
        .with_context(|| format!("cannot run `{}`", line(command)))?;
    succeeded(command, status)
}

/// Runs `command` and returns its standard output.
pub(crate) fn read(command: &mut Command) -> Result<String> {
    let output = command
        .output()
        .with_context(|| format!("cannot run `{}`", line(command)))?;
    if !output.status.success() {
        let complaint = String::from_utf8_lossy(&output.stderr);
        let reason = complaint
            .lines()
            .rfind(|line| !line.trim().is_empty())
            .unwrap_or_default();
        bail!("`{}` failed ({}): {reason}", line(command), output.status);
    }
    String::from_utf8(output.stdout).with_context(|| format!("`{}` did not print UTF-8", line(command)))
}

/// Runs `command` with all of its output appended to the set-up log, and no standard input.
pub(crate) fn logged(command: &mut Command) -> Result<()> {
    let path = workspace::setup_log();
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory).with_context(|| format!("cannot create {}", directory.display()))?;
    }
    let mut log = OpenOptions::new()
        .create(true)
        .append(true)
        .open(&path)
        .with_context(|| format!("cannot open {}", path.display()))?;
    writeln!(log, "$ {}", line(command)).with_context(|| format!("cannot write {}", path.display()))?;
    let both = log
        .try_clone()
        .with_context(|| format!("cannot share {}", path.display()))?;
    let status = command
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(both)
        .status()
        .with_context(|| format!("cannot run `{}`", line(command)))?;
    succeeded(command, status).with_context(|| format!("its output is in {}", workspace::shown(&path)))
}

fn succeeded(command: &Command, status: ExitStatus) -> Result<()> {
    if !status.success() {
        bail!("`{}` failed ({status})", line(command));
    }
    Ok(())
}

/// The command as one would type it, the program by its base name.
fn line(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let name = program.file_name().unwrap_or(program.as_os_str());
    let words: Vec<_> = std::iter::once(name)
        .chain(command.get_args())
        .map(OsStr::to_string_lossy)
        .collect();
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_names_the_command_and_its_last_words() {
        let error = read(Command::new("/bin/sh").args(["-c", "echo first >&2; echo why >&2; exit 3"]))
            .expect_err("exit 3 is a failure");
        let text = error.to_string();
        assert!(text.starts_with("`sh -c "), "{text}");
        assert!(text.ends_with("(exit status: 3): why"), "{text}");
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let error = stream(&mut Command::new("/nonexistent/program")).expect_err("there is none");
        assert_eq!(error.to_string(), "cannot run `program`");
    }
}
