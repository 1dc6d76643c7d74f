//! A simulated kernel: threads whose counters are known, and what the probes would say.

use super::*;

/// A kernel with one process, whose threads do as they are told.
///
/// All that it tells is told again to a second pipeline, with what may be kept of it: both have to say the same.
pub(super) struct Kernel {
    pub(super) pipeline: Pipeline,
    pub(super) again: Option<Pipeline>,
    pub(super) time: u64,
    pub(super) counts: std::collections::BTreeMap<u32, FaultCount>,
    pub(super) done: Vec<Request>,
}

impl Kernel {
    pub(super) fn new() -> Self {
        Self::with(Config::default())
    }

    pub(super) fn with(config: Config) -> Self {
        let config = Config {
            keeps_payload: true,
            ..config
        };
        let mut kernel = Self {
            pipeline: Pipeline::new(config.clone()),
            again: Some(Pipeline::new(config)),
            time: 1_000,
            counts: std::collections::BTreeMap::new(),
            done: Vec::new(),
        };
        kernel.notice(Notice::Begin { time: Nanos(1_000) });
        kernel.notice(Notice::Process {
            tgid: Tgid(P),
            comm: "app".into(),
            brk: Some(0x1000),
            io_uring: false,
        });
        kernel
    }

    pub(super) fn notice(&mut self, notice: Notice) {
        self.feed(Event::Notice(notice));
    }

    pub(super) fn thread(&mut self, tid: u32, count: FaultCount) {
        self.counts.insert(tid, count);
        self.notice(Notice::Thread {
            tgid: Tgid(P),
            tid: Tid(tid),
            count,
            sp: None,
            comm: String::new(),
        });
    }

    pub(super) fn lost(&mut self, lost: Lost) {
        self.notice(Notice::Lost {
            lost,
            since: Nanos(0),
            until: Nanos(0),
        });
    }

    pub(super) fn header(&mut self, tid: u32, kind: u8) -> Header {
        self.time += 10;
        let count = self.counts.get(&tid).copied().unwrap_or_default();
        Header {
            time_ns: self.time,
            tgid: P,
            tid,
            min_flt: count.minor,
            maj_flt: count.major,
            kind,
            ..Header::default()
        }
    }

    pub(super) fn record(&mut self, record: Record<'_>) {
        self.feed(Event::Record(record));
        self.take_done();
    }

    pub(super) fn feed(&mut self, event: Event<'_>) {
        self.pipeline.feed(event.clone());
        let kept = self.pipeline.payload_to_keep();
        let Some(again) = &mut self.again else { return };
        again.feed(match event {
            Event::Record(Record::Io(io, payload)) => {
                let payload = payload.with_captured(kept).expect("as many bytes");
                Event::Record(Record::Io(io, payload))
            }
            other => other,
        });
        assert_eq!(again.payload_to_keep(), kept);
    }

    pub(super) fn take_done(&mut self) {
        let done = self.pipeline.take_done();
        if let Some(again) = &mut self.again {
            assert_eq!(again.take_done(), done);
        }
        self.done.extend(done);
    }

    pub(super) fn take_directives(&mut self) -> Vec<Directive> {
        let directives = self.pipeline.take_directives();
        if let Some(again) = &mut self.again {
            assert_eq!(again.take_directives(), directives);
        }
        directives
    }

    pub(super) fn attempt(&mut self, tid: u32, flags: u8) {
        self.attempt_at(tid, flags, 0x7000);
    }

    pub(super) fn attempt_at(&mut self, tid: u32, flags: u8, address: u64) {
        let header = Header {
            flags,
            ..self.header(tid, wire::KIND_FAULT)
        };
        self.record(Record::Fault(Fault {
            header,
            address,
            ip: 0x4000,
        }));
    }

    pub(super) fn call(&mut self, tid: u32, op: u8, ret: i64, args: [u64; 6]) {
        let header = Header {
            op,
            ..self.header(tid, wire::KIND_MM)
        };
        self.record(Record::Mm(Mm {
            header,
            began_ns: header.time_ns,
            ret,
            args,
            inode: 0,
            device: 0,
            magic: 0,
        }));
    }

    pub(super) fn count(&mut self, tid: u32) -> &mut FaultCount {
        self.counts.entry(tid).or_default()
    }

    pub(super) fn minor(&mut self, tid: u32, flags: u8) {
        self.attempt(tid, flags);
        self.count(tid).minor += 1;
    }

    pub(super) fn major(&mut self, tid: u32) {
        self.attempt(tid, wire::FAULT_KERNEL);
        self.count(tid).major += 1;
    }

    /// A thread makes another, of its own process or of a new one.
    pub(super) fn fork(&mut self, tid: u32, child_tgid: u32, child_tid: u32, child_sp: u64) {
        let header = self.header(tid, wire::KIND_FORK);
        self.record(Record::Fork(Fork {
            header,
            child_tgid,
            child_tid,
            child_sp,
        }));
    }

    pub(super) fn wait(&mut self, tid: u32) {
        let header = self.header(tid, wire::KIND_WAIT);
        self.record(Record::Wait(header));
    }

    pub(super) fn io(&mut self, tid: u32, op: u8, fd: i32, ret: i64) {
        let header = Header {
            op,
            fd,
            ..self.header(tid, wire::KIND_IO)
        };
        let io = Io {
            header,
            ret,
            other: 0,
        };
        self.record(Record::Io(io, Payload::unseen(u64::try_from(ret).unwrap_or(0))));
    }

    pub(super) fn bytes(&mut self, tid: u32, op: u8, fd: i32, bytes: &[u8]) {
        self.bytes_in(P, tid, op, fd, bytes);
    }

    /// The same in any process.
    pub(super) fn bytes_in(&mut self, tgid: u32, tid: u32, op: u8, fd: i32, bytes: &[u8]) {
        let header = Header {
            tgid,
            op,
            fd,
            flags: wire::IO_PAYLOAD,
            ..self.header(tid, wire::KIND_IO)
        };
        let len = u16::try_from(bytes.len()).unwrap();
        let mut segments = Segments::default();
        segments[0] = Segment {
            len: len.into(),
            head: len,
            tail: 0,
        };
        let io = Io {
            header,
            ret: len.into(),
            other: 0,
        };
        let raw = [io.as_bytes(), segments.as_bytes(), bytes].concat();
        self.record(Record::decode(&raw).unwrap());
    }

    pub(super) fn accept(&mut self, tid: u32, fd: i32) {
        self.io(tid, wire::OP_ACCEPT, 3, fd.into());
    }

    pub(super) fn request(&mut self, tid: u32, fd: i32, path: &str) {
        self.bytes(
            tid,
            wire::OP_READ,
            fd,
            format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes(),
        );
    }

    pub(super) fn respond(&mut self, tid: u32, fd: i32) {
        self.bytes(
            tid,
            wire::OP_WRITE,
            fd,
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        );
    }

    /// Ends the run: horizons are what the counters are now.
    pub(super) fn finish(mut self) -> (Vec<Request>, Outcome) {
        for (tid, count) in std::mem::take(&mut self.counts) {
            self.notice(Notice::Horizon { tid: Tid(tid), count });
        }
        let time = Nanos(self.time);
        self.notice(Notice::Ending { time });
        self.conclude()
    }

    /// Ends the run as it has been told to end.
    pub(super) fn conclude(mut self) -> (Vec<Request>, Outcome) {
        self.take_directives();
        let outcome = self.pipeline.finish();
        if let Some(again) = self.again {
            assert_eq!(again.finish(), outcome);
        }
        self.done.extend(outcome.requests.iter().cloned());
        (self.done, outcome)
    }
}
