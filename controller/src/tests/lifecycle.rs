//! Workspaces from start to stop with real processes: failures, fences and restarts.

use std::time::Duration;

use protocol::{
    Epoch, ManifestId, WorkspaceId,
    api::{snapshot::SnapshotList, workspace::DeletedList},
    runner::{Command, Report},
    workspace::{Failure, Phase, Step, StepProgress},
};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::world::{Client, World, eventually, snapshot};
use crate::lifecycle::record;

#[tokio::test]
async fn workspace_starts_runs_and_is_saved() {
    let mut world = World::new().await;
    let owner = world.owner().await;
    let made = owner.create("demo").await;
    let mut events = owner.events(&format!("/api/v1/workspaces/{}/events", made.id)).await;
    let runner = world.runner(made.id, 1).await;
    assert_eq!((runner.spec.name.as_str(), runner.spec.head), ("demo", None));
    assert_eq!(runner.spec.data_key.expose().len(), 64);
    let step =
        |step| Report::Step(StepProgress { step, since: time::OffsetDateTime::now_utc(), detail: None });
    runner.report(vec![step(Step::Volume), step(Step::Boot)]).await.expect("accepted");
    let booting = events.until(|_, data| data["steps"][3]["step"] == "boot").await;
    assert_eq!(booting["phase"], "provisioning");
    runner.ready().await;
    let running = events.until(|_, data| data["phase"] == "running").await;
    assert_eq!(running["accelerator"], "none");

    assert_eq!(owner.act(made.id, "start").await.code(), "conflict");
    assert_eq!(owner.act(made.id, "stop").await.status, 200);
    assert_eq!(runner.command(Command::Run).await, Command::Stop);
    runner.exchange(vec![step(Step::Upload)], Command::Stop, 0).await.expect("accepted");
    events.until(|_, data| data["phase"] == "persisting").await;
    runner.persist(7).await;
    let rest = events.until(|_, data| data["phase"] == "terminated").await;
    assert!(rest["safe_at"].is_string() && rest["failure"].is_null(), "{rest}");
    assert_eq!(rest["stored_bytes"], 2048);
    eventually("the process ends", async || (!runner.alive()).then_some(())).await;

    assert_eq!(owner.act(made.id, "start").await.status, 200);
    let again = world.runner(made.id, 2).await;
    assert_eq!(again.spec.head, Some(ManifestId([7; 32])));
    assert_ne!(again.spec.token, runner.spec.token);
    let snapshots: SnapshotList = owner.get(&format!("/api/v1/workspaces/{}/snapshots", made.id)).await.ok();
    assert_eq!((snapshots.snapshots.len(), snapshots.snapshots[0].epoch), (1, Epoch(1)));
    world.stop().await;
    assert!(!again.alive(), "no runner outlives its controller");
}

#[tokio::test]
async fn replaced_runner_is_fenced() {
    let world = World::new().await;
    let owner = world.owner().await;
    let id = owner.create("demo").await.id;
    let old = world.runner(id, 1).await;
    old.ready().await;
    old.kill();
    let failed = owner.reaches(id, Phase::Terminated).await;
    assert!(failed.failure.is_some());
    let refused = old.report(vec![snapshot(9)]).await.expect_err("nothing is placed");
    assert_eq!((refused.status, refused.code()), (409, "fenced"));

    owner.act(id, "start").await;
    let new = world.runner(id, 2).await;
    let refused = old.report(vec![snapshot(9), Report::Stopped]).await.expect_err("an old epoch");
    assert_eq!((refused.status, refused.code()), (409, "fenced"));
    new.ready().await;
    let now = owner.workspace(id).await;
    assert_eq!((now.phase, now.epoch, now.safe_at), (Phase::Running, Epoch(2), None));

    // The right epoch with another runner's token is refused.
    let mut thief = world.runner(id, 2).await;
    thief.spec.token = old.spec.token.clone();
    assert_eq!(thief.report(vec![snapshot(9)]).await.expect_err("not its token").status, 401);
    let mut future = world.runner(id, 2).await;
    future.spec.epoch = Epoch(3);
    assert_eq!(future.report(vec![]).await.expect_err("an epoch to come").code(), "fenced");
}

