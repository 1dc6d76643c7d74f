//! One request, told step by step in plain words.
//!
//! Owns the sentences. Each rests on the request's own entry, on its course or on the run's books; one whose figure is zero
//! or not known is left out. Must not know how wide a screen is: a line is a paragraph.

use std::{cmp::Reverse, fmt::Write as _};

use super::Course;
use crate::{
    ledger::entry::{ByName, Faults, Request, RuntimeSize, Space, Summary},
    model::vma::PAGE,
    report::{
        books::reasons,
        figure::{bytes, bytes_changed, count, counted, duration, share},
        printable::escaped,
    },
};

/// What one fault brings as a rule, KiB.
const PAGE_KIB: u64 = PAGE / 1024;
/// So many faults or calls are worth a remark.
const MANY: u64 = 100;

/// What is known of the program beside what was traced.
#[derive(Clone, Debug, Default)]
pub struct Scene {
    /// Which of all requests it is.
    pub which: String,
    /// What the reader may not know yet.
    pub introduction: Option<&'static str>,
    /// A time that it waits for somebody, nanoseconds, and for whom.
    pub wait: Option<(u64, &'static str)>,
    /// What it does in user mode that takes many faults.
    pub user_mode: Option<&'static str>,
    /// What the kernel does for it that takes many faults.
    pub kernel_mode: Option<&'static str>,
    /// Why it makes many `mprotect` calls.
    pub mprotect: Option<&'static str>,
}

/// The story of `request`, a step a line.
pub fn story(request: &Request, course: Option<&Course>, summary: &Summary, scene: &Scene) -> String {
    let steps = [
        Some(time(request, scene)),
        Some(faults(&request.faults)),
        modes(&request.faults, scene),
        speed(&request.faults),
        causes(&request.faults),
        regions(&request.faults),
        space(&request.space, &request.faults, scene),
        course.and_then(|course| promise(course, request)),
        course.and_then(|course| when(course, request)),
        frames(request),
        resident(request),
        runtime(request),
        Some(window(&request.faults)),
        books(request, summary),
    ];
    let mut story = scene
        .introduction
        .map_or(String::new(), |text| format!("{text}\n\n"));
    let _ = writeln!(
        story,
        "One {} {}, step by step ({}):",
        escaped(&request.method),
        escaped(&request.path),
        scene.which
    );
    for (number, step) in steps.into_iter().flatten().enumerate() {
        let _ = writeln!(story, "{}. {step}", number + 1);
    }
    story
}

fn kib(faults: u64) -> u64 {
    faults.saturating_mul(PAGE_KIB)
}

/// Of all there are.
fn all_were(n: u64) -> String {
    match n {
        1 => "It was".to_owned(),
        2 => "Both were".to_owned(),
        n => format!("All {} were", count(n)),
    }
}

fn time(request: &Request, scene: &Scene) -> String {
    let mut said = format!(
        "It took {}, from the first byte of the request read to the last byte of its answer written.",
        duration(request.duration_ns)
    );
    if let Some((wait, who)) = scene.wait.filter(|(wait, _)| request.duration_ns >= *wait) {
        let _ = write!(said, " For {} of that {who} let it wait.", duration(wait));
    }
    if !request.complete {
        said.push_str(" The answer was not seen to its end.");
    }
    said
}

fn faults(faults: &Faults) -> String {
    let total = faults.total;
    if total == 0 {
        return "It took no page fault: all the memory that it touched was there already.".to_owned();
    }
    let times = match total {
        1 => "once".to_owned(),
        n => format!("{} times", count(n)),
    };
    let mut said = format!(
        "Meanwhile it touched memory that was not ready for that {times}, and the kernel had to see to it: {}. \
         At 4 KiB a page that is {} KiB.",
        counted(total, "page fault"),
        count(kib(total))
    );
    if let Some(inside) = faults.time_ns.filter(|&ns| ns > 0) {
        let _ = write!(said, " The kernel spent {} on that.", duration(inside));
    }
    said
}

fn modes(faults: &Faults, scene: &Scene) -> Option<String> {
    let part = |n: u64| {
        if n == faults.total {
            return all_were(n);
        }
        let were = if n == 1 { "was" } else { "were" };
        format!(
            "{} ({}, {} KiB) {were}",
            count(n),
            share(n, faults.total),
            count(kib(n))
        )
    };
    // What the app is known to do in each mode takes many faults: of a few, nobody knows what they are for.
    let known = |n: u64, what: Option<&'static str>| {
        what.filter(|_| n >= MANY)
            .map_or(String::new(), |what| format!(": here {what}"))
    };
    let mut said = Vec::new();
    if faults.user_mode > 0 {
        said.push(format!(
            "{} taken in user mode, by the app's own instructions{}.",
            part(faults.user_mode),
            known(faults.user_mode, scene.user_mode)
        ));
    }
    if faults.kernel_mode > 0 {
        said.push(format!(
            "{} taken in kernel mode, inside system calls{}. A tool that looks at user mode alone misses {}.",
            part(faults.kernel_mode),
            known(faults.kernel_mode, scene.kernel_mode),
            if faults.kernel_mode == 1 { "it" } else { "these" }
        ));
    }
    (!said.is_empty()).then(|| said.join(" "))
}

