//! Concurrent access, and writes while a snapshot is running.

use std::sync::mpsc;

use crate::{BLOCK_BYTES, testing::*};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_during_snapshot_are_not_in_it() {
    let world = World::new(4096).await;
    let volume = world.open("cache", None).await;
    write(&volume, 0, random_bytes(8 << 20)).await;
    let at_cut = read_all(&volume).await;

    let (write_done, half_done) = (mpsc::sync_channel::<()>(0), mpsc::sync_channel::<()>(0));
    let writer = {
        let volume = volume.clone();
        let (start, done) = (half_done.1, write_done.0);
        tokio::task::spawn_blocking(move || {
            start.recv().expect("the snapshot is half done");
            tokio::runtime::Handle::current().block_on(async {
                // Blocks that were copied, blocks that were not, holes, parts of blocks, and
                // beyond.
                write(&volume, 1000, random_bytes(300_000)).await;
                write(&volume, 5 << 20, random_bytes(2 << 20)).await;
                write(&volume, (5 << 20) + 77, random_bytes(50_000)).await;
                volume.discard(7 << 20, 500_000).await.expect("discards");
                write(&volume, 10 << 20, random_bytes(100_000)).await;
                volume.flush().await.expect("flushes");
            });
            done.send(()).expect("the snapshot waits");
        })
    };
    let signal = std::sync::Mutex::new(Some((half_done.0, write_done.1)));
    let snapshot = volume
        .snapshot(move |progress| {
            if progress.done_bytes >= 2 << 20
                && let Some((half_done, written)) = signal.lock().expect("no panic").take()
            {
                tokio::task::block_in_place(|| {
                    half_done.send(()).expect("the writer waits");
                    written.recv().expect("the writer is done");
                });
            }
        })
        .await
        .expect("stored");
    writer.await.expect("wrote");
    assert_eq!(world.content_of(snapshot.manifest).await, at_cut);
    let now = read_all(&volume).await;
    assert_ne!(now, at_cut);
    let next = volume.snapshot(|_| ()).await.expect("stored");
    assert!(next.changed_bytes < 4 << 20, "only what was written since: {next:?}");
    assert_eq!(world.content_of(next.manifest).await, now);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_access_keeps_every_owners_blocks() {
    let world = World::new(2048).await;
    let first = world.open("first", None).await;
    write(&first, 0, random_bytes(8 << 20)).await;
    let head = first.snapshot(|_| ()).await.expect("stored").manifest;
    let volume = world.open("second", Some(head)).await;
    let base = read_all(&first).await;

    // Each of eight tasks owns every eighth run of three blocks, among blocks that are not fetched
    // yet.
    let tasks: Vec<_> = (0..8u64)
        .map(|owner| {
            let (volume, base) = (volume.clone(), base.clone());
            tokio::spawn(async move {
                let run = 3 * BLOCK_BYTES;
                let places: Vec<u64> = (0..80).map(|number| (number * 8 + owner) * run).collect();
                for (number, &place) in places.iter().enumerate() {
                    let old = volume.read(place, run).await.expect("reads");
                    assert_eq!(old, base[place as usize..][..run as usize]);
                    write(&volume, place + 100, vec![owner as u8 + 1; run as usize - 200]).await;
                    if number % 16 == owner as usize {
                        volume.flush().await.expect("flushes");
                    }
                    let new = volume.read(place, run).await.expect("reads");
                    assert!(new[100..run as usize - 100].iter().all(|byte| *byte == owner as u8 + 1));
                    assert_eq!(new[..100], old[..100]);
                }
            })
        })
        .collect();
    let snapshots = {
        let volume = volume.clone();
        tokio::spawn(async move {
            for _ in 0..5 {
                let snapshot = volume.snapshot(|_| ()).await.expect("stored");
                volume.confirm_commit(snapshot.manifest).await.expect("known");
            }
        })
    };
    for task in tasks {
        task.await.expect("no task fails");
    }
    snapshots.await.expect("no task fails");
    let snapshot = volume.snapshot(|_| ()).await.expect("stored");
    assert_eq!(world.content_of(snapshot.manifest).await, read_all(&volume).await);
}
