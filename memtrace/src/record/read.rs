//! A recording, read block by block.
//!
//! Owns the way past what is damaged: a block that is not whole is left out, named and counted, and reading goes on
//! with the next. Memory does not grow with the recording's length. Must not know what events mean.

use std::{
    io::{self, Read},
    sync::Arc,
};

use memchr::memmem;
use memtrace_common::Nanos;

use super::{
    block::{Announced, FAMILIES, HEAD, Holds, MAGIC},
    preamble::{End, Preamble, read_up_to},
    rows::parse::Plan,
};
use crate::{
    event::{Event, Notice},
    ledger::entry::Lost,
};

/// Bytes that are asked of the source at a time, at least.
const STRIDE: usize = 1 << 16;
/// Damaged blocks that are named, at most.
const NAMED_MAX: usize = 8;

/// Why something cannot be read as a recording at all.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Its source failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// There is nothing.
    #[error("it is empty")]
    Empty,
    /// It begins otherwise.
    #[error("it is not a recording of memtrace")]
    NotARecording,
    /// It ends before its first block.
    #[error("it is cut off before anything was recorded")]
    NoBeginning,
    /// What all else depends on cannot be trusted.
    #[error("its beginning is damaged, and with it what the rest means")]
    DamagedBeginning,
    /// A later memtrace wrote it.
    #[error("a newer memtrace wrote it: recording format {version}, and this one reads up to {known}")]
    Newer {
        /// Its version.
        version: u32,
        /// The last that is known.
        known: u32,
    },
    /// Addresses and flags mean something else there.
    #[error("it was made on {0}, and this memtrace reads recordings of {arch}", arch = std::env::consts::ARCH)]
    Architecture(String),
}

/// What is not there of a recording.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Damage {
    /// Blocks that are damaged: the first few numbers of them,
    named: Vec<u64>,
    /// and how many in all.
    blocks: u64,
    /// Events that were in them, as far as that is known.
    events: u64,
    /// The same as records by family, and the time that they span.
    lost: Lost,
    /// Between when the last of them were.
    gap: (Nanos, Nanos),
    /// The recording has no end.
    is_cut_off: bool,
}

impl Damage {
    /// Nothing is missing.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// What the reader of a report should know, a sentence each.
    pub fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if self.blocks > 0 {
            let mut named: Vec<String> = self.named.iter().map(u64::to_string).collect();
            if self.blocks > named.len() as u64 {
                named.push(format!("and {} more", self.blocks - named.len() as u64));
            }
            let (blocks, are) = if self.blocks == 1 {
                ("block", "is")
            } else {
                ("blocks", "are")
            };
            notes.push(format!(
                "{blocks} {} of the recording {are} damaged and left out, with {} events",
                named.join(", "),
                self.events
            ));
        }
        if self.is_cut_off {
            notes.push(
                "the recording is cut off: memtrace was killed, or the file is not all there; this is what was \
                 whole until then"
                    .to_owned(),
            );
        }
        notes
    }

    fn name(&mut self, number: u64) {
        self.blocks = self.blocks.saturating_add(1);
        if self.named.len() < NAMED_MAX {
            self.named.push(number);
        }
    }

    fn lose(&mut self, families: [u64; FAMILIES], since: u64, until: u64) {
        let ns = until.saturating_sub(since);
        self.gap = (Nanos(since), Nanos(until));
        let [fault, mm, io, frame, task, _] = families;
        let lost = &mut self.lost;
        for (sum, more) in [
            (&mut lost.fault, fault),
            (&mut lost.mm, mm),
            (&mut lost.io, io),
            (&mut lost.frame, frame),
            (&mut lost.task, task),
            (&mut lost.ns, ns),
            (
                &mut self.events,
                families.iter().fold(0, |sum, &n| sum.saturating_add(n)),
            ),
        ] {
            *sum = sum.saturating_add(more);
        }
    }
}

/// Reads a recording from its beginning.
#[derive(Debug)]
pub struct Reader<R> {
    window: Window<R>,
    preamble: Preamble,
    plan: Arc<Plan>,
    /// The number of the next block.
    number: u64,
    /// Events of each family so far, read or known to be lost.
    so_far: [u64; FAMILIES],
    /// The time of the last event so far.
    last_ns: u64,
    damage: Damage,
    end: Option<End>,
}

/// A block that is whole.
#[derive(Debug)]
pub struct Block {
    plan: Arc<Plan>,
    raw: Vec<u8>,
    events: u32,
    number: u64,
    within: [u64; FAMILIES],
    /// What had been lost to damage before it,
    lost: Lost,
    /// and between when the last of it.
    gap: (Nanos, Nanos),
}

