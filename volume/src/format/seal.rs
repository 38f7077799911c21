//! One sealed frame: compressed, then encrypted, and bound to its place. Pure.
//!
//! Each object has its own key, derived from the tenant's key and the object's name. The name is
//! random and never reused. Therefore a frame's offset suffices as its nonce: no key is used with
//! the same nonce twice, and no nonce has to be stored.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use protocol::TenantId;

use super::key::DataKey;

/// Bytes that sealing adds: one for the kind of compression, 16 for the tag.
pub const FRAME_OVERHEAD: usize = 1 + TAG_BYTES;
const TAG_BYTES: usize = 16;

/// Level 1: an upload should wait for the network, not for the last per cent of compression.
const ZSTD_LEVEL: i32 = 1;

const STORED: u8 = 0;
const ZSTD: u8 = 1;

/// Why a sealed frame is refused. The reasons are not told apart further: each of them means that
/// it is not ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    #[error("it does not decrypt: it was altered, moved, or encrypted with another key")]
    DoesNotOpen,
    #[error("it decrypts, but its content is malformed")]
    Malformed,
}

/// Encrypts and decrypts the frames of one object.
pub struct ObjectCipher {
    key: LessSafeKey,
    name: Vec<u8>,
}

/// A compressor for many frames. Creating one costs as much as compressing a frame.
pub struct Compressor(zstd::bulk::Compressor<'static>);

impl Compressor {
    pub fn new() -> Self {
        Self(zstd::bulk::Compressor::new(ZSTD_LEVEL).expect("the level is one of zstd's"))
    }

    /// Compresses, or stores the content as it is if that is smaller. The first byte says which.
    pub fn compress(&mut self, content: &[u8]) -> Vec<u8> {
        let packed = self.0.compress(content).expect("compressing memory into memory does not fail");
        let (kind, body) =
            if packed.len() < content.len() { (ZSTD, packed.as_slice()) } else { (STORED, content) };
        let mut frame = Vec::with_capacity(body.len() + FRAME_OVERHEAD);
        frame.push(kind);
        frame.extend_from_slice(body);
        frame
    }
}

impl ObjectCipher {
    /// `kind` separates packs from manifests, `name` one object from another.
    pub fn new(key: &DataKey, tenant: TenantId, kind: &'static str, name: &[u8]) -> Self {
        let mut bound = tenant.0.as_bytes().to_vec();
        bound.extend_from_slice(kind.as_bytes());
        bound.extend_from_slice(name);
        let mut derived = key.derive("burrow volume object key v1", &bound);
        let unbound = UnboundKey::new(&AES_256_GCM, &derived).expect("32 bytes are a key");
        zeroize::Zeroize::zeroize(&mut derived);
        Self { key: LessSafeKey::new(unbound), name: bound }
    }

    /// Seals the frame that goes to `offset` of the object.
    pub fn seal(&self, offset: u64, content: &[u8], compressor: &mut Compressor) -> Vec<u8> {
        let mut frame = compressor.compress(content);
        let tag = self
            .key
            .seal_in_place_separate_tag(nonce(offset), self.bound_to(offset), &mut frame)
            .expect("sealing has no failing input of this size");
        frame.extend_from_slice(tag.as_ref());
        frame
    }

    /// Opens the frame that lay at `offset`. Its content is at most `max_content` bytes.
    pub fn open(&self, offset: u64, frame: &[u8], max_content: usize) -> Result<Vec<u8>, FrameError> {
        let mut text = frame.to_vec();
        let opened = self
            .key
            .open_in_place(nonce(offset), self.bound_to(offset), &mut text)
            .map_err(|_| FrameError::DoesNotOpen)?;
        decompress(opened, max_content)
    }

    fn bound_to(&self, offset: u64) -> Aad<Vec<u8>> {
        let mut bound = self.name.clone();
        bound.extend_from_slice(&offset.to_le_bytes());
        Aad::from(bound)
    }
}

fn nonce(offset: u64) -> Nonce {
    let mut bytes = [0; 12];
    bytes[..8].copy_from_slice(&offset.to_le_bytes());
    Nonce::assume_unique_for_key(bytes)
}

/// Decompresses what [`Compressor`] made; never more than `max_content` bytes, whatever the frame
/// claims.
pub fn decompress(frame: &[u8], max_content: usize) -> Result<Vec<u8>, FrameError> {
    match frame.split_first() {
        Some((&STORED, body)) if body.len() <= max_content => Ok(body.to_vec()),
        Some((&ZSTD, body)) => {
            // The claimed size is a hint for the allocation; the bound is ours.
            let claimed = zstd::zstd_safe::get_frame_content_size(body).ok().flatten().unwrap_or(0);
            let capacity = usize::try_from(claimed).unwrap_or(usize::MAX).min(max_content);
            zstd::bulk::decompress(body, capacity).map_err(|_| FrameError::Malformed)
        }
        _ => Err(FrameError::Malformed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cipher(key: &DataKey, tenant: TenantId, name: &[u8]) -> ObjectCipher {
        ObjectCipher::new(key, tenant, "pack", name)
    }

    #[test]
    fn frame_opens_only_in_its_place() {
        let (key, tenant) = (DataKey::random(), TenantId::random());
        let frame = cipher(&key, tenant, b"one").seal(7, &[42; 4096], &mut Compressor::new());
        assert!(frame.len() < 100, "equal bytes compress");
        assert_eq!(cipher(&key, tenant, b"one").open(7, &frame, 4096), Ok(vec![42; 4096]));
        let elsewhere = [
            (cipher(&key, tenant, b"one"), 8),
            (cipher(&key, tenant, b"two"), 7),
            (cipher(&key, TenantId::random(), b"one"), 7),
            (cipher(&DataKey::random(), tenant, b"one"), 7),
            (ObjectCipher::new(&key, tenant, "manifest", b"one"), 7),
        ];
        for (cipher, offset) in elsewhere {
            assert_eq!(cipher.open(offset, &frame, 4096), Err(FrameError::DoesNotOpen));
        }
    }

    #[test]
    fn altered_frame_is_refused() {
        let (key, tenant) = (DataKey::random(), TenantId::random());
        let cipher = cipher(&key, tenant, b"one");
        let mut frame = cipher.seal(0, b"some content", &mut Compressor::new());
        for index in 0..frame.len() {
            frame[index] ^= 0x10;
            assert_eq!(cipher.open(0, &frame, 100), Err(FrameError::DoesNotOpen), "byte {index}");
            frame[index] ^= 0x10;
        }
        assert_eq!(cipher.open(0, &frame[..frame.len() - 1], 100), Err(FrameError::DoesNotOpen));
        assert_eq!(cipher.open(0, &[], 100), Err(FrameError::DoesNotOpen));
    }

    #[test]
    fn decompression_is_bounded() {
        let bomb = Compressor::new().compress(&vec![0; 1 << 20]);
        assert_eq!(decompress(&bomb, 4096), Err(FrameError::Malformed));
        assert_eq!(decompress(&[STORED, 1, 2], 1), Err(FrameError::Malformed));
        assert_eq!(decompress(&[9], 1), Err(FrameError::Malformed));
    }
}
