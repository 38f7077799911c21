//! Reads numbers at offsets of untrusted bytes. Offsets beyond the end read as zero, so no offset
//! can panic.

/// Bytes with numbers at fixed offsets. Little-endian unless the method says otherwise.
pub struct Fields<'a>(pub &'a [u8]);

impl Fields<'_> {
    fn bytes<const N: usize>(&self, at: usize) -> [u8; N] {
        self.0.get(at..).and_then(|rest| rest.first_chunk()).copied().unwrap_or([0; N])
    }

    /// The number at offset `at`.
    pub fn u8(&self, at: usize) -> u8 {
        u8::from_le_bytes(self.bytes(at))
    }

    /// The number at offset `at`.
    pub fn u16(&self, at: usize) -> u16 {
        u16::from_le_bytes(self.bytes(at))
    }

    /// The number at offset `at`.
    pub fn u32(&self, at: usize) -> u32 {
        u32::from_le_bytes(self.bytes(at))
    }

    /// Big-endian, as in the journal.
    pub fn u16_be(&self, at: usize) -> u16 {
        u16::from_be_bytes(self.bytes(at))
    }

    /// Big-endian, as in the journal.
    pub fn u32_be(&self, at: usize) -> u32 {
        u32::from_be_bytes(self.bytes(at))
    }
}

/// A 64-bit number that is stored in two halves.
pub fn join_halves(low: u32, high: u32) -> u64 {
    u64::from(high) << 32 | u64::from(low)
}
