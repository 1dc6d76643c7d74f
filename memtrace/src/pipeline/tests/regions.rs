//! What faults fall in, as the calls and `/proc` have it at that moment.

use memtrace_common::wire::Unmapped;

use super::*;
use crate::ledger::entry::ByName;

const ANON: u64 = 0x22;
const FILE: u64 = 2;
const RW: u64 = 3;
const AT: u64 = 0x7f00_0000_0000;

impl Kernel {
    fn maps(&mut self, text: &str) {
        let time = Nanos(self.time);
        self.notice(Notice::Maps {
            tgid: Tgid(P),
            text: text.as_bytes().to_vec(),
            time,
        });
    }

    fn mmap(&mut self, at: u64, flags: u64) {
        let args = [0, 16 * PAGE, RW, flags, 3, 0];
        self.call(1, wire::MM_MMAP, at.cast_signed(), args);
    }

    fn write(&mut self, address: u64) {
        self.attempt_at(1, wire::FAULT_WRITE, address);
        self.count(1).minor += 1;
    }

    /// One thread that serves one request.
    fn serving() -> Self {
        let mut k = Kernel::new();
        k.thread(1, FaultCount::default());
        k.accept(1, 5);
        k.request(1, 5, "/");
        k
    }

    fn served(mut self) -> Request {
        self.respond(1, 5);
        let (mut requests, outcome) = self.finish();
        assert!(outcome.books.balanced);
        requests.remove(0)
    }
}

fn nonzero(sums: Option<ByName>) -> Vec<(&'static str, u64)> {
    let sums = sums.unwrap();
    sums.iter().filter(|(_, n)| *n > 0).collect()
}

fn assert_kinds(request: &Request, causes: &[(&'static str, u64)], regions: &[(&'static str, u64)]) {
    assert_eq!(nonzero(request.faults.cause), causes);
    assert_eq!(nonzero(request.faults.region), regions);
}

#[test]
fn a_fault_is_in_the_region_that_was_there_when_it_happened() {
    let mut k = Kernel::serving();
    k.mmap(AT, ANON);
    k.write(AT);
    k.call(1, wire::MM_MUNMAP, 0, [AT, 16 * PAGE, 0, 0, 0, 0]);
    k.notice(Notice::Mapped {
        tgid: Tgid(P),
        start: AT,
        path: Some(b"/lib/libc.so.6".to_vec()),
        shared: false,
        in_memory: false,
    });
    k.mmap(AT, FILE);
    k.write(AT + PAGE);
    let request = k.served();
    assert_kinds(
        &request,
        &[("cow", 1), ("zero_fill", 1)],
        &[("anon", 1), ("file", 1)],
    );
    let files = request.faults.files.as_ref().unwrap();
    assert_eq!((files[0].path.as_str(), files[0].faults), ("/lib/libc.so.6", 1));
}

#[test]
fn what_was_there_before_is_known_from_proc() {
    let mut k = Kernel::serving();
    k.maps(
        "00400000-00500000 r-xp 00000000 08:01 1 /usr/bin/app\n\
         00000000-00001000 rw-p 00000000 00:00 0 [heap]\n\
         7ffc00000000-7ffc00021000 rw-p 00000000 00:00 0 [stack]\n\
         7ffc00100000-7ffc00102000 r-xp 00000000 00:00 0 [vdso]\n",
    );
    k.write(0);
    k.write(0x7ffc_0000_1000);
    k.attempt_at(1, wire::FAULT_EXEC, 0x0040_0000);
    k.count(1).major += 1;
    k.attempt_at(1, wire::FAULT_EXEC, 0x7ffc_0010_0000);
    k.count(1).minor += 1;
    let request = k.served();
    assert_kinds(
        &request,
        &[("file_read", 1), ("other", 1), ("zero_fill", 2)],
        &[("file", 1), ("heap", 1), ("stack", 1), ("vdso", 1)],
    );
    assert_eq!(request.faults.files.as_ref().unwrap()[0].path, "/usr/bin/app");
}

