//! From a `vmlinuz` to the `vmlinux` in it: a machine that boots the unpacked kernel need not unpack it, which is most of a
//! boot where the processor is emulated.

use std::path::Path;

use super::{
    error::{Error, at},
    tools::{self, GZIP, LZ4, Tool, XZ, ZSTD},
};

/// Of the x86 boot protocol: where the setup's length, the magic, and the payload's place are.
const SETUP_SECTORS_AT: usize = 0x1f1;
const MAGIC_AT: usize = 0x202;
const MAGIC: &[u8] = b"HdrS";
const PAYLOAD_OFFSET_AT: usize = 0x248;
const PAYLOAD_LENGTH_AT: usize = 0x24c;
const SECTOR: usize = 512;
/// What the setup is long if its length says 0.
const SETUP_SECTORS_DEFAULT: usize = 4;
/// The length of the unpacked kernel follows the payload; gzip has its own at the same place.
const LENGTH_BYTES: usize = 4;
const ELF: &[u8] = b"\x7fELF";

/// How a payload is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Packing {
    Lz4,
    Gzip,
    Xz,
    Zstd,
}

impl Packing {
    fn of(payload: &[u8]) -> Option<Self> {
        let magics: [(&[u8], Self); 4] = [
            (&[0x02, 0x21, 0x4c, 0x18], Self::Lz4),
            (&[0x1f, 0x8b], Self::Gzip),
            (&[0xfd, b'7', b'z', b'X', b'Z', 0], Self::Xz),
            (&[0x28, 0xb5, 0x2f, 0xfd], Self::Zstd),
        ];
        magics.into_iter().find(|(magic, _)| payload.starts_with(magic)).map(|(_, packing)| packing)
    }

    fn tool(self) -> Tool {
        match self {
            Self::Lz4 => LZ4,
            Self::Gzip => GZIP,
            Self::Xz => XZ,
            Self::Zstd => ZSTD,
        }
    }
}

/// Unpacks the kernel of `vmlinuz` into `vmlinux`.
pub fn unpack(vmlinuz: &Path, vmlinux: &Path) -> Result<(), Error> {
    let image = std::fs::read(vmlinuz).map_err(at("read", vmlinuz))?;
    let (packing, payload) = payload(&image).map_err(Error::Kernel)?;
    let packed = vmlinux.with_extension("packed");
    std::fs::write(&packed, payload).map_err(at("write", &packed))?;
    tools::filter(&packing.tool(), &["-dc"], &packed, vmlinux)?;
    std::fs::remove_file(&packed).map_err(at("remove", &packed))?;
    let unpacked = std::fs::read(vmlinux).map_err(at("read", vmlinux))?;
    if unpacked.starts_with(ELF) {
        Ok(())
    } else {
        Err(Error::Kernel("what was packed in vmlinuz is no program".into()))
    }
}

fn payload(image: &[u8]) -> Result<(Packing, &[u8]), String> {
    if image.get(MAGIC_AT..MAGIC_AT + MAGIC.len()) != Some(MAGIC) {
        return Err("vmlinuz is not a kernel for x86".into());
    }
    let sectors = match image[SETUP_SECTORS_AT] {
        0 => SETUP_SECTORS_DEFAULT,
        sectors => usize::from(sectors),
    };
    let (offset, length) = (number(image, PAYLOAD_OFFSET_AT), number(image, PAYLOAD_LENGTH_AT));
    let start = (sectors + 1) * SECTOR + offset;
    let payload = image.get(start..start + length).ok_or("vmlinuz is shorter than it says")?;
    let packing = Packing::of(payload).ok_or("vmlinuz is packed in a way that is not known here")?;
    let end = if packing == Packing::Gzip { length } else { length.saturating_sub(LENGTH_BYTES) };
    Ok((packing, &payload[..end]))
}

/// A number of four bytes; 0 if the image ends before it.
fn number(image: &[u8], at: usize) -> usize {
    image
        .get(at..at + 4)
        .and_then(|bytes| bytes.try_into().ok())
        .map_or(0, |bytes| u32::from_le_bytes(bytes) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vmlinuz(payload: &[u8]) -> Vec<u8> {
        let mut image = vec![0; 2 * SECTOR + 16];
        image[SETUP_SECTORS_AT] = 1;
        image[MAGIC_AT..MAGIC_AT + 4].copy_from_slice(MAGIC);
        image[PAYLOAD_OFFSET_AT..][..4].copy_from_slice(&16u32.to_le_bytes());
        image[PAYLOAD_LENGTH_AT..][..4].copy_from_slice(&(payload.len() as u32).to_le_bytes());
        image.extend_from_slice(payload);
        image
    }

    #[test]
    fn the_length_after_the_payload_is_not_part_of_it() {
        let packed = [0x02, 0x21, 0x4c, 0x18, 1, 2, 3, 9, 9, 9, 9];
        assert_eq!(payload(&vmlinuz(&packed)), Ok((Packing::Lz4, &packed[..7])));
        let packed = [0x1f, 0x8b, 1, 2, 3, 4, 5];
        assert_eq!(payload(&vmlinuz(&packed)), Ok((Packing::Gzip, &packed[..])));
    }

    #[test]
    fn no_prefix_of_a_kernel_is_read_past_its_end() {
        let whole = vmlinuz(&[0x1f, 0x8b, 1, 2]);
        for length in 0..whole.len() {
            assert!(payload(&whole[..length]).is_err(), "{length} bytes");
        }
        assert!(payload(&vmlinuz(b"????")).is_err());
    }
}
