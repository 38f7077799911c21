//! The volume: uploads and restores compared with restic, and the NBD export compared with
//! `qemu-nbd`. Everything is on a memory file system, because the speed of disks varies.

mod export;
pub mod home;

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use ::volume::{
    DataKey, ObjectStore, Snapshot, Volume, VolumeOptions, simulation,
    store::{DirectoryStore, Faults, FaultyStore},
};
use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _};
use protocol::{Epoch, ManifestId, TenantId, VolumeId};

use super::{Goal, Row};
use home::{BLOCK, SampleHome};

/// First argument of this program when it runs as a child, to measure memory and processor time of
/// one operation.
pub const CHILD: &str = "child";
const KEY: &str = "11223344556677889900aabbccddeeff11223344556677889900aabbccddeeff";
const RESTIC_PASSWORD: &str = "burrow";
/// Bytes of one request when a whole volume is read or written.
const REQUEST_BYTES: u64 = 1 << 20;
/// Parallel requests of a full restore.
const PARALLEL_REQUESTS: usize = 4;
/// Snapshots in which the changes of a session are uploaded.
const SESSION_SNAPSHOTS: usize = 40;
const FORK_ROUNDS: usize = 9;
const HUGE_BYTES: u64 = 100 << 30;
const MIB: f64 = 1024.0 * 1024.0;

/// A volume of one measurement: everything that is needed to open it.
struct TestVolume {
    tenant: TenantId,
    volume: VolumeId,
    directory: PathBuf,
    size_bytes: u64,
}

impl TestVolume {
    fn new(directory: &Path, size_bytes: u64) -> Self {
        let id = "0190b6c4-7d5e-7e3a-8a51-3f2f0a1b2c3d".parse().expect("an id");
        Self { tenant: TenantId(id), volume: VolumeId(id), directory: directory.to_owned(), size_bytes }
    }

    fn opening(&self, cache: &str, head: Option<ManifestId>, store: Arc<dyn ObjectStore>) -> VolumeOptions {
        VolumeOptions {
            tenant: self.tenant,
            volume: self.volume,
            size_bytes: self.size_bytes,
            epoch: Epoch(1),
            head,
            head_of: None,
            lineage: 0,
            cache: self.directory.join(cache),
            key: DataKey::from_hex(KEY).expect("a key"),
            store,
        }
    }

    async fn open(&self, cache: &str, head: Option<ManifestId>, store: Arc<dyn ObjectStore>) -> Volume {
        Volume::open(self.opening(cache, head, store)).await.expect("opens")
    }

    fn remove(&self, cache: &str) {
        std::fs::remove_dir_all(self.directory.join(cache)).expect("removed");
    }
}

async fn store(directory: &Path) -> Arc<dyn ObjectStore> {
    Arc::new(DirectoryStore::open(directory.join("objects")).await.expect("a store"))
}

/// Measures everything about the volume. `quick`: with a smaller home.
pub async fn measure(quick: bool) -> Vec<Row> {
    let memory = Path::new("/dev/shm");
    let place = tempfile::Builder::new().prefix("bench").tempdir_in(memory).expect("a directory");
    let mut rows = Vec::new();
    eprintln!("load before: {}", load_average());
    rows.extend(export::measure(place.path(), quick).await);
    eprintln!("load after the export: {}", load_average());
    rows.extend(compare_with_restic(place.path(), quick).await);
    rows.push(measure_fork(place.path()).await);
    rows.push(measure_map_memory(place.path()));
    eprintln!("load after: {}", load_average());
    rows
}

fn load_average() -> String {
    std::fs::read_to_string("/proc/loadavg").unwrap_or_default().trim().to_owned()
}