#[test]
fn a_threads_stack_is_where_its_stack_pointer_is() {
    let mut k = Kernel::serving();
    k.mmap(AT, ANON);
    k.fork(1, P, 2, AT + 15 * PAGE);
    k.write(AT + 3 * PAGE);
    let request = k.served();
    assert_kinds(&request, &[("zero_fill", 1)], &[("stack", 1)]);
}

#[test]
fn a_stack_that_is_named_one_is_one() {
    let mut k = Kernel::serving();
    k.mmap(AT, ANON);
    for (start, name) in [
        (AT, "[anon: glibc: pthread stack: 77]"),
        (AT + PAGE, "[anon:arena]"),
    ] {
        k.notice(Notice::Named {
            tgid: Tgid(P),
            start,
            len: PAGE,
            name: name.as_bytes().to_vec(),
        });
    }
    k.write(AT);
    k.write(AT + PAGE);
    assert_kinds(&k.served(), &[("zero_fill", 2)], &[("anon", 1), ("stack", 1)]);
}

#[test]
fn memory_that_may_run_is_jit() {
    let mut k = Kernel::serving();
    k.mmap(AT, ANON);
    k.call(1, wire::MM_MPROTECT, 0, [AT, PAGE, 5, 0, 0, 0]);
    k.call(1, wire::MM_MPROTECT, 0, [AT, PAGE, RW, 0, 0, 0]);
    k.write(AT);
    k.write(AT + PAGE);
    let request = k.served();
    assert_kinds(&request, &[("zero_fill", 2)], &[("anon", 1), ("jit", 1)]);
}

#[test]
fn where_nothing_is_known_proc_is_asked_once_a_second() {
    let mut k = Kernel::serving();
    k.write(AT);
    k.write(AT);
    assert_eq!(k.take_directives(), [Directive::Read(Tgid(P))]);
    k.time += 1_000_000_000;
    k.write(AT);
    assert_eq!(k.take_directives(), [Directive::Read(Tgid(P))]);
    k.maps("7f0000000000-7f0000010000 rw-p 00000000 00:00 0 \n");
    k.write(AT);
    assert_eq!(k.take_directives(), []);
    let request = k.served();
    assert_kinds(
        &request,
        &[("other", 3), ("zero_fill", 1)],
        &[("anon", 1), ("unmapped", 3)],
    );
}

#[test]
fn where_calls_were_lost_proc_is_asked() {
    let mut k = Kernel::serving();
    k.mmap(AT, ANON);
    k.lost(Lost {
        mm: 1,
        ..Lost::default()
    });
    assert_eq!(k.take_directives(), [Directive::Read(Tgid(P))]);
    k.maps("7f0000000000-7f0000010000 rw-p 00000000 08:01 1 /app\n");
    k.write(AT);
    assert_kinds(&k.served(), &[("cow", 1)], &[("file", 1)]);
}

#[test]
fn a_failed_call_changes_nothing() {
    let mut k = Kernel::serving();
    k.mmap(AT, ANON);
    k.call(1, wire::MM_MPROTECT, -13, [AT, PAGE, 5, 0, 0, 0]);
    k.call(1, wire::MM_MMAP, -12, [AT, PAGE, RW, FILE, 3, 0]);
    k.write(AT);
    assert_kinds(&k.served(), &[("zero_fill", 1)], &[("anon", 1)]);
}

#[test]
fn a_munmap_that_has_returned_says_what_became_of_the_fault_before_it() {
    let mut k = Kernel::serving();
    k.attempt(1, 0);
    let header = Header {
        op: wire::MM_MUNMAP,
        ..k.header(1, wire::KIND_UNMAPPED)
    };
    k.record(Record::Unmapped(Unmapped {
        header,
        began_ns: header.time_ns,
        ret: 0,
    }));
    // Without a record between, this one would be the attempt's.
    k.count(1).minor += 1;
    k.respond(1, 5);
    let (requests, outcome) = k.finish();
    assert_eq!((outcome.books.failed, outcome.books.untraced), (1, 1));
    assert_eq!((requests[0].faults.total, requests[0].space.munmap_calls), (0, 0));
}
