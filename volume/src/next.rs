//! The next manifest of a volume: a delta while its chain takes one, a whole one otherwise. Pure.

use std::ops::Range;

use bytes::Bytes;
use protocol::{Epoch, ManifestId, TenantId, VolumeId};

use crate::{
    chain::Chain,
    key::DataKey,
    manifest::{Content, Delta, Manifest},
    map::BlockMap,
};

/// What a volume is, and what has changed of it.
pub struct Step {
    pub volume: VolumeId,
    pub epoch: Epoch,
    pub size_bytes: u64,
    /// What the head says.
    pub map: BlockMap,
    /// What the head rests on; none of a first manifest.
    pub chain: Option<Chain>,
    /// Whether the next manifest is to rest on no other, because one of the chain is damaged.
    pub whole: bool,
    /// What a start was just seen to read, in its order.
    pub fresh_order: Option<Vec<Range<u32>>>,
    /// What the head says about that.
    pub known_order: Vec<Range<u32>>,
    /// Its packs are in the store.
    pub delta: Delta,
}

/// A manifest ready to be stored, and what the volume rests on once it is.
pub struct Next {
    pub id: ManifestId,
    pub object: Bytes,
    pub chain: Chain,
    pub map: BlockMap,
    /// As the manifest has it.
    pub order: Option<Vec<Range<u32>>>,
}

impl Step {
    pub fn seal(self, key: &DataKey, tenant: TenantId) -> Next {
        let Self { volume, epoch, size_bytes, mut map, chain, whole, fresh_order, known_order, mut delta } =
            self;
        delta.extents.sort_unstable_by_key(|extent| extent.start);
        delta.apply(&mut map);
        let content = match &chain {
            Some(chain) if !whole && chain.takes_delta() => {
                Content::Delta { chain: chain.links().to_vec(), delta }
            }
            _ => Content::Whole { parent: chain.as_ref().map(Chain::head), map: map.clone() },
        };
        let is_delta = matches!(content, Content::Delta { .. });
        let order = fresh_order.or_else(|| (!is_delta).then_some(known_order));
        let order = order.filter(|order| !order.is_empty());
        let manifest = Manifest { volume, epoch, size_bytes, order: order.clone(), content };
        let (id, object) = manifest.seal(key, tenant);
        let bytes = object.len() as u64;
        let chain = match chain {
            Some(mut chain) if is_delta => {
                chain.push(id, bytes);
                chain
            }
            _ => Chain::new(id, bytes),
        };
        Next { id, object, chain, map, order }
    }
}
