//! Limits of one user: workspaces that run at once, and space for homes.

use std::time::Duration;

use protocol::{
    api::{
        budget::BudgetResource,
        scrub::ScrubReport,
        workspace::{Workspace, WorkspaceList},
    },
    idle::AwakeReason,
    runner::{Command, Report},
    workspace::{HomeNotice, Phase, ProgramName},
};
use serde_json::{Value, json};

use super::world::{Client, SOON, World, answer, snapshot, stream};

async fn names(client: &Client) -> Vec<String> {
    let list: WorkspaceList = client.get("/api/v1/workspaces").await.ok();
    list.workspaces.into_iter().map(|workspace| workspace.name).collect()
}

#[tokio::test]
async fn member_takes_no_more_than_their_places() {
    let world = World::new().await;
    let owner = world.owner().await;
    let (greedy, modest) = (world.member(&owner, "member").await, world.member(&owner, "member").await);
    let first = greedy.create("one").await;
    greedy.create("two").await;
    for number in 0..20 {
        let refused = greedy.post("/api/v1/workspaces", &json!({ "name": format!("more-{number}") })).await;
        assert_eq!((refused.status, refused.code()), (403, "quota_exceeded"));
        let detail = refused.body["detail"].as_str().expect("a detail").to_owned();
        assert!(
            detail.contains("2 of your workspaces run or wait (`one`, `two`), and 2 may run"),
            "{detail}"
        );
    }
    assert_eq!(names(&greedy).await, ["one", "two"], "nothing is created that cannot start");

    // A workspace at rest counts only when it is started, and a repeated start is no start.
    let request = json!({ "name": "three", "start": false });
    let third: protocol::api::workspace::Workspace = greedy.post("/api/v1/workspaces", &request).await.ok();
    assert_eq!(greedy.act(third.id, "start").await.code(), "quota_exceeded");
    assert_eq!(owner.act(third.id, "start").await.code(), "quota_exceeded", "a start by others counts too");
    assert_eq!(greedy.act(first.id, "start").await.status, 200);
    world.runner(modest.create("mine").await.id, 1).await;

    // A stop makes room, once the runner has ended.
    let runner = world.runner(first.id, 1).await;
    runner.ready().await;
    assert_eq!(greedy.act(first.id, "stop").await.status, 200);
    assert_eq!(greedy.act(third.id, "start").await.status, 200);
    let place = greedy.workspace(third.id).await.queue_position;
    assert!(world.specs(&[third.id]).is_empty() && place.is_none_or(|place| place == 1));
    runner.report(vec![Report::Stopped]).await.expect("accepted");
    world.runner(third.id, 1).await;
}

#[tokio::test]
async fn member_grows_homes_within_budget() {
    let world = World::new().await;
    let owner = world.owner().await;
    let member = world.member(&owner, "member").await;
    let id = member.create("demo").await.id;
    let path = format!("/api/v1/workspaces/{id}");
    let refused = member.patch(&path, &json!({ "home_mib": 1_000_000 })).await;
    assert_eq!((refused.status, refused.code()), (403, "quota_exceeded"));
    let detail = refused.body["detail"].as_str().expect("a detail").to_owned();
    assert!(detail.contains("the homes of its owner have 0 MiB of 64 GiB"), "{detail}");
    assert_eq!(member.workspace(id).await.resources.home_mib, 4096, "it has not grown");
    assert_eq!(member.patch(&path, &json!({ "home_mib": 61_440 })).await.status, 200);
    let request = json!({ "name": "another", "start": false });
    assert_eq!(member.post("/api/v1/workspaces", &request).await.status, 201, "exactly full");
    let request = json!({ "name": "too-much", "start": false });
    assert_eq!(member.post("/api/v1/workspaces", &request).await.code(), "quota_exceeded");
    assert_eq!(names(&member).await, ["demo", "another"]);
    assert_eq!(owner.patch(&path, &json!({ "home_mib": 65_536 })).await.code(), "quota_exceeded");
}