/// Uploads and restores of a home and of a change of one per cent, compared with restic.
async fn compare_with_restic(place: &Path, quick: bool) -> Vec<Row> {
    let home = SampleHome::create(place, if quick { 128 } else { 1024 });
    let mib = home.bytes as f64 / MIB;
    eprintln!("{} files of {mib:.0} MiB together", home.files);
    let size_bytes = std::fs::metadata(&home.image).expect("made").len();
    let test = TestVolume::new(&place.join("ours"), size_bytes);
    let restic = Restic::new(place);

    // The first upload: both read the whole home and store it.
    let objects = store(&test.directory).await;
    let volume = test.open("cache", None, objects.clone()).await;
    copy_in(&volume, &home.image).await;
    volume.close().await.expect("closes");
    drop(volume);
    let first = first_upload(&test);
    let first_restic = restic.backup(&home.tree);
    let first_restic_bytes = restic.bytes();

    // The change of one per cent, written through the volume.
    let counted = Arc::new(FaultyStore::new(objects.clone(), 1, Faults::default()));
    let volume = test.open("cache", Some(first.manifest), counted.clone()).await;
    let changed_ranges = home.changed_ranges();
    let changed: u64 = changed_ranges.iter().map(|(_, run)| run.len() as u64).sum();
    for (offset, run) in &changed_ranges {
        volume.write(*offset, run.clone().into()).await.expect("writes");
    }
    volume.flush().await.expect("flushes");
    let begun = Instant::now();
    let increment = volume.snapshot(|_| ()).await.expect("stored");
    let increment_time = begun.elapsed();
    volume.confirm_commit(increment.manifest).await.expect("known");
    home.change_tree();
    let increment_restic = restic.backup(&home.tree);
    let increment_restic_bytes = restic.bytes() - first_restic_bytes;

    // A snapshot without changes.
    let (calls, bytes) = (counted.calls(), counted.bytes_put());
    let begun = Instant::now();
    volume.snapshot(|_| ()).await.expect("nothing to store");
    let nothing_time = begun.elapsed();
    let nothing_restic = restic.backup(&home.tree);
    let nothing = (counted.calls() - calls) + (counted.bytes_put() - bytes);
    let (held, held_without) = measure_write_holds(&volume, &changed_ranges).await;
    drop(volume);

    // A full restore with an empty cache.
    let (restored, restored_restic) = restore(&test, increment.manifest, &objects, &restic, &home).await;
    let session = measure_session(&test, first.manifest, &objects, &changed_ranges).await;

    let seconds = |time: Duration| time.as_secs_f64();
    let mut rows = vec![
        Row {
            name: "1 % changed: uploaded ÷ restic",
            detail: format!(
                "{:.2} ÷ {:.2} MiB; {:.2} MiB of blocks differ",
                increment.uploaded_bytes as f64 / MIB,
                increment_restic_bytes as f64 / MIB,
                changed as f64 / MIB
            ),
            value: increment.uploaded_bytes as f64 / increment_restic_bytes as f64,
            goal: Goal::AtMost(0.25),
            unit: "×",
        },
        ratio("1 % changed: time ÷ restic", increment_time, increment_restic, 0.2, String::new()),
        Row {
            name: "longest write during a snapshot",
            detail: format!(
                "4 KiB writes without pause; {:.1} ms without a snapshot",
                seconds(held_without) * 1e3
            ),
            value: seconds(held) * 1e3,
            goal: Goal::AtMost(20.0),
            unit: "ms",
        },
        ratio(
            "first upload: time ÷ restic",
            first.time,
            first_restic,
            0.5,
            format!(
                "; {:.0} ÷ {:.0} MiB stored",
                first.uploaded_bytes as f64 / MIB,
                first_restic_bytes as f64 / MIB
            ),
        ),
        Row {
            name: "first upload: peak memory",
            detail: "resident, of a process that does nothing else".to_owned(),
            value: first.peak_mib,
            goal: Goal::AtMost(64.0),
            unit: "MiB",
        },
        ratio("full restore: time ÷ restic", restored, restored_restic, 0.7, String::new()),
        session,
        Row {
            name: "nothing changed: requests and bytes",
            detail: format!("{nothing_time:.1?}, restic {nothing_restic:.2?}"),
            value: nothing as f64,
            goal: Goal::AtMost(0.0),
            unit: "",
        },
    ];
    rows.push(processor_time(&home, first.processor, first.changed_bytes));
    rows
}

