//! What moves figures beside the program: the machine, what ran on it, and how that was set.
//!
//! Owns what is kept of it in a baseline, and which differences are told. Must not know figures.

use std::collections::{BTreeMap, BTreeSet};

use toml_edit::{InlineTable, Table, TableLike, Value};

use super::entry::{BaselineError, integer, set, table, text, texts_of, unknown};
use crate::record::{Origin, Program};

/// What moves figures beside the program.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Environment {
    /// The kernel's release.
    pub kernel: String,
    /// Bytes of a page.
    pub page_size: u64,
    /// The version of memtrace.
    pub memtrace: String,
    /// When memory is mapped by huge pages: `madvise`, say.
    pub huge_pages: Option<String>,
    /// The builds of what ran, by the executables' names.
    pub programs: BTreeMap<String, String>,
    /// Variables that move how memory is used, of all of them together; none where an older baseline does not say.
    pub settings: Option<BTreeMap<String, String>>,
}

impl Environment {
    /// Where a run was made, and what ran in it.
    pub fn of(origin: &Origin, programs: &BTreeMap<String, Program>) -> Self {
        let builds = programs
            .iter()
            .filter_map(|(name, program)| Some((name.clone(), program.build.clone()?)));
        let settings = programs.values().flat_map(|program| program.settings.clone());
        Self {
            kernel: origin.kernel.clone(),
            page_size: origin.page_size,
            memtrace: origin.memtrace.clone(),
            huge_pages: origin.huge_pages.clone(),
            programs: builds.collect(),
            settings: Some(settings.collect()),
        }
    }

    /// What of it is another now, where both say: a sentence each.
    pub fn changes(&self, now: &Self) -> Vec<String> {
        let mut changes = Vec::new();
        if !self.kernel.is_empty() && self.kernel != now.kernel {
            changes.push(format!(
                "the baseline is of another kernel, {}; this one is {}",
                self.kernel, now.kernel
            ));
        }
        if let (Some(was), Some(is)) = (&self.huge_pages, &now.huge_pages)
            && was != is
        {
            changes.push(format!("huge pages are for `{is}` now, and were for `{was}`"));
        }
        for (name, was) in &self.programs {
            if now.programs.get(name).is_some_and(|is| is != was) {
                changes.push(format!("{name} is another build than the baseline's"));
            }
        }
        if let (Some(was), Some(is)) = (&self.settings, &now.settings) {
            changes.extend(changed_settings(was, is));
        }
        changes
    }

    /// glibc's malloc is told from which size on it maps.
    pub fn holds_threshold(&self) -> bool {
        let is_threshold = |(name, value): (&String, &String)| {
            name == "MALLOC_MMAP_THRESHOLD_"
                || (name == "GLIBC_TUNABLES" && value.contains("glibc.malloc.mmap_threshold"))
        };
        self.settings.iter().flatten().any(is_threshold)
    }

    /// Where no program of the baseline's ran: which did, in a sentence.
    pub fn other_programs(&self, now: &Self) -> Option<String> {
        let names = |of: &Self| of.programs.keys().cloned().collect::<Vec<_>>().join(", ");
        let is_known = !self.programs.is_empty() && !now.programs.is_empty();
        let is_other = self.programs.keys().all(|name| !now.programs.contains_key(name));
        (is_known && is_other).then(|| {
            format!(
                "the run is of other programs ({}) than the baseline ({})",
                names(now),
                names(self)
            )
        })
    }

    /// Reads a baseline's table.
    pub(super) fn read(entries: &dyn TableLike) -> Result<Self, BaselineError> {
        let mut environment = Self::default();
        for (key, item) in entries.iter() {
            let at = format!("environment.{key}");
            let texts = || {
                let all = table(item, &at)?;
                let all = all
                    .iter()
                    .map(|(name, item)| Ok((name.to_owned(), text(item, &format!("{at}.{name}"))?)));
                all.collect::<Result<BTreeMap<String, String>, BaselineError>>()
            };
            match key {
                "kernel" => environment.kernel = text(item, &at)?,
                "memtrace" => environment.memtrace = text(item, &at)?,
                "huge_pages" => environment.huge_pages = Some(text(item, &at)?),
                "programs" => environment.programs = texts()?,
                "settings" => environment.settings = Some(texts()?),
                "page_size" => environment.page_size = integer(item, &at)?.unsigned_abs(),
                _ => {
                    let known = [
                        "kernel",
                        "page_size",
                        "memtrace",
                        "huge_pages",
                        "programs",
                        "settings",
                    ];
                    return Err(unknown(&at, key, texts_of(&known)));
                }
            }
        }
        Ok(environment)
    }

    /// Writes it into that.
    pub(super) fn write(&self, table: &mut Table) {
        set(table, "kernel", self.kernel.as_str());
        set(
            table,
            "page_size",
            i64::try_from(self.page_size).unwrap_or(i64::MAX),
        );
        set(table, "memtrace", self.memtrace.as_str());
        if let Some(huge_pages) = &self.huge_pages {
            set(table, "huge_pages", huge_pages.as_str());
        } else {
            table.remove("huge_pages");
        }
        set(table, "programs", in_one_line(&self.programs));
        if let Some(settings) = &self.settings {
            set(table, "settings", in_one_line(settings));
        } else {
            table.remove("settings");
        }
    }
}

fn changed_settings(was: &BTreeMap<String, String>, is: &BTreeMap<String, String>) -> Vec<String> {
    let names: BTreeSet<&String> = was.keys().chain(is.keys()).collect();
    let changed = |name: &String| {
        let text = |settings: &BTreeMap<String, String>| {
            let value = settings.get(name);
            value.map_or("not set".to_owned(), |value| format!("`{value}`"))
        };
        let (was, is) = (text(was), text(is));
        (was != is).then(|| format!("{name} is {is} now, and was {was}"))
    };
    names.into_iter().filter_map(changed).collect()
}

fn in_one_line(texts: &BTreeMap<String, String>) -> InlineTable {
    texts
        .iter()
        .map(|(name, text)| (name.as_str(), Value::from(text.as_str())))
        .collect()
}
