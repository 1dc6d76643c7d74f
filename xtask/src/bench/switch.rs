//! Tracing of one process, switched off and on again while memtrace stays: turns of a tenth of a second, in which the machine
//! changes its mind less often than in those that memtrace takes to come and go.
//!
//! Owns the way to memtrace's table of targets. Must not know what is measured.

use std::{collections::BTreeSet, process::Child};

use anyhow::{Context as _, Result};
use aya::maps::{Array, Map, MapData, loaded_maps};
use memtrace_common::map::{TARGET_TRACED, TARGETS_PER_ELEMENT};

type Element = [u8; TARGETS_PER_ELEMENT as usize];

/// The tables of targets that there are on this host, before memtrace begins.
pub(super) struct Others(BTreeSet<u32>);

impl Others {
    pub(super) fn find() -> Self {
        Self(tables().collect())
    }
}

/// A process's place in the table of one memtrace.
pub(super) struct Switch {
    table: Array<MapData, Element>,
    tgid: u32,
}

impl Switch {
    /// Of the memtrace that has begun since.
    pub(super) fn of(process: &Child, others: &Others) -> Result<Self> {
        let new = tables().find(|id| !others.0.contains(id));
        let id = new.context("memtrace's table of targets is not to be found")?;
        Ok(Self {
            table: Array::try_from(Map::Array(MapData::from_id(id)?))?,
            tgid: process.id(),
        })
    }

    pub(super) fn set(&mut self, is_traced: bool) -> Result<()> {
        let (at, part) = (self.tgid / TARGETS_PER_ELEMENT, self.tgid % TARGETS_PER_ELEMENT);
        let mut element = self.table.get(&at, 0)?;
        if let Some(flags) = element.get_mut(part as usize) {
            *flags = if is_traced { TARGET_TRACED } else { 0 };
        }
        Ok(self.table.set(at, element, 0)?)
    }
}

fn tables() -> impl Iterator<Item = u32> {
    let is_one = |map: &aya::maps::MapInfo| map.name_as_str() == Some("TARGETS");
    loaded_maps().flatten().filter(is_one).map(|map| map.id())
}