fn ratio(name: &'static str, ours: Duration, theirs: Duration, goal: f64, more: String) -> Row {
    Row {
        name,
        detail: format!("{ours:.2?} ÷ {theirs:.2?}{more}"),
        value: ours.as_secs_f64() / theirs.as_secs_f64(),
        goal: Goal::AtMost(goal),
        unit: "×",
    }
}

/// Writes the image to the volume, without its zeros.
async fn copy_in(volume: &Volume, image: &Path) {
    let content = Bytes::from(std::fs::read(image).expect("readable"));
    let size = content.len() as u64;
    for offset in (0..size).step_by(REQUEST_BYTES as usize) {
        let piece = content.slice(offset as usize..size.min(offset + REQUEST_BYTES) as usize);
        if piece.iter().any(|byte| *byte != 0) {
            volume.write(offset, piece).await.expect("writes");
        }
    }
}

/// The result of the first upload, which a child measures.
struct FirstUpload {
    manifest: ManifestId,
    time: Duration,
    peak_mib: f64,
    processor: Duration,
    uploaded_bytes: u64,
    changed_bytes: u64,
}

fn first_upload(test: &TestVolume) -> FirstUpload {
    let results = run_child(&["upload", &test.directory.display().to_string(), &test.size_bytes.to_string()]);
    let number = |name: &str| results[name].parse::<f64>().expect("a number");
    FirstUpload {
        manifest: results["manifest"].parse().expect("a name"),
        time: Duration::from_secs_f64(number("seconds")),
        peak_mib: number("peak_mib"),
        processor: Duration::from_secs_f64(number("processor")),
        uploaded_bytes: number("uploaded") as u64,
        changed_bytes: number("changed") as u64,
    }
}

/// Runs this program as a child. Returns the `name value` lines that it prints.
fn run_child(arguments: &[&str]) -> HashMap<String, String> {
    let program = std::env::current_exe().expect("this program");
    let output = Command::new(program).arg(CHILD).args(arguments).output().expect("it starts");
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    let stdout = String::from_utf8(output.stdout).expect("text");
    let pairs = stdout.lines().filter_map(|line| line.split_once(' '));
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// Runs an operation in the child, and prints its results.
pub async fn child(arguments: &[String]) {
    match arguments {
        [what, directory, size_bytes] if what == "upload" => {
            upload(Path::new(directory), size_bytes.parse().expect("a size")).await;
        }
        [what, directory] if what == "store-dense" => store_dense(Path::new(directory)).await,
        [what, directory, head] if what == "maps" => {
            hold_maps(Path::new(directory), head.parse().expect("a name")).await;
        }
        _ => panic!("{arguments:?}"),
    }
}

async fn upload(directory: &Path, size_bytes: u64) {
    let test = TestVolume::new(directory, size_bytes);
    let volume = test.open("cache", None, store(directory).await).await;
    let (begun, processor) = (Instant::now(), processor_seconds());
    let snapshot = volume.snapshot(|_| ()).await.expect("stored");
    let (time, processor) = (begun.elapsed(), processor_seconds() - processor);
    println!("manifest {}", snapshot.manifest);
    println!("seconds {}", time.as_secs_f64());
    println!("peak_mib {}", own_mib("VmHWM:"));
    println!("processor {processor}");
    println!("uploaded {}", snapshot.uploaded_bytes);
    println!("changed {}", snapshot.changed_bytes);
    volume.close().await.expect("closes");
}

fn own_mib(line: &str) -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("it is there");
    let rest = status.lines().find_map(|text| text.strip_prefix(line)).expect("a size");
    rest.trim().trim_end_matches("kB").trim().parse::<f64>().expect("a number") / 1024.0
}

