//! Reports, read by the names that users' scripts rely on.
//!
//! Owns its own copy of those names, so that renaming one in memtrace fails here; whatever is read has to follow the
//! project's schema as well. Must not know memtrace's types.
#![expect(missing_docs, reason = "the fields are CONTRACT's, and mean what it says")]

use std::collections::BTreeMap;
use std::fmt::Display;

use serde::Deserialize;
use serde_json::Value;

use crate::process::Finished;
use crate::schema::Kind;

/// One request.
#[derive(Clone, Debug, Deserialize)]
pub struct Request {
    pub id: u64,
    pub pid: u32,
    pub tid: u32,
    pub method: String,
    pub path: String,
    pub route: String,
    pub status: Option<u16>,
    pub trace_id: Option<String>,
    pub start_ns: u64,
    pub duration_ns: u64,
    pub complete: bool,
    pub faults: Faults,
    pub frames: Option<Frames>,
    pub space: Space,
    pub rss: Option<Rss>,
    pub values: Option<BTreeMap<String, i64>>,
    pub runtime: Option<BTreeMap<String, RuntimeSize>>,
}

/// A size that the program's runtime says, at both ends of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct RuntimeSize {
    pub start: Option<i64>,
    pub end: Option<i64>,
    pub delta: Option<i64>,
}

/// Its page faults.
#[derive(Clone, Debug, Deserialize)]
pub struct Faults {
    pub total: u64,
    pub minor: u64,
    pub major: u64,
    pub user_mode: u64,
    pub kernel_mode: u64,
    pub cause: Option<BTreeMap<String, u64>>,
    pub region: Option<BTreeMap<String, u64>>,
    pub files: Option<Vec<FileFaults>>,
    pub attribution: Attribution,
    pub in_window: u64,
    pub open_requests_max: u64,
    pub time_ns: Option<u64>,
}

/// Those in one mapped file.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct FileFaults {
    pub path: String,
    pub faults: u64,
}

/// How they were found to be the request's.
#[derive(Clone, Debug, Deserialize)]
pub struct Attribution {
    pub direct: u64,
    pub causal: Option<u64>,
}

/// Its page frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Frames {
    pub allocated: u64,
    pub freed: u64,
    pub user: u64,
    pub page_table: u64,
    pub kernel: u64,
    pub huge: u64,
}

/// How its process's resident memory moved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Rss {
    pub start: u64,
    pub end: u64,
    pub delta: i64,
    pub anon_delta: i64,
    pub file_delta: i64,
    pub shmem_delta: i64,
    pub swap_delta: i64,
    pub error_max: u64,
}

/// Its address-space calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Space {
    pub mmap_calls: u64,
    pub mmap_bytes: u64,
    pub munmap_calls: u64,
    pub munmap_bytes: u64,
    pub brk_calls: u64,
    pub brk_bytes: u64,
    pub mremap_calls: u64,
    pub madvise_calls: u64,
    pub mprotect_calls: u64,
}

/// The run as a whole.
#[derive(Clone, Debug, Deserialize)]
pub struct Summary {
    pub requests: u64,
    pub other_requests: u64,
    pub elapsed_ns: u64,
    pub books: Books,
    pub unattributed: BTreeMap<String, u64>,
    pub cause: BTreeMap<String, u64>,
    pub region: BTreeMap<String, u64>,
    pub lost: Lost,
    pub target: Target,
    pub command_status: Option<i32>,
    pub notes: Vec<String>,
    pub kernel: String,
    pub version: String,
}

/// Whether the figures add up to the kernel's own.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Books {
    pub kernel_min_flt: u64,
    pub kernel_maj_flt: u64,
    pub observed: u64,
    pub direct: u64,
    pub causal: Option<u64>,
    pub unattributed: u64,
    pub dropped: u64,
    pub untraced: u64,
    pub failed: u64,
    pub timed: Option<u64>,
    pub balanced: bool,
}

/// Records that did not reach userspace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Lost {
    pub fault: u64,
    pub mm: u64,
    pub io: u64,
    pub frame: u64,
    pub task: u64,
    pub ns: u64,
}

/// What was traced.
#[derive(Clone, Debug, Deserialize)]
pub struct Target {
    pub pids: Vec<u32>,
    pub comm: String,
}

