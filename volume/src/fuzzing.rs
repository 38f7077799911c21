//! Entry points for a fuzzer: every decoder of bytes that somebody could have altered. They take
//! any bytes, and must neither panic nor allocate beyond their bounds. Objects in the store are
//! authenticated before they are decoded; these functions show that the decoders do not depend on
//! it.

use crate::{
    cache::parse_log,
    format::{
        key::DataKey,
        manifest::Manifest,
        pack::MAX_FRAME_CONTENT,
        seal::{ObjectCipher, decompress},
    },
    store::{S3Options, validate_name},
    transfer::chunk::{self, CHUNK_BYTES},
};

/// Decodes the content of a manifest, as if it had been decrypted.
pub fn decode_manifest(bytes: &[u8]) {
    let _ = Manifest::decode(bytes);
}

/// Decompresses a frame, as if it had been decrypted.
pub fn decompress_frame(bytes: &[u8]) {
    if let Ok(content) = decompress(bytes, MAX_FRAME_CONTENT) {
        assert!(content.len() <= MAX_FRAME_CONTENT, "the bound holds");
    }
}

/// Opens a sealed frame.
pub fn open_frame(bytes: &[u8]) {
    let key = DataKey::from_hex(&"5a".repeat(32)).expect("64 digits");
    let tenant = protocol::TenantId(uuid::Uuid::nil());
    assert!(ObjectCipher::new(&key, tenant, "pack", &[0; 16]).open(0, bytes, MAX_FRAME_CONTENT).is_err());
}

/// Decodes chunks of a home as another installation sends them.
pub fn decode_chunks(bytes: &[u8]) {
    const MAX_CHUNKS: usize = 4;
    if let Ok(chunks) = chunk::decode(bytes, 1 << 16, MAX_CHUNKS) {
        assert!(chunks.len() <= MAX_CHUNKS, "the bound holds");
        assert!(chunks.iter().all(|chunk| chunk.content.is_empty() || chunk.content.len() == CHUNK_BYTES));
    }
}

/// Parses the log of a cache.
pub fn parse_dirty_log(bytes: &[u8]) {
    let _ = parse_log(bytes);
}

/// Parses the URL of a store and the name of an object.
pub fn parse_names(text: &str) {
    let _ = S3Options::parse(text);
    let _ = validate_name(text);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(5000))]

        #[test]
        fn decoders_survive_any_bytes(
            bytes in prop::collection::vec(any::<u8>(), 0..2000),
            text in ".{0,80}",
        ) {
            decode_manifest(&bytes);
            decompress_frame(&bytes);
            decode_chunks(&bytes);
            open_frame(&bytes);
            parse_dirty_log(&bytes);
            parse_names(&text);
            parse_names(&format!("s3://{text}"));
        }
    }
}
