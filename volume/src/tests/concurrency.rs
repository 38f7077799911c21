//! Many at once, and writes while a snapshot is being taken.

use std::sync::mpsc;

use super::{promises::rand_bytes, *};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_during_a_snapshot_go_on_and_are_not_in_it() {
    let world = World::new(4096).await;
    let volume = world.open("cache", None).await;
    write(&volume, 0, rand_bytes(8 << 20)).await;
    let at_the_cut = everything(&volume).await;

    let (go, gone) = (mpsc::sync_channel::<()>(0), mpsc::sync_channel::<()>(0));
    let writer = {
        let volume = volume.clone();
        let (waiting, done) = (gone.1, go.0);
        tokio::task::spawn_blocking(move || {
            waiting.recv().expect("the snapshot is half done");
            tokio::runtime::Handle::current().block_on(async {
                // What has been copied, what has not, holes, parts of blocks, and beyond.
                write(&volume, 1000, rand_bytes(300_000)).await;
                write(&volume, 5 << 20, rand_bytes(2 << 20)).await;
                write(&volume, (5 << 20) + 77, rand_bytes(50_000)).await;
                volume.discard(7 << 20, 500_000).await.expect("discards");
                write(&volume, 10 << 20, rand_bytes(100_000)).await;
                volume.flush().await.expect("flushes");
            });
            done.send(()).expect("the snapshot waits");
        })
    };
    let signal = std::sync::Mutex::new(Some((gone.0, go.1)));
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
    assert_eq!(world.content_of(snapshot.manifest).await, at_the_cut);
    let now = everything(&volume).await;
    assert_ne!(now, at_the_cut);
    let next = volume.snapshot(|_| ()).await.expect("stored");
    assert!(next.changed_bytes < 4 << 20, "only what was written since: {next:?}");
    assert_eq!(world.content_of(next.manifest).await, now);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_writers_flushes_and_snapshots_at_once_do_not_disturb_each_other() {
    let world = World::new(2048).await;
    let first = world.open("first", None).await;
    write(&first, 0, rand_bytes(8 << 20)).await;
    let head = first.snapshot(|_| ()).await.expect("stored").manifest;
    let volume = world.open("second", Some(head)).await;
    let base = everything(&first).await;

    // Each of eight owns every eighth run of three blocks, across lazily read ones.
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
                volume.committed(snapshot.manifest).await.expect("known");
            }
        })
    };
    for task in tasks {
        task.await.expect("no task fails");
    }
    snapshots.await.expect("no task fails");
    let snapshot = volume.snapshot(|_| ()).await.expect("stored");
    assert_eq!(world.content_of(snapshot.manifest).await, everything(&volume).await);
}