#[tokio::test]
async fn scratch_disks_have_a_budget() {
    let mut world = World::new().await;
    world.stop().await;
    world.config.limits.member.set(BudgetResource::Running, None);
    // Each workspace of the template has 4 GiB.
    world.config.limits.member.set(BudgetResource::Scratch, Some(10 << 30));
    world.start().await;
    let owner = world.owner().await;
    let member = world.member(&owner, "member").await;
    let first = member.create("one").await;
    member.create("two").await;
    let refused = member.post("/api/v1/workspaces", &json!({ "name": "three" })).await;
    assert_eq!((refused.status, refused.code()), (403, "quota_exceeded"));
    let detail = refused.body["detail"].as_str().expect("a detail").to_owned();
    assert!(detail.contains("has 4 GiB, and those of"), "{detail}");
    assert!(detail.contains("have 8 GiB of 10 GiB") && detail.contains("ask an owner"), "{detail}");
    assert_eq!(names(&member).await, ["one", "two"], "nothing is created that cannot start");
    // At rest it has no scratch disk.
    let runner = world.runner(first.id, 1).await;
    runner.ready().await;
    member.rest(first.id, &runner, 1).await;
    world.runner(member.create("three").await.id, 1).await;
    assert_eq!(member.act(first.id, "start").await.code(), "quota_exceeded");
}

#[tokio::test]
async fn upload_allowance_survives_restart() {
    const GIB: u64 = 1 << 30;
    let world = World::new().await;
    let owner = world.owner().await;
    let (id, runner) = owner.running(&world, "demo").await;
    assert_eq!(runner.spec.upload_allowance_used, 0);
    let uploaded = |mut report, bytes| {
        if let Report::Snapshot { uploaded_bytes, .. } = &mut report {
            *uploaded_bytes = bytes;
        }
        report
    };
    let report = uploaded(stream(7), 6 * GIB);
    runner.report(vec![report.clone()]).await.expect("accepted");
    runner.report(vec![report]).await.expect("a repeated report counts once");
    owner.rest(id, &runner, 8).await;
    assert_eq!(owner.act(id, "start").await.status, 200);
    // The allowance has grown a little since.
    let used = world.runner(id, 2).await.spec.upload_allowance_used;
    assert!((5 * GIB..=6 * GIB + 4096).contains(&used), "{used}");
    // Beyond a complete one nothing counts: 8 hours of 2 GiB.
    let runner = world.runner(id, 2).await;
    runner.ready().await;
    runner.report(vec![uploaded(stream(9), 100 * GIB)]).await.expect("accepted");
    owner.rest(id, &runner, 10).await;
    assert_eq!(owner.act(id, "start").await.status, 200);
    let used = world.runner(id, 3).await.spec.upload_allowance_used;
    assert!((15 * GIB..=16 * GIB).contains(&used), "{used}");
}

#[tokio::test]
async fn scrubs_of_one_member_leave_room_for_others() {
    let world = World::new().await;
    let owner = world.owner().await;
    let (id, runner) = owner.running(&world, "demo").await;
    runner.report(vec![snapshot(1)]).await.expect("accepted");
    let (app, greedy) = (world.app(), protocol::UserId::random());
    let _held = app.scrub_permits.acquire(greedy, SOON).await.expect("a permit");
    assert!(app.scrub_permits.acquire(greedy, Duration::from_millis(1)).await.is_err(), "one for each user");
    let report: ScrubReport =
        owner.post(&format!("/api/v1/workspaces/{id}/scrub"), &json!({ "all": true })).await.ok();
    assert_eq!(report.snapshots, 1);
}

#[tokio::test]
async fn requested_snapshots_have_a_budget() {
    let mut world = World::new().await;
    world.stop().await;
    // Each reported snapshot has stored 1 KiB.
    world.config.history.max_history_bytes = Some(2048);
    world.start().await;
    let owner = world.owner().await;
    let (id, runner) = owner.running(&world, "demo").await;
    let path = format!("/api/v1/workspaces/{id}/snapshots");
    let request = json!({});
    for number in 1..=2_u8 {
        let taken = async {
            runner.poll(u64::from(number) - 1, 0, 10_000).await;
            runner.report(vec![answer(number, number.into())]).await.expect("accepted");
        };
        let (created, ()) = tokio::join!(owner.post(&path, &request), taken);
        assert_eq!(created.status, 201, "{:?}", created.body);
    }
    let refused = owner.post(&path, &request).await;
    assert_eq!((refused.status, refused.code()), (403, "quota_exceeded"));
    let oldest = owner.snapshots(id).await.pop().expect("two").id;
    assert_eq!(owner.delete(&format!("{path}/{oldest}")).await.status, 204);
    let taken = async {
        runner.poll(2, 0, 10_000).await;
        runner.report(vec![answer(3, 3)]).await.expect("accepted");
    };
    let (created, ()) = tokio::join!(owner.post(&path, &request), taken);
    assert_eq!(created.status, 201);
}

