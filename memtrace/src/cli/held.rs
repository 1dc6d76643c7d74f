//! A COMMAND that waits until the probes are attached.
//!
//! Owns the helper: memtrace runs itself as `memtrace hold`, which waits on a pipe and then becomes the command. If
//! memtrace dies first the pipe closes and the helper exits, so nothing is ever left behind held. (A stopped child
//! would be: and `Command::spawn` would wait for it for ever.)

use std::{
    ffi::{CString, OsStr, OsString},
    io::{Read as _, Write as _},
    os::{
        fd::{AsRawFd as _, OwnedFd},
        unix::{ffi::OsStrExt as _, process::CommandExt as _},
    },
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use memtrace_common::Tgid;
use nix::{
    sys::signal::Signal,
    unistd::{User, initgroups, setgid, setuid},
};
use rustix::{
    io::{FdFlags, fcntl_setfd},
    pipe::{PipeFlags, pipe_with},
};

use super::{args::HoldArgs, failure::Failure};
use crate::kernel::own;

/// How a command starts.
pub(super) struct Start<'a> {
    /// It ignores these signals.
    pub ignored: &'a [i32],
    /// Its standard output is memtrace's standard error: something else is read from the other.
    pub is_aside: bool,
}

/// The command, held.
pub(super) struct Held {
    child: tokio::process::Child,
    tgid: Tgid,
    gate: OwnedFd,
    failure: OwnedFd,
    name: String,
}

impl Held {
    /// Starts the helper. The command itself has to be found before anything is started for it.
    pub(super) fn spawn(
        command: &[OsString],
        user: Option<&str>,
        start: &Start<'_>,
    ) -> Result<Self, Failure> {
        let [program, ..] = command else {
            return Err(Failure::new(
                "no command",
                "nothing follows --",
                "memtrace -- COMMAND ARGS…",
            ));
        };
        let name = program.to_string_lossy().into_owned();
        find_program(program).ok_or_else(|| {
            let hint =
                "give its path, or look for a typing error; memtrace looks where a shell would, in PATH";
            Failure::new(format!("cannot run {name}"), "command not found", hint)
        })?;
        if let Some(user) = user {
            look_up_user(user)?;
        }
        let fail = |why: std::io::Error| {
            Failure::new(
                format!("cannot run {name}"),
                why,
                "see whether this system can start more processes",
            )
        };
        let (gate_end, gate) = pipe_with(PipeFlags::CLOEXEC).map_err(|e| fail(e.into()))?;
        let (failure, failure_end) = pipe_with(PipeFlags::CLOEXEC).map_err(|e| fail(e.into()))?;
        for end in [&gate_end, &failure_end] {
            fcntl_setfd(end, FdFlags::empty()).map_err(|e| fail(e.into()))?;
        }
        let mut helper = tokio::process::Command::new("/proc/self/exe");
        helper.arg("hold");
        helper.arg("--gate").arg(gate_end.as_raw_fd().to_string());
        helper.arg("--failure").arg(failure_end.as_raw_fd().to_string());
        if let Some(user) = user {
            helper.arg("--user").arg(user);
        }
        for signal in start.ignored {
            helper.arg("--ignore").arg(signal.to_string());
        }
        if start.is_aside {
            helper.stdout(std::io::stderr());
        }
        let child = helper.arg("--").args(command).spawn().map_err(fail)?;
        let tgid = Tgid(child.id().unwrap_or_default());
        Ok(Self {
            child,
            tgid,
            gate,
            failure,
            name,
        })
    }

    /// The process that it is and stays.
    pub(super) fn tgid(&self) -> Tgid {
        self.tgid
    }

