//! How much stack a program and what it calls need: up to Linux 6.12 they have 512 bytes between them, and a kernel that
//! gives them more (as the one that memtrace is developed on does) does not say that others refuse the program.
//!
//! Owns the reading of instructions for it. Must not know what the programs do.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail};
use object::{
    Object as _, ObjectSection as _, ObjectSymbol as _, RelocationTarget, SectionIndex, SymbolKind,
    read::elf::ElfFile64,
};

/// `MAX_BPF_STACK`, `include/linux/filter.h`.
const MOST: usize = 512;
/// Each frame is rounded up to it (`check_max_stack_depth` in kernel/bpf/verifier.c).
const STEP: usize = 32;
/// Of one instruction, in bytes.
const INSTRUCTION: usize = 8;
/// Deeper than the kernel lets programs call (`MAX_CALL_FRAMES`).
const DEPTH_MAX: usize = 8;

type Elf<'a> = ElfFile64<'a, object::LittleEndian>;

/// A function: where its section has it.
type At = (usize, u64);

/// What is known of one.
#[derive(Default)]
struct Function {
    name: String,
    frame: usize,
    calls: Vec<At>,
}

/// Fails where a program may need more.
pub(super) fn check(bytes: &[u8]) -> Result<()> {
    for (program, need) in needs(bytes)? {
        if need > MOST {
            bail!(
                "{program} and what it calls need {need} bytes of stack, and kernels up to 6.12 have {MOST} for \
                 them: have it keep less on its stack, or what it calls"
            );
        }
    }
    Ok(())
}

/// By program, the most that it and what it calls can need, as the kernel sums it up.
fn needs(bytes: &[u8]) -> Result<BTreeMap<String, usize>> {
    let elf = Elf::parse(bytes).context("the object is not an ELF file")?;
    let mut functions: BTreeMap<At, Function> = BTreeMap::new();
    for symbol in elf.symbols().filter(|symbol| symbol.kind() == SymbolKind::Text) {
        let Some(SectionIndex(section)) = symbol.section_index() else {
            continue;
        };
        let code = elf
            .section_by_index(SectionIndex(section))?
            .data_range(symbol.address(), symbol.size())?
            .context("a function past the end of its section")?;
        let function = functions.entry((section, symbol.address())).or_default();
        symbol.name()?.clone_into(&mut function.name);
        for (i, instruction) in code.chunks_exact(INSTRUCTION).enumerate() {
            function.frame = function.frame.max(below_frame(instruction));
            let at = symbol.address() + (i * INSTRUCTION) as u64;
            if let Some(distance) = call(instruction) {
                function.calls.push(callee(&elf, section, at, distance)?);
            }
        }
    }
    let is_program = |&(section, _): &At| {
        elf.section_by_index(SectionIndex(section))
            .is_ok_and(|s| s.name() != Ok(".text"))
    };
    functions
        .iter()
        .filter(|(at, _)| is_program(at))
        .map(|(at, function)| Ok((function.name.clone(), need(&functions, *at, 0)?)))
        .collect()
}

/// How far below its frame pointer an instruction reaches, or may make a pointer that does.
fn below_frame(instruction: &[u8]) -> usize {
    const FRAME: u8 = 10;
    let [code, registers, low, high, imm @ ..] = instruction else {
        return 0;
    };
    let offset = i16::from_le_bytes([*low, *high]);
    let (target, source) = (registers & 0xf, registers >> 4);
    let reached = match code & 0x07 {
        // BPF_LDX
        0x01 if source == FRAME => i32::from(offset),
        // BPF_ST, BPF_STX
        0x02 | 0x03 if target == FRAME => i32::from(offset),
        // BPF_ALU64 | BPF_ADD | BPF_K: to a copy of the frame pointer, or a small number taken from another, which errs on
        // the safe side.
        0x07 if *code == 0x07 => imm.try_into().map_or(0, i32::from_le_bytes),
        _ => 0,
    };
    let below = usize::try_from(reached.unsigned_abs()).unwrap_or(usize::MAX);
    if reached < 0 && below <= MOST { below } else { 0 }
}

