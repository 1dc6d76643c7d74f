//! Connections that are open when the run ends.

use super::*;
use crate::http;

#[test]
fn what_a_run_ends_in_the_middle_of_is_told_as_far_as_it_is_known() {
    let mut k = Kernel::new();
    k.thread(1, FaultCount::default());
    for (fd, bytes) in [
        (5, &b"GET /never HTTP/1.1\r\nX: y"[..]),
        (6, b"POST /half"),
        (7, b"GET"),
        (8, b"\0"),
    ] {
        k.accept(1, fd);
        k.bytes(1, wire::OP_READ, fd, bytes);
        k.minor(1, 0);
    }
    let (requests, outcome) = k.finish();
    let told: Vec<_> = requests
        .iter()
        .map(|r| (&*r.method, &*r.path, r.status, r.complete, r.faults.total))
        .collect();
    assert_eq!(
        told,
        [
            ("GET", "/never", None, false, 1),
            ("POST", "/half", None, false, 1)
        ]
    );
    // Perhaps they never were any.
    assert_eq!(outcome.unattributed, [("idle".to_owned(), 2)].into());
    assert!(outcome.books.balanced);
}

#[test]
fn requests_that_went_unlisted_are_told_of_though_their_connection_is_open() {
    let mut k = Kernel::new();
    k.thread(1, FaultCount::default());
    k.accept(1, 5);
    for _ in 0..=http::QUEUE_MAX {
        k.request(1, 5, "/");
    }
    let (_, outcome) = k.finish();
    assert!(
        outcome
            .notes
            .iter()
            .any(|note| note.starts_with("1 pipelined request ")),
        "{:?}",
        outcome.notes
    );
}
