//! Mappings of every kind, and accesses to them a page at a time.
//!
//! Owns what is mapped how, and which page an access is to. Must not know routes, or what the kernel makes of it.

use std::fs::File;
use std::io;
use std::ptr::{self, NonNull};

use rustix::mm::{Advice, MapFlags, MprotectFlags, MremapFlags, ProtFlags};

/// Pages of a huge page: 2 MiB of 4 KiB pages.
pub(crate) const HUGE: usize = 512;

/// What is mapped.
#[derive(Clone, Copy)]
pub(crate) enum What<'f> {
    /// Private, anonymous.
    Anonymous,
    /// The same, to be written to and executed.
    Executable,
    /// Shared, anonymous: the kernel makes a file of it in its own tmpfs.
    Shared,
    /// A file, to be read.
    FileRead(&'f File),
    /// A file whose pages are copied when they are written to.
    FileCopied(&'f File),
    /// A file whose pages are written to.
    FileShared(&'f File),
}

/// A mapping of its own, unmapped on drop.
pub(crate) struct Mapping {
    /// Dangling where there are no pages.
    start: NonNull<u8>,
    pages: usize,
}

// SAFETY: the mapping belongs to the process, not to a thread, and only this value gives access to it.
unsafe impl Send for Mapping {}

impl Mapping {
    /// Maps so many pages, none of which is there yet.
    pub(crate) fn new(what: What<'_>, pages: usize) -> io::Result<Mapping> {
        if pages == 0 {
            let start = NonNull::dangling();
            return Ok(Mapping { start, pages });
        }
        let length = pages * rustix::param::page_size();
        let (read, write) = (ProtFlags::READ, ProtFlags::READ | ProtFlags::WRITE);
        let (allowed, sharing, file) = match what {
            What::Anonymous => (write, MapFlags::PRIVATE, None),
            What::Executable => (write | ProtFlags::EXEC, MapFlags::PRIVATE, None),
            What::Shared => (write, MapFlags::SHARED, None),
            What::FileRead(file) => (read, MapFlags::PRIVATE, Some(file)),
            What::FileCopied(file) => (write, MapFlags::PRIVATE, Some(file)),
            What::FileShared(file) => (write, MapFlags::SHARED, Some(file)),
        };
        let start = match file {
            // SAFETY: the kernel picks an address where nothing is mapped, so no other memory is touched.
            None => unsafe { rustix::mm::mmap_anonymous(ptr::null_mut(), length, allowed, sharing) },
            // SAFETY: as above.
            Some(file) => unsafe { rustix::mm::mmap(ptr::null_mut(), length, allowed, sharing, file, 0) },
        }?;
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Mapping { start, pages })
    }

    /// How many pages it has.
    pub(crate) fn pages(&self) -> usize {
        self.pages
    }

    /// Where it lies.
    pub(crate) fn range(&self) -> std::ops::Range<usize> {
        let start = self.start.as_ptr().addr();
        start..start + self.pages * rustix::param::page_size()
    }

    /// Its first page whose address is a multiple of so many pages.
    pub(crate) fn aligned_to(&self, pages: usize) -> usize {
        let page = rustix::param::page_size();
        (self.start.as_ptr().addr() / page).next_multiple_of(pages) - self.start.as_ptr().addr() / page
    }

    /// Reads a byte of each of these pages.
    pub(crate) fn read(&self, pages: impl Iterator<Item = usize>) {
        for page in pages {
            // SAFETY: a byte of the mapping, see `at`. Volatile, so that it is not left out.
            unsafe { self.at(page).read_volatile() };
        }
    }

    /// Writes a byte to each of these pages. They have to be mapped to be written to.
    pub(crate) fn write(&mut self, pages: impl Iterator<Item = usize>) {
        for page in pages {
            // SAFETY: as in `read`; nothing refers to the memory but this value.
            unsafe { self.at(page).write_volatile(1) };
        }
    }

    /// The first byte of a page.
    fn at(&self, page: usize) -> NonNull<u8> {
        assert!(page < self.pages, "page {page} of {}", self.pages);
        // SAFETY: within the mapping by the test above.
        unsafe { self.start.add(page * rustix::param::page_size()) }
    }

    /// Changes what may be done to it; reading has to stay allowed.
    pub(crate) fn allow(&mut self, allowed: MprotectFlags) -> io::Result<()> {
        if self.pages == 0 {
            return Ok(());
        }
        let length = self.pages * rustix::param::page_size();
        // SAFETY: the mapping is this value's own, and nothing refers into it.
        Ok(unsafe { rustix::mm::mprotect(self.start.as_ptr().cast(), length, allowed) }?)
    }

    /// Has the kernel map each page by a fault of its own. When a page of a file is read it maps those around it too
    /// (`do_fault_around` in mm/memory.c): 64 KiB or what somebody has set, and since 6.18 all of a large folio; but none
    /// outside the page's own area. An advice that every other page has makes an area of each.
    pub(crate) fn separate(&self) -> io::Result<()> {
        for page in (0..self.pages).step_by(2) {
            let start = self.at(page).as_ptr().cast();
            // SAFETY: a page of the mapping, of which the advice changes nothing.
            unsafe { rustix::mm::madvise(start, rustix::param::page_size(), Advice::Random) }?;
        }
        Ok(())
    }

    /// Advises the kernel on all of it. None of the advices given here changes what is in it.
    pub(crate) fn advise(&self, advice: Advice) -> io::Result<()> {
        if self.pages == 0 {
            return Ok(());
        }
        let length = self.pages * rustix::param::page_size();
        // SAFETY: the mapping is this value's own.
        Ok(unsafe { rustix::mm::madvise(self.start.as_ptr().cast(), length, advice) }?)
    }

    /// Makes it twice as long, at another address: the kernel may only leave it where it is if it fits there, and a
    /// page is put in its way.
    pub(crate) fn double_elsewhere(&mut self) -> io::Result<()> {
        if self.pages == 0 {
            return Ok(());
        }
        let (page, length) = (
            rustix::param::page_size(),
            self.pages * rustix::param::page_size(),
        );
        let behind = self.start.as_ptr().wrapping_add(length).cast();
        let flags = MapFlags::PRIVATE | MapFlags::FIXED_NOREPLACE;
        // SAFETY: nothing that is mapped is replaced. Where something is, it is in the way as well.
        let in_the_way = unsafe { rustix::mm::mmap_anonymous(behind, page, ProtFlags::empty(), flags) };
        // SAFETY: the mapping is this value's own, and nothing refers into it that moving would break.
        let moved = unsafe {
            rustix::mm::mremap(
                self.start.as_ptr().cast(),
                length,
                2 * length,
                MremapFlags::MAYMOVE,
            )
        };
        if let Ok(in_the_way) = in_the_way {
            // SAFETY: mapped above, and used by nobody.
            unsafe { rustix::mm::munmap(in_the_way, page) }?;
        }
        let moved = NonNull::new(moved?.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        let stayed = moved == self.start;
        (self.start, self.pages) = (moved, 2 * self.pages);
        if stayed {
            return Err(io::Error::other("mremap moved nothing"));
        }
        Ok(())
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        if self.pages > 0 {
            let length = self.pages * rustix::param::page_size();
            // SAFETY: the mapping is this value's own. It cannot fail: the range is mapped and page-aligned.
            let _ = unsafe { rustix::mm::munmap(self.start.as_ptr().cast(), length) };
        }
    }
}

/// Writes to so many pages of the calling thread's stack that are not there: far below what it uses, and taken out
/// first if they are. The stack of a process's first thread grows for that, with no system call.
#[inline(never)]
pub(crate) fn write_to_the_stack(pages: usize) -> io::Result<()> {
    /// Deeper than anything that is called from here, and than [`super::settle_thread`] goes.
    const BELOW: usize = 192 * 1024;
    let page = rustix::param::page_size();
    let here = ptr::from_ref(&page).cast::<u8>().cast_mut();
    let top = here.wrapping_sub(BELOW + here.addr() % page);
    let bottom = top.wrapping_sub(pages * page);
    if pages == 0 {
        return Ok(());
    }
    // SAFETY: below the stack pointer nothing is kept.
    match unsafe { rustix::mm::madvise(bottom.cast(), pages * page, Advice::LinuxDontNeed) } {
        // A stack that has not grown so far yet: there is nothing to take out there.
        Ok(()) | Err(rustix::io::Errno::NOMEM) => {}
        Err(error) => return Err(error.into()),
    }
    for index in 1..=pages {
        // SAFETY: the thread's own stack, whose size the caller knows to be enough, and nobody uses that part of it.
        // Downwards: a stack grows from where it is.
        unsafe { top.wrapping_sub(index * page).write_volatile(1) };
    }
    Ok(())
}
