//! What can be had on this kernel, by trying it: nothing stays attached.
//!
//! Must not know who asks, or what to advise.

use super::{
    btf::Layout,
    load::{LoadError, Options, make_maps},
    programs::{TRACEPOINTS, attach, load, typed_first, types_of_this_kernel},
    timing,
};

/// For trying what can be had.
const TRIAL: Options = Options {
    ring_bytes: 1 << 20,
    follow: true,
    comm: None,
    cgroup: None,
    fault_time: false,
    kernel_log: false,
};

/// A tracepoint, and whether its program can be attached to it.
pub type Tried = (&'static str, Result<(), LoadError>);

/// Makes the maps, then loads and attaches each program alone, and takes all back.
pub(super) fn try_each() -> Result<Vec<Tried>, LoadError> {
    let layout = Layout::of_this_kernel()?;
    let types = types_of_this_kernel()?;
    typed_first(|typed| {
        let mut ebpf = make_maps(&TRIAL, &layout, typed)?;
        let mut all = Vec::new();
        for name in TRACEPOINTS {
            let tried = load(&mut ebpf, name, &types).and_then(|()| attach(&mut ebpf, name));
            match tried {
                Err(refused @ (LoadError::Program { .. } | LoadError::Refused { .. })) if typed => {
                    return Err(refused);
                }
                tried => all.push((name, tried)),
            }
        }
        Ok(all)
    })
}

/// Makes the maps, times faults of this thread alone, and takes all back.
pub(super) fn try_timing() -> Result<(), LoadError> {
    let layout = Layout::of_this_kernel()?;
    typed_first(|typed| timing::try_own(&mut make_maps(&TRIAL, &layout, typed)?))
}
