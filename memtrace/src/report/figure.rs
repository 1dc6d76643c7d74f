//! Figures as a person reads them: counts, times, sizes and shares.
//!
//! Owns units and rounding. Must not know what is counted. Integers throughout, so a figure reads the same
//! everywhere.

/// `1234567` as `1,234,567`.
pub(crate) fn count(n: impl Into<u128>) -> String {
    let n = n.into();
    // Arithmetic in 128 bits takes its time.
    let digits = match u64::try_from(n) {
        Ok(n @ ..1_000) => return n.to_string(),
        Ok(n) => n.to_string(),
        Err(_) => n.to_string(),
    };
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// `1 fault`, `2 faults`: the count and its noun, whose plural is formed with `s`.
pub(crate) fn counted(n: impl Into<u128>, noun: &str) -> String {
    let n = n.into();
    format!("{} {noun}{}", count(n), if n == 1 { "" } else { "s" })
}

/// Nanoseconds as `850 ns`, `1.2 ms`, `412 ms`, `3.4 s`, `2m 05s`, `1h 02m` or `3d 04h`.
pub(crate) fn duration(ns: u64) -> String {
    const UNITS: [(u64, &str); 4] = [(1, "ns"), (1_000, "µs"), (1_000_000, "ms"), (1_000_000_000, "s")];
    const LONG_NS: u64 = 120 * 1_000_000_000;
    if ns < LONG_NS {
        return scaled(ns, &UNITS, 1_000);
    }
    // Half a second or more is the next second.
    let seconds = ns / 1_000_000_000 + u64::from(ns % 1_000_000_000 >= 500_000_000);
    let (minutes, hours) = (seconds / 60, seconds / 3_600);
    match hours {
        0 => format!("{minutes}m {:02}s", seconds % 60),
        1..24 => format!("{hours}h {:02}m", minutes % 60),
        _ => format!("{}d {:02}h", hours / 24, hours % 24),
    }
}

/// A change in bytes: `0`, `+512 B`, `-240 KiB`, `+4.6 MiB`.
pub(crate) fn bytes_changed(delta: i64) -> String {
    let sign = match delta {
        0 => return "0".to_owned(),
        1.. => '+',
        _ => '-',
    };
    format!("{sign}{}", bytes(delta.unsigned_abs()))
}

/// A size: `512 B`, `240 KiB`, `4.6 MiB`.
pub(crate) fn bytes(size: u64) -> String {
    const UNITS: [(u64, &str); 5] = [
        (1, "B"),
        (1 << 10, "KiB"),
        (1 << 20, "MiB"),
        (1 << 30, "GiB"),
        (1 << 40, "TiB"),
    ];
    scaled(size, &UNITS, 1_024)
}

/// `value` in the first unit in which it stays below `limit`: a decimal below 100, whole from there on.
fn scaled(value: u64, units: &[(u64, &str)], limit: u128) -> String {
    let rounded = |size: u64, per: u64| rounded_quotient(value, per, size);
    let last = units.len() - 1;
    for (index, &(size, name)) in units.iter().enumerate() {
        let (whole, tenths) = (rounded(size, 1), rounded(size, 10));
        if size == 1 && whole < limit {
            return format!("{whole} {name}");
        }
        if (10..1_000).contains(&tenths) {
            return format!("{}.{} {name}", tenths / 10, tenths % 10);
        }
        if whole < limit || index == last {
            return format!("{whole} {name}");
        }
    }
    value.to_string()
}

/// `value * per / whole`, to the nearest. As it nearly always fits, it is calculated in 64 bits.
fn rounded_quotient(value: u64, per: u64, whole: u64) -> u128 {
    let twice = |value: u64, times: u64| value.checked_mul(times)?.checked_mul(2);
    if let (Some(times), Some(double)) = (twice(value, per), whole.checked_mul(2))
        && let Some(sum) = times.checked_add(whole)
    {
        return u128::from(sum / double);
    }
    let (value, per, whole) = (u128::from(value), u128::from(per), u128::from(whole));
    (value * per * 2 + whole) / (whole * 2)
}

/// What share `part` is of `whole`, in per cent: `0%` and `100%` only where it is none and all, `-` of nothing.
pub(crate) fn share(part: u64, whole: u64) -> String {
    if whole == 0 {
        return "-".to_owned();
    }
    match rounded_quotient(part, 100, whole) {
        0 if part > 0 => "<1%".to_owned(),
        100 if part < whole => ">99%".to_owned(),
        rounded => format!("{rounded}%"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn counts_are_grouped() {
        let seen = [0, 7, 999, 1_000, 24_310, 1_000_000, u64::MAX].map(count);
        assert_eq!(
            seen,
            [
                "0",
                "7",
                "999",
                "1,000",
                "24,310",
                "1,000,000",
                "18,446,744,073,709,551,615"
            ]
        );
        assert_eq!(
            [0_u64, 1, 2_000].map(|n| counted(n, "fault")),
            ["0 faults", "1 fault", "2,000 faults"]
        );
    }

    #[test]
    fn durations_read_as_people_say_them() {
        for (ns, text) in [
            (0, "0 ns"),
            (999, "999 ns"),
            (1_000, "1.0 µs"),
            (12_340, "12.3 µs"),
            (99_949, "99.9 µs"),
            (99_950, "100 µs"),
            (999_499, "999 µs"),
            (999_500, "1.0 ms"),
            (1_249_999, "1.2 ms"),
            (1_250_000, "1.3 ms"),
            (412_345_678, "412 ms"),
            (999_999_999, "1.0 s"),
            (3_400_000_000, "3.4 s"),
            (119_499_999_999, "119 s"),
            (119_999_999_999, "120 s"),
            (120_000_000_000, "2m 00s"),
            (125_500_000_000, "2m 06s"),
            (3_599_499_999_999, "59m 59s"),
            (3_599_500_000_000, "1h 00m"),
            (3_720_000_000_000, "1h 02m"),
            (86_399_000_000_000, "23h 59m"),
            (86_400_000_000_000, "1d 00h"),
            (u64::MAX, "213503d 23h"),
        ] {
            assert_eq!(duration(ns), text, "of {ns} ns");
        }
    }

    #[test]
    fn changes_in_bytes_have_a_sign() {
        for (delta, text) in [
            (0, "0"),
            (512, "+512 B"),
            (-1, "-1 B"),
            (1_023, "+1023 B"),
            (1_024, "+1.0 KiB"),
            (-245_760, "-240 KiB"),
            (4_823_450, "+4.6 MiB"),
            (1_048_575, "+1.0 MiB"),
            (1_000 << 10, "+1000 KiB"),
            (i64::MIN, "-8388608 TiB"),
        ] {
            assert_eq!(bytes_changed(delta), text, "of {delta}");
        }
    }

    #[test]
    fn a_share_is_all_or_none_only_if_it_is() {
        for (part, whole, text) in [
            (0, 0, "-"),
            (0, 14, "0%"),
            (1, 1_000, "<1%"),
            (38, 100, "38%"),
            (1, 8, "13%"),
            (467_922, 468_401, ">99%"),
            (7, 7, "100%"),
            (u64::MAX, u64::MAX, "100%"),
        ] {
            assert_eq!(share(part, whole), text, "{part} of {whole}");
        }
    }

    proptest! {
        #[test]
        fn figures_stay_short(ns in any::<u64>(), delta in -(1_i64 << 50)..1_i64 << 50) {
            prop_assert!(duration(ns).chars().count() <= 11, "{}", duration(ns));
            prop_assert!(bytes_changed(delta).chars().count() <= 9, "{}", bytes_changed(delta));
            prop_assert!(!duration(ns).contains(".0 n"));
        }
    }
}