#[tokio::test]
async fn repeated_snapshot_counts_once() {
    let world = World::new().await;
    let owner = world.owner().await;
    let id = owner.create("demo").await.id;
    let runner = world.runner(id, 1).await;
    runner.ready().await;
    for content in [1, 1, 2, 1] {
        let reply = runner.report(vec![snapshot(content)]).await.expect("accepted");
        assert_eq!(reply.committed, [ManifestId([content; 32])], "always answered");
    }
    let snapshots: SnapshotList = owner.get(&format!("/api/v1/workspaces/{id}/snapshots")).await.ok();
    assert_eq!(snapshots.snapshots.len(), 2);
    owner.act(id, "stop").await;
    runner.report(vec![Report::Stopped]).await.expect("accepted");
    owner.reaches(id, Phase::Terminated).await;
    owner.act(id, "start").await;
    assert_eq!(world.runner(id, 2).await.spec.head, Some(ManifestId([2; 32])));
}

#[tokio::test]
async fn failed_start_is_retried_then_reported() {
    let world = World::new().await;
    let owner = world.owner().await;
    let id = owner.create("demo").await.id;
    for epoch in 1..=3 {
        let runner = world.runner(id, epoch).await;
        let failure = Failure {
            step: Step::Boot,
            cause: "No kernel.".to_owned(),
            action: "Build the image.".to_owned(),
            log: vec!["panic".to_owned()],
        };
        runner.report(vec![Report::Failed { failure, home_safe: true }]).await.expect("accepted");
    }
    let rest = owner.reaches(id, Phase::Terminated).await;
    let failure = rest.failure.expect("told");
    assert_eq!((failure.step, failure.cause.as_str(), failure.log.len()), (Step::Boot, "No kernel.", 1));
}

#[tokio::test]
async fn missing_image_is_reported() {
    let mut world = World::new().await;
    world.stop().await;
    world.config.engine.images.clear();
    world.start().await;
    let owner = world.owner().await;
    let id = owner.create("demo").await.id;
    let failed = eventually("a failure", async || {
        Some(owner.workspace(id).await).filter(|now| now.phase == Phase::Terminated)
    });
    assert!(failed.await.failure.expect("told").cause.contains("image `base`"));
}

#[tokio::test]
async fn delete_discards_and_frees_name() {
    let world = World::new().await;
    let owner = world.owner().await;
    let id = owner.create("demo").await.id;
    let mut events = owner.events("/api/v1/workspaces/events").await;
    let runner = world.runner(id, 1).await;
    runner.ready().await;
    let taken = owner.post("/api/v1/workspaces", &json!({ "name": "demo" })).await;
    assert_eq!((taken.status, taken.code()), (409, "name_taken"));
    assert_eq!(owner.delete(&format!("/api/v1/workspaces/{id}")).await.status, 204);
    assert_eq!(runner.command(Command::Run).await, Command::Discard);
    assert_eq!(owner.act(id, "start").await.code(), "conflict");
    assert!(owner.workspace(id).await.is_deleting);
    let second = owner.create("demo").await;
    assert!(!second.is_deleting && second.id != id, "the name is free before the sandbox has stopped");
    runner.exchange(vec![Report::Stopped], Command::Discard, 0).await.expect("accepted");
    let gone = events.until(|name, _| name == "deleted").await;
    assert_eq!(gone["id"], id.to_string());
    assert_eq!(owner.get(&format!("/api/v1/workspaces/{id}")).await.status, 404);
    assert_eq!(owner.act(id, "undelete").await.code(), "name_taken");
}

#[tokio::test]
async fn undelete_waits_for_ending_sandbox() {
    let world = World::new().await;
    let owner = world.owner().await;
    let (id, runner) = owner.running(&world, "demo").await;
    assert_eq!(owner.delete(&format!("/api/v1/workspaces/{id}")).await.status, 204);
    let ends = async {
        assert_eq!(runner.command(Command::Run).await, Command::Discard);
        runner.exchange(vec![Report::Stopped], Command::Discard, 0).await.expect("accepted");
    };
    let (back, ()) = tokio::join!(owner.act(id, "undelete"), ends);
    assert_eq!(back.status, 200);
    assert_eq!(owner.workspace(id).await.phase, Phase::Terminated);
}

