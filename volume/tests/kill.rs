//! A real process, killed for real: what it had flushed and said so is there.
//!
//! The test's own executable is the writer: it numbers blocks, flushes, and prints the number, with snapshots in between.

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
    let opening = VolumeOptions {
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
    Volume::open(opening).await.expect("opens")
}

/// The block where a number goes: scattered, and each written again and again.
fn place(number: u64) -> u64 {
    number * 197 % BLOCKS * BLOCK_BYTES
}

/// Not a test by itself: what the other one starts and kills.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_writer() {
    let Some(directory) = std::env::var_os(DIRECTORY) else { return };
    let volume = open(Path::new(&directory), "cache", None).await;
    let first = last_number(&volume).await + 1;
    let snapshots = async {
        loop {
            // None is ever committed: all rests on the log.
            if volume.snapshot(|_| ()).await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    };
    let writing = async {
        for number in first.. {
            let block = number.to_le_bytes().repeat(BLOCK_BYTES as usize / 8);
            volume.write(place(number), block.into()).await.expect("writes");
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
        assert!(number == 0 || place(number) == block as u64 * BLOCK_BYTES, "block {block} is out of place");
        number
    });
    numbers.max().expect("there are blocks")
}

#[tokio::test]
async fn what_was_flushed_survives_kill_9() {
    let seed: u64 = rand::random();
    println!("seed {seed}");
    let mut random = <rand::rngs::StdRng as rand::SeedableRng>::seed_from_u64(seed);
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mut last = 0;
    for _ in 0..KILLS {
        let lines = rand::RngExt::random_range(&mut random, 1..120);
        let path = directory.path().to_owned();
        let said =
            tokio::task::spawn_blocking(move || write_and_kill(&path, lines)).await.expect("it was started");
        let volume = open(directory.path(), "cache", None).await;
        let found = last_number(&volume).await;
        assert!(found >= said && said > last, "{said} was flushed after {last}, {found} is there");
        let content = volume.read(0, volume.size_bytes()).await.expect("reads");
        for number in said.saturating_sub(BLOCKS - 1).max(1)..=said {
            let at = place(number) as usize;
            let there = u64::from_le_bytes(*content[at..].first_chunk().expect("eight bytes"));
            assert!(there >= number, "{number} is missing");
        }
        last = said;
        // What the store gets of it is the same.
        let snapshot = volume.snapshot(|_| ()).await.expect("stored");
        let elsewhere = open(directory.path(), &format!("at-{said}"), Some(snapshot.manifest)).await;
        assert!(elsewhere.read(0, volume.size_bytes()).await.expect("reads") == content);
    }
}

/// Lets the writer flush so many numbers, then kills it; the last number that it said.
fn write_and_kill(directory: &Path, lines: usize) -> u64 {
    let mut child = Command::new(std::env::current_exe().expect("this test"))
        .args(["--exact", "the_writer", "--nocapture"])
        .env(DIRECTORY, directory)
        .stdout(Stdio::piped())
        .spawn()
        .expect("starts");
    let said = BufReader::new(child.stdout.take().expect("piped")).lines();
    // The test runner's own words stand before the first number, perhaps on its line.
    let numbers =
        said.map_while(Result::ok).filter_map(|line| line.split_once("flushed ")?.1.parse::<u64>().ok());
    let mut numbers = numbers.peekable();
    let mut last = 0;
    for _ in 0..lines {
        last = numbers.next().expect("it writes until it is killed");
    }
    child.kill().expect("SIGKILL");
    child.wait().expect("it is gone");
    // What it said between the last line and its death counts too.
    numbers.last().unwrap_or(last)
}
