//! Snapshots of a home: listed, requested, named, deleted and restored.

use protocol::{
    ManifestId,
    api::snapshot::{Retention, Snapshot, SnapshotKind, SnapshotList},
    runner::Report,
    workspace::Phase,
};
use serde_json::json;
use time::{Duration, OffsetDateTime};

use super::world::{World, answer, eventually, snapshot, stream};
use crate::snapshots;

#[tokio::test]
async fn list_is_paged() {
    let world = World::new().await;
    let owner = world.owner().await;
    let (id, runner) = owner.running(&world, "demo").await;
    // A clock that stands still and one that runs ahead: the instants are in order all the same.
    let now = OffsetDateTime::now_utc();
    for content in 1..=5 {
        let Report::Snapshot { manifest, kind, consistency, .. } = stream(content) else { unreachable!() };
        let cut_at = if content == 3 { now + Duration::hours(1) } else { now - Duration::minutes(1) };
        let report = Report::Snapshot {
            manifest,
            kind,
            consistency,
            cut_at,
            answers: 0,
            changed_bytes: u64::MAX,
            uploaded_bytes: 1,
            objects: 1,
            stored_bytes: 1,
        };
        runner.report(vec![report]).await.expect("accepted");
    }
    let all = owner.snapshots(id).await;
    assert!(
        all.iter().all(|one| one.kind == SnapshotKind::Stream && one.created_at <= OffsetDateTime::now_utc())
    );
    let (mut before, mut seen) = (String::new(), vec![]);
    loop {
        let path = format!("/api/v1/workspaces/{id}/snapshots?limit=2{before}");
        let page: SnapshotList = owner.get(&path).await.ok();
        let last = page.snapshots.last().expect("never empty").created_at;
        let text = last.format(&time::format_description::well_known::Rfc3339).expect("a time");
        before = format!("&before={text}");
        seen.extend(page.snapshots);
        if !page.more {
            break;
        }
    }
    assert_eq!(seen, all);
    assert_eq!(all.len(), 5);
    for bad in ["limit=0", "limit=1001", "before=yesterday"] {
        let refused = owner.get(&format!("/api/v1/workspaces/{id}/snapshots?{bad}")).await;
        assert_eq!((refused.status, refused.code()), (422, "invalid"), "{bad}");
    }
}

#[tokio::test]
async fn request_waits_for_commit() {
    let world = World::new().await;
    let owner = world.owner().await;
    let (id, runner) = owner.running(&world, "demo").await;
    let path = format!("/api/v1/workspaces/{id}/snapshots");
    runner.report(vec![stream(1)]).await.expect("accepted");
    let wish = json!({ "name": "Before the exam" });
    let asking = owner.post(&path, &wish);
    let answering = async {
        let reply = runner.poll(0, 0, 10_000).await;
        assert_eq!(reply.snapshot, 1, "the wait ends for it");
        // One that was under way already is no answer.
        runner.report(vec![stream(2)]).await.expect("accepted");
        let told = answer(3, reply.snapshot);
        // The answer was lost: the same again.
        for _ in 0..2 {
            let reply = runner.report(vec![told.clone()]).await.expect("accepted");
            assert_eq!(reply.committed, [ManifestId([3; 32])]);
        }
    };
    let (made, ()) = tokio::join!(asking, answering);
    assert_eq!(made.status, 201, "{}", made.body);
    let made: Snapshot = made.ok();
    assert_eq!((made.name.as_deref(), made.kind), (Some("Before the exam"), SnapshotKind::Requested));
    let all = owner.snapshots(id).await;
    assert_eq!((all.len(), &all[0]), (3, &made));

    // The answer to a later request answers the earlier too; a home that has not changed is the
    // same snapshot.
    let wish = json!({});
    let both = async { tokio::join!(owner.post(&path, &wish), owner.post(&path, &wish)) };
    let answering = async {
        let wanted = eventually("two requests", async || {
            Some(runner.poll(1, 0, 5000).await.snapshot).filter(|wanted| *wanted == 3)
        });
        runner.report(vec![answer(3, wanted.await)]).await.expect("accepted");
    };
    let ((one, two), ()) = tokio::join!(both, answering);
    let (one, two): (Snapshot, Snapshot) = (one.ok(), two.ok());
    assert_eq!((one.id, two.id, one.name), (made.id, made.id, made.name));
    // An answered request is not sent again, nor to the next placement.
    assert_eq!(runner.poll(3, 0, 50).await.snapshot, 3);
    owner.rest(id, &runner, 4).await;
    owner.act(id, "start").await;
    assert_eq!(world.runner(id, 2).await.spec.snapshot_requested, 3);
}