#[tokio::test]
async fn idle_workspace_is_warned_and_stopped() {
    let world = World::new().await;
    let owner = world.owner().await;
    let (id, runner) = owner.running(&world, "demo").await;
    let hour = 3600;
    assert_eq!(runner.spec.idle_stop_seconds, 8 * hour);
    let home = |idle_seconds| Report::Home {
        dirty_bytes: 0,
        at: time::OffsetDateTime::now_utc(),
        unreplicated_ms: 0,
        used_bytes: None,
        idle_seconds,
        awake: vec![],
        notice: None,
        killed_program: None,
    };
    for (idle, notice) in [
        (Some(7 * hour), None),
        (Some(8 * hour - 60), Some(HomeNotice::IdleStop)),
        (Some(0), None),
        (None, None),
    ] {
        let reply = runner.report(vec![home(idle)]).await.expect("accepted");
        assert_eq!(reply.desired.command, Command::Run, "{idle:?}");
        assert_eq!(owner.workspace(id).await.home_notice, notice, "{idle:?}");
    }
    let reply = runner.report(vec![home(Some(8 * hour))]).await.expect("accepted");
    assert_eq!(reply.desired.command, Command::Stop);
    runner.persist(1).await;
    assert_eq!(owner.reaches(id, Phase::Terminated).await.failure, None);
}

#[tokio::test]
async fn jobs_and_holds_keep_workspace_running() {
    let world = World::new().await;
    let owner = world.owner().await;
    let (id, runner) = owner.running(&world, "demo").await;
    let job = AwakeReason::Job { program: ProgramName::try_from("pytest".to_owned()).ok() };
    let home = |idle_hours: u64, awake: &[AwakeReason]| Report::Home {
        dirty_bytes: 0,
        at: time::OffsetDateTime::now_utc(),
        unreplicated_ms: 0,
        used_bytes: None,
        idle_seconds: Some(idle_hours * 3600),
        awake: awake.to_vec(),
        notice: None,
        killed_program: None,
    };
    let report = async |report| runner.report(vec![report]).await.expect("accepted").desired;
    // Never in the middle of a job, whatever the agent says about the idle time.
    assert_eq!(report(home(9, std::slice::from_ref(&job))).await.command, Command::Run);
    let idle = owner.workspace(id).await.idle.expect("told");
    assert_eq!((idle.stops_at, idle.awake), (None, vec![job]));

    let hold = async |client: &Client, body: Value| {
        client.post(&format!("/api/v1/workspaces/{id}/hold"), &body).await
    };
    let refused = hold(&owner, json!({ "seconds": 24 * 3600 + 1 })).await;
    assert_eq!(refused.code(), "invalid");
    assert!(refused.body.to_string().contains("24 hours are the limit"), "{}", refused.body);
    let other = world.member(&owner, "member").await;
    assert_eq!(hold(&other, json!({ "seconds": 60 })).await.code(), "not_found");
    let held: Workspace = hold(&owner, json!({ "seconds": 7200 })).await.ok();
    let held = held.idle.expect("running").held_until.expect("held");
    let desired = report(home(9, &[])).await;
    assert_eq!((desired.command, desired.held_until), (Command::Run, Some(held)));
    let idle = owner.workspace(id).await.idle.expect("told");
    assert_eq!((idle.stops_at, idle.held_until), (Some(held), Some(held)));

    // Without a time, it runs as if it was used now. A release takes that back.
    let kept: Workspace = hold(&owner, json!({})).await.ok();
    let hours =
        (kept.idle.expect("running").held_until.expect("held") - world.app().now()).as_seconds_f64() / 3600.0;
    assert!((7.9..=8.0).contains(&hours), "{hours}");
    let released: Workspace = hold(&owner, json!({ "seconds": 0 })).await.ok();
    assert_eq!(released.idle.expect("running").held_until, None);
    assert_eq!(report(home(9, &[])).await.command, Command::Stop);
    runner.persist(1).await;
    let stopped = owner.reaches(id, Phase::Terminated).await;
    assert_eq!(stopped.idle, None);
    assert_eq!(hold(&owner, json!({ "seconds": 60 })).await.code(), "not_running");
}

#[tokio::test]
async fn stop_ends_a_hold() {
    let world = World::new().await;
    let owner = world.owner().await;
    let (id, runner) = owner.running(&world, "demo").await;
    let path = format!("/api/v1/workspaces/{id}/hold");
    owner.post(&path, &json!({ "seconds": 7200 })).await.ok::<Workspace>();
    owner.rest(id, &runner, 1).await;
    assert_eq!(owner.act(id, "start").await.status, 200);
    world.runner(id, 2).await.ready().await;
    let running = owner.reaches(id, Phase::Running).await;
    assert_eq!(running.idle.expect("running").held_until, None);
}