#[tokio::test]
async fn undelete_works_while_home_is_kept() {
    let mut world = World::new().await;
    let owner = world.owner().await;
    let (id, runner) = owner.running(&world, "demo").await;
    owner.rest(id, &runner, 7).await;
    let path = format!("/api/v1/workspaces/{id}");
    assert_eq!(owner.act(id, "undelete").await.status, 404, "it is not deleted");
    assert_eq!(owner.delete(&path).await.status, 204);
    // Only users who may undelete it see it.
    let deleted =
        async |client: &Client| client.get("/api/v1/workspaces/deleted").await.ok::<DeletedList>().workspaces;
    let listed = deleted(&owner).await;
    assert_eq!((listed.len(), listed[0].id, listed[0].name.as_str()), (1, id, "demo"));
    assert!(
        listed[0].safe_at.is_some() && listed[0].kept_until - listed[0].deleted_at == time::Duration::days(7)
    );
    for other in [world.stranger().await, world.member(&owner, "member").await] {
        assert_eq!(deleted(&other).await, []);
    }
    assert_eq!(world.stranger().await.act(id, "undelete").await.status, 404);
    assert_eq!(world.member(&owner, "member").await.act(id, "undelete").await.status, 404);
    let other = owner.create("demo").await.id;
    assert_eq!(owner.act(id, "undelete").await.code(), "name_taken");
    let renamed = owner.patch(&format!("/api/v1/workspaces/{other}"), &json!({ "name": "other" })).await;
    assert_eq!(renamed.status, 200);
    assert_eq!(owner.act(id, "undelete").await.status, 200);
    assert_eq!(deleted(&owner).await, []);
    assert_eq!(owner.snapshots(id).await.len(), 1);
    assert_eq!(owner.act(id, "start").await.status, 200);
    let runner = world.runner(id, 2).await;
    assert_eq!(runner.spec.head, Some(ManifestId([7; 32])));
    runner.report(vec![Report::Stopped]).await.expect("accepted");
    owner.reaches(id, Phase::Terminated).await;
    owner.delete(&path).await;
    world.stop().await;
    world.config.history.deleted_grace = Duration::ZERO;
    world.start().await;
    let owner = world.anonymous().with_headers_of(&owner);
    assert_eq!(owner.act(id, "undelete").await.status, 404, "its time is over");
    assert_eq!(owner.get("/api/v1/workspaces/deleted").await.ok::<DeletedList>().workspaces, []);
}

#[tokio::test]
async fn repeated_create_creates_one_workspace() {
    let world = World::new().await;
    let owner = world.owner().await.with("idempotency-key", "k1");
    let (one, two) = tokio::join!(owner.create("demo"), owner.create("demo"));
    assert_eq!(one.id, two.id);
    let other = owner.post("/api/v1/workspaces", &json!({ "name": "other" })).await;
    assert_eq!((other.status, other.code()), (409, "conflict"));
}

#[tokio::test]
async fn silent_runner_loses_its_lease() {
    let world = World::new().await;
    let owner = world.owner().await;
    let id = owner.create("demo").await.id;
    let runner = world.runner(id, 1).await;
    runner.ready().await;
    set_lease(&world, id, "-1 seconds").await;
    let rest = owner.reaches(id, Phase::Terminated).await;
    assert!(rest.failure.is_some());
    eventually("the process is ended", async || (!runner.alive()).then_some(())).await;
    assert_eq!(runner.report(vec![]).await.expect_err("too late").code(), "fenced");
}

/// As if the runner had last spoken so that its lease ends then.
async fn set_lease(world: &World, id: WorkspaceId, from_now: &str) {
    let app = world.app();
    let mut system = app.db.system().await.expect("a transaction");
    sqlx::query("update workspaces set lease_until = now() + $2::text::interval where workspace_id = $1")
        .bind(id.0)
        .bind(from_now)
        .execute(system.connection())
        .await
        .expect("updated");
    system.commit().await.expect("committed");
}

