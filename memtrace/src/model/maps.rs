//! The lines of `/proc/PID/maps`.
//!
//! Owns their form, byte by byte: the kernel writes paths as they are, so a line need not be UTF-8. Must not know
//! what a mapping is for, nor who read the text.

#[cfg(test)]
mod tests;

use std::{fmt::Write as _, ops::Range};

use super::vma::{PAGE, Prot};

/// One line: a mapping, as `show_map_vma` writes it in
/// <https://elixir.bootlin.com/linux/v6.12/source/fs/proc/task_mmu.c>.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapsLine<'a> {
    /// Its addresses. Never empty, and page by page.
    pub range: Range<u64>,
    /// `rwx`
    pub prot: Prot,
    /// `s` and not `p`: `VM_MAYSHARE`.
    pub shared: bool,
    /// Where in the file it begins, in bytes.
    pub offset: u64,
    /// The file's device: major, minor.
    pub dev: (u32, u32),
    /// The file's inode, or 0.
    pub inode: u64,
    /// The path or the `[name]`, as the kernel wrote it: a newline as `\012` and everything else raw. Empty for
    /// anonymous memory.
    pub name: &'a [u8],
}

/// A line that is not one of `/proc/PID/maps`: where it stops making sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MapsError {
    /// The addresses: no hexadecimal numbers, empty, or not whole pages.
    #[error("no range of addresses")]
    Range,
    /// Not of the form `rwxp`.
    #[error("no permissions")]
    Permissions,
    /// Not a hexadecimal number of whole pages.
    #[error("no offset")]
    Offset,
    /// Not two hexadecimal numbers.
    #[error("no device")]
    Device,
    /// Not a decimal number.
    #[error("no inode")]
    Inode,
    /// The text ends before the line does, so that its name may be half a name.
    #[error("cut off")]
    Cut,
}

/// Every line of a text. The last one has to end with a newline, as the kernel's do.
pub fn parse(text: &[u8]) -> impl Iterator<Item = Result<MapsLine<'_>, MapsError>> {
    text.split_inclusive(|&byte| byte == b'\n').map(|line| {
        line.strip_suffix(b"\n")
            .ok_or(MapsError::Cut)
            .and_then(parse_line)
    })
}

/// One line, without its newline.
pub fn parse_line(line: &[u8]) -> Result<MapsLine<'_>, MapsError> {
    let (range, rest) = field(line).ok_or(MapsError::Range)?;
    let (start, end) = pair(range, b'-').ok_or(MapsError::Range)?;
    if start >= end || start % PAGE != 0 || end % PAGE != 0 {
        return Err(MapsError::Range);
    }
    let (permissions, rest) = field(rest).ok_or(MapsError::Permissions)?;
    let &[read, write, exec, share] = permissions else {
        return Err(MapsError::Permissions);
    };
    let flag = |byte, set, clear| match byte {
        _ if byte == set => Ok(true),
        _ if byte == clear => Ok(false),
        _ => Err(MapsError::Permissions),
    };
    let (offset, rest) = field(rest).ok_or(MapsError::Offset)?;
    let offset = hexadecimal(offset)
        .filter(|offset| offset % PAGE == 0)
        .ok_or(MapsError::Offset)?;
    let (dev, rest) = field(rest).ok_or(MapsError::Device)?;
    let (major, minor) = pair(dev, b':').ok_or(MapsError::Device)?;
    let number = |value: u64| u32::try_from(value).map_err(|_| MapsError::Device);
    // The kernel pads with blanks up to the name's column; a path begins with a slash.
    let (inode, name) = field(rest).unwrap_or((rest, b""));
    Ok(MapsLine {
        range: start..end,
        prot: Prot::new(
            flag(read, b'r', b'-')?,
            flag(write, b'w', b'-')?,
            flag(exec, b'x', b'-')?,
        ),
        shared: flag(share, b's', b'p')?,
        offset,
        dev: (number(major)?, number(minor)?),
        inode: decimal(inode).ok_or(MapsError::Inode)?,
        name: without_blanks(name),
    })
}

/// A name for people: control characters and bytes that are not UTF-8 written out, the rest as it is.
pub fn printable(name: &[u8]) -> String {
    let mut text = String::with_capacity(name.len());
    for chunk in name.utf8_chunks() {
        for c in chunk.valid().chars() {
            if c.is_control() {
                text.extend(c.escape_default());
            } else {
                text.push(c);
            }
        }
        for byte in chunk.invalid() {
            // Writing to a String cannot fail.
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
    text
}

/// Up to the next blank, and what is behind it.
fn field(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = text.iter().position(|&byte| byte == b' ')?;
    Some((&text[..at], &text[at + 1..]))
}

fn pair(text: &[u8], between: u8) -> Option<(u64, u64)> {
    let at = text.iter().position(|&byte| byte == between)?;
    Some((hexadecimal(&text[..at])?, hexadecimal(&text[at + 1..])?))
}

fn hexadecimal(text: &[u8]) -> Option<u64> {
    number(text, 16)
}

fn decimal(text: &[u8]) -> Option<u64> {
    number(text, 10)
}

/// Digits alone: `from_str_radix` would take a sign.
fn number(text: &[u8], radix: u32) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0_u64, |value, &byte| {
        let digit = char::from(byte).to_digit(radix)?;
        value.checked_mul(radix.into())?.checked_add(digit.into())
    })
}

/// Without the blanks that it begins with. `trim_ascii_start` would take a path's own tabs for such.
fn without_blanks(text: &[u8]) -> &[u8] {
    let blanks = text.iter().take_while(|&&byte| byte == b' ').count();
    &text[blanks..]
}
