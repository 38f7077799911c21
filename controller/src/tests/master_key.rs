//! The master key rotated without rewriting a home, and a tenant's key destroyed.

use std::path::{Path, PathBuf};

use protocol::{ManifestId, api::admin::TenantKeyState, workspace::Phase};
use serde_json::json;

use super::world::{World, eventually, stream};
use crate::{
    Controller, GcError, KmsConfig, Rotation, StartError, TenantError, installation,
    kms::tenant_keys::{self, MasterKey, TenantKey},
    tenants::destroy,
};

fn file_of(world: &World) -> PathBuf {
    let KmsConfig::File(path) = &world.config.master_key else { panic!("in a file") };
    path.clone()
}

fn in_file(path: &Path) -> Rotation {
    Rotation { file: path.to_owned(), service: None, to: None }
}

#[tokio::test]
async fn rotation_keeps_homes_readable() {
    let mut world = World::new().await;
    let owner = world.owner().await;
    let (id, runner) = owner.running(&world, "demo").await;
    owner.rest(id, &runner, 1).await;
    let grant_key = world.controller().grant_key();
    let path = file_of(&world);
    let before = MasterKey::load(&path).expect("there").fingerprint();
    world.stop().await;
    let rotated =
        Controller::rotate_master_key(&world.config.database_url, &in_file(&path)).await.expect("replaced");
    assert_eq!(rotated.tenants, 1);
    let after = MasterKey::load(&path).expect("there").fingerprint();
    assert!(after == rotated.fingerprint && after != before);
    assert!(!installation::tests::has_new_key(&path));

    world.start().await;
    assert_eq!(world.controller().grant_key(), grant_key, "grants that are out stay good");
    let owner = world.owner().await;
    assert_eq!(owner.act(id, "start").await.status, 200);
    let again = world.runner(id, 2).await;
    assert_eq!(again.spec.data_key.expose(), runner.spec.data_key.expose());
}

#[tokio::test]
async fn interrupted_rotation_is_finished_or_dropped() {
    let mut world = World::new().await;
    let (url, path) = (world.config.database_url.clone(), file_of(&world));
    let first = MasterKey::load(&path).expect("there").fingerprint();
    world.stop().await;
    // Before the transaction: the old key is the one.
    installation::tests::create_new_key_only(&path);
    world.start().await;
    assert_eq!(MasterKey::load(&path).expect("there").fingerprint(), first);
    world.stop().await;
    // Between the transaction and the file: the next start, or the next replacement, finishes it.
    installation::tests::rotate_without_file(&url, &path).await;
    assert_eq!(MasterKey::load(&path).expect("there").fingerprint(), first);
    world.start().await;
    let second = MasterKey::load(&path).expect("there").fingerprint();
    assert!(second != first && !installation::tests::has_new_key(&path));
    world.stop().await;
    installation::tests::rotate_without_file(&url, &path).await;
    let rotated = Controller::rotate_master_key(&url, &in_file(&path)).await.expect("replaced");
    assert_eq!(MasterKey::load(&path).expect("there").fingerprint(), rotated.fingerprint);
    world.start().await;
    world.stop().await;
    // Another installation's key replaces nothing.
    std::fs::remove_file(&path).expect("removed");
    let refused = Controller::rotate_master_key(&url, &in_file(&path)).await.expect_err("another key");
    assert!(matches!(refused, StartError::OtherMasterKey { .. }));
}

