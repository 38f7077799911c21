//! Unpacks the `vmlinux` in a `vmlinuz`. A guest that boots the unpacked kernel need not unpack it,
//! which takes most of the boot time of an emulated guest.

use std::path::Path;

use super::{
    error::{ImageError, at},
    tools::{self, BuildTool, GZIP, LZ4, XZ, ZSTD},
};

/// Offsets of the x86 boot protocol: the setup's length in sectors, the magic, and the payload's
/// position and length.
const SETUP_SECTORS_OFFSET: usize = 0x1f1;
const MAGIC_OFFSET: usize = 0x202;
const MAGIC: &[u8] = b"HdrS";
const PAYLOAD_POSITION_OFFSET: usize = 0x248;
const PAYLOAD_LENGTH_OFFSET: usize = 0x24c;
const SECTOR_BYTES: usize = 512;
/// The setup's length if its field is 0.
const DEFAULT_SETUP_SECTORS: usize = 4;
/// The length of the unpacked kernel follows the payload. In gzip, the payload's own length field
/// lies there.
const LENGTH_BYTES: usize = 4;
const ELF_MAGIC: &[u8] = b"\x7fELF";

/// How a payload is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Compression {
    Lz4,
    Gzip,
    Xz,
    Zstd,
}

impl Compression {
    fn detect(payload: &[u8]) -> Option<Self> {
        let magics: [(&[u8], Self); 4] = [
            (&[0x02, 0x21, 0x4c, 0x18], Self::Lz4),
            (&[0x1f, 0x8b], Self::Gzip),
            (&[0xfd, b'7', b'z', b'X', b'Z', 0], Self::Xz),
            (&[0x28, 0xb5, 0x2f, 0xfd], Self::Zstd),
        ];
        magics.into_iter().find(|(magic, _)| payload.starts_with(magic)).map(|(_, compression)| compression)
    }

    fn tool(self) -> BuildTool {
        match self {
            Self::Lz4 => LZ4,
            Self::Gzip => GZIP,
            Self::Xz => XZ,
            Self::Zstd => ZSTD,
        }
    }
}

/// Unpacks the kernel of `vmlinuz` into `vmlinux`.
pub fn unpack(vmlinuz: &Path, vmlinux: &Path) -> Result<(), ImageError> {
    let image = std::fs::read(vmlinuz).map_err(at("read", vmlinuz))?;
    let (compression, payload) = find_payload(&image).map_err(ImageError::Kernel)?;
    let packed = vmlinux.with_extension("packed");
    std::fs::write(&packed, payload).map_err(at("write", &packed))?;
    tools::filter(&compression.tool(), &["-dc"], &packed, vmlinux)?;
    std::fs::remove_file(&packed).map_err(at("remove", &packed))?;
    let unpacked = std::fs::read(vmlinux).map_err(at("read", vmlinux))?;
    if unpacked.starts_with(ELF_MAGIC) {
        Ok(())
    } else {
        Err(ImageError::Kernel("vmlinuz does not contain an ELF program".into()))
    }
}

fn find_payload(image: &[u8]) -> Result<(Compression, &[u8]), String> {
    if image.get(MAGIC_OFFSET..MAGIC_OFFSET + MAGIC.len()) != Some(MAGIC) {
        return Err("vmlinuz is not an x86 kernel".into());
    }
    let sectors = match image[SETUP_SECTORS_OFFSET] {
        0 => DEFAULT_SETUP_SECTORS,
        sectors => usize::from(sectors),
    };
    let (offset, length) =
        (read_number(image, PAYLOAD_POSITION_OFFSET), read_number(image, PAYLOAD_LENGTH_OFFSET));
    let start = (sectors + 1) * SECTOR_BYTES + offset;
    let payload = image.get(start..start + length).ok_or("vmlinuz is truncated")?;
    let compression = Compression::detect(payload).ok_or("vmlinuz has an unknown compression")?;
    let end = if compression == Compression::Gzip { length } else { length.saturating_sub(LENGTH_BYTES) };
    Ok((compression, &payload[..end]))
}

/// A little-endian number of four bytes; 0 if the image ends before it.
fn read_number(image: &[u8], at: usize) -> usize {
    image
        .get(at..at + 4)
        .and_then(|bytes| bytes.try_into().ok())
        .map_or(0, |bytes| u32::from_le_bytes(bytes) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vmlinuz(payload: &[u8]) -> Vec<u8> {
        let mut image = vec![0; 2 * SECTOR_BYTES + 16];
        image[SETUP_SECTORS_OFFSET] = 1;
        image[MAGIC_OFFSET..MAGIC_OFFSET + 4].copy_from_slice(MAGIC);
        image[PAYLOAD_POSITION_OFFSET..][..4].copy_from_slice(&16u32.to_le_bytes());
        image[PAYLOAD_LENGTH_OFFSET..][..4].copy_from_slice(&(payload.len() as u32).to_le_bytes());
        image.extend_from_slice(payload);
        image
    }

    #[test]
    fn payload_excludes_the_trailing_length() {
        let packed = [0x02, 0x21, 0x4c, 0x18, 1, 2, 3, 9, 9, 9, 9];
        assert_eq!(find_payload(&vmlinuz(&packed)), Ok((Compression::Lz4, &packed[..7])));
        let packed = [0x1f, 0x8b, 1, 2, 3, 4, 5];
        assert_eq!(find_payload(&vmlinuz(&packed)), Ok((Compression::Gzip, &packed[..])));
    }

    #[test]
    fn truncated_kernels_are_refused() {
        let complete = vmlinuz(&[0x1f, 0x8b, 1, 2]);
        for length in 0..complete.len() {
            assert!(find_payload(&complete[..length]).is_err(), "{length} bytes");
        }
        assert!(find_payload(&vmlinuz(b"????")).is_err());
    }
}