    /// Lets it run. Returns the running command, once it does.
    pub(super) async fn release(self) -> Result<tokio::process::Child, Failure> {
        let Self {
            mut child,
            gate,
            failure,
            name,
            ..
        } = self;
        let cannot = |why: &str| {
            Failure::new(
                format!("cannot run {name}"),
                why,
                "try it without memtrace, as the same user, in the same folder",
            )
        };
        let opened = std::fs::File::from(gate).write_all(b"!");
        // The helper's end closes when it becomes the command.
        let why = tokio::task::spawn_blocking(move || {
            let mut why = String::new();
            std::fs::File::from(failure).read_to_string(&mut why).map(|_| why)
        })
        .await;
        match (opened, why) {
            (Ok(()), Ok(Ok(why))) if why.is_empty() => Ok(child),
            (_, Ok(Ok(why))) if !why.is_empty() => {
                let _ = child.wait().await;
                Err(cannot(&why))
            }
            _ => {
                let _ = child.kill().await;
                Err(cannot("its helper ended early"))
            }
        }
    }
}

/// The helper's life.
pub(super) fn hold(args: &HoldArgs) -> ExitCode {
    for signal in args.ignore.iter().filter_map(|&n| Signal::try_from(n).ok()) {
        if own::ignore_signal(signal).is_err() {
            return ExitCode::FAILURE;
        }
    }
    let (Ok(gate), Ok(failure)) = (own::take_over(args.gate), own::take_over(args.failure)) else {
        return ExitCode::FAILURE;
    };
    let mut gate = std::fs::File::from(gate);
    // Nothing comes where memtrace is gone.
    if !matches!(gate.read(&mut [0]), Ok(1)) {
        return ExitCode::FAILURE;
    }
    let why = become_command(args);
    // Whoever would read this may be gone too.
    let _ = std::fs::File::from(failure).write_all(why.as_bytes());
    ExitCode::FAILURE
}

/// Returns only if it fails, with why.
fn become_command(args: &HoldArgs) -> String {
    let [program, arguments @ ..] = args.command.as_slice() else {
        return "no command".to_owned();
    };
    let mut command = Command::new(program);
    command.args(arguments);
    if let Some(name) = &args.user {
        let user = match User::from_name(name) {
            Ok(Some(user)) => user,
            Ok(None) => return format!("no user is called {name}"),
            Err(error) => return format!("cannot look up user {name}: {error}"),
        };
        let groups = CString::new(name.as_str()).map_err(|_| nix::Error::EINVAL);
        let switched = groups
            .and_then(|name| initgroups(&name, user.gid))
            .and_then(|()| setgid(user.gid))
            .and_then(|()| setuid(user.uid));
        if let Err(error) = switched {
            return format!("cannot become user {name}: {error}");
        }
        command
            .env("HOME", user.dir)
            .env("USER", name)
            .env("LOGNAME", name)
            .env("SHELL", user.shell);
    }
    command.exec().to_string()
}

fn look_up_user(name: &str) -> Result<(), Failure> {
    match User::from_name(name) {
        Ok(Some(_)) => Ok(()),
        Ok(None) => Err(Failure::new(
            format!("--user {name}"),
            "no such user",
            "see /etc/passwd for those there are",
        )),
        Err(error) => Err(Failure::new(
            format!("--user {name}"),
            error,
            "see whether `id` can look the user up",
        )),
    }
}

/// Where a shell would find it.
fn find_program(program: &OsStr) -> Option<PathBuf> {
    let is_program = |path: &Path| {
        use std::os::unix::fs::PermissionsExt as _;
        path.metadata()
            .is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
    };
    if program.as_bytes().contains(&b'/') {
        return Some(PathBuf::from(program)).filter(|p| is_program(p));
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|folder| folder.join(program))
        .find(|p| is_program(p))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_found_as_a_shell_would() {
        assert!(find_program(OsStr::new("sh")).is_some());
        assert!(find_program(OsStr::new("/bin/sh")).is_some());
        assert!(find_program(OsStr::new("no-such-program-anywhere")).is_none());
        assert!(
            find_program(OsStr::new("/etc/passwd")).is_none(),
            "a file that is no program"
        );
        assert!(find_program(OsStr::new("/")).is_none());
    }
}