fn speed(faults: &Faults) -> Option<String> {
    let minor = match (faults.minor, faults.major) {
        (0, _) => None,
        (n, 0) => Some(format!(
            "{} minor: nothing had to be read from a disk.",
            all_were(n)
        )),
        (1, _) => Some("1 was minor: its page was in memory or made anew.".to_owned()),
        (n, _) => Some(format!(
            "{} were minor: their pages were in memory or made anew.",
            count(n)
        )),
    };
    let major = match faults.major {
        0 => None,
        n if faults.minor == 0 => Some(format!("{} major: read from a disk first.", all_were(n))),
        1 => Some("1 was major: its page was read from a disk first.".to_owned()),
        n => Some(format!(
            "{} were major: their pages were read from a disk first.",
            count(n)
        )),
    };
    let said: Vec<String> = [minor, major].into_iter().flatten().collect();
    (!said.is_empty()).then(|| said.join(" "))
}

/// The parts of a whole, the most first, as `word`s have them.
fn parts(sums: ByName, word: impl Fn(&str) -> &'static str) -> Option<String> {
    let mut sums: Vec<_> = sums.iter().filter(|(_, n)| *n > 0).collect();
    sums.sort_by_key(|&(name, n)| (Reverse(n), name));
    let parts: Vec<String> = sums
        .into_iter()
        .map(|(name, n)| format!("{} {} ({name})", count(n), word(name)))
        .collect();
    match parts.as_slice() {
        [] => None,
        [one] => Some(one.clone()),
        [first @ .., last] => Some(format!("{} and {last}", first.join(", "))),
    }
}

fn causes(faults: &Faults) -> Option<String> {
    let parts = parts(faults.cause?, |cause| match cause {
        "zero_fill" => "for new memory, which the kernel filled with zeros",
        "zero_page_read" => "for new memory that was read before it was written",
        "cow" => "for a copy of a page that was shared until it was written",
        "file_map" => "for a page of a file that was in memory already",
        "file_read" => "for a page of a file that had to be read",
        "swap_in" => "for memory that had been swapped out",
        "write_protect" => "for the first write to a shared page",
        _ => "for something else",
    })?;
    Some(format!("What for: {parts}."))
}

fn regions(faults: &Faults) -> Option<String> {
    let parts = parts(faults.region?, |region| match region {
        "heap" => "in the heap that brk(2) grows",
        "anon" => "in memory that the app or its C library mapped",
        "stack" => "on a thread's stack",
        "file" => "in mapped files",
        "jit" => "in memory that may hold code made at run time",
        "shmem" => "in shared memory",
        "vdso" => "in the kernel's own page",
        _ => "where nothing is known to be mapped",
    })?;
    let most = faults.files.as_ref().and_then(|files| files.first());
    let file = most.map_or(String::new(), |file| {
        format!(
            " The file with the most is {}: {}.",
            escaped(&file.path),
            count(file.faults)
        )
    });
    Some(format!("Where: {parts}.{file}"))
}

fn frames(request: &Request) -> Option<String> {
    let frames = request.frames.as_ref().filter(|frames| frames.allocated > 0)?;
    let mut said = format!(
        "The kernel handed out {} meanwhile: {} for memory, {} for the tables that lead to it, {} for itself.",
        counted(frames.allocated, "page frame"),
        count(frames.user),
        count(frames.page_table),
        count(frames.kernel)
    );
    if frames.huge > 0 {
        let _ = write!(
            said,
            " {} of 2 MiB each, which takes 512 frames and one fault.",
            counted(frames.huge, "allocation")
        );
    }
    if frames.freed > 0 {
        let _ = write!(said, " It took {} back.", count(frames.freed));
    }
    Some(said)
}

