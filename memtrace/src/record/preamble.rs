//! What a recording is of: read before anything else.
//!
//! Owns the magic bytes, the version, and the JSON behind them. Must not know events.

use std::{
    collections::BTreeMap,
    io::{self, Read},
};

use memtrace_common::Nanos;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use super::{
    MAGIC, VERSION,
    column::Codec,
    layout::{TABLES, Table},
    read::ReadError,
};

/// The JSON is no longer than this, bytes.
const JSON_MAX: u32 = 1 << 20;

/// The three clocks at one moment, nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clocks {
    /// `CLOCK_MONOTONIC`: what the run's times are on.
    pub monotonic: u64,
    /// `CLOCK_BOOTTIME`.
    pub boottime: u64,
    /// `CLOCK_REALTIME`.
    pub realtime: u64,
}

/// What a run was asked for that shapes its report, whoever looks at it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Asked {
    /// `--port`
    pub port: Option<u16>,
    /// `--fault-time`
    pub fault_time: bool,
    /// `--requests`
    pub requests: Option<u64>,
    /// `--route`, as typed.
    pub route: Vec<String>,
    /// `--only`, as typed.
    pub only: Vec<String>,
    /// `--query`
    pub query: bool,
    /// `--settle`, nanoseconds; `None` for what is usual.
    pub settle: Option<u64>,
}

impl Asked {
    /// The same with other routes, and with other requests alone, where any are given. `--requests` counted those that
    /// were asked for then.
    #[must_use]
    pub fn otherwise(&self, route: &[impl ToString], only: &[impl ToString]) -> Self {
        let texts = |given: &[String], own: &[String]| {
            if given.is_empty() {
                own.to_vec()
            } else {
                given.to_vec()
            }
        };
        let route: Vec<String> = route.iter().map(ToString::to_string).collect();
        let only: Vec<String> = only.iter().map(ToString::to_string).collect();
        let only = texts(&only, &self.only);
        Self {
            requests: self.requests.filter(|_| only == self.only),
            route: texts(&route, &self.route),
            only,
            ..self.clone()
        }
    }
}

/// Where and by what a recording was made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The version of memtrace.
    pub memtrace: String,
    /// The kernel's release.
    pub kernel: String,
    /// The architecture, as Rust names it.
    pub arch: String,
    /// Bytes of a page.
    pub page_size: u64,
    /// When tracing began.
    pub clocks: Clocks,
    /// When memory is mapped by huge pages, as `/sys/kernel/mm/transparent_hugepage/enabled` has it: `madvise`, say.
    #[serde(default)]
    pub huge_pages: Option<String>,
}

/// All of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Preamble {
    /// Where it was made.
    pub origin: Origin,
    /// What was asked for.
    pub asked: Asked,
    pub(super) version: u32,
    pub(super) tables: Vec<TableText>,
}

/// A table, as the preamble names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct TableText {
    pub(super) name: String,
    pub(super) columns: Vec<(String, Codec)>,
}

/// How the run ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct End {
    /// COMMAND's exit status.
    pub command_status: Option<i32>,
    /// What ran in the targets, by the executables' base names.
    pub programs: BTreeMap<String, Program>,
}

/// An executable that ran in a target.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Program {
    /// The identity that its linker gave it, in hexadecimal digits.
    pub build: Option<String>,
    /// Variables of its environment that move how it uses memory, as the first process had them that ran it.
    pub settings: BTreeMap<String, String>,
}

#[derive(Serialize, Deserialize)]
struct Json {
    origin: Origin,
    asked: Asked,
    tables: Vec<TableText>,
}

impl Preamble {
    /// Of a recording that begins now.
    pub fn new(origin: Origin, asked: Asked) -> Self {
        let tables = TABLES.iter().map(|layout| TableText {
            name: layout.name.to_owned(),
            columns: layout
                .columns
                .iter()
                .map(|&(name, codec)| (name.to_owned(), codec))
                .collect(),
        });
        Self {
            origin,
            asked,
            version: VERSION,
            tables: tables.collect(),
        }
    }

    /// When the run began.
    pub fn began(&self) -> Nanos {
        Nanos(self.origin.clocks.monotonic)
    }

    /// The bytes that a recording begins with.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let json = Json {
            origin: self.origin.clone(),
            asked: self.asked.clone(),
            tables: self.tables.clone(),
        };
        // Strings and numbers: nothing that JSON could not hold.
        let json = serde_json::to_vec(&json).unwrap_or_default();
        let mut bytes = MAGIC.to_vec();
        bytes.extend(self.version.to_le_bytes());
        bytes.extend(u32::try_from(json.len()).unwrap_or(u32::MAX).to_le_bytes());
        bytes.extend(&json);
        bytes.extend(xxh3_64(&bytes).to_le_bytes());
        bytes
    }

    /// Reads what a recording begins with.
    pub(super) fn read(source: &mut impl Read) -> Result<Self, ReadError> {
        let mut head = [0; 16];
        let got = read_up_to(source, &mut head)?;
        match got {
            0 => return Err(ReadError::Empty),
            _ if !head.starts_with(MAGIC.get(..got.min(MAGIC.len())).unwrap_or_default()) => {
                return Err(ReadError::NotARecording);
            }
            16 => {}
            _ => return Err(ReadError::NoBeginning),
        }
        let word = |at: usize| {
            let bytes = head.get(at..at + 4).and_then(|b| b.try_into().ok());
            u32::from_le_bytes(bytes.unwrap_or_default())
        };
        let (version, len) = (word(8), word(12));
        if version > VERSION {
            return Err(ReadError::Newer {
                version,
                known: VERSION,
            });
        }
        if version == 0 || len > JSON_MAX {
            return Err(ReadError::DamagedBeginning);
        }
        let mut rest = Vec::new();
        let wanted = u64::from(len) + 8;
        if source.by_ref().take(wanted).read_to_end(&mut rest)? as u64 != wanted {
            return Err(ReadError::NoBeginning);
        }
        let Some((json, checksum)) = rest.split_last_chunk::<8>() else {
            return Err(ReadError::NoBeginning);
        };
        if xxh3_64(&[&head, json].concat()) != u64::from_le_bytes(*checksum) {
            return Err(ReadError::DamagedBeginning);
        }
        let Json {
            origin,
            asked,
            tables,
        } = serde_json::from_slice(json).map_err(|_| ReadError::DamagedBeginning)?;
        if origin.arch != std::env::consts::ARCH {
            return Err(ReadError::Architecture(origin.arch));
        }
        Ok(Self {
            origin,
            asked,
            version,
            tables,
        })
    }

    /// The number of a table in this recording's blocks.
    pub(super) fn table(&self, table: Table) -> Option<usize> {
        let name = TABLES.get(table as usize)?.name;
        self.tables.iter().position(|t| t.name == name)
    }
}

/// Fills `buffer` as far as there are bytes.
pub(super) fn read_up_to(source: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut got = 0;
    while let Some(rest) = buffer.get_mut(got..).filter(|rest| !rest.is_empty()) {
        match source.read(rest) {
            Ok(0) => break,
            Ok(n) => got += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(got)
}