/// How far a call to another function of the object goes, in instructions.
fn call(instruction: &[u8]) -> Option<i32> {
    // BPF_JMP | BPF_CALL, BPF_PSEUDO_CALL
    let [0x85, registers, _, _, imm @ ..] = instruction else {
        return None;
    };
    (registers >> 4 == 1).then(|| imm.try_into().map_or(0, i32::from_le_bytes))
}

fn callee(elf: &Elf<'_>, section: usize, at: u64, distance: i32) -> Result<At> {
    let relocation = elf
        .section_by_index(SectionIndex(section))?
        .relocations()
        .find(|&(place, _)| place == at);
    // In bytes, from the instruction after the call.
    let after = |from: u64| from.wrapping_add_signed((i64::from(distance) + 1) * 8);
    let Some((_, relocation)) = relocation else {
        return Ok((section, after(at)));
    };
    let RelocationTarget::Symbol(symbol) = relocation.target() else {
        bail!("a call to what is no symbol");
    };
    let symbol = elf.symbol_by_index(symbol)?;
    let SectionIndex(section) = symbol
        .section_index()
        .context("a call to what the object has not")?;
    // To a section, the distance is from its beginning.
    let from = if symbol.kind() == SymbolKind::Section {
        after(0)
    } else {
        symbol.address()
    };
    Ok((section, from))
}

fn need(functions: &BTreeMap<At, Function>, at: At, depth: usize) -> Result<usize> {
    let function = functions
        .get(&at)
        .context("a call into the middle of a function")?;
    if depth > DEPTH_MAX {
        bail!("{} calls too deep", function.name);
    }
    let mut deepest = 0;
    for &callee in &function.calls {
        deepest = deepest.max(need(functions, callee, depth + 1)?);
    }
    Ok(function.frame.max(1).next_multiple_of(STEP) + deepest)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::workspace;

    #[test]
    fn the_committed_programs_fit_every_kernels_stack() {
        let object = fs::read(workspace::root().join(workspace::OBJECT)).expect("the object");
        let needs = needs(&object).expect("an object");
        // It calls others, and is the one with the most.
        assert!(needs["sys_exit"] > 256, "{needs:?}");
        assert!(needs.values().all(|&need| need <= MOST), "{needs:?}");
        check(&object).expect("they fit");
    }

    #[test]
    fn a_frame_is_as_deep_as_its_lowest_access() {
        // r1 = *(u64 *)(r10 - 16), *(u64 *)(r10 - 24) = r1, *(u32 *)(r10 - 4) = 0
        assert_eq!(below_frame(&[0x79, 0xa1, 0xf0, 0xff, 0, 0, 0, 0]), 16);
        assert_eq!(below_frame(&[0x7b, 0x1a, 0xe8, 0xff, 0, 0, 0, 0]), 24);
        assert_eq!(below_frame(&[0x62, 0x0a, 0xfc, 0xff, 0, 0, 0, 0]), 4);
        // r2 += -128, after r2 = r10
        assert_eq!(below_frame(&[0x07, 0x02, 0, 0, 0x80, 0xff, 0xff, 0xff]), 128);
        // Another pointer, an addition, a helper.
        assert_eq!(below_frame(&[0x79, 0x61, 0xf0, 0xff, 0, 0, 0, 0]), 0);
        assert_eq!(below_frame(&[0x07, 0x02, 0, 0, 0x80, 0, 0, 0]), 0);
        assert_eq!(below_frame(&[0x85, 0, 0, 0, 14, 0, 0, 0]), 0);
    }

    #[test]
    fn what_is_no_object_is_said() {
        assert!(check(b"not an object").is_err());
        assert!(check(b"").is_err());
    }
}
