//! Routes: which work a request's target asks for.
//!
//! Owns names, parameters and their bounds. Must not know sockets, or how the work is done.

use std::time::Duration;

use crate::kind::Kind;
use crate::wait::Waiting;

/// The most pages that one request may ask for: 1 GiB of 4 KiB pages.
pub(crate) const PAGES_MAX: usize = 262_144;
/// The most signals that one request may ask for.
const SIGNALS_MAX: usize = 1_000_000;
/// The most rounds of address-space calls that one request may ask for.
const ROUNDS_MAX: usize = 100_000;
/// The most descriptors that one request may open or close.
const DESCRIPTORS_MAX: usize = 500_000;
/// The longest sleep.
const SLEEP_MAX: u64 = 60_000;
/// How long a wait for events is that says nothing of it.
const WAIT: Duration = Duration::from_millis(1);

/// What a request asks for; each is a known number of faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    /// No fault at all.
    None,
    /// Write to each of so many fresh pages: as many faults in user mode.
    Touch(usize),
    /// `read(2)` into so many fresh pages: as many in kernel mode.
    Kernel(usize),
    /// Move the break up, write to each new page, move it back: as many in user mode.
    Brk(usize),
    /// `pwrite(2)` out of each of so many fresh pages: as many in kernel mode, and as many failed first tries.
    Pwrite(usize),
    /// `FUTEX_WAIT` on a word in each of so many fresh pages: the same as `Pwrite`, on every kernel.
    Futex(usize),
    /// So many handled SIGSEGVs: failed attempts alone.
    Segv(usize),
    /// `mmap` with `MAP_POPULATE`: the kernel counts as many, and no probe fires.
    Populate(usize),
    /// So many rounds of `mmap`, two `madvise`, three `mprotect`, four `mremap`, `munmap`, and the break up and down:
    /// no fault at all.
    Space(usize),
    /// Something else with so many pages.
    Pages {
        /// What.
        kind: Kind,
        /// How many.
        pages: usize,
    },
    /// Wait for events by one system call, in vain, then as `Touch`.
    Wait {
        /// By which.
        by: Waiting,
        /// How long.
        time: Duration,
        /// How many pages to touch then.
        pages: usize,
    },
    /// Wait until another request releases all that wait so, then as `Touch`. An event loop alone can.
    Hold(usize),
    /// Releases them, once there are so many.
    Release(usize),
    /// Open so many descriptors more than there are, and keep them.
    Open(usize),
    /// Close so many of them, the last first.
    Close(usize),
    /// Wait, then as `Touch`.
    Sleep {
        /// How long to wait first.
        wait: Duration,
        /// How many pages to touch then.
        pages: usize,
    },
}

/// Why a target is not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// There is no such route: 404.
    NoSuchRoute,
    /// A parameter is missing, unknown, no number, or out of bounds: 400.
    BadParameter,
}

impl Work {
    /// Reads a request's target, such as `/touch?pages=100`.
    pub(crate) fn parse(target: &str) -> Result<Work, Refusal> {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let pages = || Query(query).only("pages", PAGES_MAX);
        match path {
            "/none" if query.is_empty() => Ok(Work::None),
            "/none" => Err(Refusal::BadParameter),
            "/touch" => pages().map(Work::Touch),
            "/kernel" => pages().map(Work::Kernel),
            "/brk" => pages().map(Work::Brk),
            "/pwrite" => pages().map(Work::Pwrite),
            "/futex" => pages().map(Work::Futex),
            "/populate" => pages().map(Work::Populate),
            "/space" => Query(query).only("n", ROUNDS_MAX).map(Work::Space),
            "/segv" => Query(query).only("n", SIGNALS_MAX).map(Work::Segv),
            "/hold" => pages().map(Work::Hold),
            "/release" => Query(query).only("n", usize::MAX).map(Work::Release),
            "/open" => Query(query).only("n", DESCRIPTORS_MAX).map(Work::Open),
            "/close" => Query(query).only("n", DESCRIPTORS_MAX).map(Work::Close),
            "/sleep" => {
                let (wait, pages) = Query(query).time_and_pages()?;
                Ok(Work::Sleep { wait, pages })
            }
            _ => {
                if let Some((kind, parameter, max)) = Kind::named(path) {
                    let pages = Query(query).only(parameter, max)?;
                    return Ok(Work::Pages { kind, pages });
                }
                let by = path.strip_prefix("/wait/").and_then(Waiting::named);
                let by = by.ok_or(Refusal::NoSuchRoute)?;
                let (time, pages) = match pages() {
                    Ok(pages) => (WAIT, pages),
                    Err(_) => Query(query).time_and_pages()?,
                };
                Ok(Work::Wait { by, time, pages })
            }
        }
    }
}