/// User and system time of all threads of this process.
fn processor_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("it is there");
    let fields: Vec<&str> = stat.rsplit(") ").next().expect("fields").split(' ').collect();
    let ticks = |index: usize| fields[index].parse::<f64>().expect("a number");
    // Linux reports these in hundredths of a second.
    (ticks(11) + ticks(12)) / 100.0
}

/// The longest time of a small write while snapshots are taken, and while none is.
async fn measure_write_holds(volume: &Volume, changed_ranges: &[(u64, Vec<u8>)]) -> (Duration, Duration) {
    let quiet = Arc::new(AtomicBool::new(false));
    let stop = quiet.clone();
    let watched = watch_writes(volume.clone(), stop);
    tokio::time::sleep(Duration::from_secs(1)).await;
    quiet.store(true, Ordering::Relaxed);
    let without = watched.await.expect("no panic");
    let mut longest = Vec::new();
    for _ in 0..5 {
        for (offset, run) in changed_ranges {
            volume.write(*offset, run.clone().into()).await.expect("writes");
        }
        let quiet = Arc::new(AtomicBool::new(false));
        let watched = watch_writes(volume.clone(), quiet.clone());
        let snapshot = volume.snapshot(|_| ()).await.expect("stored");
        quiet.store(true, Ordering::Relaxed);
        longest.push(watched.await.expect("no panic"));
        volume.confirm_commit(snapshot.manifest).await.expect("known");
    }
    longest.sort();
    (longest[longest.len() / 2], without)
}

/// Writes small blocks until `stop`. Returns the longest time of a write.
fn watch_writes(volume: Volume, stop: Arc<AtomicBool>) -> tokio::task::JoinHandle<Duration> {
    tokio::spawn(async move {
        let (mut longest, mut number) = (Duration::ZERO, 0_u64);
        while !stop.load(Ordering::Relaxed) {
            let begun = Instant::now();
            let offset = number * 37 % 1000 * BLOCK as u64;
            volume.write(offset, vec![number as u8; BLOCK].into()).await.expect("writes");
            longest = longest.max(begun.elapsed());
            number += 1;
            tokio::task::yield_now().await;
        }
        longest
    })
}

async fn restore(
    test: &TestVolume,
    head: ManifestId,
    objects: &Arc<dyn ObjectStore>,
    restic: &Restic,
    home: &SampleHome,
) -> (Duration, Duration) {
    let begun = Instant::now();
    let volume = test.open("restored", Some(head), objects.clone()).await;
    let pieces = (0..test.size_bytes).step_by(REQUEST_BYTES as usize).map(|offset| {
        let volume = &volume;
        async move { volume.read(offset, REQUEST_BYTES.min(test.size_bytes - offset)).await }
    });
    let read = futures_util::stream::iter(pieces).buffered(PARALLEL_REQUESTS).try_for_each(async |_| Ok(()));
    read.await.expect("reads");
    let ours = begun.elapsed();
    // The content must be the changed image, whatever was written since.
    let expected = std::fs::read(&home.changed_image).expect("readable");
    for offset in (0..test.size_bytes).step_by(64 * REQUEST_BYTES as usize) {
        let found = volume.read(offset, REQUEST_BYTES.min(test.size_bytes - offset)).await.expect("reads");
        assert!(found == expected[offset as usize..][..found.len()], "at {offset}");
    }
    drop(volume);
    test.remove("restored");
    (ours, restic.restore())
}

