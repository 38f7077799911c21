//! Which of a tenant's objects are still needed: everything that the kept snapshots (the *roots*)
//! build on. Deletes nothing.
//!
//! The caller that deletes must list the objects first and read the roots afterwards. Then an
//! object that is stored in between is not in the list, and a snapshot that is committed in between
//! is a root. An object of a running snapshot is named by no root yet. To keep it, the caller
//! deletes only what was unreachable twice, with a grace period in between that is longer than a
//! snapshot may take.

#[cfg(test)]
mod tests;

use std::{collections::HashSet, sync::Arc};

use futures_util::{StreamExt as _, TryStreamExt as _};
use protocol::{ManifestId, TenantId};

use crate::{
    error::VolumeError,
    format::{
        block_map::PackId,
        key::DataKey,
        manifest::{Content, Manifest, manifest_name},
        pack::pack_name,
    },
    objects::Objects,
    store::ObjectStore,
};

/// Manifests that are fetched at once.
const MANIFEST_CONCURRENCY: usize = 8;

/// The objects that must be kept.
#[derive(Debug, Default)]
pub struct Reachable {
    tenant: Option<TenantId>,
    manifests: HashSet<ManifestId>,
    packs: HashSet<PackId>,
}

/// Finds all objects that the roots build on. Fails if a manifest cannot be read: then no object
/// may be deleted.
pub async fn find_reachable(
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
                .map(|id| objects.fetch_manifest(id))
                .buffer_unordered(MANIFEST_CONCURRENCY);
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
    /// Marks the packs that a manifest names. Returns the manifests that it builds on.
    fn mark(&mut self, manifest: Manifest) -> Vec<ManifestId> {
        self.packs.extend(manifest.packs().into_iter().map(|pack| pack.id));
        match manifest.content {
            Content::Whole { .. } => Vec::new(),
            Content::Delta { chain, .. } => chain,
        }
    }

    /// Whether the object of this name must be kept. An object that is not a pack or manifest of
    /// this tenant is kept too.
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
