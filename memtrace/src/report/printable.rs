//! Text from strangers, made fit for a terminal.
//!
//! Owns what may reach the operator's screen and how many columns it takes. Must not know what the text means.

use std::borrow::Cow;

use unicode_width::UnicodeWidthChar;

/// What stands for the part that was cut out.
const ELLIPSIS: char = '…';

/// Whether a terminal may act on `c` or show nothing for it: control characters (C1 too, where xterm finds its
/// 8-bit escapes), bidirectional overrides, other format characters and variation selectors.
pub(super) fn is_unsafe(c: char) -> bool {
    match c {
        ' '..='~' => false,
        // Soft hyphen; line and paragraph separators.
        '\u{ad}' | '\u{2028}' | '\u{2029}' => true,
        _ if c.is_control() => true,
        // What has no width is a format character, except for vowels and marks that sit on the letter before.
        _ if c.width().is_none_or(|width| width == 0) => !is_mark(c),
        _ => false,
    }
}

/// Hangul vowels and the like, which are letters; accents; the Japanese voice marks.
fn is_mark(c: char) -> bool {
    c.is_alphabetic() || matches!(c, '\u{300}'..='\u{36f}' | '\u{3099}' | '\u{309a}')
}

/// `text` with every character that [`is_unsafe`] written out, as Rust does: `\n`, `\u{1b}`.
pub(crate) fn escaped(text: &str) -> Cow<'_, str> {
    if is_plain(text) || !text.contains(is_unsafe) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if is_unsafe(c) {
            safe.extend(c.escape_default());
        } else {
            safe.push(c);
        }
    }
    Cow::Owned(safe)
}

/// Nearly all texts are: each byte is a character, and takes a column.
#[inline]
pub(super) fn is_plain(text: &str) -> bool {
    // To the end in any case: that takes many bytes at once.
    text.bytes()
        .fold(true, |plain, b| plain & matches!(b, b' '..=b'~'))
}

/// The columns that `text` takes.
pub(super) fn columns(text: &str) -> usize {
    if is_plain(text) {
        return text.len();
    }
    text.chars().map(char_columns).sum()
}

fn char_columns(c: char) -> usize {
    c.width().unwrap_or(0)
}

/// `text` in at most `max` columns: where it is longer, the middle gives way to `…`.
pub(super) fn shortened(text: &str, max: usize) -> Cow<'_, str> {
    if columns(text) <= max {
        return Cow::Borrowed(text);
    }
    let Some(room) = max.checked_sub(1) else {
        return Cow::Borrowed("");
    };
    let back_room = room / 2;
    let fitting = |chars: &mut dyn Iterator<Item = (usize, char)>, room: usize| {
        let mut used = 0;
        let fits = chars.take_while(|&(_, c)| {
            used += char_columns(c);
            used <= room
        });
        fits.last()
    };
    let front = fitting(&mut text.char_indices(), room - back_room).map_or(0, |(at, c)| at + c.len_utf8());
    let back = fitting(&mut text.char_indices().rev(), back_room).map_or(text.len(), |(at, _)| at);
    Cow::Owned(format!(
        "{}{ELLIPSIS}{}",
        &text[..front],
        &text[back.max(front)..]
    ))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::report::sample;

    #[test]
    fn what_a_terminal_acts_on_is_written_out() {
        for (text, safe) in [
            ("/plain path", "/plain path"),
            ("/\u{1b}[2J\r\n\t\0\u{7f}", "/\\u{1b}[2J\\r\\n\\t\\u{0}\\u{7f}"),
            ("/\u{9b}31m\u{85}", "/\\u{9b}31m\\u{85}"),
            (
                "/\u{202e}gpj.exe\u{2066}\u{200b}\u{feff}",
                "/\\u{202e}gpj.exe\\u{2066}\\u{200b}\\u{feff}",
            ),
            (
                "/\u{ad}\u{2028}\u{e0041}\u{fe0f}",
                "/\\u{ad}\\u{2028}\\u{e0041}\\u{fe0f}",
            ),
            (
                "/사주/é/e\u{301}/\u{1109}\u{1161}/が/か\u{3099}/🙂",
                "/사주/é/e\u{301}/\u{1109}\u{1161}/が/か\u{3099}/🙂",
            ),
        ] {
            assert_eq!(escaped(text), safe);
        }
    }

    #[test]
    fn the_middle_gives_way() {
        for (text, max, short) in [
            ("abcdefgh", 8, "abcdefgh"),
            ("abcdefgh", 7, "abc…fgh"),
            ("abcdefgh", 6, "abc…gh"),
            ("abcdefgh", 2, "a…"),
            ("abcdefgh", 1, "…"),
            ("abcdefgh", 0, ""),
            // A wide character that would be cut in two goes.
            ("가나다라", 8, "가나다라"),
            ("가나다라", 7, "가…라"),
            ("가나다라", 4, "가…"),
            ("가나다라", 3, "…"),
            ("", 0, ""),
        ] {
            assert_eq!(shortened(text, max), short, "{text} in {max}");
        }
    }

    proptest! {
        #[test]
        fn no_text_gets_past(text in sample::any_path(), max in 0..80_usize) {
            let safe = escaped(&text);
            prop_assert!(!safe.contains(is_unsafe) && !safe.contains(char::is_control));
            prop_assert_eq!(escaped(&safe), safe.clone());
            let short = shortened(&safe, max);
            prop_assert!(columns(&short) <= max);
            prop_assert!(columns(&safe) > max || short == safe);
        }
    }
}
