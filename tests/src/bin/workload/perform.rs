//! Doing what a request asks for.
//!
//! Owns which system calls make which faults. Must not know HTTP or connections.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::event::epoll;
use rustix::mm::{Advice, MprotectFlags};
use rustix::thread::futex;

use crate::descriptors::Descriptors;
use crate::files::Files;
use crate::kind::Kind;
use crate::memory::{
    Counted, Fill, ForbiddenPage, FreshPages, HUGE, Mapping, What, change_mappings, with_grown_break,
    write_to_the_stack,
};
use crate::route::Work;
use crate::stage::{Stage, Wanted};

/// How much `/kernel` reads at a time.
const SOURCE_PAGES: usize = 1024;

/// How many mappings may be kept at a time.
const KEPT_MAX: usize = 1024;

/// What is set up once, so that a request costs nothing but what it asks for.
pub(crate) struct Ground {
    /// Read by `/kernel`; its pages stay in the page cache, having just been written.
    source: File,
    /// Written by `/pwrite`.
    sink: File,
    forbidden: ForbiddenPage,
    /// Watches nothing, for `/wait`.
    epoll: OwnedFd,
    files: Files,
    stage: Stage,
    /// What `/keep` mapped and `/unmap` has not yet taken away.
    kept: Mutex<Vec<Mapping>>,
    /// What the last `/thp` mapped. Whoever holds it may allow the process huge pages.
    huge: Mutex<Option<Mapping>>,
    descriptors: Mutex<Descriptors>,
}

impl Ground {
    /// Unlinked files, a page that nobody may access, an epoll of nothing, and a thread that prepares things.
    pub(crate) fn prepare() -> io::Result<Ground> {
        let page = vec![7_u8; rustix::param::page_size()];
        let mut source = tempfile::tempfile()?;
        for _ in 0..SOURCE_PAGES {
            source.write_all(&page)?;
        }
        let mut sink = tempfile::tempfile()?;
        sink.write_all(&page)?;
        Ok(Ground {
            source,
            sink,
            forbidden: ForbiddenPage::map()?,
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            files: Files::prepare()?,
            stage: Stage::set_up()?,
            kept: Mutex::new(Vec::with_capacity(KEPT_MAX)),
            huge: Mutex::new(None),
            descriptors: Mutex::default(),
        })
    }

    /// Descriptors that nobody uses.
    pub(crate) fn descriptors(&self) -> MutexGuard<'_, Descriptors> {
        self.descriptors.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does the work on the calling thread, and says what the kernel counted for that thread meanwhile.
    ///
    /// Of [`Work::Sleep`] and [`Work::Hold`] only the touching: waiting is the caller's.
    pub(crate) fn perform(&self, work: Work) -> io::Result<Counted> {
        let before = Counted::of_this_thread();
        match work {
            Work::None | Work::Release(_) => {}
            Work::Touch(pages) | Work::Hold(pages) | Work::Sleep { pages, .. } => {
                write_each_page(FreshPages::map(pages, Fill::OnAccess)?.bytes_mut());
            }
            Work::Kernel(pages) => self.read_into(FreshPages::map(pages, Fill::OnAccess)?.bytes_mut())?,
            Work::Brk(pages) => with_grown_break(pages, write_each_page)?,
            Work::Pwrite(pages) => self.write_out_of(FreshPages::map(pages, Fill::OnAccess)?.bytes())?,
            Work::Futex(pages) => look_at_each(&FreshPages::map(pages, Fill::OnAccess)?)?,
            Work::Segv(signals) => {
                for _ in 0..signals {
                    self.forbidden.access()?;
                }
            }
            Work::Space(rounds) => {
                for _ in 0..rounds {
                    change_mappings()?;
                    with_grown_break(1, |_| {})?;
                }
            }
            Work::Wait { by, time, pages } => {
                by.perform(&self.epoll, time)?;
                write_each_page(FreshPages::map(pages, Fill::OnAccess)?.bytes_mut());
            }
            Work::Open(count) => self.descriptors().open(count)?,
            Work::Close(count) => self.descriptors().close(count)?,
            Work::Pages { kind, pages } => self.do_with_pages(kind, pages)?,
            Work::Populate(pages) => drop(FreshPages::map(pages, Fill::AtOnce)?),
        }
        Ok(Counted::of_this_thread().since(before))
    }

