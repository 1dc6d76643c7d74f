//! What needs `unsafe`: fresh pages, `fork`, a thread's end, and the kernel's own counters.
//!
//! Owns those system calls. Must not know what they are put together to.
#![expect(
    unsafe_code,
    reason = "fork, set_tid_address, mapped memory and getrusage have no safe interface"
)]

use std::fmt;
use std::io;
use std::mem::MaybeUninit;
use std::ptr::{self, NonNull};
use std::time::Duration;

use rustix::mm::{MapFlags, ProtFlags};

/// Completed faults, as the kernel counted them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Counted {
    minor: u64,
    major: u64,
}

impl Counted {
    /// Of all threads of this process, those that have ended included.
    pub(crate) fn of_this_process() -> Counted {
        Counted::of(libc::RUSAGE_SELF)
    }

    /// Of all its children that have been waited for, and theirs.
    pub(crate) fn of_its_children() -> Counted {
        Counted::of(libc::RUSAGE_CHILDREN)
    }

    /// What was added since `earlier`.
    pub(crate) fn since(self, earlier: Counted) -> Counted {
        Counted {
            minor: self.minor - earlier.minor,
            major: self.major - earlier.major,
        }
    }

    fn of(who: libc::c_int) -> Counted {
        let mut usage = MaybeUninit::<libc::rusage>::zeroed();
        // SAFETY: the pointer is to memory of that type. The call cannot fail with these arguments.
        unsafe { libc::getrusage(who, usage.as_mut_ptr()) };
        // SAFETY: all zero is a valid `rusage`, and so is what the kernel wrote over it.
        let usage = unsafe { usage.assume_init() };
        Counted {
            minor: u64::try_from(usage.ru_minflt).unwrap_or(0),
            major: u64::try_from(usage.ru_majflt).unwrap_or(0),
        }
    }
}

/// As JSON.
impl fmt::Display for Counted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, r#"{{"minflt":{},"majflt":{}}}"#, self.minor, self.major)
    }
}

/// A private anonymous mapping of its own, unmapped on drop.
pub(crate) struct FreshPages {
    start: NonNull<u8>,
    pages: usize,
}

/// The address of a page that nobody has touched.
#[derive(Clone, Copy)]
pub(crate) struct Page(usize);

impl FreshPages {
    /// Maps so many pages, at least one.
    pub(crate) fn map(pages: usize) -> io::Result<FreshPages> {
        let length = pages * rustix::param::page_size();
        // SAFETY: the kernel picks an address where nothing is mapped, so no other memory is touched.
        let start = unsafe {
            rustix::mm::mmap_anonymous(
                ptr::null_mut(),
                length,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::PRIVATE,
            )
        }?;
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(FreshPages { start, pages })
    }

    /// Writes a byte to each.
    pub(crate) fn touch(&mut self) {
        for index in 0..self.pages {
            // SAFETY: the page's start, within the mapping.
            let byte = unsafe { self.start.add(index * rustix::param::page_size()) };
            // SAFETY: mapped, writable, and of this value alone. Volatile, so that it is not left out.
            unsafe { byte.write_volatile(1) };
        }
    }

    /// Where one of them begins.
    pub(crate) fn page(&self, index: usize) -> Page {
        Page(self.start.as_ptr().addr() + index * rustix::param::page_size())
    }

    /// How many have been touched by anybody, the kernel included.
    pub(crate) fn resident(&self) -> io::Result<usize> {
        let mut pages = vec![0_u8; self.pages];
        // SAFETY: the mapping is this value's own, and `pages` has a byte for each of its pages.
        let failed = unsafe {
            libc::mincore(
                self.start.as_ptr().cast(),
                self.pages * rustix::param::page_size(),
                pages.as_mut_ptr(),
            )
        };
        if failed != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(pages.iter().filter(|&&page| page & 1 != 0).count())
    }
}

impl Drop for FreshPages {
    fn drop(&mut self) {
        let length = self.pages * rustix::param::page_size();
        // SAFETY: the mapping is this value's own. It cannot fail: the range is mapped and page-aligned.
        let _ = unsafe { rustix::mm::munmap(self.start.as_ptr().cast(), length) };
    }
}

/// Ends the calling thread, and has the kernel write four zero bytes to this page on the way out.
///
/// Never returns to the thread's start, so that the C library does nothing more with it: it does not learn of the
/// thread's end either, and never uses its stack again.
pub(crate) fn end_touching(page: Page) -> ! {
    // SAFETY: the page is mapped until all threads are gone, and nobody else uses it.
    unsafe { libc::syscall(libc::SYS_set_tid_address, page.0) };
    end_this_thread()
}

/// `exit`, the system call: ends the calling thread alone.
pub(crate) fn end_this_thread() -> ! {
    loop {
        // SAFETY: the thread's stack is leaked with all that is on it; nobody waits for this thread.
        unsafe { libc::syscall(libc::SYS_exit, 0) };
    }
}

/// Waits until the thread that the process began with is a zombie.
pub(crate) fn wait_until_the_first_thread_is_gone() -> io::Result<()> {
    let path = format!("/proc/self/task/{}/stat", std::process::id());
    while !std::fs::read_to_string(&path)?.contains(") Z ") {
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// Runs `act` in a forked child, and waits for its end. Returns its exit status: 0 where `act` succeeded; `None` for
/// a signal.
pub(crate) fn in_a_child(act: impl FnOnce() -> anyhow::Result<()>) -> io::Result<Option<i32>> {
    // SAFETY: this process has one thread when it forks, so the child may do whatever it could do.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            let status = i32::from(act().is_err());
            // SAFETY: ends the child with no destructor run: they are the parent's.
            unsafe { libc::_exit(status) }
        }
        child => {
            let child = rustix::process::Pid::from_raw(child);
            let ended = rustix::process::waitpid(child, rustix::process::WaitOptions::empty())?;
            Ok(ended.and_then(|(_, status)| status.exit_status()))
        }
    }
}
