//! The W3C `traceparent` header.
//!
//! Owns its grammar (<https://www.w3.org/TR/trace-context/#traceparent-header>). Must not know where the value comes
//! from.

/// The trace id of a valid value: 32 lower-case hex digits.
pub(super) fn trace_id(value: &[u8]) -> Option<String> {
    let mut fields = value.trim_ascii().split(|&b| b == b'-');
    let version = hex(fields.next()?, 2)?;
    let trace_id = hex(fields.next()?, 32)?;
    let parent_id = hex(fields.next()?, 16)?;
    hex(fields.next()?, 2)?;
    // Version ff is forbidden; version 00 ends here, a later one may go on behind another dash.
    let valid = version != "ff" && (version != "00" || fields.next().is_none());
    (valid && !is_zero(trace_id) && !is_zero(parent_id)).then(|| trace_id.to_owned())
}

fn hex(field: &[u8], len: usize) -> Option<&str> {
    let digits = field.iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    (field.len() == len && digits)
        .then(|| str::from_utf8(field).ok())
        .flatten()
}

fn is_zero(field: &str) -> bool {
    field.bytes().all(|b| b == b'0')
}

#[cfg(test)]
mod tests {
    use super::trace_id;

    #[test]
    fn only_a_valid_value_has_a_trace_id() {
        let id = "4bf92f3577b34da6a3ce929d0e0e4736";
        let of = |value: &str| trace_id(value.as_bytes());
        assert_eq!(of(&format!("00-{id}-00f067aa0ba902b7-01")).as_deref(), Some(id));
        assert_eq!(
            of(&format!("cc-{id}-00f067aa0ba902b7-01-what")).as_deref(),
            Some(id)
        );
        assert_eq!(of(&format!("cc-{id}-00f067aa0ba902b7-01")).as_deref(), Some(id));
        for bad in [
            String::new(),
            format!("ff-{id}-00f067aa0ba902b7-01"),
            format!("00-{id}-00f067aa0ba902b7-01-what"),
            format!("cc-{id}-00f067aa0ba902b7-01.what"),
            format!("00-{id}-00f067aa0ba902b7"),
            format!("00-{id}-0000000000000000-01"),
            format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32)),
            format!("00-{}-00f067aa0ba902b7-01", id.to_uppercase()),
            format!("0-{id}-00f067aa0ba902b7-01"),
            format!("00-{id}-00f067aa0ba902b7-é"),
        ] {
            assert_eq!(of(&bad), None, "{bad}");
        }
    }
}
