//! The kernel: loading the probes, reading the ring, and what `/proc` knows.
//!
//! Owns every file descriptor, every system call, and all that names aya. Must not know HTTP or what a request is:
//! it turns the kernel's bytes into events, and stops there.
#![expect(
    unsafe_code,
    reason = "some of the probes' tables are shared memory, fenced by `mapped`; `own` calls what no library makes safe"
)]

mod btf;
mod descriptors;
mod dying;
pub mod features;
mod kin;
mod live;
mod load;
mod mapped;
mod object;
pub(crate) mod own;
pub mod pagemap;
mod paths;
mod peers;
pub mod pidns;
pub mod procfs;
mod programs;
mod resident;
mod rows;
mod rss;
mod runtime;
pub mod smaps;
mod sockets;
mod targets;
mod timing;
mod trial;

pub use btf::{BtfError, Layout, TaskOffsets};
pub use live::{Live, now, tell_maps};
pub use load::{Emission, LoadError, Options, Probes};
pub use programs::TRACEPOINTS;
pub use rss::RssLayout;
pub use trial::Tried;
