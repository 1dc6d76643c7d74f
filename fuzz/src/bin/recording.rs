//! Bytes, read as a recording.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| memtrace_fuzz::replay::replay(bytes));