/// The change, uploaded in many snapshots as the runner does it.
async fn measure_session(
    test: &TestVolume,
    head: ManifestId,
    objects: &Arc<dyn ObjectStore>,
    changed_ranges: &[(u64, Vec<u8>)],
) -> Row {
    let volume = test.open("session", Some(head), objects.clone()).await;
    let (mut uploaded, mut manifests, mut floor) = (0, 0, 0);
    for part in changed_ranges.chunks(changed_ranges.len().div_ceil(SESSION_SNAPSHOTS)) {
        for (offset, run) in part {
            let blocks = run.chunks(BLOCK);
            floor +=
                blocks.map(|block| zstd::bulk::compress(block, 1).expect("compresses").len()).sum::<usize>();
            volume.write(*offset, run.clone().into()).await.expect("writes");
        }
        let Snapshot { manifest, uploaded_bytes, manifest_bytes, .. } =
            volume.snapshot(|_| ()).await.expect("stored");
        volume.confirm_commit(manifest).await.expect("known");
        (uploaded, manifests) = (uploaded + uploaded_bytes, manifests + manifest_bytes);
    }
    let packs = (uploaded - manifests) as f64;
    Row {
        name: "streamed session: packs ÷ compressed blocks",
        detail: format!(
            "{:.2} ÷ {:.2} MiB, and {:.2} MiB of manifests in {SESSION_SNAPSHOTS} snapshots",
            packs / MIB,
            floor as f64 / MIB,
            manifests as f64 / MIB
        ),
        value: packs / floor as f64,
        goal: Goal::AtMost(1.05),
        unit: "×",
    }
}

/// Where the processor time of the first upload goes: each part is repeated by itself with the same
/// blocks.
fn processor_time(home: &SampleHome, processor: Duration, changed_bytes: u64) -> Row {
    let image = std::fs::read(&home.image).expect("readable");
    let stored: Vec<&[u8]> =
        image.chunks(16 * BLOCK).filter(|frame| frame.iter().any(|byte| *byte != 0)).collect();
    let timed = |work: &mut dyn FnMut()| {
        let begun = processor_seconds();
        work();
        processor_seconds() - begun
    };
    let mut sealed: Vec<Vec<u8>> = Vec::with_capacity(stored.len());
    // One compressor for all frames, as for a pack: creating one costs as much as compressing a
    // frame.
    let mut compressor = zstd::bulk::Compressor::new(1).expect("a compressor");
    let compress = timed(&mut || {
        sealed.extend(stored.iter().map(|frame| compressor.compress(frame).expect("compresses")));
    });
    let hash = timed(&mut || {
        for frame in &sealed {
            let _ = std::hint::black_box(blake3::hash(frame));
        }
    });
    let key = aws_lc_rs::aead::UnboundKey::new(&aws_lc_rs::aead::AES_256_GCM, &[7; 32]).expect("a key");
    let key = aws_lc_rs::aead::LessSafeKey::new(key);
    let encrypt = timed(&mut || {
        for frame in &mut sealed {
            let nonce = aws_lc_rs::aead::Nonce::assume_unique_for_key([0; 12]);
            let empty = aws_lc_rs::aead::Aad::empty();
            let tag = key.seal_in_place_separate_tag(nonce, empty, frame).expect("seals");
            assert_eq!(tag.as_ref().len(), 16);
        }
    });
    let gib = changed_bytes as f64 / f64::from(1 << 30);
    let all = processor.as_secs_f64();
    Row {
        name: "processor time per GiB streamed",
        detail: format!(
            "compress {:.2}, \
             encrypt {:.2}, copy and other {:.2} s; hashing is not done, but would take {:.2}",
            compress / gib,
            encrypt / gib,
            (all - compress - encrypt) / gib,
            hash / gib
        ),
        value: all / gib,
        goal: Goal::None,
        unit: "s",
    }
}