async fn lease_seconds(world: &World, id: WorkspaceId) -> f64 {
    let app = world.app();
    let mut system = app.db.system().await.expect("a transaction");
    sqlx::query_scalar(
        "select extract(epoch from lease_until - now())::float8 from workspaces where workspace_id = $1",
    )
    .bind(id.0)
    .fetch_one(system.connection())
    .await
    .expect("read")
}

#[tokio::test]
async fn stop_all_waits_for_every_home() {
    let mut world = World::new().await;
    let owner = world.owner().await;
    let ids = [owner.create("one").await.id, owner.create("two").await.id];
    let mut runners = vec![];
    for id in ids {
        let runner = world.runner(id, 1).await;
        runner.ready().await;
        runners.push(runner);
    }
    let mut seen = vec![];
    let all = async { world.controller().stop_all(|awake| seen.push(awake.len())).await.expect("persisted") };
    let stopping = async {
        for (content, runner) in (1..).zip(&runners) {
            assert_eq!(runner.command(Command::Run).await, Command::Stop);
            runner.persist(content).await;
        }
    };
    let (persisted, ()) = tokio::join!(all, stopping);
    assert_eq!((persisted.stopped, persisted.kept_locally.len()), (2, 0));
    assert_eq!((seen.first(), seen.last()), (Some(&2), Some(&0)));
    world.stop().await;
}

#[tokio::test]
async fn restarted_controller_recovers() {
    let mut world = World::new().await;
    let owner = world.owner().await;
    let (running, starting) = (owner.create("one").await.id, owner.create("two").await.id);
    world.runner(running, 1).await.ready().await;
    let first = world.runner(starting, 1).await;
    // Ended without persisting, as a crash would.
    world.stop().await;
    assert!(!first.alive());
    world.start().await;
    let rest = owner.reaches(running, Phase::Terminated).await;
    // In a step's words by the one that came back, or as a failure by the one that went, if it
    // still saw the end.
    let is_told = rest.failure.is_some() || rest.steps.iter().any(|step| step.detail.is_some());
    assert!(is_told, "says what happened: {rest:?}");
    // What was starting starts again, as another placement.
    let second = world.runner(starting, 2).await;
    assert_eq!(first.report(vec![]).await.expect_err("an old epoch").code(), "fenced");
    second.ready().await;
    owner.reaches(starting, Phase::Running).await;
}

#[tokio::test]
async fn two_controllers_share_a_database() {
    let first = World::new().await;
    let mut second = World::on_with_key(&first, "host-b").await;
    let owner = first.owner().await;
    let through_second = second.anonymous().with_headers_of(&owner);
    let mut events = through_second.events("/api/v1/workspaces/events").await;
    let mut ids = vec![];
    for number in 0..12 {
        let client = if number % 2 == 0 { &owner } else { &through_second };
        ids.push(client.create(&format!("w{number}")).await.id);
    }
    // Each is placed exactly once, by one of them.
    for id in &ids {
        let runner = either(&first, &second, *id).await;
        runner.ready().await;
        assert_eq!(owner.reaches(*id, Phase::Running).await.epoch, Epoch(1));
    }
    let here = first.specs(&ids);
    let there = second.specs(&ids);
    assert_eq!(here.len() + there.len(), ids.len());
    let seen = events.until(|_, data| data["id"] == ids[0].to_string() && data["phase"] == "running").await;
    assert_eq!(seen["epoch"], 1);

    // A stop at one controller reaches a runner of the other at once.
    let id = ids[0];
    let runner = either(&first, &second, id).await;
    let (stopped, command) = tokio::join!(through_second.act(id, "stop"), runner.command(Command::Run));
    assert_eq!((stopped.status, command), (200, Command::Stop));

    // One controller restarts: only its own runners are lost.
    second.stop().await;
    second.start().await;
    for id in ids.iter().skip(1) {
        let expected = if here.contains(id) { Phase::Running } else { Phase::Terminated };
        owner.reaches(*id, expected).await;
    }
}

async fn either(first: &World, second: &World, id: WorkspaceId) -> super::world::Runner {
    tokio::select! {
        runner = first.runner(id, 1) => runner,
        runner = second.runner(id, 1) => runner,
    }
}

