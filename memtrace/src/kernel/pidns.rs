//! Whose process ids these are: the host's, or a container's.
//!
//! Owns the question. The probes answer with the numbers of this namespace; must not know what they are of.

use std::io;

use rustix::fs::{major, minor, stat};

/// The inode of the initial pid namespace (`PROC_PID_INIT_INO`, `include/linux/proc_ns.h`).
const INITIAL: u64 = 0xEFFF_FFFC;

/// A pid namespace that is not the host's, by its file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PidNamespace {
    /// The file's device, as the kernel packs it (`MKDEV`, `include/linux/kdev_t.h`).
    pub device: u64,
    /// Its inode.
    pub inode: u64,
}

impl PidNamespace {
    /// This process's, or `None` on the host.
    pub fn of_this_process() -> io::Result<Option<Self>> {
        let file = stat("/proc/self/ns/pid")?;
        if file.st_ino == INITIAL {
            return Ok(None);
        }
        let device = u64::from(major(file.st_dev)) << 20 | u64::from(minor(file.st_dev));
        Ok(Some(Self {
            device,
            inode: file.st_ino,
        }))
    }
}

/// Whether `/proc` lists processes under the numbers of this namespace: not where it is another's, left mounted.
pub fn proc_is_its_own() -> bool {
    std::fs::read_link("/proc/self").is_ok_and(|to| to.to_str() == Some(&std::process::id().to_string()))
}
