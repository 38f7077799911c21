//! Reports of runners and the answers to them. Old runners are refused.

use protocol::{
    Epoch, ManifestId, WorkspaceId,
    runner::{Command, Report},
    workspace::{HomeNotice, Phase, ProgramName},
};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use serde_json::json;
use time::{Duration, OffsetDateTime};

use super::world::{Client, Runner, World, seed, soak_factor, stream};

const MIB: u64 = 1 << 20;

#[tokio::test]
async fn guest_notices_are_shown() {
    let world = World::new().await;
    let owner = world.owner().await;
    let (id, runner) = owner.running(&world, "demo").await;
    for notice in
        [HomeNotice::HomeFull, HomeNotice::HomeOutOfInodes, HomeNotice::OutOfMemory, HomeNotice::ProcessLimit]
    {
        runner.report(vec![home(0, 12, Some(notice))]).await.expect("accepted");
        assert_eq!(owner.workspace(id).await.home_notice, Some(notice));
    }
    let mut killed = home(0, 12, Some(HomeNotice::OutOfMemory));
    let python = ProgramName::try_from("python3".to_owned()).expect("a name");
    if let Report::Home { killed_program, .. } = &mut killed {
        *killed_program = Some(python.clone());
    }
    runner.report(vec![killed]).await.expect("accepted");
    assert_eq!(owner.workspace(id).await.killed_program, Some(python));
    runner.report(vec![home(0, 12, None)]).await.expect("accepted");
    assert_eq!(owner.workspace(id).await.killed_program, None);
}

fn home(unreplicated_ms: u64, used_mib: u64, notice: Option<HomeNotice>) -> Report {
    Report::Home {
        at: OffsetDateTime::now_utc(),
        dirty_bytes: unreplicated_ms * 10,
        unreplicated_ms,
        used_bytes: Some(used_mib * MIB),
        idle_seconds: None,
        awake: vec![],
        notice,
        killed_program: None,
    }
}

#[tokio::test]
async fn late_report_keeps_its_time() {
    let world = World::new().await;
    let owner = world.owner().await;
    let (id, runner) = owner.running(&world, "demo").await;
    let said = |at: OffsetDateTime, unreplicated_ms: u64| Report::Home {
        at,
        dirty_bytes: 1,
        unreplicated_ms,
        used_bytes: None,
        idle_seconds: None,
        awake: vec![],
        notice: None,
        killed_program: None,
    };
    // Lying about for minutes, as where the controller was away.
    let at = world.app().now() - Duration::minutes(3);
    runner.report(vec![said(at, 0)]).await.expect("accepted");
    assert_eq!(owner.workspace(id).await.safe_at, Some(at));
    runner.report(vec![said(at + Duration::minutes(1), 20_000)]).await.expect("accepted");
    assert_eq!(owner.workspace(id).await.safe_at, Some(at + Duration::seconds(40)));
    // A clock that is ahead says nothing of the future.
    let before = world.app().now();
    runner.report(vec![said(before + Duration::hours(1), 1000)]).await.expect("accepted");
    let safe_at = owner.workspace(id).await.safe_at.expect("known");
    assert!(safe_at <= world.app().now() - Duration::seconds(1), "{safe_at}");
}

#[tokio::test]
async fn heartbeats_and_safe_times_are_sent() {
    let world = World::new().await;
    let owner = world.owner().await;
    let (id, runner) = owner.running(&world, "demo").await;
    let safe = |at| Report::Home {
        at,
        dirty_bytes: 0,
        unreplicated_ms: 0,
        used_bytes: None,
        idle_seconds: None,
        awake: vec![],
        notice: None,
        killed_program: None,
    };
    let at = world.app().now() - Duration::minutes(3);
    runner.report(vec![safe(at)]).await.expect("accepted");
    let mut events = owner.events(&format!("/api/v1/workspaces/{id}/events")).await;
    let first = events.until(|name, _| name == "workspace").await;
    // Nothing happens but that the home stays safe.
    runner.report(vec![safe(at + Duration::minutes(1))]).await.expect("accepted");
    events.until(|name, _| name == "heartbeat").await;
    let later = events.until(|name, _| name == "workspace").await;
    assert_eq!(later["revision"], first["revision"]);
    let time = |workspace: &serde_json::Value| {
        let text = workspace["safe_at"].as_str().expect("text").to_owned();
        OffsetDateTime::parse(&text, &time::format_description::well_known::Rfc3339).expect("a time")
    };
    assert_eq!(time(&later) - time(&first), Duration::minutes(1));
}