/// A whole run, as `--format ndjson` and `--format json` have it.
#[derive(Clone, Debug, Deserialize)]
pub struct Report {
    /// In the order in which they ended.
    pub requests: Vec<Request>,
    /// One object a route.
    pub routes: Vec<Value>,
    /// The last line.
    pub summary: Summary,
}

impl Report {
    /// Reads the output of a run with `--format ndjson`. Fails the test, and shows the run, where it is malformed.
    #[track_caller]
    pub fn of(run: &Finished) -> Report {
        match Report::parse(&run.stdout) {
            Ok(report) => report,
            Err(why) => panic!("no ndjson report: {why}\n{run}"),
        }
    }

    /// The same of a run that went well: it ended with status 0, nothing panicked, and the report adds up.
    #[track_caller]
    pub fn of_whole(run: &Finished) -> Report {
        run.assert_status(0);
        run.assert(!run.stderr.contains("panicked"), "something panicked");
        let report = Report::of(run);
        if let Err(why) = report.check() {
            panic!("{why}\n{run}");
        }
        report
    }

    /// The same of `--format json`.
    #[track_caller]
    pub fn of_document(run: &Finished) -> Report {
        match Report::parse_document(&run.stdout) {
            Ok(report) => report,
            Err(why) => panic!("no JSON document: {why}\n{run}"),
        }
    }

    /// Reads the one document.
    pub fn parse_document(text: &str) -> Result<Report, String> {
        let document: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
        Kind::Document.check(&document)?;
        serde_json::from_value(document).map_err(|error| error.to_string())
    }

    /// Reads lines of JSON: an object a line, the one summary last.
    pub fn parse(lines: &str) -> Result<Report, String> {
        let (mut requests, mut routes, mut summary) = (Vec::new(), Vec::new(), None);
        for (index, line) in lines.lines().enumerate() {
            let at = |error: serde_json::Error| format!("line {}: {error}: {line}", index + 1);
            if summary.is_some() {
                return Err(format!("line {} follows the summary: {line}", index + 1));
            }
            let value: Value = serde_json::from_str(line).map_err(at)?;
            let kind = value["type"].as_str().and_then(Kind::of);
            let kind = kind.ok_or_else(|| format!("line {}: of no known type: {line}", index + 1))?;
            kind.check(&value)
                .map_err(|why| format!("line {}: {why}: {line}", index + 1))?;
            match kind {
                Kind::Request => requests.push(serde_json::from_value(value).map_err(at)?),
                Kind::Summary => summary = Some(serde_json::from_value(value).map_err(at)?),
                // `Kind::of` knows no document.
                Kind::Route | Kind::Document => routes.push(value),
            }
        }
        Ok(Report {
            requests,
            routes,
            summary: summary.ok_or("no summary")?,
        })
    }

    /// Every identity of every request and of the books; that the books balance with nothing lost; and that the
    /// requests' own figures add up to the books'. For a run in which no request went unlisted.
    pub fn check(&self) -> Result<(), String> {
        for request in &self.requests {
            request
                .check()
                .map_err(|why| format!("request {} {}: {why}", request.id, request.path))?;
        }
        let Summary { books, lost, .. } = &self.summary;
        books.check()?;
        same(
            "unattributed, by reason",
            self.summary.unattributed.values().sum(),
            books.unattributed,
        )?;
        same("sum of cause", self.summary.cause.values().sum(), books.observed)?;
        same(
            "sum of region",
            self.summary.region.values().sum(),
            books.observed,
        )?;
        same(
            "requests listed",
            self.requests.len() as u64,
            self.summary.requests,
        )?;
        let sum = |of: fn(&Request) -> u64| self.requests.iter().map(of).sum::<u64>();
        same(
            "direct, on requests",
            sum(|r| r.faults.attribution.direct),
            books.direct,
        )?;
        same(
            "causal, on requests",
            sum(|r| r.faults.attribution.causal.unwrap_or(0)),
            books.causal.unwrap_or(0),
        )?;
        if books.dropped > 0 || *lost != Lost::default() {
            return Err(format!("lost: {lost:?}, dropped: {}", books.dropped));
        }
        if books.balanced {
            Ok(())
        } else {
            Err(format!("not balanced: {books:?}"))
        }
    }
}

