//! A real process is killed with SIGKILL: everything that it had reported as flushed is there.
//!
//! The test's own executable is the writer. It numbers blocks, flushes, and prints the number,
//! while snapshots run.

use std::{
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
};

use burrow_volume as volume;
use protocol::{Epoch, ManifestId, TenantId, VolumeId};
use uuid::Uuid;
use volume::{BLOCK_BYTES, DataKey, Volume, VolumeOptions, store::DirectoryStore};

const DIRECTORY: &str = "BURROW_VOLUME_KILL_DIRECTORY";
const BLOCKS: u64 = 512;
const KILLS: usize = 20;

async fn open(directory: &Path, cache: &str, head: Option<ManifestId>) -> Volume {
    let options = VolumeOptions {
        tenant: TenantId(Uuid::from_u128(1)),
        volume: VolumeId(Uuid::from_u128(2)),
        size_bytes: BLOCKS * BLOCK_BYTES,
        epoch: Epoch(1),
        head,
        head_of: None,
        lineage: 0,
        cache: directory.join(cache),
        key: DataKey::from_hex(&"7e".repeat(32)).expect("a key"),
        store: Arc::new(DirectoryStore::open(directory.join("objects")).await.expect("a store")),
    };
    Volume::open(options).await.expect("opens")
}

/// The offset of a number. Numbers are scattered, and each block is overwritten again and again.
fn offset_of(number: u64) -> u64 {
    number * 197 % BLOCKS * BLOCK_BYTES
}

/// Not a test itself: the process that the other test starts and kills.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writer_process() {
    let Some(directory) = std::env::var_os(DIRECTORY) else { return };
    let volume = open(Path::new(&directory), "cache", None).await;
    let first = last_number(&volume).await + 1;
    let snapshots = async {
        loop {
            // None is ever committed, so that everything depends on the log.
            if volume.snapshot(|_| ()).await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    };
    let writing = async {
        for number in first.. {
            let block = number.to_le_bytes().repeat(BLOCK_BYTES as usize / 8);
            volume.write(offset_of(number), block.into()).await.expect("writes");
            volume.flush().await.expect("flushes");
            println!("flushed {number}");
        }
    };
    tokio::join!(snapshots, writing);
}

async fn last_number(volume: &Volume) -> u64 {
    let content = volume.read(0, volume.size_bytes()).await.expect("reads");
    let numbers = content.chunks_exact(BLOCK_BYTES as usize).enumerate().map(|(block, content)| {
        let number = u64::from_le_bytes(*content.first_chunk().expect("eight bytes"));
        assert!(content.chunks_exact(8).all(|bytes| bytes == number.to_le_bytes()), "block {block} is torn");
        assert!(
            number == 0 || offset_of(number) == block as u64 * BLOCK_BYTES,
            "block {block} is out of place"
        );
        number
    });
    numbers.max().expect("there are blocks")
}

#[tokio::test]
async fn flushed_writes_survive_sigkill() {
    let seed: u64 = rand::random();
    println!("seed {seed}");
    let mut random = <rand::rngs::StdRng as rand::SeedableRng>::seed_from_u64(seed);
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mut last = 0;
    for _ in 0..KILLS {
        let lines = rand::RngExt::random_range(&mut random, 1..120);
        let path = directory.path().to_owned();
        let flushed =
            tokio::task::spawn_blocking(move || write_and_kill(&path, lines)).await.expect("it was started");
        let volume = open(directory.path(), "cache", None).await;
        let found = last_number(&volume).await;
        assert!(found >= flushed && flushed > last, "{flushed} was flushed after {last}, {found} is there");
        let content = volume.read(0, volume.size_bytes()).await.expect("reads");
        for number in flushed.saturating_sub(BLOCKS - 1).max(1)..=flushed {
            let at = offset_of(number) as usize;
            let there = u64::from_le_bytes(*content[at..].first_chunk().expect("eight bytes"));
            assert!(there >= number, "{number} is missing");
        }
        last = flushed;
        // A snapshot has the same content.
        let snapshot = volume.snapshot(|_| ()).await.expect("stored");
        let elsewhere = open(directory.path(), &format!("at-{flushed}"), Some(snapshot.manifest)).await;
        assert!(elsewhere.read(0, volume.size_bytes()).await.expect("reads") == content);
    }
}

/// Lets the writer flush this many numbers, then kills it. Returns the last number that it printed.
fn write_and_kill(directory: &Path, lines: usize) -> u64 {
    let mut child = Command::new(std::env::current_exe().expect("this test"))
        .args(["--exact", "writer_process", "--nocapture"])
        .env(DIRECTORY, directory)
        .stdout(Stdio::piped())
        .spawn()
        .expect("starts");
    let output = BufReader::new(child.stdout.take().expect("piped")).lines();
    // The output of the test runner comes before the first number, perhaps on the same line.
    let numbers =
        output.map_while(Result::ok).filter_map(|line| line.split_once("flushed ")?.1.parse::<u64>().ok());
    let mut numbers = numbers.peekable();
    let mut last = 0;
    for _ in 0..lines {
        last = numbers.next().expect("it writes until it is killed");
    }
    child.kill().expect("SIGKILL");
    child.wait().expect("it has ended");
    // What it printed between that line and its end counts too.
    numbers.last().unwrap_or(last)
}
