//! Swap in memory (zram) for as long as a test needs it.
//!
//! Owns the device and takes it back. Must not know what is swapped.
//!
//! A swap file would not do: what was written to one stays in the swap cache, and comes back as a minor fault.

use std::fs;
use std::path::Path;
use std::process::Command;

const DEVICE: &str = "/dev/zram0";
const SETTINGS: &str = "/sys/block/zram0";
const SIZE: &str = "64M";

/// Swap that is on; off again when this goes.
#[derive(Debug)]
pub struct Swap(());

impl Swap {
    /// Switches it on. The reason where that cannot be: there is no zram, it is in use, or there is other swap, which
    /// pages could go to as well.
    pub fn on() -> Result<Swap, String> {
        let swaps = fs::read_to_string("/proc/swaps").unwrap_or_default();
        if swaps.lines().count() > 1 {
            return Err("there is other swap".to_owned());
        }
        let setting = |name: &str| Path::new(SETTINGS).join(name);
        let size = fs::read_to_string(setting("disksize")).map_err(|error| format!("no zram: {error}"))?;
        if size.trim() != "0" {
            return Err("zram is in use".to_owned());
        }
        fs::write(setting("disksize"), SIZE).map_err(|error| format!("zram's size: {error}"))?;
        // From here on it is taken back, whatever comes.
        let swap = Swap(());
        for program in ["mkswap", "swapon"] {
            let output = Command::new(program)
                .arg(DEVICE)
                .output()
                .map_err(|error| format!("{program}: {error}"))?;
            if !output.status.success() {
                return Err(format!("{program}: {}", String::from_utf8_lossy(&output.stderr)));
            }
        }
        Ok(swap)
    }
}

impl Drop for Swap {
    fn drop(&mut self) {
        // It may not have come that far.
        let _ = Command::new("swapoff").arg(DEVICE).output();
        let _ = fs::write(Path::new(SETTINGS).join("reset"), "1");
    }
}
