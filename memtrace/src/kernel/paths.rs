//! The path of a file that was mapped, by the inode that the probe saw.
//!
//! Owns the search: when a record is read, descriptor and mapping may be gone, or be another file's. Only what has
//! the probe's own inode is believed. Must not know what a region is.

use std::{
    collections::HashMap, os::unix::ffi::OsStringExt as _, os::unix::fs::MetadataExt as _, path::Path,
};

use memtrace_common::{Tgid, wire::Mm};

use super::procfs;
use crate::model::{maps, vma::PAGE};

/// Paths that are remembered.
const PATHS_MAX: usize = 16_384;

/// A file, as the kernel numbers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Inode {
    device: u32,
    number: u64,
}

/// What has been found so far: for a mapping that is gone before anybody looks.
#[derive(Debug, Default)]
pub(super) struct Paths(HashMap<Inode, Vec<u8>>);

impl Paths {
    /// The path of what an `mmap` has mapped, as `/proc/PID/maps` writes it.
    pub(super) fn of(&mut self, mm: &Mm) -> Option<Vec<u8>> {
        let inode = Inode {
            device: mm.device,
            number: mm.inode,
        };
        if inode.number == 0 {
            return None;
        }
        let found = by_mapping(mm, inode).or_else(|| by_descriptor(mm, inode));
        match found {
            Some(path) => {
                if self.0.len() < PATHS_MAX {
                    self.0.insert(inode, path.clone());
                }
                Some(path)
            }
            None => self.0.get(&inode).cloned(),
        }
    }
}

fn by_mapping(mm: &Mm, inode: Inode) -> Option<Vec<u8>> {
    let tgid = Tgid(mm.header.tgid);
    let start = mm.ret.cast_unsigned();
    let end = start.checked_add(mm.args[1].checked_next_multiple_of(PAGE)?)?;
    // One link of one mapping, for those who may (CAP_SYS_ADMIN or CAP_CHECKPOINT_RESTORE).
    let link = format!("/proc/{}/map_files/{start:x}-{end:x}", tgid.0);
    if let Some(path) = linked(link.as_ref(), inode) {
        return Some(path);
    }
    let text = procfs::maps(tgid)?;
    maps::parse(&text)
        .flatten()
        .find(|line| line.range.contains(&start))
        .filter(|line| {
            let (major, minor) = line.dev;
            // `MKDEV`, include/linux/kdev_t.h
            line.inode == inode.number && (major << 20 | minor) == inode.device
        })
        .map(|line| line.name.to_vec())
}

fn by_descriptor(mm: &Mm, inode: Inode) -> Option<Vec<u8>> {
    let link = format!("/proc/{}/fd/{}", mm.header.tgid, mm.args[4]);
    linked(link.as_ref(), inode)
}

/// Where a link of `/proc` leads, if that is to this file. On a file system of layers the numbers may differ; then it
/// is not believed.
fn linked(link: &Path, inode: Inode) -> Option<Vec<u8>> {
    let path = std::fs::read_link(link).ok()?;
    if std::fs::metadata(link).ok()?.ino() != inode.number {
        return None;
    }
    let path = path.into_os_string().into_vec();
    let lines: Vec<&[u8]> = path.split(|&byte| byte == b'\n').collect();
    Some(lines.join(&b"\\012"[..]))
}