impl<R: Read> Reader<R> {
    /// Reads what the recording says of itself.
    pub fn open(mut source: R) -> Result<Self, ReadError> {
        let preamble = Preamble::read(&mut source)?;
        let plan = Plan::new(&preamble).map_err(|_| ReadError::DamagedBeginning)?;
        Ok(Self {
            window: Window::of(source),
            plan: Arc::new(plan),
            number: 0,
            so_far: [0; FAMILIES],
            last_ns: preamble.began().0,
            preamble,
            damage: Damage::default(),
            end: None,
        })
    }

    /// What it is of.
    pub fn preamble(&self) -> &Preamble {
        &self.preamble
    }

    /// The next block that is whole; `None` at the end.
    pub fn block(&mut self) -> io::Result<Option<Block>> {
        if self.end.is_some() || self.damage.is_cut_off {
            return Ok(None);
        }
        loop {
            let bytes = self.window.want(HEAD)?;
            if bytes.len() < HEAD {
                self.damage.is_cut_off = true;
                return Ok(None);
            }
            let Some(announced) = Announced::read(bytes).filter(|a| a.about.number >= self.number) else {
                self.window.find(&MAGIC)?;
                continue;
            };
            let about = announced.about;
            self.arrive_at(about.number, about.before, about.first_ns);
            let whole = HEAD + announced.stored_len;
            let bytes = self.window.want(whole)?;
            let rest = bytes.get(HEAD..).unwrap_or_default();
            if bytes.len() < whole && memmem::find(rest, &MAGIC).is_none() {
                self.damage.is_cut_off = true;
                self.damage.lose(about.within, about.first_ns, about.last_ns);
                return Ok(None);
            }
            let raw = announced.open(rest);
            // Where bytes are missing, the next block begins before this one should have ended.
            self.window.skip(if raw.is_some() { whole } else { HEAD });
            self.number = about.number.saturating_add(1);
            self.last_ns = about.last_ns;
            for (so_far, within) in self.so_far.iter_mut().zip(about.within) {
                *so_far = so_far.saturating_add(within);
            }
            let end = |raw: &Vec<u8>| serde_json::from_slice::<End>(raw).ok();
            match (about.holds, raw) {
                (Holds::Events, Some(raw)) => {
                    return Ok(Some(Block {
                        plan: Arc::clone(&self.plan),
                        raw,
                        events: about.events,
                        number: about.number,
                        within: about.within,
                        lost: self.damage.lost,
                        gap: self.damage.gap,
                    }));
                }
                (Holds::End, raw) => {
                    self.end = raw.as_ref().and_then(end);
                    if self.end.is_none() {
                        self.damage.name(about.number);
                        self.end = Some(End::default());
                    }
                    return Ok(None);
                }
                (Holds::Events, None) => {
                    self.damage.name(about.number);
                    self.damage.lose(about.within, about.first_ns, about.last_ns);
                }
            }
        }
    }

    /// A block turned out not to be what its checksum says that it is: what was missing of it.
    pub fn is_damaged(&mut self, fault: &Malformed) {
        self.damage.name(fault.number);
        self.damage.lose(fault.missing, 0, 0);
    }

    /// How many bytes have been read.
    pub fn position(&self) -> u64 {
        self.window.position
    }

    /// How the run ended, once all has been read. The default, where the recording is cut off.
    pub fn end(&self) -> End {
        self.end.clone().unwrap_or_default()
    }

    /// What was not there so far.
    pub fn damage(&self) -> &Damage {
        &self.damage
    }

    /// A head is whole: blocks that should have come before it are missing.
    fn arrive_at(&mut self, number: u64, before: [u64; FAMILIES], first_ns: u64) {
        if number > self.number {
            for missing in (self.number..number).take(NAMED_MAX) {
                self.damage.name(missing);
            }
            let named = (number - self.number).min(NAMED_MAX as u64);
            self.damage.blocks = self.damage.blocks.saturating_add(number - self.number - named);
            let mut missing = before;
            for (missing, so_far) in missing.iter_mut().zip(self.so_far) {
                *missing = missing.saturating_sub(so_far);
            }
            self.damage.lose(missing, self.last_ns, first_ns);
            self.number = number;
            self.so_far = before;
        }
    }
}

/// Where a block's columns end too early, or say what cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed {
    number: u64,
    missing: [u64; FAMILIES],
}

