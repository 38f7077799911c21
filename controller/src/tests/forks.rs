//! Forks: workspaces whose homes start as another's.

use protocol::{
    ManifestId,
    api::{
        snapshot::SnapshotKind,
        workspace::{Workspace, WorkspaceList},
    },
    runner::Report,
    workspace::Phase,
};
use serde_json::json;

use super::world::{World, answer, eventually, stream};

#[tokio::test]
async fn running_home_can_be_forked() {
    let world = World::new().await;
    let owner = world.owner().await;
    let (id, runner) = owner.running(&world, "demo").await;
    let answering = async {
        let wanted = runner.poll(0, 0, 10_000).await.snapshot;
        runner.report(vec![answer(7, wanted)]).await.expect("accepted");
    };
    let fork = format!("/api/v1/workspaces/{id}/fork");
    let wish = json!({ "name": "copy" });
    let (forked, ()) = tokio::join!(owner.post(&fork, &wish), answering);
    assert_eq!(forked.status, 201, "{}", forked.body);
    let forked: Workspace = forked.ok();
    let origin = forked.forked_from.expect("it is told");
    assert_eq!((origin.workspace, forked.resources), (id, owner.workspace(id).await.resources));
    assert_eq!(origin.at, owner.snapshots(id).await[0].created_at);

    let copy = world.runner(forked.id, 1).await;
    assert_eq!((copy.spec.head, copy.spec.head_of), (Some(ManifestId([7; 32])), Some(runner.spec.volume)));
    assert_ne!(copy.spec.volume, runner.spec.volume);
    assert_eq!(copy.spec.data_key.expose(), runner.spec.data_key.expose());
    copy.ready().await;
    // Each goes its way.
    runner.report(vec![stream(8)]).await.expect("accepted");
    copy.report(vec![stream(9)]).await.expect("accepted");
    assert_eq!(owner.workspace(id).await.phase, Phase::Running);
    let base = owner.snapshots(forked.id).await;
    assert_eq!(base.len(), 2);
    assert_eq!((base[1].kind, base[1].epoch.0, base[1].created_at), (SnapshotKind::Requested, 0, origin.at));
    owner.rest(forked.id, &copy, 10).await;
    owner.act(forked.id, "start").await;
    let copy = world.runner(forked.id, 2).await;
    assert_eq!((copy.spec.head, copy.spec.head_of), (Some(ManifestId([10; 32])), None), "a head of its own");
    copy.report(vec![Report::Stopped]).await.expect("accepted");
    owner.reaches(forked.id, Phase::Terminated).await;
    // Back at its base, it begins as another's again, and so does a fork of it.
    let restore = json!({ "snapshot": base[1].id });
    let restored = owner.post(&format!("/api/v1/workspaces/{}/restore", forked.id), &restore).await;
    assert_eq!(restored.status, 200, "{}", restored.body);
    let second: Workspace =
        owner.post(&format!("/api/v1/workspaces/{}/fork", forked.id), &json!({ "name": "third" })).await.ok();
    let third = world.runner(second.id, 1).await;
    assert_eq!((third.spec.head, third.spec.head_of), (Some(ManifestId([7; 32])), Some(runner.spec.volume)));
}

#[tokio::test]
async fn repeated_fork_creates_one_workspace() {
    let world = World::new().await;
    let owner = world.owner().await;
    let (id, runner) = owner.running(&world, "demo").await;
    let (fork, wish) = (format!("/api/v1/workspaces/{id}/fork"), json!({ "name": "copy" }));
    let keyed = owner.with("idempotency-key", "fork-1");
    // Sent again before the first is answered, and after.
    let answering = async {
        let wanted = eventually("both are asked for", async || {
            Some(runner.poll(0, 0, 5000).await.snapshot).filter(|wanted| *wanted == 2)
        });
        runner.report(vec![answer(7, wanted.await)]).await.expect("accepted");
    };
    let (first, second, ()) = tokio::join!(keyed.post(&fork, &wish), keyed.post(&fork, &wish), answering);
    let third = keyed.post(&fork, &wish).await;
    let made: Vec<Workspace> = [first, second, third].into_iter().map(super::world::Answer::ok).collect();
    assert!(made.iter().all(|one| one.id == made[0].id), "{made:?}");
    assert_eq!(runner.poll(2, 0, 50).await.snapshot, 2, "what is known is not asked of the machine");
    let all: WorkspaceList = owner.get("/api/v1/workspaces").await.ok();
    assert_eq!(all.workspaces.len(), 2);
    // The key stands for this request, of this workspace, by this person.
    let other = keyed.post(&fork, &json!({ "name": "another" })).await;
    assert_eq!((other.status, other.code()), (409, "conflict"));
    let elsewhere = keyed.post(&format!("/api/v1/workspaces/{}/fork", made[0].id), &wish).await;
    assert_eq!((elsewhere.status, elsewhere.code()), (409, "conflict"));
    let created = keyed.post("/api/v1/workspaces", &wish).await;
    assert_eq!((created.status, created.code()), (409, "conflict"));
}

#[tokio::test]
async fn fork_obeys_rules_of_creation() {
    let world = World::new().await;
    let owner = world.owner().await;
    let (id, runner) = owner.running(&world, "demo").await;
    runner.report(vec![stream(1), stream(2)]).await.expect("accepted");
    let first = owner.snapshots(id).await[1].id;
    owner.rest(id, &runner, 3).await;
    let fork = format!("/api/v1/workspaces/{id}/fork");
    assert_eq!(owner.post(&fork, &json!({ "name": "No Name" })).await.code(), "invalid");
    assert_eq!(owner.post(&fork, &json!({ "name": "demo" })).await.code(), "name_taken");
    let unknown = json!({ "name": "copy", "snapshot": uuid::Uuid::now_v7() });
    assert_eq!(owner.post(&fork, &unknown).await.status, 404);
    let older: Workspace =
        owner.post(&fork, &json!({ "name": "older", "snapshot": first, "start": false })).await.ok();
    assert_eq!(older.phase, Phase::Terminated);
    assert!(older.safe_at.is_some());
    // Its base is its own: whatever becomes of the origin, it can be kept under a name and is no
    // more to delete than any head.
    let path = format!("/api/v1/workspaces/{}/snapshots/latest", older.id);
    assert_eq!(owner.delete(&path).await.code(), "conflict");
    assert_eq!(owner.delete(&format!("/api/v1/workspaces/{id}/snapshots/{first}")).await.status, 204);
    assert_eq!(owner.delete(&format!("/api/v1/workspaces/{id}")).await.status, 204);
    assert_eq!(owner.post(&fork, &json!({ "name": "late" })).await.status, 404);
    owner.act(older.id, "start").await;
    assert_eq!(world.runner(older.id, 1).await.spec.head, Some(ManifestId([1; 32])));
}