#[tokio::test]
async fn queue_has_positions() {
    let mut world = World::new().await;
    world.stop().await;
    world.config.engine.max_sandboxes = 1;
    world.start().await;
    let owner = world.owner().await;
    let first = owner.create("one").await.id;
    world.runner(first, 1).await.ready().await;
    let (second, third) = (owner.create("two").await.id, owner.create("three").await.id);
    eventually("positions", async || {
        let positions = [second, third].map(|id| owner.workspace(id));
        let [two, three] = positions;
        let places = (two.await.queue_position, three.await.queue_position);
        (places == (Some(1), Some(2))).then_some(())
    })
    .await;
    owner.act(second, "stop").await;
    assert_eq!(owner.workspace(second).await.phase, Phase::Terminated);
    owner.act(first, "stop").await;
    world.runner(first, 1).await.persist(1).await;
    world.runner(third, 1).await;
}

#[tokio::test]
async fn long_poll_ends_in_time_and_at_shutdown() {
    let mut world = World::new().await;
    let owner = world.owner().await;
    let id = owner.create("demo").await.id;
    let runner = world.runner(id, 1).await;
    runner.ready().await;
    let begun = std::time::Instant::now();
    let reply = runner.exchange(vec![], Command::Run, 300).await.expect("accepted");
    assert_eq!(reply.desired.command, Command::Run);
    assert!(begun.elapsed() >= Duration::from_millis(300));
    set_lease(&world, id, "5 seconds").await;
    let heard = async {
        // The report has come in when it has prolonged the lease.
        eventually("a lease", async || (lease_seconds(&world, id).await > 10.0).then_some(())).await;
        world.stop().await;
    };
    let (reply, ()) = tokio::join!(runner.exchange(vec![], Command::Run, 10_000), heard);
    assert!(reply.is_ok_and(|reply| reply.desired.command == Command::Run));
}

#[tokio::test]
async fn other_master_key_is_refused() {
    let mut world = World::new().await;
    world.stop().await;
    world.config.master_key = crate::KmsConfig::File(world.directory.path().join("another.key"));
    let started = crate::Controller::start(world.config.clone(), CancellationToken::new()).await;
    assert!(matches!(started.err(), Some(crate::StartError::OtherMasterKey { .. })));
}

#[tokio::test]
async fn stubborn_runner_is_killed_before_next_start() {
    let mut world = World::new().await;
    world.stop().await;
    let specs = world.directory.path().join("specs").into_os_string();
    // Reads its specification and then minds neither the end of its input nor anything else.
    world.config.engine.runner_arguments =
        vec!["-c".into(), r#"trap "" TERM; cat > "$0/$$.json"; exec sleep 600"#.into(), specs];
    world.start().await;
    let owner = world.owner().await;
    let id = owner.create("demo").await.id;
    let old = world.runner(id, 1).await;
    old.ready().await;
    set_lease(&world, id, "-1 seconds").await;
    owner.reaches(id, Phase::Terminated).await;
    owner.act(id, "start").await;
    world.runner(id, 2).await;
    assert!(!old.alive(), "two processes never hold one home");
}

#[tokio::test]
async fn leases_are_shifted_within_bounds() {
    let world = World::new().await;
    let owner = world.owner().await;
    let (id, _runner) = owner.running(&world, "demo").await;
    let shift = async |seconds: i64| {
        let app = world.app();
        let mut system = app.db.system().await.expect("a transaction");
        let shift = time::Duration::seconds(seconds) + time::Duration::nanoseconds(1);
        let shifted = record::shift_deadlines(system.connection(), app.now(), shift, &app.config.host).await;
        system.commit().await.expect("committed");
        assert_eq!(shifted.expect("shifted"), 1);
        lease_seconds(&world, id).await
    };
    set_lease(&world, id, "20 seconds").await;
    let later = shift(25).await;
    assert!((40.0..=45.0).contains(&later), "a pause: {later}");
    let bounded = shift(3600).await;
    assert!((50.0..=60.0).contains(&bounded), "a jump after a report: {bounded}");
    set_lease(&world, id, "1 hour").await;
    let earlier = shift(-3570).await;
    assert!((20.0..=30.0).contains(&earlier), "the clock went back: {earlier}");
    owner.reaches(id, Phase::Running).await;
}
