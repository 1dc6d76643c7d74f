//! Single accesses to memory, of each kind that the processor tells the kernel of.
//!
//! Owns making them and saying which they were. Must not know who looks.
#![expect(
    unsafe_code,
    reason = "which access faults how is a matter of raw memory, and of code that is called there"
)]

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt as _;
use std::ptr;

use anyhow::{Context as _, ensure};
use rustix::mm::{MapFlags, MprotectFlags, ProtFlags};
use rustix::process::{Resource, Rlimit};

use super::own::in_a_child;

/// Not at a page's start, so that an address is told from its page's.
const OFFSET: usize = 0x120;
/// What returns at once to whoever calls it.
#[cfg(target_arch = "x86_64")]
const RETURN: [u8; 1] = [0xc3];
#[cfg(not(target_arch = "x86_64"))]
const RETURN: [u8; 4] = [0xc0, 0x03, 0x5f, 0xd6];

/// A page of its own, never unmapped: an address stands for one page only.
#[derive(Clone, Copy)]
struct Page(*mut u8);

impl Page {
    /// A private anonymous one that can be read and written.
    fn fresh() -> io::Result<Page> {
        // SAFETY: the kernel picks an address where nothing is mapped.
        let start = unsafe {
            rustix::mm::mmap_anonymous(
                ptr::null_mut(),
                rustix::param::page_size(),
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::PRIVATE,
            )
        }?;
        Ok(Page::at(start.cast()))
    }

    /// One of a file that can be executed, and that the kernel has in its cache.
    fn of_code() -> io::Result<Page> {
        let mut file = tempfile::tempfile()?;
        let mut code = vec![0; rustix::param::page_size()];
        code[OFFSET..OFFSET + RETURN.len()].copy_from_slice(&RETURN);
        file.write_all(&code)?;
        // SAFETY: the kernel picks an address where nothing is mapped.
        let start = unsafe {
            rustix::mm::mmap(
                ptr::null_mut(),
                code.len(),
                ProtFlags::READ | ProtFlags::EXEC,
                MapFlags::PRIVATE,
                file.as_fd(),
                0,
            )
        }?;
        Ok(Page::at(start.cast()))
    }

    fn at(start: *mut u8) -> Page {
        Page(start.wrapping_add(OFFSET))
    }

    fn address(self) -> usize {
        self.0.addr()
    }

    fn read(self) {
        // SAFETY: a mapped page's byte, and nobody writes to it meanwhile. Volatile, so that it is not left out.
        let _ = unsafe { self.0.read_volatile() };
    }

    fn write(self) {
        // SAFETY: as above.
        unsafe { self.0.write_volatile(RETURN[0]) };
    }

    fn execute(self) {
        // SAFETY: the code there, where it may run, returns at once and touches nothing.
        let code: extern "C" fn() = unsafe { std::mem::transmute(self.0) };
        code();
    }

    /// Has the kernel write to it: `read(2)` of a file that it has in its cache.
    fn be_filled(self, file: &File) -> io::Result<()> {
        // SAFETY: a mapped page's byte, and nobody else uses it.
        let byte = unsafe { std::slice::from_raw_parts_mut(self.0, 1) };
        file.read_exact_at(byte, 0)
    }

    /// Has the kernel read from it: a path, which is empty.
    fn be_looked_at(self) {
        // SAFETY: a mapped page, zero-filled: the kernel finds a string that ends at once. It fails, as it should.
        let _ = unsafe { libc::access(self.0.cast(), libc::F_OK) };
    }

    fn forbid_writing(self) -> io::Result<()> {
        let start = self.0.wrapping_sub(OFFSET);
        // SAFETY: the page is this value's own.
        let done =
            unsafe { rustix::mm::mprotect(start.cast(), rustix::param::page_size(), MprotectFlags::READ) };
        Ok(done?)
    }
}

/// Ends this process at its first forbidden access, with no core file. The Rust library's handler would have it made
/// a second time.
fn end_where_forbidden() -> io::Result<()> {
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    rustix::process::setrlimit(Resource::Core, none)?;
    // SAFETY: the kernel's own way of handling it.
    let before = unsafe { libc::signal(libc::SIGSEGV, libc::SIG_DFL) };
    if before == libc::SIG_ERR {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Does one access of each kind, and says of each what it is and where. Those that end a process are a child's.
pub(crate) fn perform(mut say: impl FnMut(&str) -> anyhow::Result<()>) -> anyhow::Result<()> {
    // The kernel has just mapped what it runs of it.
    let file = File::open("/proc/self/exe").context("this program's file")?;
    let mut tell = |name: &str, page: Page| say(&format!("access {name} {:#x}", page.address()));

    let page = Page::fresh()?;
    page.read();
    tell("read-then-written", page)?;
    page.write();

    let page = Page::fresh()?;
    page.write();
    tell("written", page)?;

    let page = Page::fresh()?;
    page.be_filled(&file)?;
    tell("written-by-the-kernel", page)?;

    let page = Page::fresh()?;
    page.be_looked_at();
    tell("read-by-the-kernel", page)?;

    let page = Page::of_code()?;
    page.execute();
    tell("executed", page)?;

    let page = Page::fresh()?;
    page.write();
    ensure!(
        in_a_child(|| {
            page.write();
            Ok(())
        })? == Some(0),
        "a child cannot write"
    );
    tell("shared-with-a-child", page)?;

    let page = Page::fresh()?;
    ensure!(
        in_a_child(|| {
            end_where_forbidden()?;
            page.write();
            page.forbid_writing()?;
            page.write();
            Ok(())
        })?
        .is_none(),
        "a child could write where it may not"
    );
    tell("written-where-forbidden", page)?;

    let page = Page::fresh()?;
    ensure!(
        in_a_child(|| {
            end_where_forbidden()?;
            page.write();
            page.execute();
            Ok(())
        })?
        .is_none(),
        "a child could execute what is no code"
    );
    tell("executed-where-forbidden", page)
}