impl Request {
    /// The identities of CONTRACT.
    pub fn check(&self) -> Result<(), String> {
        let faults = &self.faults;
        same("minor + major", faults.minor + faults.major, faults.total)?;
        same(
            "user_mode + kernel_mode",
            faults.user_mode + faults.kernel_mode,
            faults.total,
        )?;
        let Attribution { direct, causal } = faults.attribution;
        same("direct + causal", direct + causal.unwrap_or(0), faults.total)?;
        if let Some(cause) = &faults.cause {
            same("sum of cause", cause.values().sum(), faults.total)?;
        }
        if let Some(region) = &faults.region {
            same("sum of region", region.values().sum(), faults.total)?;
        }
        if let Some(frames) = &self.frames {
            same(
                "user + page_table + kernel",
                frames.user + frames.page_table + frames.kernel,
                frames.allocated,
            )?;
        }
        if let Some(rss) = &self.rss {
            same(
                "rss.delta",
                rss.delta,
                rss.end.cast_signed() - rss.start.cast_signed(),
            )?;
        }
        if faults.in_window < direct {
            return Err(format!("in_window {} is below direct {direct}", faults.in_window));
        }
        if faults.open_requests_max == 0 {
            return Err("open_requests_max does not count the request itself".into());
        }
        Ok(())
    }
}

impl Books {
    /// The identities of CONTRACT, and that `balanced` says whether they hold.
    pub fn check(&self) -> Result<(), String> {
        let kernel = self.kernel_min_flt + self.kernel_maj_flt;
        let ours = self.observed + self.dropped + self.untraced;
        if self.balanced != (kernel == ours) {
            return Err(format!(
                "balanced is {}, but the kernel counted {kernel} and memtrace {ours}",
                self.balanced
            ));
        }
        same(
            "direct + causal + unattributed",
            self.direct + self.causal.unwrap_or(0) + self.unattributed,
            self.observed,
        )
    }
}

