//! The end of each fault: the software events `PAGE_FAULTS_MIN` and `PAGE_FAULTS_MAJ`, which fire when the kernel has
//! counted a fault (`mm_account_fault` in mm/memory.c).
//!
//! Owns on whom they are: each thread of a target, and by inheritance whatever those start, so that nobody else pays.
//! Must not know what is made of the time.

use std::collections::{HashMap, HashSet};

use aya::{
    Ebpf,
    programs::{
        PerfEvent,
        perf_event::{PerfEventConfig, PerfEventLinkId, PerfEventScope, SamplePolicy, SoftwareEvent},
    },
};
use memtrace_common::{Tgid, Tid};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::{load::LoadError, programs::not_loaded};

const NAME: &str = "page_fault_end";

/// The events that are held, by the process that they began with. Those that its children have by inheritance end with
/// its own.
#[derive(Default)]
pub(super) struct Timed(HashMap<Tgid, Vec<PerfEventLinkId>>);

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
    program(ebpf)?.load().map_err(|source| not_loaded(NAME, source))
}

impl Timed {
    /// Times the faults of a process's thread, and of what it starts from now on.
    pub(super) fn attach(&mut self, ebpf: &mut Ebpf, tgid: Tgid, Tid(tid): Tid) -> Result<(), LoadError> {
        let program = program(ebpf)?;
        for event in [SoftwareEvent::PageFaultsMin, SoftwareEvent::PageFaultsMaj] {
            let scope = PerfEventScope::OneProcess { pid: tid, cpu: None };
            let attached = program.attach(
                PerfEventConfig::Software(event),
                scope,
                SamplePolicy::Period(1),
                true,
            );
            let held = attached.map_err(|source| LoadError::Attach {
                name: NAME,
                source: Box::new(source),
            })?;
            self.0.entry(tgid).or_default().push(held);
        }
        Ok(())
    }

    /// Lets go of the events of processes that are gone, and all that they had started with them.
    pub(super) fn forget(&mut self, ebpf: &mut Ebpf, gone: &HashSet<Tgid>) {
        let Ok(program) = program(ebpf) else { return };
        for (tgid, held) in self.0.extract_if(|tgid, _| gone.contains(tgid)) {
            for event in held {
                if let Err(error) = program.detach(event) {
                    tracing::debug!(%error, ?tgid, "cannot let go of an event");
                }
            }
        }
    }
}

/// Whether faults can be timed: this thread's are for a moment.
pub(super) fn try_own(ebpf: &mut Ebpf) -> Result<(), LoadError> {
    load(ebpf)?;
    let tid = rustix::thread::gettid().as_raw_nonzero().get().cast_unsigned();
    let mut timed = Timed::default();
    timed.attach(ebpf, Tgid(tid), Tid(tid))?;
    timed.forget(ebpf, &HashSet::from([Tgid(tid)]));
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
