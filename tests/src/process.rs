//! Other programs: started, watched, ended, and shown in full when a claim about them fails.
//!
//! Owns child processes and what they print. Must not know which programs they are.

use std::fmt;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};

/// How long anything may take before the test gives up. Nothing is expected to come near it.
pub const PATIENCE: Duration = Duration::from_mins(1);

/// Which of its output streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// What one stream has carried so far.
#[derive(Default)]
struct Printed {
    text: Mutex<(String, bool)>,
    grown: Condvar,
}

impl Printed {
    fn lock(&self) -> MutexGuard<'_, (String, bool)> {
        self.text.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn collect(self: &Arc<Self>, source: impl Read + Send + 'static) {
        let printed = Arc::clone(self);
        std::thread::spawn(move || {
            let mut source = BufReader::new(source);
            let mut line = Vec::new();
            while source.read_until(b'\n', &mut line).is_ok_and(|bytes| bytes > 0) {
                printed.lock().0.push_str(&String::from_utf8_lossy(&line));
                printed.grown.notify_all();
                line.clear();
            }
            printed.lock().1 = true;
            printed.grown.notify_all();
        });
    }

    /// Has everybody closed it, at the latest then?
    fn ended_by(&self, deadline: Instant) -> bool {
        let mut text = self.lock();
        while !text.1 {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            text = self
                .grown
                .wait_timeout(text, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        true
    }
}

/// A running program; killed on drop.
pub struct Running {
    child: Child,
    command: String,
    stdout: Arc<Printed>,
    stderr: Arc<Printed>,
}

impl Running {
    /// Starts it with all three standard streams piped.
    #[track_caller]
    pub fn start(command: &mut Command) -> Running {
        let shown = format!("{command:?}");
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {shown}: {error}"));
        let (stdout, stderr) = (Arc::new(Printed::default()), Arc::new(Printed::default()));
        if let (Some(out), Some(err)) = (child.stdout.take(), child.stderr.take()) {
            stdout.collect(out);
            stderr.collect(err);
        }
        Running {
            child,
            command: shown,
            stdout,
            stderr,
        }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for a line that begins with `prefix`, and returns the whole line.
    #[track_caller]
    pub fn wait_for_line(&self, stream: Stream, prefix: &str) -> String {
        let printed = match stream {
            Stream::Stdout => &self.stdout,
            Stream::Stderr => &self.stderr,
        };
        let deadline = Instant::now() + PATIENCE;
        let mut text = printed.lock();
        loop {
            if let Some(line) = text.0.lines().find(|line| line.starts_with(prefix)) {
                return line.to_owned();
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if text.1 || left.is_zero() {
                let why = if text.1 { "the stream ended" } else { "time is up" };
                drop(text);
                panic!("no line {prefix:?} on {stream:?}: {why}\n{self}");
            }
            text = printed
                .grown
                .wait_timeout(text, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// What it has printed so far.
    pub fn printed(&self, stream: Stream) -> String {
        let printed = match stream {
            Stream::Stdout => &self.stdout,
            Stream::Stderr => &self.stderr,
        };
        printed.lock().0.clone()
    }

    /// Writes to its standard input.
    #[track_caller]
    pub fn type_in(&mut self, bytes: &[u8]) {
        let written = self
            .child
            .stdin
            .as_mut()
            .map(|stdin: &mut ChildStdin| stdin.write_all(bytes));
        assert!(
            matches!(written, Some(Ok(()))),
            "cannot write to its standard input: {written:?}\n{self}"
        );
    }

    /// Sends a signal.
    #[track_caller]
    pub fn signal(&self, signal: Signal) {
        // Not reaped yet, so the id cannot be another process's.
        let sent = rustix::process::kill_process(Pid::from_child(&self.child), signal);
        assert!(sent.is_ok(), "cannot send {signal:?}: {sent:?}\n{self}");
    }

    /// Has it ended?
    #[track_caller]
    pub fn has_ended(&mut self) -> bool {
        match self.child.try_wait() {
            Ok(status) => status.is_some(),
            Err(error) => panic!("cannot wait: {error}\n{self}"),
        }
    }

    /// Waits for its end.
    #[track_caller]
    pub fn finish(mut self) -> Finished {
        drop(self.child.stdin.take());
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            match self.child.try_wait() {
                Ok(Some(status)) => break status,
                Ok(None) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(2)),
                Ok(None) => panic!("it does not end\n{self}"),
                Err(error) => panic!("cannot wait: {error}\n{self}"),
            }
        };
        for printed in [&self.stdout, &self.stderr] {
            // A process that it started and left behind would hold the stream open for ever.
            assert!(
                printed.ended_by(deadline),
                "it has ended, but another process holds its output open\n{self}"
            );
        }
        Finished {
            command: self.command.clone(),
            status,
            stdout: self.stdout.lock().0.clone(),
            stderr: self.stderr.lock().0.clone(),
        }
    }
}

impl fmt::Display for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (stdout, stderr) = (self.stdout.lock().0.clone(), self.stderr.lock().0.clone());
        show(f, &self.command, "still running", &stdout, &stderr)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Neither fails but for a process that has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A program that has ended, and all that it printed.
#[derive(Clone, Debug)]
pub struct Finished {
    /// The command, as a shell might have it.
    pub command: String,
    /// How it ended.
    pub status: ExitStatus,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

impl Finished {
    /// Fails the test, and shows the command and all its output, unless it ended with this status.
    #[track_caller]
    pub fn assert_status(&self, code: i32) -> &Finished {
        self.assert(
            self.status.code() == Some(code),
            format_args!("expected exit status {code}"),
        );
        self
    }

    /// Fails the test, and shows the command and all its output, unless `holds`.
    #[track_caller]
    pub fn assert(&self, holds: bool, claim: impl fmt::Display) {
        assert!(holds, "{claim}\n{self}");
    }
}

impl fmt::Display for Finished {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        show(f, &self.command, self.status, &self.stdout, &self.stderr)
    }
}

fn show(
    f: &mut fmt::Formatter<'_>,
    command: &str,
    status: impl fmt::Display,
    stdout: &str,
    stderr: &str,
) -> fmt::Result {
    let rule = "~".repeat(60);
    let directory = std::env::current_dir().unwrap_or_default();
    writeln!(
        f,
        "{rule}\ncommand: {command}\ndirectory: {}\nstatus: {status}",
        directory.display()
    )?;
    writeln!(f, "{rule}\nstdout:\n{}", ends(stdout))?;
    writeln!(f, "{rule}\nstderr:\n{}\n{rule}", ends(stderr))
}

/// A long text's beginning and end.
fn ends(text: &str) -> String {
    const EACH: usize = 60;
    let lines: Vec<&str> = text.lines().collect();
    if lines.len() <= 2 * EACH {
        return text.to_owned();
    }
    let (first, last) = (&lines[..EACH], &lines[lines.len() - EACH..]);
    format!(
        "{}\n… {} lines …\n{}",
        first.join("\n"),
        lines.len() - 2 * EACH,
        last.join("\n")
    )
}

/// Where a program of this workspace is: `variable` says, or it lies beside the tests.
#[track_caller]
pub fn built(name: &str, variable: &str) -> PathBuf {
    if let Some(path) = std::env::var_os(variable) {
        return path.into();
    }
    // target/PROFILE/deps/TEST or target/PROFILE/PROGRAM.
    let here = std::env::current_exe().unwrap_or_default();
    let beside = |directory: &Path| directory.join(name);
    let found = here
        .ancestors()
        .skip(1)
        .take(2)
        .map(beside)
        .find(|path| path.is_file());
    found.unwrap_or_else(|| {
        panic!(
            "{name} is not built beside {}: `cargo build`, or set {variable}",
            here.display()
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Running {
        Running::start(Command::new("sh").args(["-c", script]))
    }

    #[test]
    fn lines_are_seen_as_they_come_and_the_whole_is_kept() {
        let mut running = shell("echo one; echo two 2 >&2; read line; echo \"got $line\"; exit 5");
        assert_eq!(running.wait_for_line(Stream::Stderr, "two"), "two 2");
        running.type_in(b"it\n");
        let finished = running.finish();
        assert_eq!(finished.stdout, "one\ngot it\n");
        finished.assert_status(5);
    }

    #[test]
    #[should_panic(expected = "the stream ended")]
    fn a_line_that_never_comes_fails_when_the_program_ends() {
        shell("echo something else").wait_for_line(Stream::Stdout, "listening");
    }

    #[test]
    #[should_panic(expected = "stderr:\nthe reason")]
    fn a_wrong_status_shows_what_was_printed() {
        shell("echo the reason >&2; exit 1").finish().assert_status(0);
    }

    #[test]
    fn a_dropped_program_is_gone() {
        let running = shell("exec sleep 1000");
        let pid = running.pid();
        drop(running);
        assert!(!Path::new(&format!("/proc/{pid}")).exists());
    }

    #[test]
    fn a_signal_arrives() {
        // A shell cannot trap a signal that was ignored when it began, as SIGINT is where tests run in the background.
        let running = shell("trap 'echo caught; exit 0' TERM; echo ready; while :; do sleep 0.01; done");
        running.wait_for_line(Stream::Stdout, "ready");
        running.signal(Signal::TERM);
        assert_eq!(running.finish().assert_status(0).stdout, "ready\ncaught\n");
    }
}
