//! Files on a disk, to be mapped.
//!
//! Owns what is in the page cache of them. Must not know how they are mapped.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::fs::{Advice, fadvise};

use crate::kind::{CACHED_MAX, MAJOR_MAX};

/// Where temporary files outlive a reboot, so that it is no tmpfs: there, nothing can be evicted, and what is read is
/// writable at once.
const FOLDER: &str = "/var/tmp";

/// Unlinked files: they are gone with the process.
pub(crate) struct Files {
    /// Its pages are in the page cache, having been written just now.
    pub(crate) cached: File,
    evicted: Mutex<File>,
}

impl Files {
    pub(crate) fn prepare() -> io::Result<Files> {
        let evicted = file_of(MAJOR_MAX)?;
        // What is not written yet cannot be evicted.
        evicted.sync_all()?;
        Ok(Files {
            cached: file_of(CACHED_MAX)?,
            evicted: Mutex::new(evicted),
        })
    }

    /// A file of whose pages none is in the page cache, for one thread at a time.
    pub(crate) fn evict(&self) -> io::Result<MutexGuard<'_, File>> {
        let file = self.evicted.lock().unwrap_or_else(PoisonError::into_inner);
        fadvise(&*file, 0, None, Advice::DontNeed)?;
        Ok(file)
    }
}

fn file_of(pages: usize) -> io::Result<File> {
    let mut file = if Path::new(FOLDER).is_dir() {
        tempfile::tempfile_in(FOLDER)?
    } else {
        tempfile::tempfile()?
    };
    file.write_all(&vec![7; pages * rustix::param::page_size()])?;
    Ok(file)
}
