//! Requests for tests: plain ones, one with every field known, and generated ones that keep CONTRACT's identities.

use std::collections::BTreeMap;

use proptest::prelude::*;

use crate::ledger::entry::{
    Attribution, Books, Faults, FileFaults, Frames, Lost, Request, Rss, RuntimeSize, Space, Summary, Target,
};
use crate::ledger::route::Routing;
use crate::ledger::{causes_of, regions_of};
use crate::model::{cause::Cause, vma::Region};

/// A whole request with `faults` minor faults in user mode, 2 ms long, begun at 1 s.
pub(crate) fn request(id: u64, method: &str, path: &str, faults: u64) -> Request {
    Request {
        id,
        pid: 4242,
        tid: 4242,
        method: method.to_owned(),
        path: path.to_owned(),
        route: Routing::default().route(path),
        status: Some(200),
        trace_id: None,
        start_ns: 1_000_000_000,
        duration_ns: 2_000_000,
        complete: true,
        faults: Faults {
            total: faults,
            minor: faults,
            user_mode: faults,
            attribution: Attribution {
                direct: faults,
                causal: None,
            },
            in_window: faults,
            open_requests_max: 1,
            ..Faults::default()
        },
        frames: None,
        space: Space::default(),
        rss: None,
        values: None,
        runtime: None,
    }
}

/// One `POST /saju` with all fields known, those of later features too.
pub(crate) fn full(id: u64) -> Request {
    Request {
        status: Some(201),
        trace_id: Some("0af7651916cd43dd8448eb211c80319c".to_owned()),
        duration_ns: 412_345_678,
        faults: Faults {
            total: 60,
            minor: 58,
            major: 2,
            user_mode: 4,
            kernel_mode: 56,
            cause: Some(causes_of(&[
                ("zero_fill", 58),
                ("zero_page_read", 0),
                ("cow", 2),
                ("file_map", 0),
                ("file_read", 0),
                ("swap_in", 0),
                ("write_protect", 0),
                ("other", 0),
            ])),
            region: Some(regions_of(&[
                ("heap", 2),
                ("anon", 57),
                ("stack", 0),
                ("file", 1),
                ("jit", 0),
                ("shmem", 0),
                ("vdso", 0),
                ("unmapped", 0),
            ])),
            files: Some(vec![FileFaults {
                path: "/usr/lib/libc.so.6".to_owned(),
                faults: 1,
            }]),
            attribution: Attribution {
                direct: 40,
                causal: Some(20),
            },
            in_window: 75,
            open_requests_max: 3,
            time_ns: Some(91_000),
        },
        frames: Some(Frames {
            allocated: 64,
            freed: 3,
            user: 60,
            page_table: 2,
            kernel: 2,
            huge: 0,
        }),
        space: Space {
            mmap_calls: 1,
            mmap_bytes: 262_144,
            ..Space::default()
        },
        rss: Some(Rss {
            start: 81_245_760,
            end: 81_000_000,
            delta: -245_760,
            anon_delta: -245_760,
            ..Rss::default()
        }),
        values: Some([("heapUsed".to_owned(), -4_096)].into()),
        runtime: Some(
            [(
                "heapUsed".to_owned(),
                RuntimeSize {
                    start: Some(9_000_000),
                    end: Some(9_004_096),
                },
            )]
            .into(),
        ),
        ..request(id, "POST", "/saju", 0)
    }
}