fn same<T: Copy + PartialEq + Display>(what: &str, is: T, should_be: T) -> Result<(), String> {
    if is == should_be {
        Ok(())
    } else {
        Err(format!("{what} is {is}, not {should_be}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn request() -> Value {
        json!({"type":"request","id":7,"pid":4242,"tid":4242,"method":"GET","path":"/saju","route":"/saju","status":200,
          "trace_id":null,"start_ns":123,"duration_ns":456,"complete":true,
          "faults":{"total":60,"minor":60,"major":0,"user_mode":4,"kernel_mode":56,
            "cause":{"zero_fill":58,"zero_page_read":0,"cow":2,"file_map":0,"file_read":0,"swap_in":0,
              "write_protect":0,"other":0},
            "region":{"heap":2,"anon":58,"stack":0,"file":0,"jit":0,"shmem":0,"vdso":0,"unmapped":0},"files":null,"attribution":{"direct":60,"causal":null},"in_window":75,"open_requests_max":3,
            "time_ns":null},
          "frames":{"allocated":64,"freed":3,"user":60,"page_table":2,"kernel":2,"huge":0},
          "space":{"mmap_calls":1,"mmap_bytes":262_144,"munmap_calls":0,"munmap_bytes":0,"brk_calls":0,"brk_bytes":0,
            "mremap_calls":0,"madvise_calls":0,"mprotect_calls":0},
          "rss":{"start":81_000_000,"end":81_245_760,"delta":245_760,"anon_delta":245_760,"file_delta":0,
            "shmem_delta":0,"swap_delta":0,"error_max":0},
          "values":{"heapUsed":-7},"runtime":null})
    }

    fn summary() -> Value {
        json!({"type":"summary","requests":1,"other_requests":0,"elapsed_ns":10,
          "books":{"kernel_min_flt":72,"kernel_maj_flt":2,"observed":70,"direct":60,"causal":null,"unattributed":10,
            "dropped":0,"untraced":4,"failed":9,"timed":null,"balanced":true},
          "unattributed":{"idle":8,"startup":2},
          "cause":{"zero_fill":60,"zero_page_read":0,"cow":2,"file_map":8,"file_read":0,"swap_in":0,
            "write_protect":0,"other":0},
          "region":{"heap":2,"anon":60,"stack":0,"file":8,"jit":0,"shmem":0,"vdso":0,"unmapped":0},"lost":{"fault":0,"mm":0,"io":0,"frame":0,"task":0,"ns":0},
          "target":{"pids":[4242],"comm":"node"},"command_status":null,"notes":[],"kernel":"6.18","version":"0.1.0"})
    }

    fn report(request: &Value, summary: &Value) -> Report {
        Report::parse(&format!("{request}\n{summary}\n")).unwrap()
    }

    #[test]
    fn a_report_whose_parts_add_up_passes() {
        assert_eq!(report(&request(), &summary()).check(), Ok(()));
    }

    #[test]
    fn each_part_that_does_not_add_up_is_named() {
        for (path, value, named) in [
            ("/faults/minor", json!(59), "minor + major"),
            ("/faults/kernel_mode", json!(57), "user_mode + kernel_mode"),
            ("/faults/cause/cow", json!(3), "sum of cause"),
            ("/faults/region/heap", json!(1), "sum of region"),
            ("/faults/attribution/causal", json!(1), "direct + causal"),
            ("/faults/in_window", json!(59), "in_window"),
            ("/faults/open_requests_max", json!(0), "open_requests_max"),
            ("/frames/kernel", json!(3), "user + page_table + kernel"),
            ("/rss/end", json!(80_000_000), "rss.delta is 245760, not -1000000"),
        ] {
            let mut request = request();
            *request.pointer_mut(path).unwrap() = value;
            let why = report(&request, &summary()).check().unwrap_err();
            assert!(why.contains(named), "{path}: {why}");
        }
        for (path, value, named) in [
            ("/books/balanced", json!(false), "balanced is false"),
            ("/books/observed", json!(71), "balanced is true"),
            ("/books/unattributed", json!(9), "direct + causal + unattributed"),
            ("/unattributed/idle", json!(7), "by reason"),
            ("/cause/cow", json!(3), "sum of cause"),
            ("/region/heap", json!(1), "sum of region"),
            ("/requests", json!(2), "requests listed"),
            ("/lost/io", json!(1), "lost"),
        ] {
            let mut summary = summary();
            *summary.pointer_mut(path).unwrap() = value;
            let why = report(&request(), &summary).check().unwrap_err();
            assert!(why.contains(named), "{path}: {why}");
        }
    }

    fn route() -> Value {
        let spread = json!({"min":60,"p50":60,"p90":60,"p99":60,"max":60,"sum":60});
        json!({"type":"route","route":"/saju","method":"GET","requests":1,
          "faults":{"total":spread,"minor":spread,"major":spread},"frames":null,"rss_delta":null,
          "duration_ns":spread,"fault_time_ns":null})
    }

    #[test]
    fn a_document_is_the_same_report() {
        let document = json!({"version":1,"requests":[request()],"routes":[route()],"summary":summary()});
        let report = Report::parse_document(&document.to_string()).unwrap();
        assert_eq!((report.check(), report.routes.len()), (Ok(()), 1));
        for missing in ["version", "requests", "routes", "summary"] {
            let mut document = document.clone();
            document.as_object_mut().unwrap().remove(missing);
            let why = Report::parse_document(&document.to_string()).unwrap_err();
            assert!(why.contains(missing), "{why}");
        }
    }

    #[test]
    fn what_the_schema_forbids_is_no_report() {
        for (kind, path, value) in [
            ("request", "/faults/total", json!(-1)),
            ("request", "/duration_ns", json!(1.5)),
            ("request", "/faults/cause", json!({"cow": 60})),
            ("request", "/rss", json!({})),
            ("route", "/faults/total/p50", json!(null)),
            ("route", "/requests", json!("1")),
            ("summary", "/notes", json!([1])),
            ("summary", "/unattributed/idle", json!(null)),
        ] {
            let mut lines = [request(), route(), summary()];
            let line = lines.iter_mut().find(|line| line["type"] == kind).unwrap();
            *line.pointer_mut(path).unwrap() = value;
            let why = Report::parse(&lines.map(|line| line.to_string()).join("\n")).unwrap_err();
            assert!(why.contains("schema") && why.contains(path), "{path}: {why}");
        }
    }

    #[test]
    fn a_malformed_report_is_no_report() {
        let (request, summary) = (request(), summary());
        for lines in [
            String::new(),
            format!("{request}\n"),
            format!("{summary}\n{request}\n"),
            format!("{summary}\n{summary}\n"),
            format!("{{\"type\":\"other\"}}\n{summary}\n"),
            format!("not json\n{summary}\n"),
            format!("{{\"type\":\"request\"}}\n{summary}\n"),
        ] {
            assert!(Report::parse(&lines).is_err(), "{lines}");
        }
    }
}