    fn do_with_pages(&self, kind: Kind, count: usize) -> io::Result<()> {
        match kind {
            Kind::Keep => {
                let mut pages = Mapping::new(What::Anonymous, count)?;
                pages.write(0..count);
                self.keep(pages)?;
            }
            Kind::Scatter => {
                let mut pages = Mapping::new(What::Anonymous, count)?;
                pages.separate()?;
                pages.write(0..count);
                self.keep(pages)?;
            }
            Kind::Unmap => self.unmap(count)?,
            Kind::Cow => self.stage.prepare(Wanted::Shared(count))?.pages.write(0..count),
            Kind::FileMap => {
                let pages = Mapping::new(What::FileRead(&self.files.cached), count)?;
                pages.separate()?;
                pages.read(0..count);
            }
            Kind::FileCow => {
                Mapping::new(What::FileCopied(&self.files.cached), count)?.write(0..count);
            }
            Kind::FileWrite => {
                let mut pages = Mapping::new(What::FileShared(&self.files.cached), count)?;
                pages.separate()?;
                pages.read(0..count);
                pages.write(0..count);
            }
            Kind::Major => {
                let file = self.files.evict()?;
                let pages = Mapping::new(What::FileRead(&file), count)?;
                pages.advise(Advice::Random)?;
                pages.read(0..count);
            }
            Kind::Stack => write_to_the_stack(count)?,
            Kind::Jit => Mapping::new(What::Executable, count)?.write(0..count),
            Kind::Shm => Mapping::new(What::Shared, count)?.write(0..count),
            Kind::Thp => self.write_huge(count)?,
            Kind::ZeroRead => Mapping::new(What::Anonymous, count)?.read(0..count),
            Kind::Swap => {
                if rustix::system::sysinfo().totalswap == 0 {
                    return Err(io::Error::new(io::ErrorKind::Unsupported, "no swap is on"));
                }
                self.stage
                    .prepare(Wanted::SwappedOut(count))?
                    .pages
                    .read(0..count);
            }
            Kind::Mremap => {
                let mut pages = Mapping::new(What::Anonymous, count)?;
                pages.write(0..count);
                pages.double_elsewhere()?;
                pages.write(count..2 * count);
            }
            Kind::Mprotect => {
                let mut pages = Mapping::new(What::Anonymous, count)?;
                pages.write(0..count);
                pages.allow(MprotectFlags::READ)?;
                pages.allow(MprotectFlags::READ | MprotectFlags::WRITE)?;
                pages.write(0..count);
            }
        }
        Ok(())
    }

    fn keep(&self, pages: Mapping) -> io::Result<()> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() == KEPT_MAX {
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        kept.push(pages);
        Ok(())
    }

    fn unmap(&self, count: usize) -> io::Result<()> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let last = kept.iter().rposition(|pages| pages.pages() == count);
        let last = last.ok_or(io::ErrorKind::NotFound)?;
        drop(kept.swap_remove(last));
        Ok(())
    }

    /// For as long as this takes, memory of other threads may be huge too, where the system's setting is `always`.
    fn write_huge(&self, count: usize) -> io::Result<()> {
        let mut huge = self.huge.lock().unwrap_or_else(PoisonError::into_inner);
        *huge = None;
        if count == 0 {
            return Ok(());
        }
        let mut pages = Mapping::new(What::Anonymous, (count + 1) * HUGE)?;
        pages.advise(Advice::LinuxHugepage)?;
        rustix::thread::disable_transparent_huge_pages(false)?;
        let first = pages.aligned_to(HUGE);
        pages.write((0..count).map(|index| first + index * HUGE));
        rustix::thread::disable_transparent_huge_pages(true)?;
        *huge = Some(pages);
        Ok(())
    }

    /// The kernel copies into each page: it takes the fault, in kernel mode.
    fn read_into(&self, fresh: &mut [u8]) -> io::Result<()> {
        for part in fresh.chunks_mut(SOURCE_PAGES * rustix::param::page_size()) {
            self.source.read_exact_at(part, 0)?;
        }
        Ok(())
    }

    /// One `pwrite` a page. Linux since 6.15 copies with faults disabled first and, where that fails, faults the
    /// source in and copies again, so each page is tried twice; older kernels fault it in first. In one call for
    /// all pages, the first failure would fault in a whole folio's worth.
    fn write_out_of(&self, fresh: &[u8]) -> io::Result<()> {
        for page in fresh.chunks(rustix::param::page_size()) {
            self.sink.write_all_at(page, 0)?;
        }
        Ok(())
    }
}

/// One write a page: a zero-fill fault each, in user mode.
pub(crate) fn write_each_page(fresh: &mut [u8]) {
    for page in fresh.chunks_mut(rustix::param::page_size()) {
        // The address escapes, so that the write cannot be left out.
        std::hint::black_box(&mut *page)[0] = 1;
    }
    std::hint::black_box(fresh);
}

/// `FUTEX_WAIT` for a value that is not there: the kernel reads the word with faults disabled, fails, faults the
/// page in, reads it again, and returns `EAGAIN` (`futex_wait_setup` in
/// <https://elixir.bootlin.com/linux/v6.12/source/kernel/futex/waitwake.c>).
fn look_at_each(fresh: &FreshPages) -> io::Result<()> {
    for word in fresh.words() {
        match futex::wait(word, futex::Flags::PRIVATE, 1, None) {
            Err(rustix::io::Errno::AGAIN) => {}
            Ok(()) => return Err(io::ErrorKind::InvalidData.into()),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
