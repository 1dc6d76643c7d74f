//! Lines as kernels write them, lines as nobody writes them.

use proptest::{collection::vec, prelude::*};

use super::*;

fn names(text: &[u8]) -> Vec<Vec<u8>> {
    parse(text)
        .map(|line| line.expect("a line").name.to_vec())
        .collect()
}

#[test]
fn every_field_is_read() {
    let line = parse_line(b"7f76bef16000-7f76bf06c000 r-xp 00026000 fe:00 326279    /usr/lib/libc.so.6");
    assert_eq!(
        line,
        Ok(MapsLine {
            range: 0x7f76_bef1_6000..0x7f76_bf06_c000,
            prot: Prot::new(true, false, true),
            shared: false,
            offset: 0x2_6000,
            dev: (0xfe, 0),
            inode: 326_279,
            name: b"/usr/lib/libc.so.6",
        })
    );
}

#[test]
fn names_are_kept_as_they_are() {
    let text: &[u8] = b"1000-2000 rw-p 00000000 00:00 0 \n\
        2000-3000 rw-p 00000000 00:00 0                          [heap]\n\
        3000-4000 rw-p 00000000 00:00 0                          [anon:a name]\n\
        4000-5000 rw-s 00000000 00:01 1026                       /memfd:a b (deleted)\n\
        5000-6000 r--p 00000000 fe:00 9                          /tmp/a\\012b\t\x1b[2J \xff (deleted)\n\
        6000-7000 rw-s 00000000 00:0e 7                          anon_inode:[io_uring]\n\
        ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0                  [vsyscall]\n";
    assert_eq!(
        names(text),
        [
            &b""[..],
            b"[heap]",
            b"[anon:a name]",
            b"/memfd:a b (deleted)",
            b"/tmp/a\\012b\t\x1b[2J \xff (deleted)",
            b"anon_inode:[io_uring]",
            b"[vsyscall]",
        ]
    );
}

#[test]
fn five_level_addresses_and_a_tebibyte() {
    let line = parse_line(b"ff7f76bef16000-ff8f76bef16000 ---p 00000000 00:00 0 ").expect("a line");
    assert_eq!(line.range, 0xff_7f76_bef1_6000..0xff_8f76_bef1_6000);
}

#[test]
fn what_is_no_line_says_why() {
    for (line, error) in [
        (&b""[..], MapsError::Range),
        (b"1000-2000", MapsError::Range),
        (b"2000-1000 rw-p 00000000 00:00 0 ", MapsError::Range),
        (b"1000-1000 rw-p 00000000 00:00 0 ", MapsError::Range),
        (b"1001-2000 rw-p 00000000 00:00 0 ", MapsError::Range),
        (b"+1000-2000 rw-p 00000000 00:00 0 ", MapsError::Range),
        (b"1000-10000000000002000 rw-p 00000000 00:00 0 ", MapsError::Range),
        (b"1000-2000 rw-q 00000000 00:00 0 ", MapsError::Permissions),
        (b"1000-2000 rw-pp 00000000 00:00 0 ", MapsError::Permissions),
        (b"1000-2000 rw-p 0000000g 00:00 0 ", MapsError::Offset),
        (b"1000-2000 rw-p 00000001 00:00 0 ", MapsError::Offset),
        (b"1000-2000 rw-p 00000000 0000 0 ", MapsError::Device),
        (b"1000-2000 rw-p 00000000 1ffffffff:00 0 ", MapsError::Device),
        (b"1000-2000 rw-p 00000000 00:00 -1 ", MapsError::Inode),
        (
            b"1000-2000 rw-p 00000000 00:00 99999999999999999999 ",
            MapsError::Inode,
        ),
    ] {
        assert_eq!(parse_line(line), Err(error), "{}", printable(line));
    }
}

#[test]
fn a_text_that_is_cut_off_says_so() {
    let text = b"1000-2000 rw-p 00000000 00:00 0 \n2000-3000 r--p 00000000 fe:00 9    /usr/li";
    let lines: Vec<_> = parse(text).map(|line| line.map(|line| line.range)).collect();
    assert_eq!(lines, [Ok(0x1000..0x2000), Err(MapsError::Cut)]);
    assert_eq!(parse(b"").count(), 0);
}

#[test]
fn names_for_people_have_nothing_that_acts() {
    for (name, text) in [
        (&b"/a\tb\x1b[2J\x7f"[..], "/a\\tb\\u{1b}[2J\\u{7f}"),
        (b"/\xff\xc3", "/\\xff\\xc3"),
        ("/사주 (deleted)".as_bytes(), "/사주 (deleted)"),
        (b"/a\\012b", "/a\\012b"),
    ] {
        assert_eq!(printable(name), text);
    }
}

/// A line as the kernel would write it.
fn written(line: &MapsLine<'_>) -> Vec<u8> {
    let flag = |set, c| if set { c } else { '-' };
    let mut text = format!(
        "{:08x}-{:08x} {}{}{}{} {:08x} {:02x}:{:02x} {} ",
        line.range.start,
        line.range.end,
        flag(line.prot.read(), 'r'),
        flag(line.prot.write(), 'w'),
        flag(line.prot.exec(), 'x'),
        if line.shared { 's' } else { 'p' },
        line.offset,
        line.dev.0,
        line.dev.1,
        line.inode
    )
    .into_bytes();
    if !line.name.is_empty() {
        text.resize(text.len().max(72), b' ');
        text.push(b' ');
        text.extend(line.name);
    }
    text
}

/// Any bytes that the kernel leaves in a path.
fn any_name() -> impl Strategy<Value = Vec<u8>> {
    vec(
        any::<u8>().prop_filter("written as \\012", |&byte| byte != b'\n'),
        0..40,
    )
    .prop_map(|mut name| {
        if !name.is_empty() {
            name.insert(0, b'/');
        }
        name
    })
}

proptest! {
    #[test]
    fn what_is_written_is_read(
        (start, pages) in (0..u64::MAX / PAGE).prop_flat_map(|start| (Just(start), 1..=u64::MAX / PAGE - start)),
        flags in any::<[bool; 4]>(),
        offset in 0..u64::MAX / PAGE,
        dev in any::<(u32, u32)>(),
        inode in any::<u64>(),
        name in any_name(),
    ) {
        let [read, write, exec, shared] = flags;
        let line = MapsLine {
            range: start * PAGE..(start + pages) * PAGE,
            prot: Prot::new(read, write, exec),
            shared,
            offset: offset * PAGE,
            dev,
            inode,
            name: &name,
        };
        let text = written(&line);
        prop_assert_eq!(parse_line(&text), Ok(line.clone()));
        let two = [text.as_slice(), b"\n", text.as_slice(), b"\n"].concat();
        prop_assert_eq!(parse(&two).collect::<Vec<_>>(), [Ok(line.clone()), Ok(line)]);
    }

    #[test]
    fn any_bytes_are_a_value(bytes in vec(any::<u8>(), 0..200)) {
        for line in parse(&bytes).flatten() {
            prop_assert!(line.range.start < line.range.end);
        }
        prop_assert!(!printable(&bytes).contains(char::is_control));
    }

    #[test]
    fn a_damaged_line_is_a_value(at in 0..80_usize, byte: u8) {
        let mut text = b"7f76bef16000-7f76bf06c000 r-xp 00026000 fe:00 326279                     /usr/lib/libc.so.6\n".to_vec();
        text[at] = byte;
        prop_assert!(parse(&text).count() >= 1);
    }
}
