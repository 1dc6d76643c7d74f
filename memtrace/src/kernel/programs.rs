//! The programs on tracepoints: loaded, attached, detached; and what the kernel's verifier says of them.
//!
//! Owns which programs there are, and the two forms in which they are tried. Must not know what is in their maps.

use aya::{
    Btf, Ebpf,
    programs::{Program, ProgramError, ProgramType},
    sys::{BpfHelper, is_helper_supported},
};

use super::load::LoadError;

/// Every probe, and the tracepoint of the same name that it goes on. Faults come last: what a fault is judged by
/// (threads, descriptors) is watched before faults are.
pub const TRACEPOINTS: [&str; 11] = [
    "sched_process_fork",
    "sched_process_exec",
    "sched_process_exit",
    "sched_process_free",
    "sys_enter",
    "sys_exit",
    "sched_waking",
    "mm_page_alloc",
    "mm_page_free",
    "page_fault_user",
    "page_fault_kernel",
];

/// Has the programs load what they want of the running thread, where this kernel types it for them. One whose verifier
/// does not take that all the same has them copy it, as older ones do.
pub(super) fn typed_first<T>(attempt: impl Fn(bool) -> Result<T, LoadError>) -> Result<T, LoadError> {
    typed_where(types_current(), attempt)
}

fn typed_where<T>(types: bool, attempt: impl Fn(bool) -> Result<T, LoadError>) -> Result<T, LoadError> {
    if types {
        match attempt(true) {
            Err(error @ (LoadError::Program { .. } | LoadError::Refused { .. })) => {
                tracing::info!(%error, "a program that loads what others copy is tried as they do it");
            }
            done => return done,
        }
    }
    attempt(false)
}

/// Whether programs can have a typed pointer to the running thread (from 5.11 on).
fn types_current() -> bool {
    let types = is_helper_supported(
        ProgramType::RawTracePoint,
        BpfHelper::BPF_FUNC_get_current_task_btf,
    );
    types.unwrap_or_else(|error| {
        tracing::debug!(%error, "cannot tell whether the running thread is typed");
        false
    })
}

/// What the kernel calls the arguments of its tracepoints, for the programs that have them typed.
pub(super) fn types_of_this_kernel() -> Result<Btf, LoadError> {
    Btf::from_sys_fs().map_err(LoadError::Types)
}

/// Has the verifier look at a program.
pub(super) fn load(ebpf: &mut Ebpf, name: &'static str, types: &Btf) -> Result<(), LoadError> {
    let loaded = match ebpf.program_mut(name) {
        Some(Program::RawTracePoint(program)) => program.load(),
        Some(Program::BtfTracePoint(program)) => program.load(name, types),
        _ => return Err(LoadError::Foreign(name)),
    };
    loaded.map_err(|source| not_loaded(name, source))
}

/// Why a program was not loaded: one that the verifier has looked into has a log.
pub(super) fn not_loaded(name: &'static str, source: ProgramError) -> LoadError {
    match source {
        ProgramError::LoadError { verifier_log, .. } if !verifier_log.to_string().is_empty() => {
            let log = verifier_log.to_string();
            tracing::debug!(name, log, "the kernel's verifier does not take a program");
            let said = said_last(&log).to_owned();
            LoadError::Refused { name, said }
        }
        source => LoadError::Program {
            name,
            source: Box::new(source),
        },
    }
}

/// What a verifier does not like, which it says after all that it walked through, and before it sums up.
fn said_last(log: &str) -> &str {
    const SUMS: [&str; 3] = ["verification time ", "stack depth ", "processed "];
    let is_said = |line: &&str| !line.is_empty() && !SUMS.iter().any(|sum| line.starts_with(sum));
    let mut lines = log.lines().rev().map(str::trim);
    lines.find(is_said).unwrap_or("nothing")
}

/// Attaches it to the tracepoint of the same name.
pub(super) fn attach(ebpf: &mut Ebpf, name: &'static str) -> Result<(), LoadError> {
    let attached = match ebpf.program_mut(name) {
        Some(Program::RawTracePoint(program)) => program.attach(name).map(drop),
        Some(Program::BtfTracePoint(program)) => program.attach().map(drop),
        _ => return Err(LoadError::Foreign(name)),
    };
    attached.map_err(|source| LoadError::Attach {
        name,
        source: Box::new(source),
    })
}

/// Detaches it.
pub(super) fn unload(ebpf: &mut Ebpf, name: &'static str) {
    let unloaded = match ebpf.program_mut(name) {
        Some(Program::RawTracePoint(program)) => program.unload(),
        Some(Program::BtfTracePoint(program)) => program.unload(),
        _ => return,
    };
    if let Err(error) = unloaded {
        tracing::debug!(%error, name, "cannot unload a program");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_verifiers_log_the_objection_is_told() {
        let log = "0: R1=ctx(off=0,imm=0)\n1: (85) call bpf_x#1\ncombined stack size of 2 calls is 640. Too large\n\
                   verification time 9317532 usec\nstack depth 344+96+280\nprocessed 222179 insns (limit 1000000)\n\n";
        assert_eq!(said_last(log), "combined stack size of 2 calls is 640. Too large");
        assert_eq!(said_last("processed 0 insns"), "nothing");
        assert_eq!(said_last(""), "nothing");
    }

    #[test]
    fn a_program_that_is_refused_typed_is_tried_as_older_kernels_have_it() {
        let refused = || LoadError::Refused {
            name: "sys_exit",
            said: "R1 type=scalar expected=ptr_".to_owned(),
        };
        let takes = |what: fn(bool) -> Result<bool, LoadError>| move |types| typed_where(types, what).ok();
        let all = takes(Ok);
        assert_eq!([all(true), all(false)], [Some(true), Some(false)]);
        let only_copies = takes(|typed| {
            if typed {
                Err(LoadError::Foreign("RING"))
            } else {
                Ok(typed)
            }
        });
        assert_eq!(only_copies(true), None, "another error is told");

        let older = |typed: bool| if typed { Err(refused()) } else { Ok(typed) };
        assert!(matches!(typed_where(true, older), Ok(false)));
        assert!(matches!(
            typed_where(true, |_| Err::<(), _>(refused())),
            Err(LoadError::Refused { .. })
        ));
    }
}