impl Block {
    /// Hands on its events, in order, with what the run and `told` know to be lost by now.
    ///
    /// # Errors
    /// [`Malformed`] where it says what no probe can have said; events before that have been handed on.
    pub fn events(&self, losses: &mut Losses, mut sink: impl FnMut(Event<'_>)) -> Result<(), Malformed> {
        if let Some(notice) = losses.found(self.lost, self.gap) {
            sink(notice);
        }
        let mut seen = [0_u64; FAMILIES];
        let malformed = |seen: &[u64; FAMILIES]| {
            let mut missing = self.within;
            for (missing, seen) in missing.iter_mut().zip(seen) {
                *missing = missing.saturating_sub(*seen);
            }
            Malformed {
                number: self.number,
                missing,
            }
        };
        let mut parser = self.plan.open(&self.raw).ok_or_else(|| malformed(&seen))?;
        for _ in 0..self.events {
            match parser.next() {
                None => return Err(malformed(&seen)),
                Some(None) => {}
                Some(Some(event)) => {
                    if let Some(seen) = seen.get_mut(super::rows::family_of(&event)) {
                        *seen += 1;
                    }
                    sink(losses.on(event));
                }
            }
        }
        Ok(())
    }
}

/// What was lost, to the ring and to damage together.
#[derive(Clone, Copy, Debug, Default)]
pub struct Losses {
    recorded: Lost,
    damage: Lost,
}

impl Losses {
    /// So much has been lost to damage by now. What there is to say of it.
    pub fn found(&mut self, damage: Lost, (since, until): (Nanos, Nanos)) -> Option<Event<'static>> {
        let is_new = damage != self.damage;
        self.damage = damage;
        is_new.then(|| self.notice(since, until))
    }

    fn on<'a>(&mut self, event: Event<'a>) -> Event<'a> {
        match event {
            Event::Notice(Notice::Lost { lost, since, until }) => {
                self.recorded = lost;
                self.notice(since, until)
            }
            other => other,
        }
    }

    fn notice(&self, since: Nanos, until: Nanos) -> Event<'static> {
        let (a, b) = (self.recorded, self.damage);
        let lost = Lost {
            fault: a.fault.saturating_add(b.fault),
            mm: a.mm.saturating_add(b.mm),
            io: a.io.saturating_add(b.io),
            frame: a.frame.saturating_add(b.frame),
            task: a.task.saturating_add(b.task),
            ns: a.ns.saturating_add(b.ns),
        };
        Event::Notice(Notice::Lost { lost, since, until })
    }
}

impl Damage {
    /// Records that are not there, and between when the last of them were.
    pub fn lost(&self) -> (Lost, (Nanos, Nanos)) {
        (self.lost, self.gap)
    }
}

/// A stretch of the source, which moves forward.
#[derive(Debug)]
struct Window<R> {
    source: R,
    bytes: Vec<u8>,
    start: usize,
    position: u64,
}

impl<R: Read> Window<R> {
    fn of(source: R) -> Self {
        Self {
            source,
            bytes: Vec::new(),
            start: 0,
            position: 0,
        }
    }

    /// The next `n` bytes, or as many as there are.
    fn want(&mut self, n: usize) -> io::Result<&[u8]> {
        while self.bytes.len() - self.start < n {
            self.bytes.drain(..self.start);
            self.start = 0;
            // In steps, so that a length that is not true costs no memory.
            let before = self.bytes.len();
            let more = (n - before).clamp(STRIDE, STRIDE * 64);
            self.bytes.resize(before + more, 0);
            let got = read_up_to(&mut self.source, self.bytes.get_mut(before..).unwrap_or_default())?;
            self.bytes.truncate(before + got);
            if got < more {
                break;
            }
        }
        let rest = self.bytes.get(self.start..).unwrap_or_default();
        Ok(rest.get(..n).unwrap_or(rest))
    }

    fn skip(&mut self, n: usize) {
        self.start += n;
        self.position += n as u64;
    }

    /// Goes to where this is next, past the first byte; to the end, where it is not.
    fn find(&mut self, magic: &[u8]) -> io::Result<()> {
        self.skip(1);
        loop {
            let bytes = self.want(STRIDE)?;
            if bytes.len() < magic.len() {
                let rest = bytes.len();
                self.skip(rest);
                return Ok(());
            }
            if let Some(at) = memmem::find(bytes, magic) {
                self.skip(at);
                return Ok(());
            }
            // It may begin in these last bytes.
            let past = bytes.len() - (magic.len() - 1);
            self.skip(past);
        }
    }
}
