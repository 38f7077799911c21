//! The next manifest of a volume: a delta if the chain accepts one, otherwise a whole one. Pure.

use std::ops::Range;

use bytes::Bytes;
use protocol::{Epoch, ManifestId, TenantId, VolumeId};

use super::{
    block_map::BlockMap,
    chain::Chain,
    key::DataKey,
    manifest::{Content, Delta, Manifest},
};

/// A volume's head, and what has changed since.
pub struct ManifestDraft {
    pub volume: VolumeId,
    pub epoch: Epoch,
    pub size_bytes: u64,
    /// The head's map.
    pub map: BlockMap,
    /// The head's chain; none before the first manifest.
    pub chain: Option<Chain>,
    /// Whether the manifest must be whole, because a manifest of the chain is damaged.
    pub is_whole: bool,
    /// A new boot order to store.
    pub recorded_order: Option<Vec<Range<u32>>>,
    /// The boot order that the head records.
    pub known_order: Vec<Range<u32>>,
    /// The changes. Their packs are in the store.
    pub delta: Delta,
}

/// A manifest that is ready to be uploaded, and what the volume builds on once it is.
pub struct SealedManifest {
    pub id: ManifestId,
    pub object: Bytes,
    pub chain: Chain,
    pub map: BlockMap,
    /// The boot order in this manifest.
    pub boot_order: Option<Vec<Range<u32>>>,
}

impl ManifestDraft {
    /// Encodes and encrypts the manifest.
    pub fn seal(self, key: &DataKey, tenant: TenantId) -> SealedManifest {
        let Self {
            volume,
            epoch,
            size_bytes,
            mut map,
            chain,
            is_whole,
            recorded_order,
            known_order,
            mut delta,
        } = self;
        delta.extents.sort_unstable_by_key(|extent| extent.start);
        delta.apply(&mut map);
        let content = match &chain {
            Some(chain) if !is_whole && chain.accepts_delta() => {
                Content::Delta { chain: chain.links().to_vec(), delta }
            }
            _ => Content::Whole { parent: chain.as_ref().map(Chain::head), map: map.clone() },
        };
        let is_delta = matches!(content, Content::Delta { .. });
        let boot_order = recorded_order.or_else(|| (!is_delta).then_some(known_order));
        let boot_order = boot_order.filter(|order| !order.is_empty());
        let manifest = Manifest { volume, epoch, size_bytes, boot_order: boot_order.clone(), content };
        let (id, object) = manifest.seal(key, tenant);
        let bytes = object.len() as u64;
        let chain = match chain {
            Some(mut chain) if is_delta => {
                chain.push(id, bytes);
                chain
            }
            _ => Chain::new(id, bytes),
        };
        SealedManifest { id, object, chain, map, boot_order }
    }
}
