//! Surroundings in which memtrace cannot work: no privilege, no BPF.
//!
//! Owns making them for one child, with the kernel's own means. Must not know what memtrace says there.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::Command;

use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};
use tempfile::TempDir;

use crate::memtrace;

/// The user that owns nothing.
pub const NOBODY: u32 = 65_534;

/// A folder that every user can enter; memtrace may lie in one that only root can.
#[track_caller]
pub fn public_folder() -> TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).expect("a folder of ours");
    folder
}

/// Memtrace with these arguments, as a user without any privilege. It lies in the folder, which has to outlive it.
#[track_caller]
pub fn as_nobody(arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> (Command, TempDir) {
    let command = memtrace::command(arguments);
    let folder = public_folder();
    if !rustix::process::geteuid().is_root() {
        return (command, folder);
    }
    let copy = folder.path().join("memtrace");
    fs::copy(command.get_program(), &copy).expect("a copy of memtrace");
    let mut as_nobody = Command::new(copy);
    as_nobody
        .args(command.get_args())
        .current_dir(folder.path())
        .uid(NOBODY)
        .gid(NOBODY);
    (as_nobody, folder)
}

/// Does this where `bpf(2)` fails with `errno`. What it starts inherits that.
#[track_caller]
pub fn without_bpf<T: Send>(errno: i32, work: impl FnOnce() -> T + Send) -> T {
    let rules = BTreeMap::from([(libc::SYS_bpf, Vec::new())]);
    let arch = std::env::consts::ARCH
        .try_into()
        .expect("an architecture that seccompiler knows");
    let refuse = SeccompAction::Errno(errno.unsigned_abs());
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, refuse, arch).expect("a filter");
    let filter: BpfProgram = filter.try_into().expect("a filter that is not too long");
    // A filter is for ever, but only for the thread that takes it.
    let done = std::thread::scope(|scope| {
        let narrowed = scope.spawn(|| {
            seccompiler::apply_filter(&filter).expect("the kernel takes the filter");
            work()
        });
        narrowed.join()
    });
    done.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}