#[tokio::test]
async fn request_is_answered_by_stop_not_by_failure() {
    let world = World::new().await;
    let owner = world.owner().await;
    let (id, runner) = owner.running(&world, "demo").await;
    let path = format!("/api/v1/workspaces/{id}/snapshots");
    let stopping = async {
        runner.poll(0, 0, 10_000).await;
        owner.rest(id, &runner, 5).await;
    };
    let wish = json!({ "name": "last" });
    let (made, ()) = tokio::join!(owner.post(&path, &wish), stopping);
    let made: Snapshot = made.ok();
    assert_eq!((made.name.as_deref(), owner.snapshots(id).await.len()), (Some("last"), 1));

    owner.act(id, "start").await;
    let runner = world.runner(id, 2).await;
    runner.ready().await;
    let breaking = async {
        runner.poll(runner.spec.snapshot_requested, 0, 10_000).await;
        runner.kill();
    };
    let wish = json!({});
    let (refused, ()) = tokio::join!(owner.post(&path, &wish), breaking);
    assert_eq!((refused.status, refused.code()), (409, "conflict"), "{}", refused.body);
    // At rest the newest is kept.
    let kept: Snapshot = owner.post(&path, &json!({ "name": "again" })).await.ok();
    assert_eq!((kept.id, kept.name.as_deref()), (made.id, Some("again")));
}

#[tokio::test]
async fn unsaved_home_has_no_snapshot() {
    let world = World::new().await;
    let owner = world.owner().await;
    let made = owner.post("/api/v1/workspaces", &json!({ "name": "demo", "start": false })).await;
    let id = made.body["id"].as_str().expect("an id").to_owned();
    let path = format!("/api/v1/workspaces/{id}");
    let refused = owner.post(&format!("{path}/snapshots"), &json!({})).await;
    assert_eq!((refused.status, refused.code()), (409, "conflict"));
    let refused = owner.post(&format!("{path}/fork"), &json!({ "name": "copy" })).await;
    assert_eq!((refused.status, refused.code()), (409, "conflict"));
    for name in ["", "a\nb", &"x".repeat(101)] {
        let refused = owner.post(&format!("{path}/snapshots"), &json!({ "name": name })).await;
        assert_eq!((refused.status, refused.code()), (422, "invalid"));
    }
    assert_eq!(owner.get(&format!("{path}/snapshots/latest/files")).await.status, 404);
}

#[tokio::test]
async fn head_cannot_be_deleted() {
    let world = World::new().await;
    let owner = world.owner().await;
    let (id, runner) = owner.running(&world, "demo").await;
    runner.report(vec![stream(1), stream(2)]).await.expect("accepted");
    let all = owner.snapshots(id).await;
    let path = |which: &str| format!("/api/v1/workspaces/{id}/snapshots/{which}");
    let older = path(&all[1].id.to_string());
    let named: Snapshot = owner.patch(&older, &json!({ "name": "first" })).await.ok();
    assert_eq!((named.id, named.name.as_deref()), (all[1].id, Some("first")));
    assert_eq!(owner.patch(&older, &json!({ "name": "" })).await.code(), "invalid");
    assert_eq!(owner.patch(&path("latest"), &json!({ "name": "head" })).await.status, 200);
    for head in ["latest".to_owned(), all[0].id.to_string()] {
        let refused = owner.delete(&path(&head)).await;
        assert_eq!((refused.status, refused.code()), (409, "conflict"));
    }
    assert_eq!(owner.delete(&older).await.status, 204);
    assert_eq!(owner.delete(&older).await.status, 404);
    assert_eq!(owner.get(&path("nonsense")).await.status, 405);
    assert_eq!(owner.delete(&path("nonsense")).await.status, 404);
    assert_eq!(owner.snapshots(id).await.len(), 1);
}

