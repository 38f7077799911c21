//! A home whose objects are damaged in the store, while its runner still has them.

use std::path::PathBuf;

use protocol::{
    ManifestId,
    api::scrub::{Repair, ScrubReport},
    runner::{AcknowledgedState, Command, RepairOutcome, RepairRequest, Report, ReportRequest},
    workspace::Phase,
};
use serde_json::json;
use volume::{BLOCK_BYTES, DataKey, Volume, VolumeOptions};

use super::world::{Client, Runner, World, stream};

const BLOCKS: u64 = 64;

/// A runner with a real volume.
struct Machine {
    runner: Runner,
    volume: Volume,
    objects: PathBuf,
}

impl Machine {
    async fn new(world: &World, runner: Runner) -> Self {
        let spec = &runner.spec;
        let opening = VolumeOptions {
            tenant: spec.tenant,
            volume: spec.volume,
            size_bytes: BLOCKS * BLOCK_BYTES,
            epoch: spec.epoch,
            head: spec.head,
            head_of: spec.head_of,
            lineage: spec.lineage,
            cache: spec.cache_dir.clone(),
            key: DataKey::from_hex(spec.data_key.expose()).expect("a key"),
            store: volume::store::open(&world.config.store).await.expect("a store"),
        };
        let volume = Volume::open(opening).await.expect("opens");
        Self { runner, volume, objects: world.directory.path().join("objects") }
    }

    async fn write(&self, block: u64, byte: u8) {
        self.volume.write(block * BLOCK_BYTES, vec![byte; 3 * 4096].into()).await.expect("writes");
    }

    async fn commit(&self) -> ManifestId {
        let manifest = self.volume.snapshot(|_| ()).await.expect("stored").manifest;
        let Report::Snapshot { kind, consistency, cut_at, .. } = stream(0) else { unreachable!() };
        let report = Report::Snapshot {
            manifest,
            kind,
            consistency,
            cut_at,
            answers: 0,
            changed_bytes: 1,
            uploaded_bytes: 1,
            objects: 1,
            stored_bytes: 1,
        };
        assert_eq!(self.runner.report(vec![report]).await.expect("accepted").committed, [manifest]);
        self.volume.confirm_commit(manifest).await.expect("known");
        manifest
    }

    /// The next wish above a number.
    async fn wish(&self, above: u64) -> RepairRequest {
        loop {
            if let Some(wish) = self.poll(above).await {
                return wish;
            }
        }
    }

    async fn poll(&self, above: u64) -> Option<RepairRequest> {
        let (workspace, epoch) = (self.runner.spec.workspace, self.runner.spec.epoch);
        let request = ReportRequest {
            workspace,
            epoch,
            reports: vec![],
            acknowledged: AcknowledgedState {
                command: Command::Run,
                snapshot: u64::MAX,
                repair: above,
                home_mib: 0,
                network_revision: u64::MAX,
            },
            wait_ms: 5000,
            ran_ms: 0,
        };
        let repair = self.runner.send(request).await.expect("accepted").desired.repair;
        repair.filter(|repair| repair.number > above)
    }

    /// As a runner does it.
    async fn repair(&self, wish: &RepairRequest) {
        let repaired = self.volume.repair(&wish.objects).await.expect("repairs");
        self.commit().await;
        let repair = Repair {
            rewritten_bytes: repaired.rewritten_bytes,
            lost_bytes: repaired.lost_bytes,
            lost: vec![],
        };
        let report = Report::Repaired { answers: wish.number, outcome: RepairOutcome::Done(repair) };
        // The answer was lost: the same again.
        for _ in 0..2 {
            self.runner.report(vec![report.clone()]).await.expect("accepted");
        }
    }

    fn objects(&self, kind: &str) -> Vec<PathBuf> {
        let directory = self.objects.join(self.runner.spec.tenant.to_string()).join(kind);
        std::fs::read_dir(directory).expect("listed").map(|entry| entry.expect("read").path()).collect()
    }
}

impl Client {
    async fn check(&self, id: protocol::WorkspaceId, all: bool, repair: bool) -> super::world::Answer {
        self.post(&format!("/api/v1/workspaces/{id}/scrub"), &json!({ "all": all, "repair": repair })).await
    }
}

