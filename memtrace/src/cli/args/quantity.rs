//! Numbers and their units, as they are written on the command line.
//!
//! Must not know which option they are for.

use std::{ops::Range, time::Duration};

use memtrace_common::Tgid;

use crate::model::vma::PAGE;

/// A process's number.
pub(super) fn tgid(text: &str) -> Result<Tgid, String> {
    match text.parse::<u32>() {
        Ok(0) | Err(_) => Err("a process id is a number above 0".to_owned()),
        Ok(pid) => Ok(Tgid(pid)),
    }
}

/// A number and a unit that is longer than nothing: how long to trace.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    match offset(text) {
        Ok(duration) if duration.is_zero() => Err("the time to trace has to be longer than 0".to_owned()),
        other => other,
    }
}

/// A number and a unit: `ms`, `s` (the default), `m`, `h`.
pub(super) fn offset(text: &str) -> Result<Duration, String> {
    let digits = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let seconds = match unit {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err(format!("'{unit}' is no unit of time; there are ms, s, m and h")),
    };
    let number: f64 = number.parse().map_err(|_| format!("'{number}' is no number"))?;
    Duration::try_from_secs_f64(number * seconds).map_err(|error| error.to_string())
}

/// A number of bytes with an optional `K`, `M` or `G`; what the ring can have: a power of two, a page at least.
pub(super) fn size(text: &str) -> Result<u32, String> {
    const LEAST: u64 = 4096;
    const MOST: u64 = 1 << 31;
    let bytes = bytes(text)?.filter(|bytes| (1..=MOST).contains(bytes));
    let bytes = bytes.ok_or_else(|| "the ring can have from 4K to 2G".to_owned())?;
    u32::try_from(bytes.max(LEAST).next_power_of_two()).map_err(|e| e.to_string())
}

/// `ADDR+LEN`, or `ADDR` for the page that it is in: whole pages, from that of the first byte to that of the last. ADDR is
/// hexadecimal, as everywhere; LEN is a number of bytes, hexadecimal with `0x`, or with an optional `K`, `M` or `G`.
pub(super) fn span(text: &str) -> Result<Range<u64>, String> {
    const MOST: u64 = 1 << 30;
    let (address, length) = text.split_once('+').unwrap_or((text, "1"));
    let hexadecimal = |digits: &str| {
        let is_number = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        u64::from_str_radix(digits, 16).ok().filter(|_| is_number)
    };
    let start = hexadecimal(address.strip_prefix("0x").unwrap_or(address))
        .ok_or_else(|| format!("'{address}' is no address; one is hexadecimal, as `memtrace map` has it"))?;
    let length = match length.strip_prefix("0x") {
        Some(digits) => hexadecimal(digits),
        None => bytes(length)?,
    };
    let length = length
        .filter(|length| (1..=MOST).contains(length))
        .ok_or_else(|| "LEN is from 1 byte to 1G".to_owned())?;
    let end = start
        .checked_add(length)
        .and_then(|end| end.checked_next_multiple_of(PAGE));
    let end = end.ok_or_else(|| "there are no such addresses".to_owned())?;
    Ok(start - start % PAGE..end)
}

/// A number of bytes with an optional `K`, `M` or `G`; none if there is no such number.
fn bytes(text: &str) -> Result<Option<u64>, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let shift = match unit
        .to_ascii_uppercase()
        .trim_end_matches('B')
        .trim_end_matches('I')
    {
        "" => 0,
        "K" => 10,
        "M" => 20,
        "G" => 30,
        _ => return Err(format!("'{unit}' is no unit of size; there are K, M and G")),
    };
    let number: u64 = number.parse().map_err(|_| format!("'{number}' is no number"))?;
    Ok(number.checked_mul(1 << shift))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units() {
        assert_eq!(duration("150ms"), Ok(Duration::from_millis(150)));
        assert_eq!(duration("10s"), Ok(Duration::from_secs(10)));
        assert_eq!(duration("1.5"), Ok(Duration::from_millis(1500)));
        assert_eq!(duration("2m"), Ok(Duration::from_mins(2)));
        for bad in ["0", "0s", "", "s", "10 s", "1x", "-1s", "9999999999999999999999h"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn spans_are_whole_pages() {
        for (text, pages) in [
            ("0x1000+4K", 1..2),
            ("7f0000001234", 0x7_f000_0001..0x7_f000_0002),
            ("0x1fff+2", 1..3),
            ("1000+0x3000", 1..4),
            ("0+1G", 0..0x4_0000),
        ] {
            assert_eq!(span(text), Ok(pages.start * PAGE..pages.end * PAGE), "{text}");
        }
        for bad in [
            "",
            "+",
            "0x+4K",
            "0xg",
            "1000+",
            "1000+0",
            "1000+2G",
            "1000+4X",
            "1000+-1",
            "+4K",
            "0x+1000",
            "ffffffffffffffff+1",
            "-1000",
            "1000+0x",
            "1000+4K+4K",
        ] {
            assert!(span(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes_are_what_a_ring_can_have() {
        assert_eq!(size("16M"), Ok(16 << 20));
        assert_eq!(size("100K"), Ok(128 << 10));
        assert_eq!(size("1"), Ok(4096));
        assert_eq!(size("64MiB"), Ok(64 << 20));
        for bad in ["0", "", "3G", "12X", "K", "99999999999999999999"] {
            assert!(size(bad).is_err(), "{bad}");
        }
    }
}
