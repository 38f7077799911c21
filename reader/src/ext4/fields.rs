//! Numbers in bytes that someone else wrote. What lies beyond the end reads as zero, so that no offset can panic.

pub struct Fields<'a>(pub &'a [u8]);

impl Fields<'_> {
    fn bytes<const N: usize>(&self, at: usize) -> [u8; N] {
        self.0.get(at..).and_then(|rest| rest.first_chunk()).copied().unwrap_or([0; N])
    }

    pub fn u8(&self, at: usize) -> u8 {
        u8::from_le_bytes(self.bytes(at))
    }

    pub fn u16(&self, at: usize) -> u16 {
        u16::from_le_bytes(self.bytes(at))
    }

    pub fn u32(&self, at: usize) -> u32 {
        u32::from_le_bytes(self.bytes(at))
    }

    /// The journal's numbers.
    pub fn u16_be(&self, at: usize) -> u16 {
        u16::from_be_bytes(self.bytes(at))
    }

    /// The journal's numbers.
    pub fn u32_be(&self, at: usize) -> u32 {
        u32::from_be_bytes(self.bytes(at))
    }
}

/// A number kept in two halves.
pub fn halves(low: u32, high: u32) -> u64 {
    u64::from(high) << 32 | u64::from(low)
}