/// The part of a target after its `?`.
struct Query<'q>(&'q str);

impl Query<'_> {
    fn pairs(&self) -> usize {
        self.0.split('&').count()
    }

    fn number(&self, name: &str) -> Option<u64> {
        self.0
            .split('&')
            .find_map(|pair| pair.strip_prefix(name)?.strip_prefix('=')?.parse().ok())
    }

    fn time_and_pages(&self) -> Result<(Duration, usize), Refusal> {
        if self.pairs() != 2 {
            return Err(Refusal::BadParameter);
        }
        let ms = self.number("ms").filter(|ms| *ms <= SLEEP_MAX);
        let pages = self.number("pages").and_then(|n| usize::try_from(n).ok());
        match (ms, pages) {
            (Some(ms), Some(pages)) if pages <= PAGES_MAX => Ok((Duration::from_millis(ms), pages)),
            _ => Err(Refusal::BadParameter),
        }
    }

    /// The value of the one parameter that is allowed.
    fn only(&self, name: &str, max: usize) -> Result<usize, Refusal> {
        (self.pairs() == 1)
            .then(|| self.number(name))
            .flatten()
            .and_then(|number| usize::try_from(number).ok())
            .filter(|number| *number <= max)
            .ok_or(Refusal::BadParameter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_route_is_read_with_its_parameters() {
        for (target, work) in [
            ("/none", Work::None),
            ("/touch?pages=0", Work::Touch(0)),
            ("/touch?pages=100", Work::Touch(100)),
            ("/kernel?pages=1", Work::Kernel(1)),
            ("/brk?pages=2", Work::Brk(2)),
            ("/pwrite?pages=3", Work::Pwrite(3)),
            ("/futex?pages=4", Work::Futex(4)),
            ("/populate?pages=262144", Work::Populate(262_144)),
            ("/segv?n=5", Work::Segv(5)),
            ("/space?n=6", Work::Space(6)),
            ("/hold?pages=9", Work::Hold(9)),
            ("/release?n=3", Work::Release(3)),
            ("/open?n=10", Work::Open(10)),
            ("/close?n=500000", Work::Close(500_000)),
            (
                "/wait/epoll_pwait2?pages=7",
                Work::Wait {
                    by: Waiting::EpollPwait2,
                    time: WAIT,
                    pages: 7,
                },
            ),
            (
                "/sleep?ms=20&pages=6",
                Work::Sleep {
                    wait: Duration::from_millis(20),
                    pages: 6,
                },
            ),
            (
                "/zero-read?pages=8",
                Work::Pages {
                    kind: Kind::ZeroRead,
                    pages: 8,
                },
            ),
            (
                "/thp?huge=9",
                Work::Pages {
                    kind: Kind::Thp,
                    pages: 9,
                },
            ),
            (
                "/sleep?pages=6&ms=20",
                Work::Sleep {
                    wait: Duration::from_millis(20),
                    pages: 6,
                },
            ),
        ] {
            assert_eq!(Work::parse(target), Ok(work), "{target}");
        }
    }

    #[test]
    fn what_is_no_route_is_told_from_what_is_no_parameter() {
        for target in [
            "",
            "/",
            "/touchy?pages=1",
            "/none/",
            "/wait/nap?pages=1",
            "/wait",
            "*",
            "http://h/none",
        ] {
            assert_eq!(Work::parse(target), Err(Refusal::NoSuchRoute), "{target}");
        }
        for target in [
            "/none?pages=1",
            "/touch",
            "/touch?",
            "/touch?pages=",
            "/touch?pages=-1",
            "/touch?pages=x",
            "/touch?pages=262145",
            "/touch?pages=99999999999999999999",
            "/touch?pages=1&pages=1",
            "/touch?pagesx=1",
            "/segv?pages=1",
            "/space?pages=1",
            "/hold?n=1",
            "/release",
            "/open?n=500001",
            "/close",
            "/thp?pages=1",
            "/stack?pages=1025",
            "/keep",
            "/wait/poll?n=1",
            "/sleep?ms=1",
            "/sleep?ms=60001&pages=1",
            "/sleep?ms=1&pages=262145",
            "/sleep?ms=1&pages=1&x=1",
        ] {
            assert_eq!(Work::parse(target), Err(Refusal::BadParameter), "{target}");
        }
    }
}