#[tokio::test]
async fn restore_can_be_undone() {
    let world = World::new().await;
    let owner = world.owner().await;
    let (id, runner) = owner.running(&world, "demo").await;
    runner.report(vec![stream(1), stream(2)]).await.expect("accepted");
    let all = owner.snapshots(id).await;
    let restore = format!("/api/v1/workspaces/{id}/restore");
    let to_first = json!({ "snapshot": all[1].id });
    let refused = owner.post(&restore, &to_first).await;
    assert_eq!((refused.status, refused.code()), (409, "conflict"));
    assert!(refused.body["detail"].as_str().is_some_and(|detail| detail.contains("Stop")));
    owner.rest(id, &runner, 3).await;
    let before = owner.snapshots(id).await;
    let mut events = owner.events(&format!("/api/v1/workspaces/{id}/events")).await;
    let revision = events.until(|_, _| true).await["revision"].as_u64();
    assert_eq!(owner.post(&restore, &to_first).await.status, 200);
    events.until(|_, data| data["revision"].as_u64() > revision).await;
    assert_eq!(owner.post(&restore, &json!({ "snapshot": uuid::Uuid::now_v7() })).await.status, 404);

    // What was the head is still there, is kept from now on, and outlives a thinning after a year.
    let app = world.app();
    snapshots::prune::prune_due_homes(&app.db, app.now() + Duration::days(400), 100, None)
        .await
        .expect("pruned");
    let left = owner.snapshots(id).await;
    assert_eq!(left.iter().map(|one| one.id).collect::<Vec<_>>(), [before[0].id, all[1].id]);
    assert_eq!(left[0].kind, SnapshotKind::Requested);

    // The next placement continues from there with a later epoch, and its snapshots are the newest.
    owner.act(id, "start").await;
    let runner = world.runner(id, 2).await;
    assert_eq!(runner.spec.head, Some(ManifestId([1; 32])));
    runner.ready().await;
    runner.report(vec![stream(4)]).await.expect("accepted");
    assert_eq!(owner.snapshots(id).await[0].epoch.0, 2);
    owner.rest(id, &runner, 5).await;
    let undo = json!({ "snapshot": before[0].id });
    assert_eq!(owner.post(&restore, &undo).await.status, 200);
    assert_eq!(owner.delete(&format!("/api/v1/workspaces/{id}/snapshots/latest")).await.code(), "conflict");
    owner.act(id, "start").await;
    let runner = world.runner(id, 3).await;
    assert_eq!((runner.spec.head, runner.spec.head_of), (Some(ManifestId([3; 32])), None));
}

#[tokio::test]
async fn prune_follows_tenants_policy() {
    let world = World::new().await;
    let owner = world.owner().await;
    let rule = "/api/v1/retention";
    assert_eq!(owner.get(rule).await.ok::<Retention>(), Retention::default());
    let bad = json!({ "all_hours": 2, "minutely_hours": 1, "hourly_hours": 3, "daily_hours": 4 });
    assert_eq!(owner.put(rule, &bad).await.code(), "invalid");
    let policy = Retention { all_hours: 1, minutely_hours: 1, hourly_hours: 2, daily_hours: 48 };
    let body = serde_json::to_value(policy).expect("plain data");
    assert_eq!(owner.put(rule, &body).await.ok::<Retention>(), policy);
    assert_eq!(owner.get(rule).await.ok::<Retention>(), policy);

    let (id, runner) = owner.running(&world, "demo").await;
    for content in 1..=10 {
        runner.report(vec![stream(content)]).await.expect("accepted");
    }
    let all = owner.snapshots(id).await;
    owner.patch(&format!("/api/v1/workspaces/{id}/snapshots/{}", all[7].id), &json!({ "name": "x" })).await;
    let app = world.app();
    let thin = async |hours: i64| {
        snapshots::prune::prune_due_homes(&app.db, app.now() + Duration::hours(hours), 100, None)
            .await
            .expect("pruned")
    };
    assert_eq!(thin(0).await, 0);
    // At most one for each day: the newest of it. The named one stays in addition.
    assert!((6..=8).contains(&thin(30).await), "midnight may lie between");
    assert_eq!(thin(30).await, 0, "not again so soon");
    thin(1000).await;
    let left: Vec<_> = owner.snapshots(id).await.into_iter().map(|one| one.id).collect();
    assert_eq!(left, [all[0].id, all[7].id]);
    assert_eq!(runner.report(vec![snapshot(11)]).await.expect("accepted").committed.len(), 1);
    assert_eq!(owner.workspace(id).await.phase, Phase::Running);
}
