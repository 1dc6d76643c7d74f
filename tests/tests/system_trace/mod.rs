//! A system trace as Perfetto's own service writes one while it records, in as few messages as can be.
//!
//! Owns its bytes: fields of `TracePacket` and below, encoded by hand. Must not know what it is put beside.

fn varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
}

fn number(field: u64, value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    varint(field << 3, &mut out);
    varint(value, &mut out);
    out
}

fn nested(field: u64, parts: &[Vec<u8>]) -> Vec<u8> {
    let body = parts.concat();
    let mut out = Vec::new();
    varint(field << 3 | 2, &mut out);
    varint(body.len() as u64, &mut out);
    out.extend(body);
    out
}

fn packet(sequence: u64, parts: &[Vec<u8>]) -> Vec<u8> {
    nested(1, &[number(10, sequence), parts.concat()])
}

/// Process 4242, and its thread's switches every microsecond from `start_ns` on, read in `windows`.
pub(crate) fn written(start_ns: u64, windows: u64) -> Vec<u8> {
    let process = [number(1, 4242), number(2, 1), nested(3, &[b"node".to_vec()])];
    let mut trace = packet(2, &[number(8, start_ns), nested(2, &[nested(1, &process)])]);
    for window in 0..windows {
        let events: Vec<_> = (0..100)
            .map(|n| {
                let (from, to) = if n % 2 == 0 { (4242, 0) } else { (0, 4242) };
                let switch = [number(2, from), number(4, 1), number(6, to)];
                let at_ns = start_ns + (window * 100 + n) * 1_000;
                nested(2, &[number(1, at_ns), number(2, from), nested(4, &switch)])
            })
            .collect();
        trace.extend(packet(3, &[nested(1, &[number(1, 0), events.concat()])]));
        // All data sources were flushed, and then the buffers read: what is earlier than the last flush is final.
        for event in [3, 4] {
            let at = number(8, start_ns + (window + 1) * 100_000);
            trace.extend(packet(1, &[at, nested(69, &[number(event, 1)])]));
        }
    }
    trace
}
