//! Requests and faults as CSV, for whoever goes on in a spreadsheet, a database or a notebook.
//!
//! Owns the two tables' columns, which docs/RECORDING.md lists. Must not know where the bytes go, nor how a field is
//! quoted (the `csv` crate does, by RFC 4180). Times are nanoseconds, sizes are bytes; what is not known is empty.

use csv::{ByteRecord, Writer};
use serde_json::Value as Json;

use crate::{ledger::entry::Request, timed::Completed};

/// The columns of the table of requests: where each is in the object of a JSON report, a dot for each step.
pub const REQUEST_COLUMNS: [&str; 62] = [
    "id",
    "pid",
    "tid",
    "method",
    "path",
    "route",
    "status",
    "trace_id",
    "start_ns",
    "duration_ns",
    "complete",
    "faults.total",
    "faults.minor",
    "faults.major",
    "faults.user_mode",
    "faults.kernel_mode",
    "faults.cause.zero_fill",
    "faults.cause.zero_page_read",
    "faults.cause.cow",
    "faults.cause.file_map",
    "faults.cause.file_read",
    "faults.cause.swap_in",
    "faults.cause.write_protect",
    "faults.cause.other",
    "faults.region.heap",
    "faults.region.anon",
    "faults.region.stack",
    "faults.region.file",
    "faults.region.jit",
    "faults.region.shmem",
    "faults.region.vdso",
    "faults.region.unmapped",
    "faults.attribution.direct",
    "faults.attribution.causal",
    "faults.in_window",
    "faults.open_requests_max",
    "faults.time_ns",
    "frames.allocated",
    "frames.freed",
    "frames.user",
    "frames.page_table",
    "frames.kernel",
    "frames.huge",
    "space.mmap_calls",
    "space.mmap_bytes",
    "space.munmap_calls",
    "space.munmap_bytes",
    "space.brk_calls",
    "space.brk_bytes",
    "space.mremap_calls",
    "space.madvise_calls",
    "space.mprotect_calls",
    "rss.start",
    "rss.end",
    "rss.delta",
    "rss.anon_delta",
    "rss.file_delta",
    "rss.shmem_delta",
    "rss.swap_delta",
    "rss.error_max",
    "values",
    "runtime",
];

/// The columns of the table of faults: those of the run's books that were observed, a row each.
pub const FAULT_COLUMNS: [&str; 13] = [
    "time_ns",
    "pid",
    "tid",
    "request",
    "unattributed",
    "cause",
    "region",
    "kind",
    "mode",
    "address",
    "ip",
    "file",
    "duration_ns",
];

/// The two tables, as they grow.
pub struct Tables {
    requests: Writer<Vec<u8>>,
    faults: Writer<Vec<u8>>,
    row: ByteRecord,
}

/// What there is to write of each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bytes {
    /// Of the table of requests.
    pub requests: Vec<u8>,
    /// Of the table of faults.
    pub faults: Vec<u8>,
}

impl Default for Tables {
    fn default() -> Self {
        let begin = |columns: &[&str]| {
            let mut writer = Writer::from_writer(Vec::new());
            put(&mut writer, &ByteRecord::from(columns.to_vec()));
            writer
        };
        Self {
            requests: begin(&REQUEST_COLUMNS),
            faults: begin(&FAULT_COLUMNS),
            row: ByteRecord::new(),
        }
    }
}

impl Tables {
    /// A request is reported.
    pub fn request(&mut self, request: &Request) {
        // Maps with keys that are strings, and numbers: nothing that JSON could not hold.
        let json = serde_json::to_value(request).unwrap_or_default();
        self.row.clear();
        for column in REQUEST_COLUMNS {
            let found = column.split('.').try_fold(&json, |json, step| json.get(step));
            let field = match found {
                None | Some(Json::Null) => String::new(),
                Some(Json::String(text)) => text.clone(),
                Some(other) => other.to_string(),
            };
            self.row.push_field(field.as_bytes());
        }
        put(&mut self.requests, &self.row);
    }

    /// A fault has completed, and its time is known if it ever will be.
    pub fn fault(&mut self, fault: &Completed) {
        let taken = &fault.taken;
        let (request, unattributed) = match fault.whose() {
            Ok(id) => (id.to_string(), ""),
            Err(reason) => (String::new(), reason),
        };
        self.row.clear();
        for field in [
            taken.at.0.to_string().as_str(),
            &fault.tgid.0.to_string(),
            &taken.tid.0.to_string(),
            &request,
            unattributed,
            fault.cause().name(),
            fault.region().name(),
            fault.kind(),
            fault.mode(),
            &format!("{:#x}", taken.address),
            &format!("{:#x}", taken.ip),
            fault.file.as_deref().unwrap_or_default(),
            &fault.took.map_or_else(String::new, |ns| ns.to_string()),
        ] {
            self.row.push_field(field.as_bytes());
        }
        put(&mut self.faults, &self.row);
    }

    /// What there is to write by now.
    pub fn take(&mut self) -> Bytes {
        Bytes {
            requests: taken(&mut self.requests),
            faults: taken(&mut self.faults),
        }
    }
}

fn put(writer: &mut Writer<Vec<u8>>, row: &ByteRecord) {
    // Rows are as long as the first, and memory takes them.
    let _ = writer.write_byte_record(row);
}

fn taken(writer: &mut Writer<Vec<u8>>) -> Vec<u8> {
    let full = std::mem::replace(writer, Writer::from_writer(Vec::new()));
    // Memory takes what is left in its buffer.
    full.into_inner().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    #[test]
    fn a_row_has_what_the_report_has() {
        let mut tables = Tables::default();
        let mut request = sample::request(7, "GET", "/a,\"b\"", 60);
        request.frames = None;
        tables.request(&request);
        let text = String::from_utf8(tables.take().requests).unwrap();
        let mut lines = text.lines();
        assert_eq!(lines.next().unwrap().split(',').count(), REQUEST_COLUMNS.len());
        let mut reader = csv::Reader::from_reader(text.as_bytes());
        let header = reader.headers().unwrap().clone();
        let row = reader.records().next().unwrap().unwrap();
        let field = |name: &str| {
            row.get(header.iter().position(|h| h == name).unwrap())
                .unwrap()
                .to_owned()
        };
        assert_eq!(field("path"), "/a,\"b\"");
        assert_eq!(field("faults.total"), "60");
        assert_eq!(field("frames.allocated"), "", "what is not known is empty");
    }

    /// Whatever a report says of a request is in the table, but for lists.
    #[test]
    fn no_field_of_a_request_is_forgotten() {
        fn leaves(json: &Json, path: &str, out: &mut Vec<String>) {
            match json {
                Json::Object(fields) if !["values", "runtime"].contains(&path) => {
                    for (name, field) in fields {
                        let path = if path.is_empty() {
                            name.clone()
                        } else {
                            format!("{path}.{name}")
                        };
                        leaves(field, &path, out);
                    }
                }
                Json::Array(_) => {}
                _ => out.push(path.to_owned()),
            }
        }
        let mut found = Vec::new();
        leaves(&serde_json::to_value(sample::full(7)).unwrap(), "", &mut found);
        for path in found {
            assert!(REQUEST_COLUMNS.contains(&path.as_str()), "{path}");
        }
    }
}
