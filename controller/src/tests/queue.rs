//! The queue of a full host: fair, visible, and nobody is started twice or lost.

use std::{collections::HashMap, sync::atomic::Ordering::Relaxed};

use protocol::{
    WorkspaceId,
    api::{internal::TENANT_BUDGETS_PATH, workspace::Workspace},
    workspace::Phase,
};
use serde_json::json;

use super::world::{Client, World, eventually};

/// A world with a host for few sandboxes.
async fn small_world(sandboxes: usize) -> World {
    let mut world = World::new().await;
    world.stop().await;
    world.config.engine.max_sandboxes = sandboxes;
    world.start().await;
    world
}

/// Ends the workspaces that run, until each of these has run once. Returns in which order they were placed.
async fn serve_all(world: &World, clients: &HashMap<WorkspaceId, Client>) -> Vec<WorkspaceId> {
    let mut served: Vec<WorkspaceId> = Vec::new();
    while served.len() < clients.len() {
        let all: Vec<WorkspaceId> = clients.keys().copied().collect();
        let next = eventually("another one is placed", async || {
            let placed: Vec<WorkspaceId> =
                world.specs(&all).into_iter().filter(|id| !served.contains(id)).collect();
            (!placed.is_empty()).then_some(placed)
        })
        .await;
        for id in next {
            let runner = world.runner(id, 1).await;
            runner.ready().await;
            clients[&id].rest(id, &runner, 1).await;
            served.push(id);
        }
    }
    served
}

#[tokio::test]
async fn herd_of_five_tenants_is_served_once() {
    let world = small_world(5).await;
    let mut tenants = Vec::new();
    for _ in 0..5 {
        tenants.push(world.stranger().await);
    }
    let mut created = Vec::new();
    for tenant in &tenants {
        for number in 0..6 {
            let request = json!({ "name": format!("demo-{number}"), "start": false });
            let workspace: Workspace = tenant.post("/api/v1/workspaces", &request).await.ok();
            created.push((workspace.id, tenant.clone()));
        }
    }
    let mut starts = tokio::task::JoinSet::new();
    for (id, client) in created.clone() {
        starts.spawn(async move { client.act(id, "start").await.status });
    }
    assert!(starts.join_all().await.iter().all(|status| *status == 200), "none is refused or times out");
    let clients: HashMap<WorkspaceId, Client> = created.into_iter().collect();
    let served = serve_all(&world, &clients).await;
    assert_eq!(served.len(), 30);
    for (id, client) in &clients {
        let workspace = client.workspace(*id).await;
        assert_eq!((workspace.epoch.0, workspace.failure), (1, None), "started once");
    }
    let app = world.app();
    let mut system = app.db.system().await.expect("a transaction");
    let runs: (i64, i64) = sqlx::query_as("select count(*), count(ended_at) from runs")
        .fetch_one(system.connection())
        .await
        .expect("counted");
    assert_eq!(runs, (30, 30));
}

#[tokio::test]
async fn waiting_start_shows_its_place_and_is_cancelled() {
    let world = small_world(1).await;
    let owner = world.owner().await;
    let (first, runner) = owner.running(&world, "first").await;
    let [second, third] = [owner.create("second").await.id, owner.create("third").await.id];
    let position = async |id, expected| {
        eventually("its position", async || {
            Some(owner.workspace(id).await).filter(|workspace| workspace.queue_position == Some(expected))
        })
        .await
    };
    assert!(!position(second, 1).await.is_held);
    assert_eq!(position(third, 2).await.estimated_start_at, None, "nothing is known yet");
    // Cancelling frees the place in the queue.
    assert_eq!(owner.act(second, "stop").await.status, 200);
    let cancelled = owner.workspace(second).await;
    assert_eq!((cancelled.phase, cancelled.queue_position), (Phase::Terminated, None));
    position(third, 1).await;
    owner.rest(first, &runner, 1).await;
    world.runner(third, 1).await;
    assert!(world.specs(&[second]).is_empty());
}

#[tokio::test]
async fn estimate_follows_earlier_runs() {
    let world = small_world(1).await;
    let owner = world.owner().await;
    let (first, _runner) = owner.running(&world, "first").await;
    let app = world.app();
    let mut system = app.db.system().await.expect("a transaction");
    // Six earlier runs of ten minutes each.
    sqlx::query(
        "insert into runs (tenant_id, workspace_id, epoch, user_id, host, vcpus, memory_mib, queued_at,
             placed_at)
         select tenant_id, workspace_id, 100 + number, user_id, host, vcpus, memory_mib,
             now() - interval '1 day', now() - interval '1 day'
         from runs, generate_series(1, 6) number where workspace_id = $1",
    )
    .bind(first.0)
    .execute(system.connection())
    .await
    .expect("inserted");
    sqlx::query("update runs set ended_at = placed_at + interval '10 minutes' where epoch > 100")
        .execute(system.connection())
        .await
        .expect("ended");
    let changed = sqlx::query("update runs set ended_at = now() where epoch > 100")
        .execute(system.connection())
        .await
        .expect("no error");
    assert_eq!(changed.rows_affected(), 0, "an end is written once");
    system.commit().await.expect("committed");
    let second = owner.create("second").await.id;
    let estimate = eventually("an estimate", async || owner.workspace(second).await.estimated_start_at).await;
    let seconds = (estimate - app.now()).whole_seconds();
    assert!((560..=640).contains(&seconds), "{seconds}");
}

