//! File systems of a test's own.
//!
//! Owns mounting them and taking them down again. Takes root. Must not know what is put there.

use std::ffi::{CStr, CString};
use std::path::Path;

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use tempfile::TempDir;

/// A file system in a folder of its own; unmounted on drop.
pub struct Mount(TempDir);

impl Mount {
    /// The host's cgroup v2 hierarchy, which every mount of it shows.
    #[track_caller]
    pub fn cgroup2() -> Mount {
        Mount::of(c"cgroup2", MountFlags::empty(), None)
    }

    /// A disk that is soon full.
    #[track_caller]
    pub fn tmpfs(bytes: u64) -> Mount {
        let size = CString::new(format!("size={bytes}")).ok();
        Mount::of(c"tmpfs", MountFlags::empty(), size.as_deref())
    }

    /// A disk that nobody can write to.
    #[track_caller]
    pub fn read_only() -> Mount {
        Mount::of(c"tmpfs", MountFlags::RDONLY, None)
    }

    #[track_caller]
    fn of(kind: &CStr, flags: MountFlags, data: Option<&CStr>) -> Mount {
        let folder = tempfile::tempdir().expect("a temporary folder");
        if let Err(error) = mount(kind, folder.path(), kind, flags, data) {
            panic!("cannot mount {kind:?}: {error}");
        }
        Mount(folder)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // A process that a failed test left may be in it still.
        let _ = unmount(self.0.path(), UnmountFlags::DETACH);
    }
}
