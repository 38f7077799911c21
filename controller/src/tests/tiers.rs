//! Tiers: which a tenant may use, and which has written a home.

use protocol::{
    WorkspaceId,
    api::{template::TemplateList, workspace::Workspace},
    runner::Report,
    workspace::{Phase, Tier},
};
use serde_json::json;

use super::world::{Client, Runner, World};
use crate::tenants;

async fn set_tiers(world: &World, tiers: &[Tier]) {
    let app = world.app();
    let mut system = app.db.system().await.expect("a transaction");
    tenants::set_tiers(system.connection(), tiers).await.expect("set");
    system.commit().await.expect("committed");
}

async fn tiers(client: &Client) -> Vec<(String, Tier)> {
    let list: TemplateList = client.get("/api/v1/templates").await.ok();
    list.templates.into_iter().map(|template| (template.name, template.tier)).collect()
}

async fn start_fails(client: &Client, id: WorkspaceId, part: &str) {
    client.act(id, "start").await;
    let failed = client.reaches(id, Phase::Terminated).await.failure.expect("a failure");
    assert!(failed.cause.contains(part), "{failed:?}");
}

/// As if the home had come from elsewhere, or been used by another tier in between.
async fn set_written_by(world: &World, runner: &Runner, tier: &str) {
    let app = world.app();
    let mut system = app.db.system().await.expect("a transaction");
    sqlx::query("update volumes set written_by = $1 where volume_id = $2")
        .bind(tier)
        .bind(runner.spec.volume.0)
        .execute(system.connection())
        .await
        .expect("updated");
    system.commit().await.expect("committed");
}

#[tokio::test]
async fn tier_is_used_only_where_it_is_allowed() {
    let world = World::new().await;
    let owner = world.owner().await;
    let container = json!({ "name": "box", "template": "container" });
    assert_eq!(tiers(&owner).await, [("base".to_owned(), Tier::Microvm)]);
    assert_eq!(owner.post("/api/v1/workspaces", &container).await.status, 422, "nobody has allowed it");

    set_tiers(&world, &[Tier::Microvm, Tier::Container]).await;
    assert_eq!(tiers(&owner).await.len(), 2);
    let created: Workspace = owner.post("/api/v1/workspaces", &container).await.ok();
    let runner = world.runner(created.id, 1).await;
    assert_eq!(runner.spec.written_by, None, "a new home");
    runner.ready().await;
    owner.rest(created.id, &runner, 1).await;

    set_tiers(&world, &[Tier::Microvm, Tier::Gvisor]).await;
    let offered = tiers(&owner).await;
    assert_eq!(offered, [("base".to_owned(), Tier::Microvm), ("gvisor".to_owned(), Tier::Gvisor)]);
    start_fails(&owner, created.id, "does not allow the tier `container`").await;
}

#[tokio::test]
async fn home_keeps_the_tier_that_wrote_it() {
    let world = World::new().await;
    set_tiers(&world, &[Tier::Microvm, Tier::Container]).await;
    let owner = world.owner().await;
    let request = json!({ "name": "box", "template": "container" });
    let created: Workspace = owner.post("/api/v1/workspaces", &request).await.ok();
    let runner = world.runner(created.id, 1).await;
    runner.ready().await;
    owner.rest(created.id, &runner, 1).await;
    owner.act(created.id, "start").await;
    let runner = world.runner(created.id, 2).await;
    assert_eq!(runner.spec.written_by, Some(Tier::Container));
    runner.ready().await;
    owner.rest(created.id, &runner, 2).await;

    let fork = format!("/api/v1/workspaces/{}/fork", created.id);
    let copy: Workspace = owner.post(&fork, &json!({ "name": "copy" })).await.ok();
    let copied = world.runner(copy.id, 1).await;
    assert_eq!(copied.spec.written_by, Some(Tier::Container), "a fork has the same content");
    copied.report(vec![Report::Stopped]).await.expect("accepted");

    set_written_by(&world, &runner, "microvm").await;
    start_fails(&owner, created.id, "written by a virtual machine").await;
}

#[tokio::test]
async fn home_moves_from_container_to_gvisor() {
    let world = World::new().await;
    set_tiers(&world, &[Tier::Microvm, Tier::Gvisor]).await;
    let owner = world.owner().await;
    let request = json!({ "name": "box", "template": "gvisor" });
    let created: Workspace = owner.post("/api/v1/workspaces", &request).await.ok();
    let runner = world.runner(created.id, 1).await;
    runner.ready().await;
    owner.rest(created.id, &runner, 1).await;
    set_written_by(&world, &runner, "container").await;
    owner.act(created.id, "start").await;
    let runner = world.runner(created.id, 2).await;
    assert_eq!(runner.spec.written_by, Some(Tier::Container));
    runner.ready().await;
    owner.rest(created.id, &runner, 2).await;
    set_written_by(&world, &runner, "microvm").await;
    start_fails(&owner, created.id, "written by a virtual machine").await;
}

#[tokio::test]
async fn fork_moves_a_home_to_another_tier() {
    let world = World::new().await;
    set_tiers(&world, &[Tier::Microvm, Tier::Container, Tier::Gvisor]).await;
    let owner = world.owner().await;
    let request = json!({ "name": "box", "template": "container" });
    let created: Workspace = owner.post("/api/v1/workspaces", &request).await.ok();
    let runner = world.runner(created.id, 1).await;
    runner.ready().await;
    owner.rest(created.id, &runner, 1).await;
    let fork = format!("/api/v1/workspaces/{}/fork", created.id);
    let moved: Workspace = owner.post(&fork, &json!({ "name": "moved", "template": "gvisor" })).await.ok();
    assert_eq!(moved.template, "gvisor");
    let runner = world.runner(moved.id, 1).await;
    assert_eq!(runner.spec.written_by, Some(Tier::Container), "a fork has the same content");
    runner.report(vec![Report::Stopped]).await.expect("accepted");
    let unknown = owner.post(&fork, &json!({ "name": "other", "template": "nonsense" })).await;
    assert_eq!(unknown.status, 422);
}

#[tokio::test]
async fn fork_of_virtual_machine_is_no_container() {
    let world = World::new().await;
    set_tiers(&world, &[Tier::Microvm, Tier::Gvisor]).await;
    let owner = world.owner().await;
    let (id, runner) = owner.running(&world, "box").await;
    owner.rest(id, &runner, 1).await;
    let fork = format!("/api/v1/workspaces/{id}/fork");
    let refused = owner.post(&fork, &json!({ "name": "copy", "template": "gvisor" })).await;
    assert_eq!(refused.status, 422);
    assert!(refused.body.to_string().contains("virtual machine has written this home"), "{}", refused.body);
    let copy: Workspace = owner.post(&fork, &json!({ "name": "copy", "template": "base" })).await.ok();
    assert_eq!(copy.template, "base");
}

#[tokio::test]
async fn home_of_virtual_machine_stays_one() {
    let world = World::new().await;
    let owner = world.owner().await;
    let (id, runner) = owner.running(&world, "box").await;
    owner.rest(id, &runner, 1).await;
    owner.act(id, "start").await;
    assert_eq!(world.runner(id, 2).await.spec.written_by, Some(Tier::Microvm));
}