/// The time of a fork of a home of 100 sparse GiB until its first block is read.
async fn measure_fork(place: &Path) -> Row {
    let test = TestVolume::new(&place.join("fork"), HUGE_BYTES);
    let objects = store(&test.directory).await;
    let origin = test.open("origin", None, objects.clone()).await;
    for number in 0..2000 {
        let offset = HUGE_BYTES / 2000 * number / BLOCK as u64 * BLOCK as u64;
        origin.write(offset, vec![number as u8 + 1; BLOCK].into()).await.expect("writes");
    }
    let head = origin.snapshot(|_| ()).await.expect("stored").manifest;
    let mut times = Vec::new();
    for round in 0..FORK_ROUNDS {
        let opening = test.opening(&format!("fork-{round}"), Some(head), objects.clone());
        let opening = VolumeOptions { volume: VolumeId::random(), head_of: Some(test.volume), ..opening };
        let begun = Instant::now();
        let volume = Volume::open(opening).await.expect("opens");
        volume.read(0, BLOCK as u64).await.expect("reads");
        times.push(begun.elapsed());
        drop(volume);
        test.remove(&format!("fork-{round}"));
    }
    let median = super::median(&times);
    Row {
        name: "fork of a home of 100 sparse GiB",
        detail: format!("open and read a block, median of {FORK_ROUNDS}"),
        value: median.as_secs_f64() * 1e3,
        goal: Goal::AtMost(100.0),
        unit: "ms",
    }
}

/// The memory of an open home of 100 dense GiB.
fn measure_map_memory(place: &Path) -> Row {
    let directory = place.join("maps").display().to_string();
    let stored = run_child(&["store-dense", &directory]);
    let results = run_child(&["maps", &directory, &stored["head"]]);
    let number = |name: &str| results[name].parse::<f64>().expect("a number");
    Row {
        name: "memory of an open home of 100 dense GiB",
        detail: format!("{} MiB at the peak while opening", number("peak_mib").round()),
        value: number("mib"),
        goal: Goal::AtMost(64.0),
        unit: "MiB",
    }
}

/// Stores the manifest. Another process opens it, because building it needs memory too.
async fn store_dense(directory: &Path) {
    let test = TestVolume::new(directory, HUGE_BYTES);
    let key = DataKey::from_hex(KEY).expect("a key");
    let (head, name, object) = simulation::dense_home_manifest(&key, test.tenant, test.volume, HUGE_BYTES);
    store(directory).await.put_if_absent(&name, object).await.expect("stored");
    println!("head {head}");
}

async fn hold_maps(directory: &Path, head: ManifestId) {
    let before = own_mib("VmRSS:");
    let test = TestVolume::new(directory, HUGE_BYTES);
    let volume = test.open("cache", Some(head), store(directory).await).await;
    println!("mib {}", own_mib("VmRSS:") - before);
    println!("peak_mib {}", own_mib("VmHWM:") - before);
    drop(volume);
}

/// restic, with its repository.
struct Restic {
    repository: PathBuf,
    cache: PathBuf,
    target: PathBuf,
}

impl Restic {
    fn new(place: &Path) -> Self {
        let restic = Self {
            repository: place.join("restic"),
            cache: place.join("restic-cache"),
            target: place.join("restic-restored"),
        };
        restic.run(&["init"]);
        restic
    }

    fn run(&self, arguments: &[&str]) -> Duration {
        let begun = Instant::now();
        home::run(
            Command::new("restic")
                .args(["--quiet", "--repo"])
                .arg(&self.repository)
                .arg("--cache-dir")
                .arg(&self.cache)
                .args(arguments)
                .env("RESTIC_PASSWORD", RESTIC_PASSWORD),
        );
        begun.elapsed()
    }

    fn backup(&self, tree: &Path) -> Duration {
        self.run(&["backup", &tree.display().to_string()])
    }

    fn restore(&self) -> Duration {
        let time = self.run(&["restore", "latest", "--target", &self.target.display().to_string()]);
        std::fs::remove_dir_all(&self.target).expect("removed");
        time
    }

    /// Size of the repository.
    fn bytes(&self) -> u64 {
        bytes_beneath(&self.repository)
    }
}

fn bytes_beneath(directory: &Path) -> u64 {
    let entries = std::fs::read_dir(directory).expect("readable").flatten();
    entries
        .map(|entry| {
            let metadata = entry.metadata().expect("readable");
            if metadata.is_dir() { bytes_beneath(&entry.path()) } else { metadata.len() }
        })
        .sum()
}
