//! The end of each fault: the software events `PAGE_FAULTS_MIN` and `PAGE_FAULTS_MAJ`, which fire when the kernel has
//! counted a fault (`mm_account_fault` in mm/memory.c).
//!
//! Owns on whom they are: each thread of a target, and by inheritance whatever those start, so that nobody else pays.
//! Must not know what is made of the time.

use aya::{
    Ebpf,
    programs::{
        PerfEvent,
        perf_event::{PerfEventConfig, PerfEventScope, SamplePolicy, SoftwareEvent},
    },
};
use memtrace_common::Tid;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::load::LoadError;

const NAME: &str = "page_fault_end";

/// Has the verifier look at the program, and makes room for two descriptors a thread.
pub(super) fn load(ebpf: &mut Ebpf) -> Result<(), LoadError> {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::debug!(%error, "cannot have more descriptors");
    }
    program(ebpf)?.load().map_err(|source| LoadError::Program {
        name: NAME,
        source: Box::new(source),
    })
}

/// Times the faults of a thread, and of what it starts from now on.
pub(super) fn attach(ebpf: &mut Ebpf, Tid(tid): Tid) -> Result<(), LoadError> {
    let program = program(ebpf)?;
    for event in [SoftwareEvent::PageFaultsMin, SoftwareEvent::PageFaultsMaj] {
        let scope = PerfEventScope::OneProcess { pid: tid, cpu: None };
        let attached = program.attach(
            PerfEventConfig::Software(event),
            scope,
            SamplePolicy::Period(1),
            true,
        );
        attached.map_err(|source| LoadError::Attach {
            name: NAME,
            source: Box::new(source),
        })?;
    }
    Ok(())
}

/// Ends it for all.
pub(super) fn stop(ebpf: &mut Ebpf) {
    if let Ok(program) = program(ebpf)
        && let Err(error) = program.unload()
    {
        tracing::debug!(%error, "cannot stop timing faults");
    }
}

fn program(ebpf: &mut Ebpf) -> Result<&mut PerfEvent, LoadError> {
    ebpf.program_mut(NAME)
        .and_then(|program| program.try_into().ok())
        .ok_or(LoadError::Foreign(NAME))
}
