//! Which of a tenant's objects are needed: marked from the snapshots that still count. Deletes nothing.
//!
//! Whoever sweeps lists the objects first and reads the roots afterwards: what is stored meanwhile is then never looked at, and
//! what becomes a root meanwhile is. An object that a snapshot under way has stored is named by no root yet; a grace period
//! between two sightings, longer than a snapshot may take, keeps it.

use std::{collections::HashSet, sync::Arc};

use futures_util::{StreamExt as _, TryStreamExt as _};
use protocol::{ManifestId, TenantId};

use crate::{
    error::VolumeError,
    key::DataKey,
    manifest::{Content, Manifest, manifest_name},
    map::PackId,
    objects::Objects,
    pack::pack_name,
    store::ObjectStore,
};

/// Manifests that are read at once.
const AT_ONCE: usize = 8;

/// What must stay.
#[derive(Debug, Default)]
pub struct Reachable {
    tenant: Option<TenantId>,
    manifests: HashSet<ManifestId>,
    packs: HashSet<PackId>,
}

/// Follows the roots to all that they rest on. Fails if one of them cannot be read: then nothing is known to be garbage.
pub async fn reachable(
    store: Arc<dyn ObjectStore>,
    key: DataKey,
    tenant: TenantId,
    roots: Vec<ManifestId>,
) -> Result<Reachable, VolumeError> {
    let objects = Objects::new(tenant, key, store);
    let mut found = Reachable { tenant: Some(tenant), ..Reachable::default() };
    let mut next: Vec<ManifestId> = roots;
    while !next.is_empty() {
        next.retain(|id| found.manifests.insert(*id));
        let links: Vec<Vec<ManifestId>> = {
            let mut read = futures_util::stream::iter(std::mem::take(&mut next))
                .map(|id| objects.manifest(id))
                .buffer_unordered(AT_ONCE);
            let mut links = Vec::new();
            while let Some((manifest, _)) = read.try_next().await? {
                links.push(found.mark(manifest));
            }
            links
        };
        next = links.into_iter().flatten().collect();
    }
    Ok(found)
}

impl Reachable {
    /// Takes in what a manifest names; the manifests that it rests on.
    fn mark(&mut self, manifest: Manifest) -> Vec<ManifestId> {
        self.packs.extend(manifest.packs().into_iter().map(|pack| pack.id));
        match manifest.content {
            Content::Whole { .. } => Vec::new(),
            Content::Delta { chain, .. } => chain,
        }
    }

    /// Whether the object of this name must stay. What is none of ours stays too.
    pub fn contains(&self, name: &str) -> bool {
        let Some(tenant) = self.tenant else { return true };
        let (manifests, packs) = (format!("{tenant}/manifests/"), format!("{tenant}/packs/"));
        if let Some(id) = name.strip_prefix(&manifests).and_then(|id| id.parse::<ManifestId>().ok()) {
            return self.manifests.contains(&id) || manifest_name(tenant, id) != name;
        }
        match name.strip_prefix(&packs).and_then(PackId::parse) {
            Some(id) => self.packs.contains(&id) || pack_name(tenant, id) != name,
            None => true,
        }
    }
}