fn space(space: &Space, faults: &Faults, scene: &Scene) -> Option<String> {
    let calls = |calls: u64, name: &str, moved: u64| {
        let of = if moved > 0 {
            format!(" ({})", bytes(moved))
        } else {
            String::new()
        };
        (calls > 0).then(|| format!("{}{of}", counted(calls, &format!("{name} call"))))
    };
    let list = |items: &[Option<String>]| {
        let items: Vec<&str> = items.iter().flatten().map(String::as_str).collect();
        match items.as_slice() {
            [] => None,
            [one] => Some((*one).to_owned()),
            [first @ .., last] => Some(format!("{} and {last}", first.join(", "))),
        }
    };
    let asked = list(&[
        calls(space.mmap_calls, "mmap", space.mmap_bytes),
        calls(space.brk_calls, "brk", space.brk_bytes),
        calls(space.mremap_calls, "mremap", 0),
        calls(space.mprotect_calls, "mprotect", 0),
    ]);
    let gave = list(&[
        calls(space.munmap_calls, "munmap", space.munmap_bytes),
        calls(space.madvise_calls, "madvise", 0),
    ]);
    let asked = asked.map(|calls| {
        let mut said =
            format!("To get room for it, the app made {calls}. These alone bring no memory: the faults do.");
        let are_many = space.mprotect_calls >= MANY && space.mprotect_calls >= faults.user_mode / 2;
        if let Some(why) = scene.mprotect.filter(|_| are_many) {
            let _ = write!(said, " So many mprotect calls are {why}.");
        }
        said
    });
    let gave =
        gave.map(|calls| format!("To give room back, or to say how it is used, the app made {calls}."));
    let said: Vec<String> = [asked, gave].into_iter().flatten().collect();
    (!said.is_empty()).then(|| said.join(" "))
}

/// What was only promised, and what of that was given.
fn promise(course: &Course, request: &Request) -> Option<String> {
    let Course {
        promised,
        given,
        given_of_promised: own,
        ..
    } = *course;
    let earlier = given.saturating_sub(own);
    let has_huge = request.frames.as_ref().is_none_or(|frames| frames.huge > 0);
    let came = |pages: u64| match pages {
        1 => "1 page was given".to_owned(),
        n => format!("{} pages were given", count(n)),
    };
    let mut said = String::new();
    if promised > 0 {
        let so_far = match own {
            0 => "nothing of it was given".to_owned(),
            own => format!("{}, a fault each", came(own)),
        };
        let _ = write!(
            said,
            "What it got by these calls is {} of addresses: a promise, and no memory. A page of it is given when it is first \
             touched. So far {so_far}.",
            bytes(promised)
        );
        if own > 0 && course.is_used_up() {
            said.push_str(" That is all of it.");
        } else if own > 0 && request.space.munmap_calls == 0 && !has_huge {
            let rest = bytes(promised.saturating_sub(own.saturating_mul(PAGE)));
            let _ = write!(said, " The other {rest} are still a promise.");
        }
    }
    if earlier > 0 {
        if !said.is_empty() {
            said.push(' ');
        }
        let _ = write!(
            said,
            "{} out of what had been promised before this request.",
            came(earlier)
        );
    }
    (!said.is_empty()).then_some(said)
}

/// When pages were given.
fn when(course: &Course, request: &Request) -> Option<String> {
    let [first, middle, last] = course.times?;
    if request.faults.total < 2 {
        return None;
    }
    Some(format!(
        "The first of its faults came {} after it had begun, half of them within {}, the last at {}.",
        duration(first),
        duration(middle),
        duration(last)
    ))
}

/// What the program's runtime says, beside the kernel.
fn runtime(request: &Request) -> Option<String> {
    let sizes = request.runtime.as_ref()?;
    let size = |name: &str| {
        let RuntimeSize { start, end } = *sizes.get(name)?;
        Some((start?, end?, sizes.get(name)?.delta()?))
    };
    let (start, end, used) = size("heapUsed")?;
    let mut said = format!(
        "JavaScript's own view: of its heap {} were in use when it began and {} when it was answered ({}).",
        bytes(start),
        bytes(end),
        bytes_changed(used)
    );
    let (rss, swapped) = request.rss.as_ref().map(|rss| (rss.delta, rss.swap_delta))?;
    let given = kib(request.faults.total).saturating_mul(1024);
    let why = if used > 0 && rss < 0 && swapped <= 0 {
        " More is in use, and yet the process holds less: the two count different things. Objects went into memory that was \
         there already, and memory that nothing was in any more was given back to the kernel."
    } else if used > 0 && given < used.unsigned_abs() {
        " The kernel gave less than that: objects went into memory that was there already, left by those before them."
    } else if used <= 0 && rss > 0 {
        " Less is in use, and yet the process holds more: a collector has cleared objects away, and the memory that they were \
         in stays with the process."
    } else {
        ""
    };
    said.push_str(why);
    Some(said)
}