#[tokio::test]
async fn destroyed_tenant_key_makes_homes_unreadable() {
    let world = World::new().await;
    let owner = world.owner().await;
    let stranger = world.stranger().await;
    let (id, runner) = owner.running(&world, "demo").await;
    world.files.insert(1, &[("a", "text")]);
    runner.report(vec![stream(1)]).await.expect("accepted");
    let (other, _) = stranger.running(&world, "theirs").await;
    let tenant = owner.session().await.user.tenant;
    let cache = world.config.cache_dir.join(runner.spec.volume.to_string());
    std::fs::create_dir_all(&cache).expect("made");

    // By its owner only, who says which; a request that went astray destroys nothing.
    let (route, wish) = ("/api/v1/admin/destroy-tenant-key", json!({ "tenant": tenant }));
    assert_eq!(stranger.post(route, &wish).await.code(), "invalid");
    assert_eq!(world.member(&owner, "teacher").await.post(route, &wish).await.status, 403);
    assert_eq!(owner.post(route, &json!({})).await.status, 422);
    assert_eq!(owner.post(route, &wish).await.status, 200);
    assert_eq!(owner.workspace(id).await.phase, Phase::Running, "a week is left");
    let app = world.app();
    let later = app.now() + destroy::DESTROY_GRACE;
    assert_eq!(destroy::destroy_due(&app, later).await.expect("destroyed"), [tenant]);
    destroy::finish(&app, tenant).await.expect("finished");
    world.controller().destroy_tenant_key(tenant).await.expect("twice is once");
    let rest = owner.reaches(id, Phase::Terminated).await;
    assert!(rest.failure.is_some_and(|failure| failure.cause.contains("was destroyed")));
    eventually("the machine ends", async || (!runner.alive()).then_some(())).await;
    assert!(!cache.exists(), "what the host kept unencrypted is gone");
    let mut system = app.db.system().await.expect("a transaction");
    let key = tenant_keys::find(system.connection(), tenant).await.expect("known");
    assert!(matches!(key.decrypt(&app.kms).await, Ok(TenantKey::Destroyed)));
    drop(system);

    let base = format!("/api/v1/workspaces/{id}");
    for answer in [
        owner.act(id, "start").await,
        owner.get(&format!("{base}/snapshots/latest/files")).await,
        owner.post(&format!("{base}/fork"), &json!({ "name": "copy" })).await,
        owner.post("/api/v1/workspaces", &json!({ "name": "fresh" })).await,
    ] {
        assert_eq!((answer.status, answer.code()), (409, "conflict"));
        assert!(answer.body["detail"].as_str().is_some_and(|detail| detail.contains("was destroyed")));
    }
    assert_eq!(owner.delete(&base).await.status, 204);
    assert_eq!(stranger.workspace(other).await.phase, Phase::Running, "nobody else is hit");
    let unknown = world.controller().destroy_tenant_key(protocol::TenantId::random()).await;
    assert!(matches!(unknown, Err(TenantError::Unknown)));
    assert_eq!(runner.spec.head, None::<ManifestId>);
    assert!(!matches!(world.controller().run_gc().await, Err(GcError::Busy)));
}

#[tokio::test]
async fn destruction_of_tenant_key_can_be_undone() {
    let world = World::new().await;
    let owner = world.owner().await;
    let member = world.member(&owner, "member").await;
    let tenant = owner.session().await.user.tenant;
    let (route, undo) = ("/api/v1/admin/destroy-tenant-key", "/api/v1/admin/destroy-tenant-key/undo");
    let before = world.app().now();
    let requested: TenantKeyState = owner.post(route, &json!({ "tenant": tenant })).await.ok();
    let at = requested.destroy_at.expect("a time");
    assert!(at >= before + destroy::DESTROY_GRACE && requested.destroyed_at.is_none());
    let again: TenantKeyState = owner.post(route, &json!({ "tenant": tenant })).await.ok();
    assert_eq!(again.destroy_at, Some(at), "a second request does not move it");
    assert_eq!(member.session().await.destroy_key_at, Some(at), "everybody is warned");
    let (id, runner) = member.running(&world, "demo").await;
    assert!(runner.alive() && member.workspace(id).await.phase == Phase::Running);

    let app = world.app();
    let just_before = at - time::Duration::seconds(1);
    assert_eq!(destroy::destroy_due(&app, just_before).await.expect("looked"), []);
    assert_eq!(member.post(undo, &json!({})).await.status, 403);
    let kept: TenantKeyState = owner.post(undo, &json!({})).await.ok();
    assert_eq!(kept, TenantKeyState::default());
    assert_eq!(destroy::destroy_due(&app, at + destroy::DESTROY_GRACE).await.expect("looked"), []);
    let key: TenantKeyState = member.get("/api/v1/admin/tenant-key").await.ok();
    assert_eq!(key, TenantKeyState::default());

    world.controller().destroy_tenant_key(tenant).await.expect("destroyed");
    assert_eq!(owner.post(undo, &json!({})).await.code(), "conflict");
    assert_eq!(owner.post(route, &json!({ "tenant": tenant })).await.code(), "conflict");
    let key: TenantKeyState = member.get("/api/v1/admin/tenant-key").await.ok();
    assert!(key.destroyed_at.is_some() && key.destroy_at.is_none());
}
