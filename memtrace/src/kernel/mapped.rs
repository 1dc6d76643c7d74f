//! Memory that is shared with the probes: an array map, mapped.
//!
//! Owns the mapping, and the one place where userspace reaches memory that the kernel reads and writes. Must not know
//! what lies in it.

use std::{
    io,
    os::fd::BorrowedFd,
    ptr::NonNull,
    sync::atomic::{AtomicU8, AtomicU64},
};

use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

/// An integer that any bytes make, and that both sides change whole.
pub(super) trait Shared: Sync {}

impl Shared for AtomicU8 {}
impl Shared for AtomicU64 {}

/// So many of them, one after the other.
#[derive(Debug)]
pub(super) struct Mapped<T: Shared> {
    first: NonNull<T>,
    len: usize,
}

// SAFETY: the memory is reached through atomics only, from any thread.
unsafe impl<T: Shared> Send for Mapped<T> {}

impl<T: Shared> Mapped<T> {
    /// Maps an array map that was made with `BPF_F_MMAPABLE`. One that is shorter is refused (`array_map_mmap` in
    /// kernel/bpf/arraymap.c).
    pub(super) fn map(fd: BorrowedFd<'_>, len: usize) -> io::Result<Self> {
        let (null, writable) = (std::ptr::null_mut(), ProtFlags::READ | ProtFlags::WRITE);
        // SAFETY: a new mapping at an address of the kernel's choice.
        let first = unsafe { mmap(null, len * size_of::<T>(), writable, MapFlags::SHARED, fd, 0) }?;
        Self::at(first.cast(), len)
    }

    /// Memory of nobody else's, all zero.
    #[cfg(test)]
    pub(super) fn alone(len: usize) -> io::Result<Self> {
        let (null, writable) = (std::ptr::null_mut(), ProtFlags::READ | ProtFlags::WRITE);
        // SAFETY: as above.
        let first =
            unsafe { rustix::mm::mmap_anonymous(null, len * size_of::<T>(), writable, MapFlags::PRIVATE) }?;
        Self::at(first.cast(), len)
    }

    fn at(first: *mut T, len: usize) -> io::Result<Self> {
        let first = NonNull::new(first).ok_or_else(|| io::Error::other("mapped at address zero"))?;
        Ok(Self { first, len })
    }

    /// The one at this place; `None` past the end.
    pub(super) fn get(&self, index: usize) -> Option<&T> {
        if index >= self.len {
            return None;
        }
        // SAFETY: within the mapping by the test above.
        let at = unsafe { self.first.add(index) };
        // SAFETY: the mapping lives as long as `self`, begins at a page, and any bytes are a `T`.
        Some(unsafe { at.as_ref() })
    }
}

impl<T: Shared> Drop for Mapped<T> {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours and no reference to it outlives `self`.
        if let Err(error) = unsafe { munmap(self.first.as_ptr().cast(), self.len * size_of::<T>()) } {
            tracing::debug!(%error, "cannot unmap what is shared with the probes");
        }
    }
}
