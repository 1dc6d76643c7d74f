//! Bytes as the columns of blocks, with the right checksums around them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use memtrace_fuzz::{blocks, replay};

fuzz_target!(|words: &[u8]| {
    // What does not fit into a block is no input.
    if let Ok(recording) = blocks::recording(words) {
        replay::replay(&recording);
    }
});
