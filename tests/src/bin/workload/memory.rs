//! What needs `unsafe`: fresh pages, the break, handled signals, this thread's own fault counters, malloc's settings.
//!
//! Owns every system call that hands out or takes back memory: mappings of all kinds in `mapping`, a forked child's in
//! `shared`. Must not know routes or HTTP.
#![expect(
    unsafe_code,
    reason = "mapping memory, moving the break, forking and handling SIGSEGV have no safe interface"
)]

mod mapping;
mod shared;

use std::ffi::{c_int, c_void};
use std::io;
use std::mem::MaybeUninit;
use std::ptr::{self, NonNull};
use std::sync::atomic::AtomicU32;
use std::sync::{Mutex, PoisonError};

use rustix::mm::{Advice, MapFlags, MprotectFlags, MremapFlags, ProtFlags};

pub(crate) use mapping::{HUGE, Mapping, What, write_to_the_stack};
pub(crate) use shared::Sharer;

/// Completed faults, as the kernel counted them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counted {
    /// `min_flt`.
    pub(crate) minor: u64,
    /// `maj_flt`.
    pub(crate) major: u64,
}

impl Counted {
    /// What was added since `earlier`.
    pub(crate) fn since(self, earlier: Counted) -> Counted {
        Counted {
            minor: self.minor - earlier.minor,
            major: self.major - earlier.major,
        }
    }

    /// The calling thread's own counters (`getrusage(2)`, `RUSAGE_THREAD`).
    pub(crate) fn of_this_thread() -> Counted {
        let mut usage = MaybeUninit::<libc::rusage>::zeroed();
        // SAFETY: the pointer is to memory of that type. The call cannot fail with these arguments.
        unsafe { libc::getrusage(libc::RUSAGE_THREAD, usage.as_mut_ptr()) };
        // SAFETY: all zero is a valid `rusage`, and so is what the kernel wrote over it.
        let usage = unsafe { usage.assume_init() };
        Counted {
            minor: u64::try_from(usage.ru_minflt).unwrap_or(0),
            major: u64::try_from(usage.ru_majflt).unwrap_or(0),
        }
    }
}

/// Does the kernel fill a new mapping at once?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fill {
    /// At each page's first access, by a fault.
    OnAccess,
    /// Within `mmap` (`MAP_POPULATE`): counted, but no exception is taken.
    AtOnce,
}

/// A private anonymous mapping of its own, unmapped on drop.
pub(crate) struct FreshPages {
    /// Dangling where `length` is 0.
    start: NonNull<u8>,
    length: usize,
}

impl FreshPages {
    /// Maps so many pages.
    pub(crate) fn map(pages: usize, fill: Fill) -> io::Result<FreshPages> {
        let length = pages * rustix::param::page_size();
        if length == 0 {
            return Ok(FreshPages {
                start: NonNull::dangling(),
                length,
            });
        }
        let flags = match fill {
            Fill::OnAccess => MapFlags::PRIVATE,
            Fill::AtOnce => MapFlags::PRIVATE | MapFlags::POPULATE,
        };
        // SAFETY: the kernel picks an address where nothing is mapped, so no other memory is touched.
        let start = unsafe {
            rustix::mm::mmap_anonymous(ptr::null_mut(), length, ProtFlags::READ | ProtFlags::WRITE, flags)
        }?;
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(FreshPages { start, length })
    }

    /// All its bytes, to read: 0 until written.
    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: the mapping is readable, `length` long, zero-filled, and lives as long as `self`.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.length) }
    }

    /// All its bytes, to write.
    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `bytes`; it is writable too, and `&mut self` makes the slice the only one.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.length) }
    }

    /// The first word of each page, as a futex.
    pub(crate) fn words(&self) -> impl Iterator<Item = &AtomicU32> {
        (0..self.length)
            .step_by(rustix::param::page_size())
            .map(|offset| {
                // SAFETY: `offset` is a page's start within the mapping.
                let word = unsafe { self.start.add(offset) };
                // SAFETY: it is aligned to a page, and memory of `self`; nobody writes to it while `self` is borrowed.
                unsafe { AtomicU32::from_ptr(word.as_ptr().cast()) }
            })
    }
}

impl Drop for FreshPages {
    fn drop(&mut self) {
        if self.length > 0 {
            // SAFETY: the mapping is this value's own, and no slice of it outlives the value. It cannot fail: the
            // range is mapped and page-aligned; if it did, the pages would leak and the next test would say so.
            let _ = unsafe { rustix::mm::munmap(self.start.as_ptr().cast(), self.length) };
        }
    }
}