/// All 24,310 faults under the first of these names.
fn all_of(names: &[&'static str]) -> BTreeMap<&'static str, u64> {
    let first = names.first().copied();
    names
        .iter()
        .map(|&name| (name, if Some(name) == first { 24_310 } else { 0 }))
        .collect()
}

/// A run of 10 s whose books balance.
pub(crate) fn summary() -> Summary {
    let books = Books {
        kernel_min_flt: 24_308,
        kernel_maj_flt: 2,
        observed: 24_310,
        direct: 24_002,
        unattributed: 308,
        balanced: true,
        ..Books::default()
    };
    Summary {
        requests: 40,
        other_requests: 0,
        elapsed_ns: 10_000_000_000,
        books,
        unattributed: BTreeMap::from([
            ("background_thread".to_owned(), 0),
            ("idle".to_owned(), 210),
            ("startup".to_owned(), 98),
        ]),
        cause: all_of(&Cause::ALL.map(Cause::name)),
        region: all_of(&Region::ALL.map(Region::name)),
        lost: Lost::default(),
        target: Target {
            pids: vec![4242],
            comm: "node".to_owned(),
        },
        command_status: None,
        notes: Vec::new(),
        kernel: "6.18.44".to_owned(),
        version: "0.1.0".to_owned(),
    }
}

/// Paths that a hostile client may send, among plain ones.
pub(crate) fn any_path() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => "/[a-z]{1,4}",
        2 => "(/([a-z]{1,30}|[0-9]{1,9})){1,9}",
        1 => any::<String>(),
        1 => prop::collection::vec(any::<u8>(), 0..60).prop_map(|bytes| Routing::default().path(&bytes)),
        1 => prop::collection::vec(
            prop::sample::select(vec![
                '\u{1b}', '[', '2', 'J', '\n', '\t', '\r', '\u{7f}', '\u{9b}', '\u{202e}', '\u{200d}', '\u{fe0f}',
                '\u{2764}', '\u{ac00}', '\u{1100}', '\u{1161}', '\u{301}', '\u{1f468}', '"', '\\', '…', 'a', '/',
            ]),
            0..60,
        )
        .prop_map(String::from_iter),
    ]
}

/// `total` split in two anywhere.
fn split(total: u64) -> impl Strategy<Value = (u64, u64)> {
    (0..=total).prop_map(move |part| (part, total - part))
}

/// Any faults that add up.
fn any_faults() -> impl Strategy<Value = Faults> {
    let total = prop_oneof![0..200_u64, 0..3_000_000_000_u64];
    total.prop_flat_map(|total| {
        let parts = (
            split(total),
            split(total),
            split(total),
            any::<bool>(),
            0..1_000_u64,
        );
        let extras = (1..9_u64, prop::option::of(0..10_000_000_000_u64));
        (parts, extras).prop_map(move |(parts, (open_requests_max, time_ns))| {
            let ((major, minor), (user_mode, kernel_mode), (causal, direct), known, others) = parts;
            let attribution = if known {
                Attribution {
                    direct,
                    causal: Some(causal),
                }
            } else {
                Attribution {
                    direct: total,
                    causal: None,
                }
            };
            Faults {
                total,
                minor,
                major,
                user_mode,
                kernel_mode,
                attribution,
                in_window: total + others,
                open_requests_max,
                time_ns,
                ..Faults::default()
            }
        })
    })
}

/// Any request whose figures add up.
pub(crate) fn any_request() -> impl Strategy<Value = Request> {
    let head = (
        any::<u64>(),
        "GET|POST|\\PC{0,5}|",
        any_path(),
        prop::option::of(100..1_000_u16),
    );
    let times = (
        any::<u64>(),
        prop_oneof![0..10_000_000_000_u64, any::<u64>()],
        any::<bool>(),
    );
    let rss = prop::option::of((0..1_u64 << 40, 0..1_u64 << 40));
    (head, times, any_faults(), rss).prop_map(|((id, method, path, status), times, faults, rss)| Request {
        id,
        method,
        route: Routing::default().route(&path),
        path,
        status,
        start_ns: times.0,
        duration_ns: times.1,
        complete: times.2,
        faults,
        rss: rss.map(|(start, end)| Rss {
            start,
            end,
            delta: end.cast_signed() - start.cast_signed(),
            ..Rss::default()
        }),
        ..request(0, "", "", 0)
    })
}
