//! The whole table: every combination of what is known, in exactly one row.

use super::*;
use crate::model::vma::{FileId, Prot};

/// Any value, or this one.
type Or<T> = Option<T>;

const ANY: Or<bool> = None;
const YES: Or<bool> = Some(true);
const NO: Or<bool> = Some(false);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Anon,
    File,
    Shmem,
    Special,
    Nothing,
}

struct Row(Kind, Or<bool>, Or<bool>, Or<bool>, Or<bool>, Cause);

/// Region, shared, a page was there, written, major: cause.
#[rustfmt::skip]
const TABLE: &[Row] = &[
    Row(Kind::Anon,    ANY, NO,  YES, NO,  Cause::ZeroFill),
    Row(Kind::Anon,    ANY, NO,  NO,  NO,  Cause::ZeroPageRead),
    Row(Kind::Anon,    ANY, NO,  ANY, YES, Cause::SwapIn),
    Row(Kind::Anon,    NO,  YES, YES, ANY, Cause::Cow),
    // There is no such memory: shared memory without a file is shmem. But the rule is total.
    Row(Kind::Anon,    YES, YES, YES, ANY, Cause::WriteProtect),
    Row(Kind::Anon,    ANY, YES, NO,  ANY, Cause::Other),
    Row(Kind::File,    ANY, NO,  ANY, YES, Cause::FileRead),
    Row(Kind::File,    ANY, NO,  NO,  NO,  Cause::FileMap),
    Row(Kind::File,    NO,  NO,  YES, NO,  Cause::Cow),
    Row(Kind::File,    YES, NO,  YES, NO,  Cause::FileMap),
    Row(Kind::File,    NO,  YES, YES, ANY, Cause::Cow),
    Row(Kind::File,    YES, YES, YES, ANY, Cause::WriteProtect),
    Row(Kind::File,    ANY, YES, NO,  ANY, Cause::Other),
    Row(Kind::Shmem,   ANY, NO,  ANY, YES, Cause::SwapIn),
    Row(Kind::Shmem,   YES, NO,  ANY, NO,  Cause::ZeroFill),
    Row(Kind::Shmem,   NO,  NO,  NO,  NO,  Cause::FileMap),
    Row(Kind::Shmem,   NO,  NO,  YES, NO,  Cause::Cow),
    Row(Kind::Shmem,   NO,  YES, YES, ANY, Cause::Cow),
    Row(Kind::Shmem,   YES, YES, YES, ANY, Cause::WriteProtect),
    Row(Kind::Shmem,   ANY, YES, NO,  ANY, Cause::Other),
    Row(Kind::Special, ANY, ANY, ANY, ANY, Cause::Other),
    Row(Kind::Nothing, ANY, ANY, ANY, ANY, Cause::Other),
];

const BACKINGS: [(Kind, Option<Backing>); 9] = [
    (Kind::Anon, Some(Backing::Anon)),
    (Kind::Anon, Some(Backing::Heap)),
    (Kind::Anon, Some(Backing::Stack)),
    (Kind::File, Some(Backing::File(FileId::UNKNOWN))),
    (Kind::Shmem, Some(Backing::Shmem(None))),
    (Kind::Shmem, Some(Backing::Shmem(Some(FileId::UNKNOWN)))),
    (Kind::Special, Some(Backing::Vdso)),
    (Kind::Special, Some(Backing::Special)),
    (Kind::Nothing, None),
];

#[test]
fn every_combination_is_in_exactly_one_row() {
    let mut combinations = 0;
    let mut used = vec![0; TABLE.len()];
    for (kind, backing) in BACKINGS {
        for bits in 0..1_u32 << 5 {
            let [shared, protection, write, exec, major] = std::array::from_fn(|bit| bits >> bit & 1 == 1);
            let is = |want: Or<bool>, value| want.is_none_or(|want| want == value);
            let rows: Vec<usize> = (0..TABLE.len())
                .filter(|&n| {
                    let Row(of, shares, there, writes, majors, _) = TABLE[n];
                    kind == of
                        && is(shares, shared)
                        && is(there, protection)
                        && is(writes, write)
                        && is(majors, major)
                })
                .collect();
            let [row] = rows[..] else {
                panic!("{kind:?} {bits:05b}: rows {rows:?}");
            };
            used[row] += 1;
            combinations += 1;
            let vma = backing.map(|backing| Vma::new(Prot::NONE, shared, backing, 0));
            let cause = Cause::of(Access { write, exec }, protection, vma.as_ref(), major);
            assert_eq!(cause, TABLE[row].5, "row {row}: {backing:?} {bits:05b}");
        }
    }
    assert_eq!(combinations, 9 * 32);
    assert!(used.iter().all(|&uses| uses > 0), "{used:?}");
}

#[test]
fn names_are_the_keys_of_reports() {
    let names: Vec<&str> = Cause::ALL.iter().map(|cause| cause.name()).collect();
    assert_eq!(
        names.join(" "),
        "zero_fill zero_page_read cow file_map file_read swap_in write_protect other"
    );
}
