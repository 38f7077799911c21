//! Every decoder that reads what could have been altered, as entry points for a fuzzer: they take any bytes and must neither
//! panic nor allocate beyond their bounds. What lies in the store is authenticated first; these show what holds without that.

use crate::{
    cache::parse_log,
    chunk::{self, CHUNK_BYTES},
    key::DataKey,
    manifest::Manifest,
    pack::MAX_FRAME_CONTENT,
    seal::{ObjectCipher, decompress},
    store::{S3Options, check_name},
};

/// A manifest's content, after opening.
pub fn manifest(bytes: &[u8]) {
    let _ = Manifest::decode(bytes);
}

/// A frame's content, after opening.
pub fn frame_content(bytes: &[u8]) {
    if let Ok(content) = decompress(bytes, MAX_FRAME_CONTENT) {
        assert!(content.len() <= MAX_FRAME_CONTENT, "the bound holds");
    }
}

/// A sealed frame.
pub fn sealed_frame(bytes: &[u8]) {
    let key = DataKey::from_hex(&"5a".repeat(32)).expect("64 digits");
    let tenant = protocol::TenantId(uuid::Uuid::nil());
    assert!(ObjectCipher::new(&key, tenant, "pack", &[0; 16]).open(0, bytes, MAX_FRAME_CONTENT).is_err());
}

/// Chunks of a home as another installation sends them.
pub fn parts(bytes: &[u8]) {
    const MOST: usize = 4;
    if let Ok(parts) = chunk::decode(bytes, 1 << 16, MOST) {
        assert!(parts.len() <= MOST, "the bound holds");
        assert!(parts.iter().all(|part| part.content.is_empty() || part.content.len() == CHUNK_BYTES));
    }
}

/// The log of a cache.
pub fn dirty_log(bytes: &[u8]) {
    let _ = parse_log(bytes);
}

/// A store's address and an object's name.
pub fn names(text: &str) {
    let _ = S3Options::parse(text);
    let _ = check_name(text);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(5000))]

        #[test]
        fn decoders_bear_any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..2000), text in ".{0,80}") {
            manifest(&bytes);
            frame_content(&bytes);
            parts(&bytes);
            sealed_frame(&bytes);
            dirty_log(&bytes);
            names(&text);
            names(&format!("s3://{text}"));
        }
    }
}