fn resident(request: &Request) -> Option<String> {
    let rss = request.rss.as_ref().filter(|rss| rss.delta != 0)?;
    let moved = if rss.delta > 0 { "more" } else { "less" };
    Some(format!(
        "When it was answered the process held {} {moved} than when it began.",
        bytes(rss.delta.unsigned_abs())
    ))
}

fn window(faults: &Faults) -> String {
    let direct = faults.attribution.direct;
    let causal = faults.attribution.causal.unwrap_or(0);
    let mut said = Vec::new();
    if direct > 0 {
        let which = match (direct, faults.total) {
            (1, 1) => "The fault is".to_owned(),
            (n, total) if n == total => format!("All {} are", count(n)),
            (1, _) => "1 fault is".to_owned(),
            (n, _) => format!("{} are", counted(n, "fault")),
        };
        said.push(format!(
            "{which} known to be this request's (direct): the thread that took {} had read the request, and had \
             turned to nothing else since.",
            if direct == 1 { "it" } else { "them" }
        ));
    }
    if causal > 0 {
        said.push(format!(
            "{} reached it through a chain: a socket that it used, a thread that it woke (causal).",
            counted(causal, "fault")
        ));
    }
    let beside = faults.in_window.saturating_sub(faults.total);
    let others = match faults.open_requests_max.saturating_sub(1) {
        0 => None,
        1 => Some("another request was open".to_owned()),
        n => Some(format!("up to {} other requests were open", count(n))),
    };
    said.push(match (beside, others) {
        (0, None) => "No other request was open meanwhile, and nothing else in the process took a fault.".to_owned(),
        (0, Some(others)) => format!("Meanwhile {others}, but nothing else in the process took a fault."),
        (_, None) => format!(
            "No other request was open meanwhile, yet the process took {} that {} for no request.",
            counted(beside, "fault"),
            if beside == 1 { "was" } else { "were" }
        ),
        (_, Some(others)) => format!(
            "Meanwhile {others}, and the process took {} for others or for none: by time alone this request would be \
             charged with {}.",
            counted(beside, "fault"),
            count(faults.in_window)
        ),
    });
    said.join(" ")
}

fn books(request: &Request, summary: &Summary) -> Option<String> {
    let books = &summary.books;
    let kernel = u128::from(books.kernel_min_flt) + u128::from(books.kernel_maj_flt);
    if kernel == 0 {
        return None;
    }
    let these = match request.faults.total {
        0 => String::new(),
        1 => ", this one among them,".to_owned(),
        n => format!(", these {} among them,", count(n)),
    };
    let on_requests = books.direct + books.causal.unwrap_or(0);
    let mut sum = format!(
        "{} on {}{these}",
        count(on_requests),
        counted(summary.requests, "request")
    );
    let parts = [
        (books.unattributed, format!("on none{}", reasons(summary))),
        (books.dropped, "whose record was lost".to_owned()),
        (
            books.untraced,
            "that fired no probe (MAP_POPULATE, mlock, exec's copy of its arguments)".to_owned(),
        ),
    ];
    for (faults, what) in parts.into_iter().filter(|(faults, _)| *faults > 0) {
        let _ = write!(sum, " + {} {what}", count(faults));
    }
    let verdict = match (books.balanced, books.dropped + summary.lost.records()) {
        (true, 0) => "The books balance, to the fault.",
        (true, _) => "The books balance, but records were lost: the figures above may be too low.",
        (false, _) => "That is not the same: the books do not balance, and no figure above is certain.",
    };
    let sum = sum.trim_end_matches(',');
    Some(format!(
        "In the whole run the kernel itself counted {} for the app. memtrace has {sum}. {verdict}",
        counted(kernel, "fault")
    ))
}

#[cfg(test)]
mod tests;