#[tokio::test]
async fn repair_stores_damaged_objects_again() {
    let world = World::new().await;
    let owner = world.owner().await;
    let (id, runner) = owner.running(&world, "demo").await;
    let machine = Machine::new(&world, runner).await;
    machine.write(0, 1).await;
    machine.commit().await;
    machine.write(10, 2).await;
    machine.commit().await;
    let sound: ScrubReport = owner.check(id, false, true).await.ok();
    assert!(sound.newest_is_whole && sound.repair.is_none() && sound.damaged_snapshots.is_empty());

    // All packs and all manifests: the new manifest first, and then what it says of the packs.
    for path in [machine.objects("packs"), machine.objects("manifests")].concat() {
        std::fs::remove_file(path).expect("removed");
    }
    let found: ScrubReport = owner.check(id, false, false).await.ok();
    assert!(!found.newest_is_whole && found.damaged_snapshots.len() == 1, "{found:?}");
    let working = async {
        for number in 1..=2 {
            let wish = machine.wish(number - 1).await;
            assert_eq!(wish.number, number);
            machine.repair(&wish).await;
        }
    };
    let (checked, ()) = tokio::join!(owner.check(id, false, true), working);
    let checked: ScrubReport = checked.ok();
    assert!(checked.newest_is_whole && checked.damaged.is_empty(), "{checked:?}");
    let repair = checked.repair.as_ref().expect("done");
    assert_eq!((repair.rewritten_bytes, repair.lost_bytes), (6 * BLOCK_BYTES, 0));
    // What came before rests on what is gone: the first two, and the one that says where their
    // blocks were.
    assert_eq!(checked.damaged_snapshots.len(), 3, "{checked:?}");
    let all: ScrubReport = owner.check(id, true, false).await.ok();
    assert!(all.newest_is_whole && all.damaged_snapshots == checked.damaged_snapshots, "{all:?}");
    // Nothing is requested any more, and another scrub does nothing.
    assert_eq!(machine.poll(2).await, None);
    assert_eq!(owner.check(id, false, true).await.ok::<ScrubReport>().repair, None);
}

#[tokio::test]
async fn object_without_copy_stays_damaged() {
    let world = World::new().await;
    let owner = world.owner().await;
    let (id, runner) = owner.running(&world, "demo").await;
    let machine = Machine::new(&world, runner).await;
    machine.write(0, 1).await;
    machine.commit().await;
    std::fs::remove_file(&machine.objects("packs")[0]).expect("removed");
    let working = async {
        let wish = machine.wish(0).await;
        let lost = Repair { rewritten_bytes: 0, lost_bytes: 3 * BLOCK_BYTES, lost: vec![] };
        let report = Report::Repaired { answers: wish.number, outcome: RepairOutcome::Done(lost) };
        machine.runner.report(vec![report]).await.expect("accepted");
    };
    let (checked, ()) = tokio::join!(owner.check(id, false, true), working);
    let checked: ScrubReport = checked.ok();
    assert!(!checked.newest_is_whole && checked.damaged.len() == 1, "it is not asked for ever: {checked:?}");
    assert_eq!(checked.repair.map(|repair| repair.lost_bytes), Some(3 * BLOCK_BYTES));
}

#[tokio::test]
async fn repair_belongs_to_present_placement() {
    let mut world = World::new().await;
    let owner = world.owner().await;
    let (id, runner) = owner.running(&world, "demo").await;
    let machine = Machine::new(&world, runner).await;
    machine.write(0, 1).await;
    machine.commit().await;
    std::fs::remove_file(&machine.objects("packs")[0]).expect("removed");
    // A repair that fails is reported, and not retried by itself.
    let failing = async {
        let wish = machine.wish(0).await;
        let outcome = RepairOutcome::Failed("the disk is full".to_owned());
        machine
            .runner
            .report(vec![Report::Repaired { answers: wish.number, outcome }])
            .await
            .expect("accepted");
        assert_eq!(machine.poll(0).await, None);
    };
    let (failed, ()) = tokio::join!(owner.check(id, false, true), failing);
    assert_eq!((failed.status, failed.code()), (503, "unavailable"));

    // A runner that ends during the repair.
    let ending = async {
        machine.wish(1).await;
        owner.rest(id, &machine.runner, 7).await;
    };
    let (refused, ()) = tokio::join!(owner.check(id, false, true), ending);
    assert_eq!((refused.status, refused.code()), (409, "conflict"), "{}", refused.body);
    // At rest nothing is read for an hour to say so.
    let refused = owner.check(id, false, true).await;
    assert_eq!((refused.status, refused.code()), (409, "conflict"));
    assert!(refused.body["detail"].as_str().is_some_and(|detail| detail.contains("Start the workspace")));

    // The next placement does not answer old requests, and the old runner is refused.
    owner.act(id, "start").await;
    let next = world.runner(id, 2).await;
    assert_eq!(next.spec.repair_requested, 2);
    next.ready().await;
    let late = Report::Repaired { answers: 2, outcome: RepairOutcome::Done(Repair::default()) };
    let refused = machine.runner.report(vec![late]).await.expect_err("fenced");
    assert_eq!((refused.status, refused.code()), (409, "fenced"));
    assert_eq!(owner.workspace(id).await.phase, Phase::Running);
    // Only who may change a workspace may have it repaired.
    let stranger = world.stranger().await;
    assert_eq!(stranger.check(id, false, true).await.status, 404);
    world.stop().await;
}