/// Maps two pages, advises on them twice, changes their protection three times and their size four times, up to six
/// pages, and unmaps them. Nobody touches them.
pub(crate) fn change_mappings() -> io::Result<()> {
    let page = rustix::param::page_size();
    let all = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: the kernel picks an address where nothing is mapped.
    let mut start = unsafe { rustix::mm::mmap_anonymous(ptr::null_mut(), 2 * page, all, MapFlags::PRIVATE) }?;
    for advice in [Advice::Random, Advice::Normal] {
        // SAFETY: the mapping is this function's own, and neither advice takes anything from it.
        unsafe { rustix::mm::madvise(start, 2 * page, advice) }?;
    }
    for allowed in [
        MprotectFlags::empty(),
        MprotectFlags::READ,
        MprotectFlags::READ | MprotectFlags::WRITE,
    ] {
        // SAFETY: the mapping is this function's own, and nobody accesses it.
        unsafe { rustix::mm::mprotect(start, 2 * page, allowed) }?;
    }
    for pages in 2..6 {
        // SAFETY: the mapping is this function's own, and nobody has a reference into it that moving would break.
        start = unsafe { rustix::mm::mremap(start, pages * page, (pages + 1) * page, MremapFlags::MAYMOVE) }?;
    }
    // SAFETY: as it was left, and nobody uses it.
    Ok(unsafe { rustix::mm::munmap(start, 6 * page) }?)
}

/// Only one thread at a time may have the break moved.
static BREAK: Mutex<()> = Mutex::new(());

/// Moves the break up by so many pages, hands over the new ones, and moves it back.
///
/// The break is one for the process, and malloc believes that it owns it. Two things keep them apart:
/// [`keep_malloc_off_the_break`] was called at start, so malloc neither grows nor trims its heap; and a lock
/// keeps this function to one thread at a time. Should the break be found elsewhere than it was left, somebody
/// else moved it: then it stays where it is, and the call fails.
pub(crate) fn with_grown_break(pages: usize, use_pages: impl FnOnce(&mut [u8])) -> io::Result<()> {
    let page = rustix::param::page_size();
    let _one_at_a_time = BREAK.lock().unwrap_or_else(PoisonError::into_inner);
    // SAFETY: address 0 moves nothing.
    let found = unsafe { brk(ptr::null_mut()) };
    // The first break of a process need not be at a page's start: the page that it cuts is left alone.
    let first = found.wrapping_add(found.align_offset(page));
    let length = pages * page;
    let top = first.wrapping_add(length);
    // SAFETY: the break only moves up, and the kernel refuses to move it over a mapping.
    if unsafe { brk(top) } != top {
        return Err(io::ErrorKind::OutOfMemory.into());
    }
    // SAFETY: the kernel has just mapped these bytes, zero-filled, and nobody else knows of them.
    let fresh = unsafe { std::slice::from_raw_parts_mut(first, length) };
    use_pages(fresh);
    // SAFETY: address 0 moves nothing.
    if unsafe { brk(ptr::null_mut()) } != top {
        return Err(io::ErrorKind::AddrInUse.into());
    }
    // SAFETY: what goes is what this call has added; the slice over it is no longer used.
    if unsafe { brk(found) } != found {
        return Err(io::ErrorKind::Other.into());
    }
    Ok(())
}

/// The system call itself: returns where the break is afterwards.
///
/// # Safety
///
/// Nothing that lies above `to` may be in use.
unsafe fn brk(to: *mut u8) -> *mut u8 {
    // SAFETY: the caller's promise.
    let now = unsafe { libc::syscall(libc::SYS_brk, to) };
    ptr::with_exposed_provenance_mut(usize::try_from(now).unwrap_or(0))
}

/// Gives malloc all the heap that it will need, and keeps it from ever moving the break again.
///
/// One arena, so that no thread sets up another under a request; 64 MiB of heap at once, which are touched only
/// as they are used; no trimming; no mapping of its own for sizes below 16 MiB.
#[cfg(target_env = "gnu")]
pub(crate) fn keep_malloc_off_the_break() {
    const HEAP: c_int = 64 << 20;
    for (parameter, value) in [
        (libc::M_ARENA_MAX, 1),
        (libc::M_TRIM_THRESHOLD, c_int::MAX),
        (libc::M_MMAP_THRESHOLD, 16 << 20),
        (libc::M_TOP_PAD, HEAP),
    ] {
        // SAFETY: a setting is changed before there is a second thread. An unknown one is refused, harmlessly.
        unsafe { libc::mallopt(parameter, value) };
    }
    // More than the heap has left, so that it grows now, by HEAP. `with_capacity` touches nothing of it.
    drop(std::hint::black_box(Vec::<u8>::with_capacity(1 << 20)));
}