#[tokio::test]
async fn revision_grows_only_with_visible_changes() {
    let world = World::new().await;
    let owner = world.owner().await;
    let (id, runner) = owner.running(&world, "demo").await;
    let told = async |report: Report| {
        let before = owner.workspace(id).await.revision;
        runner.report(vec![report]).await.expect("accepted");
        owner.workspace(id).await.revision - before
    };
    let mib = u64::from(owner.workspace(id).await.resources.home_mib);
    // The first report says that everything is safe, which was assumed before.
    assert_eq!(told(home(0, 10, None)).await, 0);
    assert_eq!(told(home(2000, 11, None)).await, 1, "something is not safe yet");
    for ms in [3000, 9000, 5000] {
        assert_eq!(told(home(ms, 12, None)).await, 0);
    }
    assert_eq!(told(home(40_000, 12, Some(HomeNotice::StoreUnavailable))).await, 1);
    assert_eq!(told(home(45_000, 12, Some(HomeNotice::StoreUnavailable))).await, 0);
    let now = owner.workspace(id).await;
    assert_eq!((now.unreplicated_seconds, now.home_notice), (Some(45), Some(HomeNotice::StoreUnavailable)));
    assert_eq!((now.dirty_bytes, now.home_used_bytes), (Some(450_000), Some(12 * MIB)));
    let safe_at = now.safe_at.expect("known");
    // It does not become less safe than it was, whatever is said of the time before.
    runner.report(vec![home(3_600_000, 12, Some(HomeNotice::StoreUnavailable))]).await.expect("accepted");
    assert_eq!(owner.workspace(id).await.safe_at, Some(safe_at));

    assert_eq!(told(home(0, 12, None)).await, 1, "all is safe");
    assert!(owner.workspace(id).await.safe_at > Some(OffsetDateTime::now_utc() - Duration::seconds(20)));
    for (used, revisions) in [(79, 0), (80, 1), (94, 0), (95, 1), (100, 0), (50, 1)] {
        assert_eq!(told(home(0, (mib * used).div_ceil(100), None)).await, revisions, "{used} %");
    }
    assert_eq!(told(stream(1)).await, 1, "a commit is told");
    assert_eq!(told(stream(1)).await, 0, "once");
    // At rest nothing is under way, and what the files take is known still.
    owner.rest(id, &runner, 2).await;
    let rest = owner.workspace(id).await;
    assert_eq!((rest.unreplicated_seconds, rest.dirty_bytes, rest.home_notice), (None, None, None));
    assert!(rest.home_used_bytes.is_some() && rest.safe_at.is_some());
}

#[tokio::test]
async fn safe_at_precedes_oldest_unreplicated_write() {
    let world = World::new().await;
    let owner = world.owner().await;
    let (id, runner) = owner.running(&world, "demo").await;
    assert_eq!(owner.workspace(id).await.safe_at, None);
    let age = async || OffsetDateTime::now_utc() - owner.workspace(id).await.safe_at.expect("known");
    runner.report(vec![home(45_000, 1, None)]).await.expect("accepted");
    assert!((Duration::seconds(45)..Duration::seconds(100)).contains(&age().await));
    runner.report(vec![stream(1)]).await.expect("accepted");
    assert!(age().await < Duration::seconds(40), "a commit moves it to its cut");
    for hostile in [u64::MAX, i64::MAX as u64, 1 << 62] {
        runner.report(vec![home(hostile / 10, 1, None)]).await.expect("accepted");
    }
    assert!(age().await < Duration::seconds(40));
}

#[tokio::test]
async fn growth_reaches_waiting_runner() {
    let world = World::new().await;
    let owner = world.owner().await;
    let (id, runner) = owner.running(&world, "demo").await;
    let path = format!("/api/v1/workspaces/{id}");
    let before = runner.spec.resources.home_mib;
    let larger = before + 1000;
    let wish = json!({ "home_mib": larger });
    let (grown, reply) = tokio::join!(owner.patch(&path, &wish), runner.poll(0, before, 10_000));
    assert_eq!(grown.body["resources"]["home_mib"], larger);
    assert_eq!((reply.command, reply.home_mib), (Command::Run, larger));
    // The size is a level: every answer has it.
    assert_eq!(runner.poll(0, before, 0).await.home_mib, larger);
    assert_eq!(runner.poll(0, larger, 0).await.home_mib, larger);
    for (home_mib, why) in [(larger - 1, "smaller"), (1 << 20, "the whole disk")] {
        let refused = owner.patch(&path, &json!({ "home_mib": home_mib })).await;
        assert_eq!((refused.status, refused.code()), (422, "invalid"), "{why}");
    }
    assert_eq!(owner.patch(&path, &wish).await.status, 200, "again");
    owner.rest(id, &runner, 1).await;
    owner.act(id, "start").await;
    let again = world.runner(id, 2).await;
    assert_eq!(again.spec.resources.home_mib, larger);
    assert_eq!(again.spec.stream_seconds, 5);
}