#[tokio::test]
async fn batch_start_comes_after_others() {
    let world = small_world(1).await;
    let owner = world.owner().await;
    let (first, runner) = owner.running(&world, "first").await;
    let mut waiting = Vec::new();
    for name in ["batch", "plain"] {
        let request = json!({ "name": name, "start": false });
        waiting.push(owner.post("/api/v1/workspaces", &request).await.ok::<Workspace>().id);
    }
    let path = format!("/api/v1/workspaces/{}/start", waiting[0]);
    assert_eq!(owner.post(&format!("{path}?priority=urgent"), &json!({})).await.code(), "invalid");
    // Both are queued before the next pass, so that neither has the next room reserved already.
    let app = world.app();
    app.is_draining.store(true, Relaxed);
    assert_eq!(owner.post(&format!("{path}?priority=batch"), &json!({})).await.status, 200);
    assert_eq!(owner.act(waiting[1], "start").await.status, 200);
    app.is_draining.store(false, Relaxed);
    owner.rest(first, &runner, 1).await;
    let all = [(waiting[0], owner.clone()), (waiting[1], owner.clone())].into_iter().collect();
    assert_eq!(serve_all(&world, &all).await, [waiting[1], waiting[0]]);
}

#[tokio::test]
async fn held_start_continues_with_a_higher_budget() {
    let world = World::new().await;
    let owner = world.owner().await;
    let (_, _runner) = owner.running(&world, "first").await;
    let operator = Client { socket: world.config.socket(), headers: vec![] };
    // The budget is lowered between the admission of the start and its turn.
    let app = world.app();
    app.is_draining.store(true, Relaxed);
    let second = owner.create("second").await.id;
    let budget = json!({ "edit": { "limits": [{ "resource": "running", "limit": 1 }] } });
    assert_eq!(operator.post(TENANT_BUDGETS_PATH, &budget).await.status, 200);
    app.is_draining.store(false, Relaxed);
    let held = eventually("it is held", async || {
        Some(owner.workspace(second).await).filter(|workspace| workspace.is_held)
    })
    .await;
    assert_eq!((held.phase, held.queue_position), (Phase::Queued, None));
    let budget = json!({ "edit": { "defaults": ["running"] }, "queue_weight": 3 });
    assert_eq!(operator.post(TENANT_BUDGETS_PATH, &budget).await.status, 200);
    world.runner(second, 1).await;
    let weight = json!({ "queue_weight": 101 });
    assert_eq!(operator.post(TENANT_BUDGETS_PATH, &weight).await.code(), "invalid");
}

#[tokio::test]
async fn full_queue_refuses_starts() {
    let world = World::new().await;
    let owner = world.owner().await;
    let (first, _runner) = owner.running(&world, "first").await;
    let app = world.app();
    app.is_draining.store(true, Relaxed);
    let mut system = app.db.system().await.expect("a transaction");
    sqlx::query(
        "insert into workspaces (tenant_id, workspace_id, owner_id, name, template, image, vcpus, memory_mib,
             home_mib, scratch_mib, pids, tier, volume_id, phase, desired_state, deadline, queued_at)
         select tenant_id, gen_random_uuid(), owner_id, 'w-' || number, template, image, vcpus, memory_mib, 1,
             scratch_mib, pids, tier, volume_id, 'queued', 'running', now() + interval '1 hour', now()
         from workspaces, generate_series(1, 2000) number where workspace_id = $1",
    )
    .bind(first.0)
    .execute(system.connection())
    .await
    .expect("inserted");
    system.commit().await.expect("committed");
    let budget = json!({ "limits": [{ "resource": "workspaces" }] });
    let user = owner.session().await.user.id;
    assert_eq!(owner.patch(&format!("/api/v1/budgets/users/{user}"), &budget).await.status, 200);
    let refused = owner.post("/api/v1/workspaces", &json!({ "name": "one-more" })).await;
    assert_eq!((refused.status, refused.code()), (403, "quota_exceeded"));
    assert!(
        refused.body.to_string().contains("2000 workspaces of this organisation wait"),
        "{}",
        refused.body
    );
}
