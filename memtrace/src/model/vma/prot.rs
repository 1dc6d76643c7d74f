//! What an access to a mapping may do.
//!
//! Owns the three bits. Must not know why they are what they are.

/// `PROT_READ`, `PROT_WRITE` and `PROT_EXEC`, with their values in
/// <https://elixir.bootlin.com/linux/v6.12/source/include/uapi/asm-generic/mman-common.h>.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Prot(u8);

impl Prot {
    /// Nothing at all, `PROT_NONE`: reserved.
    pub const NONE: Self = Self(0);

    const READ: u8 = 1;
    const WRITE: u8 = 2;
    const EXEC: u8 = 4;

    /// From the three.
    pub fn new(read: bool, write: bool, exec: bool) -> Self {
        let bit = |set, bit| if set { bit } else { 0 };
        Self(bit(read, Self::READ) | bit(write, Self::WRITE) | bit(exec, Self::EXEC))
    }

    /// From the argument of `mmap` or `mprotect`. Its other bits say nothing about accesses.
    pub fn of_argument(prot: u64) -> Self {
        let low = prot.to_le_bytes()[0];
        Self(low & (Self::READ | Self::WRITE | Self::EXEC))
    }

    /// May be read.
    pub fn read(self) -> bool {
        self.0 & Self::READ != 0
    }

    /// May be written.
    pub fn write(self) -> bool {
        self.0 & Self::WRITE != 0
    }

    /// May be executed.
    pub fn exec(self) -> bool {
        self.0 & Self::EXEC != 0
    }
}