/// Two runners of one home report snapshots at the same time while the place goes from one to the
/// other.
#[tokio::test]
async fn newer_of_two_runners_wins() {
    let mut random = StdRng::seed_from_u64(seed());
    let world = World::new().await;
    let owner = world.owner().await;
    let (id, mut old) = owner.running(&world, "demo").await;
    for attempt in 0..20 * soak_factor() as u64 {
        let (first, second) = (name(attempt * 2), name(attempt * 2 + 1));
        let (sooner, later) = (random.random_range(0..8), random.random_range(0..8));
        let stale = async {
            pause(sooner).await;
            let told = old.report(vec![of(first)]).await;
            assert!(
                told.as_ref().map_or_else(|refused| refused.code() == "fenced", |r| r.committed == [first])
            );
            told.is_ok()
        };
        let takeover = async {
            pause(later).await;
            take_over(&world, id, &old).await
        };
        let (was_heard, new) = tokio::join!(stale, takeover);
        // Both at once, the old one as often as it likes.
        let again = async {
            for _ in 0..2 {
                let refused = old.report(vec![of(first)]).await.expect_err("it was replaced");
                assert_eq!((refused.status, refused.code()), (409, "fenced"));
            }
        };
        let (reply, ()) = tokio::join!(new.report(vec![of(second)]), again);
        assert_eq!(reply.expect("accepted").committed, [second]);
        let head = rows(&world, id).await;
        let of_old = head.iter().any(|(manifest, epoch)| *manifest == first && *epoch == old.spec.epoch);
        assert_eq!(of_old, was_heard, "attempt {attempt}");
        assert_eq!(head.last(), Some(&(second, new.spec.epoch)), "attempt {attempt}");
        assert_eq!(head_of(&world, id).await, Some(second), "attempt {attempt}");
        old = new;
    }
    assert_eq!(owner.workspace(id).await.phase, Phase::Running);
}

async fn pause(ms: u64) {
    tokio::time::sleep(std::time::Duration::from_millis(ms)).await;
}

fn name(number: u64) -> ManifestId {
    ManifestId(*blake3::hash(&number.to_le_bytes()).as_bytes())
}

fn of(named: ManifestId) -> Report {
    let Report::Snapshot {
        kind,
        consistency,
        answers,
        cut_at,
        changed_bytes,
        uploaded_bytes,
        objects,
        stored_bytes,
        ..
    } = stream(0)
    else {
        unreachable!()
    };
    Report::Snapshot {
        manifest: named,
        kind,
        consistency,
        answers,
        cut_at,
        changed_bytes,
        uploaded_bytes,
        objects,
        stored_bytes,
    }
}

/// The next placement, as another host would create it: the old runner does not learn of it.
async fn take_over(world: &World, id: WorkspaceId, old: &Runner) -> Runner {
    let app = world.app();
    let token = crate::identity::secrets::generate_secret();
    let mut system = app.db.system().await.expect("a transaction");
    let epoch: i64 = sqlx::query_scalar(
        "update workspaces set epoch = epoch + 1, runner_hash = $2 where workspace_id = $1 returning epoch",
    )
    .bind(id.0)
    .bind(&crate::identity::secrets::hash_secret(token.expose())[..])
    .fetch_one(system.connection())
    .await
    .expect("placed");
    system.commit().await.expect("committed");
    let mut new = old.clone();
    (new.spec.epoch, new.spec.token) = (Epoch(epoch.unsigned_abs()), token);
    new
}

/// Manifests with their epochs, the oldest first.
async fn rows(world: &World, id: WorkspaceId) -> Vec<(ManifestId, Epoch)> {
    let app = world.app();
    let mut system = app.db.system().await.expect("a transaction");
    let rows: Vec<(Vec<u8>, i64)> = sqlx::query_as(
        "select s.manifest, s.epoch from snapshots s join workspaces w using (tenant_id, volume_id)
         where w.workspace_id = $1 order by s.created_at",
    )
    .bind(id.0)
    .fetch_all(system.connection())
    .await
    .expect("read");
    let manifest = |bytes: Vec<u8>| crate::lifecycle::record::manifest(&bytes).expect("32 bytes");
    rows.into_iter().map(|(bytes, epoch)| (manifest(bytes), Epoch(epoch.unsigned_abs()))).collect()
}

async fn head_of(world: &World, id: WorkspaceId) -> Option<ManifestId> {
    let app = world.app();
    let mut system = app.db.system().await.expect("a transaction");
    crate::lifecycle::record::lock(system.connection(), id).await.expect("read")?.life.head
}

#[tokio::test]
async fn many_runners_report_at_once() {
    let world = World::new().await;
    let owner = world.owner().await;
    let mut machines = vec![];
    for number in 0..8 {
        machines.push(owner.running(&world, &format!("w{number}")).await);
    }
    let telling = machines.iter().map(|(id, runner)| tell(&owner, *id, runner));
    futures_util::future::join_all(telling).await;
}

async fn tell(owner: &Client, id: WorkspaceId, runner: &Runner) {
    for content in 1..=5 {
        let reply = runner
            .report(vec![home(100, 1, None), stream(content), home(0, 1, None)])
            .await
            .expect("accepted");
        assert_eq!(reply.committed.len(), 1);
    }
    assert_eq!(owner.snapshots(id).await.len(), 5);
    assert_eq!(owner.workspace(id).await.unreplicated_seconds, Some(0));
}
