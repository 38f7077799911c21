//! CRC-32C as ext4 uses it: it starts with a seed, and the result is not inverted.

/// The seed of a checksum without another seed.
pub const SEED: u32 = !0;

/// The checksum of `bytes`, continued from `seed`.
pub fn crc32c(seed: u32, bytes: &[u8]) -> u32 {
    bytes.iter().fold(seed, |sum, byte| sum >> 8 ^ TABLE[usize::from(sum as u8 ^ byte)])
}

/// The checksum of `bytes`, with the `length` bytes at `at` replaced by zeros. That is where the
/// checksum itself is stored.
pub fn crc32c_without(seed: u32, bytes: &[u8], at: usize, length: usize) -> u32 {
    let (before, rest) = bytes.split_at(at.min(bytes.len()));
    let (skipped, after) = rest.split_at(length.min(rest.len()));
    let sum = skipped.iter().fold(crc32c(seed, before), |sum, _| crc32c(sum, &[0]));
    crc32c(sum, after)
}

const TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut index = 0;
    while index < 256 {
        let mut sum = index as u32;
        let mut bit = 0;
        while bit < 8 {
            sum = sum >> 1 ^ if sum & 1 == 1 { 0x82f6_3b78 } else { 0 };
            bit += 1;
        }
        table[index] = sum;
        index += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crc32c_matches_rfc_3720() {
        assert_eq!(!crc32c(SEED, b"123456789"), 0xe306_9283);
        assert_eq!(!crc32c(SEED, &[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c_without(SEED, b"12xx56", 2, 2), crc32c(SEED, b"12\0\x0056"));
        assert_eq!(crc32c_without(SEED, b"12", 2, 2), crc32c(SEED, b"12"));
    }
}
