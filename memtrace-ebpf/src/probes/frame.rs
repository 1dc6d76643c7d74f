//! `mm_page_alloc` and `mm_page_free`: page frames that are handed out to a target's thread and taken back from it.
//!
//! Owns what the allocation's flags say of its use. Must not know what memory is for: that is added up in `tally`.

use aya_ebpf::programs::RawTracePointContext;

use crate::{HUGE_ORDER, entry::Behalf, tally, target::Target, thread};

/// `include/linux/gfp_types.h`. These have had the same bits since before 5.8.
const GFP_MOVABLE: u64 = 1 << 3;
const GFP_ZERO: u64 = 1 << 8;
/// An interrupt's allocation cannot wait.
const GFP_DIRECT_RECLAIM: u64 = 1 << 10;
const GFP_HARDWALL: u64 = 1 << 20;
const GFP_ACCOUNT: u64 = 1 << 22;
/// `GFP_HIGHUSER_MOVABLE`: memory that user space maps, and the page cache.
const USER: u64 = GFP_MOVABLE | GFP_HARDWALL;
/// `GFP_PGTABLE_USER`, and little else.
const PAGE_TABLE: u64 = GFP_ZERO | GFP_ACCOUNT;
/// Above the largest order of any kernel (`MAX_PAGE_ORDER`).
const ORDER_LIMIT: u32 = 32;

/// `(struct page *page, unsigned int order, gfp_t gfp_flags, int migratetype)`
#[inline(always)]
pub(crate) fn allocated(ctx: &RawTracePointContext) {
    let Some(me) = Target::current() else { return };
    let Some(running) = tally::added_up(me.tid) else {
        return;
    };
    let page: u64 = ctx.arg(0);
    let gfp: u64 = ctx.arg(2);
    let is_its_own = match Behalf::of(ctx, running) {
        Behalf::Thread => true,
        Behalf::Unclear => gfp & GFP_DIRECT_RECLAIM != 0 || gfp & USER == USER,
        Behalf::Interrupt => false,
    };
    if page == 0 || !is_its_own {
        return;
    }
    let order = order(ctx);
    let frames = 1 << order;
    if gfp & USER == USER {
        running.frames.user += frames;
    } else if gfp & PAGE_TABLE == PAGE_TABLE && order == 0 {
        running.frames.page_table += frames;
    } else {
        running.frames.kernel += frames;
    }
    if order == HUGE_ORDER.load() {
        running.frames.huge += 1;
    }
    thread::adds(me.tid);
}

/// `(struct page *page, unsigned int order)`
#[inline(always)]
pub(crate) fn freed(ctx: &RawTracePointContext) {
    let Some(me) = Target::current() else { return };
    let Some(running) = tally::added_up(me.tid) else {
        return;
    };
    if Behalf::of(ctx, running) == Behalf::Thread {
        running.frames.freed += 1 << order(ctx);
        thread::adds(me.tid);
    }
}

#[inline(always)]
fn order(ctx: &RawTracePointContext) -> u32 {
    let order: u64 = ctx.arg(1);
    order as u32 % ORDER_LIMIT
}
