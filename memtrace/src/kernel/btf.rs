//! Where members lie in this kernel's structs.
//!
//! Owns the reading of BTF. Must not know what the offsets are for.

use btf_rs::{Btf, Type};
use memtrace_common::map::FILE_STEPS;
use thiserror::Error;

use super::rss::RssLayout;

/// The kernel's own type information.
const VMLINUX: &str = "/sys/kernel/btf/vmlinux";

/// A member's place could not be found.
#[derive(Debug, Error)]
pub enum BtfError {
    /// The kernel was built without `CONFIG_DEBUG_INFO_BTF`, or the file can't be read.
    #[error("cannot read the kernel's BTF at {VMLINUX}")]
    Unreadable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The struct has no such member here.
    #[error("this kernel's struct {name} has no member {member}")]
    Missing {
        /// The struct.
        name: &'static str,
        /// The member.
        member: &'static str,
    },
}

/// What the probes have to know of this kernel's structs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// `struct task_struct`
    pub task: TaskOffsets,
    /// Resident memory.
    pub rss: RssLayout,
    /// From a task to the file system of one of its descriptors.
    pub file: [u64; FILE_STEPS],
}

impl Layout {
    /// Reads it from this kernel.
    pub fn of_this_kernel() -> Result<Self, BtfError> {
        let btf = Btf::from_file(VMLINUX).map_err(|e| BtfError::Unreadable(e.into()))?;
        Ok(Self {
            task: TaskOffsets::read(&btf)?,
            rss: RssLayout::read(&btf),
            file: file_path(&btf)?,
        })
    }
}

/// Byte offsets in `struct task_struct`, and in what it points to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TaskOffsets {
    /// `unsigned long min_flt`
    pub min_flt: u64,
    /// `unsigned long maj_flt`
    pub maj_flt: u64,
    /// `void *stack`
    pub stack: u64,
    /// `struct mm_struct *mm`
    pub mm: u64,
    /// `pid_t pid`
    pub pid: u64,
    /// `pid_t tgid`
    pub tgid: u64,
    /// `struct pid *thread_pid`
    pub thread_pid: u64,
    /// `unsigned int level`, in `struct pid`.
    pub pid_level: u64,
    /// `struct upid numbers[]`, in `struct pid`.
    pub pid_numbers: u64,
    /// `struct ns_common ns` and its `unsigned int inum`, in `struct pid_namespace`.
    pub pid_namespace_inum: u64,
}

impl TaskOffsets {
    fn read(btf: &Btf) -> Result<Self, BtfError> {
        let at = |member| member_offset(btf, "task_struct", member);
        Ok(Self {
            min_flt: at("min_flt")?,
            maj_flt: at("maj_flt")?,
            stack: at("stack")?,
            mm: at("mm")?,
            pid: at("pid")?,
            tgid: at("tgid")?,
            thread_pid: at("thread_pid")?,
            pid_level: member_offset(btf, "pid", "level")?,
            pid_numbers: member_offset(btf, "pid", "numbers")?,
            pid_namespace_inum: member_offset(btf, "pid_namespace", "ns")?
                + member_offset(btf, "ns_common", "inum")?,
        })
    }
}

/// The members by which the probes come from a task to the file system of a descriptor, in their order.
fn file_path(btf: &Btf) -> Result<[u64; FILE_STEPS], BtfError> {
    const STEPS: [(&str, &str); FILE_STEPS] = [
        ("task_struct", "files"),
        ("files_struct", "fdt"),
        ("fdtable", "max_fds"),
        ("fdtable", "fd"),
        ("file", "f_inode"),
        ("inode", "i_ino"),
        ("inode", "i_sb"),
        ("super_block", "s_dev"),
        ("super_block", "s_magic"),
    ];
    let mut path = [0; FILE_STEPS];
    for (offset, (name, member)) in path.iter_mut().zip(STEPS) {
        *offset = member_offset(btf, name, member)?;
    }
    Ok(path)
}

/// The size of a struct.
pub(super) fn struct_size(btf: &Btf, name: &'static str) -> Result<u64, BtfError> {
    let types = btf.resolve_types_by_name(name).unwrap_or_default();
    types
        .into_iter()
        .find_map(|t| match t {
            Type::Struct(s) if s.size() > 0 => Some(s.size() as u64),
            _ => None,
        })
        .ok_or(BtfError::Missing { name, member: "" })
}

/// The offset of a member, which may lie in an anonymous struct inside (`randomized_struct_fields_start`).
pub(super) fn member_offset(btf: &Btf, name: &'static str, member: &'static str) -> Result<u64, BtfError> {
    let types = btf.resolve_types_by_name(name).unwrap_or_default();
    types
        .into_iter()
        .filter(|t| matches!(t, Type::Struct(s) if s.size() > 0))
        .find_map(|t| bit_offset(btf, &t, member, 0))
        .map(|bits| u64::from(bits / 8))
        .ok_or(BtfError::Missing { name, member })
}

fn bit_offset(btf: &Btf, r#type: &Type, wanted: &str, base: u32) -> Option<u32> {
    let (Type::Struct(fields) | Type::Union(fields)) = r#type else {
        return None;
    };
    fields.members.iter().find_map(|member| {
        let at = base + member.bit_offset();
        match btf.resolve_name(member).unwrap_or_default().as_str() {
            name if name == wanted => Some(at),
            "" => bit_offset(btf, &btf.resolve_chained_type(member).ok()?, wanted, at),
            _ => None,
        }
    })
}
