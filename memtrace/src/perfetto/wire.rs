//! Protobuf's wire format, as far as the messages that come by the million need it.
//!
//! Owns field keys and lengths. Must not know any message. What it writes is what `prost` writes.

use prost::encoding::encode_varint;

/// How a field's value is laid out.
#[derive(Clone, Copy)]
enum Layout {
    Varint = 0,
    Fixed64 = 1,
    Length = 2,
}

fn key(out: &mut Vec<u8>, field: u32, layout: Layout) {
    encode_varint(u64::from(field << 3 | layout as u32), out);
}

/// Appends an integer, a boolean or an enumeration.
pub(super) fn integer(out: &mut Vec<u8>, field: u32, value: u64) {
    key(out, field, Layout::Varint);
    encode_varint(value, out);
}

/// Appends eight bytes: a `fixed64` or the bits of a `double`.
pub(super) fn fixed64(out: &mut Vec<u8>, field: u32, value: u64) {
    key(out, field, Layout::Fixed64);
    out.extend_from_slice(&value.to_le_bytes());
}

/// Appends a string, bytes, or a message that is encoded already.
pub(super) fn bytes(out: &mut Vec<u8>, field: u32, value: &[u8]) {
    key(out, field, Layout::Length);
    encode_varint(value.len() as u64, out);
    out.extend_from_slice(value);
}

/// Appends the message that `fill` appends the fields of.
pub(super) fn message(out: &mut Vec<u8>, field: u32, fill: impl FnOnce(&mut Vec<u8>)) {
    key(out, field, Layout::Length);
    // Its length comes before it, and is known after it. Nearly all fit the one byte that is left free for it.
    let place = out.len();
    out.push(0);
    fill(out);
    let length = out.len() - place - 1;
    if length < 0x80 {
        out[place] = length.to_le_bytes()[0];
        return;
    }
    let body = out.len();
    encode_varint(length as u64, out);
    let size = out.len() - body;
    let mut digits = [0; 10];
    digits[..size].copy_from_slice(&out[body..]);
    out.truncate(body);
    out.splice(place..=place, digits[..size].iter().copied());
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::encoding;

    use super::*;

    #[test]
    fn lengths_of_every_width_are_as_prost_has_them() {
        for length in [0, 1, 127, 128, 129, 16_383, 16_384, 70_000] {
            let body = vec![7; length];
            let mut ours = vec![1];
            message(&mut ours, 60, |out| out.extend_from_slice(&body));
            let mut theirs = vec![1];
            encoding::bytes::encode(60, &body, &mut theirs);
            assert!(ours == theirs, "of {length} bytes");
        }
    }

    proptest! {
        #[test]
        fn fields_are_as_prost_has_them(field in 1_u32..1_000, value in any::<u64>(), text in ".{0,200}") {
            let (mut ours, mut theirs) = (Vec::new(), Vec::new());
            integer(&mut ours, field, value);
            fixed64(&mut ours, field, value);
            bytes(&mut ours, field, text.as_bytes());
            encoding::uint64::encode(field, &value, &mut theirs);
            encoding::fixed64::encode(field, &value, &mut theirs);
            encoding::string::encode(field, &text, &mut theirs);
            prop_assert_eq!(ours, theirs);
        }
    }
}
