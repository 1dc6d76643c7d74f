//! The paths of mapped files, each kept once.
//!
//! Owns the numbers that regions refer to files by. Must not know which regions those are.

use std::{collections::HashMap, sync::Arc};

use crate::model::maps;

/// Paths that are kept, at most.
pub const FILES_MAX: usize = 65_536;
/// Bytes of paths that are kept, at most.
pub const FILES_BYTES_MAX: usize = 16 << 20;

/// A path in [`Files`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileId(u32);

impl FileId {
    /// A file whose path nobody knows: the descriptor was gone, or the table full.
    pub const UNKNOWN: Self = Self(u32::MAX);
}

/// All paths that were seen, of all processes.
#[derive(Debug, Default)]
pub struct Files {
    ids: HashMap<Arc<[u8]>, FileId>,
    paths: Vec<Arc<[u8]>>,
    bytes: usize,
    lost: u64,
}

impl Files {
    /// The number of a path, which is as the kernel says it in `/proc/PID/maps`, with its ` (deleted)`.
    pub fn intern(&mut self, path: &[u8]) -> FileId {
        if let Some(&id) = self.ids.get(path) {
            return id;
        }
        let fits = self.paths.len() < FILES_MAX && path.len() <= FILES_BYTES_MAX - self.bytes;
        let (true, Ok(number)) = (fits, u32::try_from(self.paths.len())) else {
            self.lost += 1;
            return FileId::UNKNOWN;
        };
        let path: Arc<[u8]> = path.into();
        self.bytes += path.len();
        self.paths.push(Arc::clone(&path));
        self.ids.insert(path, FileId(number));
        FileId(number)
    }

    /// The path as the kernel says it, or `None` where nobody knows.
    pub fn path(&self, id: FileId) -> Option<&[u8]> {
        let index = usize::try_from(id.0).ok()?;
        self.paths.get(index).map(AsRef::as_ref)
    }

    /// The path for people: see [`maps::printable`].
    pub fn printable(&self, id: FileId) -> Option<String> {
        self.path(id).map(maps::printable)
    }

    /// How often a path found the table full.
    pub fn lost(&self) -> u64 {
        self.lost
    }
}
