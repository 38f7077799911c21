//! The caches of homes on this host: removed with their workspaces.

use std::path::{Path, PathBuf};

use protocol::{VolumeId, workspace::Phase};

use super::world::{World, eventually};

/// Creates the directory of a cache that has nothing.
fn cache(world: &World, volume: VolumeId) -> PathBuf {
    let path = world.config.cache_dir.join(volume.to_string());
    std::fs::create_dir_all(&path).expect("made");
    std::fs::write(path.join("data"), "plain text").expect("written");
    path
}

async fn removed(path: &Path) {
    eventually("the cache is removed", async || (!path.exists()).then_some(())).await;
}

#[tokio::test]
async fn cache_goes_with_its_workspace() {
    let world = World::new().await;
    let owner = world.owner().await;
    let (deleted, deleted_runner) = owner.running(&world, "deleted").await;
    let (kept, kept_runner) = owner.running(&world, "kept").await;
    let (running, running_runner) = owner.running(&world, "running").await;
    let [deleted_cache, kept_cache, running_cache] =
        [&deleted_runner, &kept_runner, &running_runner].map(|runner| cache(&world, runner.spec.volume));
    owner.rest(deleted, &deleted_runner, 1).await;
    owner.rest(kept, &kept_runner, 2).await;
    eventually("both have ended", async || (!deleted_runner.alive() && !kept_runner.alive()).then_some(()))
        .await;
    assert_eq!(owner.delete(&format!("/api/v1/workspaces/{deleted}")).await.status, 204);
    removed(&deleted_cache).await;
    assert!(kept_cache.exists() && running_cache.exists());

    // One whose runner did not remove it, because it was killed.
    assert_eq!(owner.delete(&format!("/api/v1/workspaces/{running}")).await.status, 204);
    running_runner.kill();
    removed(&running_cache).await;
    assert_eq!(owner.workspace(kept).await.phase, Phase::Terminated);
    assert!(kept_cache.exists());
}

#[tokio::test]
async fn start_removes_unknown_caches() {
    let mut world = World::new().await;
    world.stop().await;
    let unknown = cache(&world, VolumeId::random());
    let foreign = world.config.cache_dir.join("notes");
    std::fs::write(&foreign, "not ours").expect("written");
    world.start().await;
    removed(&unknown).await;
    assert!(foreign.exists());
}

#[tokio::test]
async fn caches_at_rest_are_bounded() {
    let mut world = World::new().await;
    let owner = world.owner().await;
    let (id, runner) = owner.running(&world, "demo").await;
    owner.rest(id, &runner, 1).await;
    let path = cache(&world, runner.spec.volume);
    world.stop().await;
    world.config.max_cache_bytes = 0;
    world.start().await;
    removed(&path).await;
    assert_eq!(world.owner().await.workspace(id).await.phase, Phase::Terminated);
}