/// Other C libraries' allocators take no settings; [`with_grown_break`] still notices if they move the break.
#[cfg(not(target_env = "gnu"))]
pub(crate) fn keep_malloc_off_the_break() {}

/// A page that nobody may access, and a handler that steps over accesses to it.
#[derive(Clone, Copy)]
pub(crate) struct ForbiddenPage(usize);

/// Where it is, for the handler; 0 until there is one.
#[cfg(target_arch = "x86_64")]
static FORBIDDEN: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);

#[cfg(target_arch = "x86_64")]
impl ForbiddenPage {
    /// Maps the page and installs the handler, for the whole process.
    pub(crate) fn map() -> io::Result<ForbiddenPage> {
        // SAFETY: the kernel picks an address where nothing is mapped.
        let start = unsafe {
            rustix::mm::mmap_anonymous(
                ptr::null_mut(),
                rustix::param::page_size(),
                ProtFlags::empty(),
                MapFlags::PRIVATE,
            )
        }?;
        FORBIDDEN.store(start.addr(), std::sync::atomic::Ordering::Relaxed);
        // SAFETY: all zero is a valid `sigaction`: no flag, an empty mask.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        // No SA_ONSTACK: the frame goes to the thread's own stack, whose pages are there already.
        action.sa_flags = libc::SA_SIGINFO;
        let handler: extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void) = step_over;
        action.sa_sigaction = handler as *const () as usize;
        // SAFETY: `action` is whole, and `step_over` is of the type that SA_SIGINFO asks for.
        if unsafe { libc::sigaction(libc::SIGSEGV, &raw const action, ptr::null_mut()) } != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(ForbiddenPage(start.addr()))
    }

    /// Reads from it once: one SIGSEGV, one handler run, no counted fault.
    #[expect(clippy::unnecessary_wraps, reason = "on other architectures it fails")]
    pub(crate) fn access(self) -> io::Result<()> {
        // SAFETY: the load traps, since the page is mapped with no access for the process's whole life. The
        // handler then sets the instruction pointer to the address in rcx, which is the label: control stays in
        // this block. The load's target and rcx are declared as clobbered; the kernel restores all else.
        unsafe {
            std::arch::asm!(
                "lea rcx, [rip + 2f]",
                "mov al, byte ptr [{forbidden}]",
                "2:",
                forbidden = in(reg) self.0,
                out("rcx") _,
                out("al") _,
            );
        }
        Ok(())
    }
}

/// Continues at the address in rcx after an access to the forbidden page; any other SIGSEGV ends the process.
#[cfg(target_arch = "x86_64")]
extern "C" fn step_over(_signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: with SA_SIGINFO the kernel passes a whole `siginfo_t`.
    let info = unsafe { &*info };
    // SAFETY: for SIGSEGV it holds an address.
    let address = unsafe { info.si_addr() }.addr();
    let forbidden = FORBIDDEN.load(std::sync::atomic::Ordering::Relaxed);
    if forbidden == 0 || address != forbidden {
        // SAFETY: resetting the handler is async-signal-safe. The access then traps again, and ends the process.
        unsafe { libc::signal(libc::SIGSEGV, libc::SIG_DFL) };
        return;
    }
    // SAFETY: with SA_SIGINFO the third argument is the interrupted thread's `ucontext_t`, ours to change.
    let context = unsafe { &mut *context.cast::<libc::ucontext_t>() };
    let registers = &mut context.uc_mcontext.gregs;
    registers[register(libc::REG_RIP)] = registers[register(libc::REG_RCX)];
}

/// A register's index, as libc has it.
#[cfg(target_arch = "x86_64")]
fn register(number: c_int) -> usize {
    usize::try_from(number).unwrap_or(0)
}

#[cfg(not(target_arch = "x86_64"))]
impl ForbiddenPage {
    /// Nothing is set up: `access` is written for x86-64 alone.
    pub(crate) fn map() -> io::Result<ForbiddenPage> {
        Ok(ForbiddenPage(0))
    }

    /// Fails: it is written for x86-64 alone.
    pub(crate) fn access(self) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// Writes to the calling thread's stack, so deep as no request goes, and has malloc set up what it keeps by thread.
#[inline(never)]
pub(crate) fn settle_thread() {
    #[expect(
        clippy::large_stack_arrays,
        reason = "touching that much of the stack is what this is for"
    )]
    let mut deep = [1_u8; 96 * 1024];
    std::hint::black_box(&mut deep);
    drop(std::hint::black_box(Box::new(1_u64)));
}
