//! The promises of a volume, one test each.

use bytes::Bytes;
use protocol::{Epoch, ManifestId, VolumeId};

use crate::{BLOCK_BYTES, DataKey, ObjectStore as _, Progress, VolumeError, store::Faults, testing::*};

const BLOCK: usize = BLOCK_BYTES as usize;

#[tokio::test]
async fn new_volume_is_zeros_and_keeps_writes() {
    let world = World::new(64).await;
    let volume = world.open("cache", None).await;
    assert!(read_all(&volume).await.iter().all(|byte| *byte == 0));
    write(&volume, 5000, [7; 10_000]).await;
    volume.close().await.expect("closes");
    assert!(matches!(volume.read(0, 1).await, Err(VolumeError::Closed)));
    let volume = world.open("cache", None).await;
    let content = read_all(&volume).await;
    assert!(content[5000..15_000].iter().all(|byte| *byte == 7));
    assert_eq!(content.iter().filter(|byte| **byte != 0).count(), 10_000);
}

#[tokio::test]
async fn snapshot_equals_the_volume() {
    let world = World::new(1024).await;
    let volume = world.open("cache", None).await;
    write(&volume, 100, random_bytes(600_000)).await;
    let snapshot = volume.snapshot(|_| ()).await.expect("stored");
    assert_eq!(world.content_of(snapshot.manifest).await, read_all(&volume).await);
    assert_eq!(snapshot.changed_bytes, 147 * BLOCK_BYTES);
    assert_eq!(snapshot.epoch, Epoch(1));
}

#[tokio::test]
async fn unchanged_blocks_are_not_uploaded_again() {
    let world = World::new(2048).await;
    let volume = world.open("cache", None).await;
    write(&volume, 0, random_bytes(4 << 20)).await;
    let first = volume.snapshot(|_| ()).await.expect("stored");
    volume.confirm_commit(first.manifest).await.expect("known");
    let (calls, bytes) = (world.store.calls(), world.store.bytes_put());

    let same = volume.snapshot(|_| ()).await.expect("nothing to store");
    assert_eq!((same.manifest, same.uploaded_bytes), (first.manifest, 0));
    assert_eq!(world.store.calls(), calls, "an unchanged volume costs no request");

    write(&volume, 1 << 20, random_bytes(10 * BLOCK)).await;
    let second = volume.snapshot(|_| ()).await.expect("stored");
    assert_eq!(second.changed_bytes, 10 * BLOCK_BYTES);
    assert_eq!(second.uploaded_bytes, world.store.bytes_put() - bytes);
    let ratio = second.uploaded_bytes as f64 / second.changed_bytes as f64;
    assert!(ratio <= 1.1, "uploaded {ratio:.3} of what changed");
    assert_eq!(second.objects, 2);
    assert_eq!(world.content_of(second.manifest).await, read_all(&volume).await);
}

#[tokio::test]
async fn zeros_and_discards_become_holes() {
    let world = World::new(1024).await;
    let volume = world.open("cache", None).await;
    write(&volume, 0, random_bytes(1 << 20)).await;
    let first = volume.snapshot(|_| ()).await.expect("stored");
    volume.discard(10, (1 << 20) - 20).await.expect("discards");
    write(&volume, 2 << 20, vec![0; 1 << 20]).await;
    let second = volume.snapshot(|_| ()).await.expect("stored");
    assert!(second.stored_bytes < first.stored_bytes / 10, "{second:?}");
    let content = read_all(&volume).await;
    assert_eq!(
        content.iter().filter(|byte| **byte != 0).count().min(21),
        content[..10].iter().chain(&content[(1 << 20) - 10..]).filter(|byte| **byte != 0).count()
    );
    assert_eq!(world.content_of(second.manifest).await, content);
    let blocks = std::os::unix::fs::MetadataExt::blocks(
        &std::fs::metadata(world.directory.path().join("cache/data")).expect("there"),
    );
    assert!(blocks * 512 <= (1 << 20) + 8 * BLOCK_BYTES, "the discarded space is released");
}

#[tokio::test]
async fn empty_cache_fetches_only_what_is_read() {
    let world = World::new(4096).await;
    let volume = world.open("cache", None).await;
    write(&volume, 0, random_bytes(16 << 20)).await;
    let snapshot = volume.snapshot(|_| ()).await.expect("stored");
    let expected = read_all(&volume).await;

    let other = world.open("other", Some(snapshot.manifest)).await;
    assert_eq!(other.read(5 << 20, 100).await.expect("reads"), expected[5 << 20..][..100]);
    let cached = other.status().await.expect("status").cached_bytes;
    assert!((1..=64 * BLOCK_BYTES).contains(&cached), "{cached}");
    let calls = world.store.calls();
    other.read(5 << 20, 100).await.expect("reads");
    assert_eq!(world.store.calls(), calls, "the second read is local");
    for offset in (0..16 << 20).step_by(BLOCK) {
        assert_eq!(
            other.read(offset, BLOCK_BYTES).await.expect("reads"),
            expected[offset as usize..][..BLOCK]
        );
    }
    assert!(
        world.store.calls() - calls < 60,
        "sequential reads are read ahead: {}",
        world.store.calls() - calls
    );
    other.close().await.expect("closes");
    let other = world.open("other", Some(snapshot.manifest)).await;
    let calls = world.store.calls();
    assert_eq!(read_all(&other).await, expected);
    assert_eq!(world.store.calls(), calls, "a cache outlives its process");
}

#[tokio::test]
async fn partial_write_keeps_the_rest_of_the_block() {
    let world = World::new(64).await;
    let volume = world.open("cache", None).await;
    write(&volume, 0, vec![1; 10 * BLOCK]).await;
    let snapshot = volume.snapshot(|_| ()).await.expect("stored");
    let other = world.open("other", Some(snapshot.manifest)).await;
    write(&other, 4000, [2; 5000]).await;
    let content = read_all(&other).await;
    assert!(content[..4000].iter().all(|byte| *byte == 1));
    assert!(content[4000..9000].iter().all(|byte| *byte == 2));
    assert!(content[9000..10 * BLOCK].iter().all(|byte| *byte == 1));
}

#[tokio::test]
async fn second_user_and_older_placement_are_refused() {
    let mut world = World::new(64).await;
    world.epoch = 5;
    let volume = world.open("cache", None).await;
    assert!(matches!(world.try_open("cache", None).await, Err(VolumeError::InUse(_))));
    write(&volume, 0, [1; 100]).await;
    let snapshot = volume.snapshot(|_| ()).await.expect("stored");
    volume.close().await.expect("closes");
    world.epoch = 4;
    assert!(matches!(world.try_open("cache", None).await, Err(VolumeError::Fenced { .. })));
    assert!(matches!(
        world.try_open("other", Some(snapshot.manifest)).await,
        Err(VolumeError::Fenced { .. })
    ));
}

#[tokio::test]
async fn wrong_key_volume_size_or_head_is_refused() {
    let mut world = World::new(64).await;
    let volume = world.open("cache", None).await;
    write(&volume, 0, [1; 100]).await;
    let head = Some(volume.snapshot(|_| ()).await.expect("stored").manifest);
    volume.close().await.expect("closes");

    let right = std::mem::replace(&mut world.key, DataKey::random());
    assert!(matches!(world.try_open("cache", None).await, Err(VolumeError::WrongKey)));
    assert!(matches!(world.try_open("other", head).await, Err(VolumeError::WrongKey)));
    world.key = right;
    let right = std::mem::replace(&mut world.volume, VolumeId::random());
    assert!(matches!(world.try_open("cache", None).await, Err(VolumeError::OtherVolume { .. })));
    assert!(matches!(world.try_open("other", head).await, Err(VolumeError::OtherVolume { .. })));
    world.volume = right;
    world.size_bytes /= 2;
    assert!(matches!(world.try_open("cache", None).await, Err(VolumeError::Shrunk { .. })));
    assert!(matches!(world.try_open("other", head).await, Err(VolumeError::Shrunk { .. })));
    world.size_bytes = 4097;
    assert!(matches!(world.try_open("cache", None).await, Err(VolumeError::Size(4097))));
    world.size_bytes = 64 * BLOCK_BYTES;
    let unknown = Some(ManifestId([9; 32]));
    assert!(matches!(world.try_open("other", unknown).await, Err(VolumeError::Store(_))));
}

#[tokio::test]
async fn growth_is_in_the_next_snapshot() {
    let mut world = World::new(64).await;
    let volume = world.open("cache", None).await;
    write(&volume, 0, [1; BLOCK]).await;
    let first = volume.snapshot(|_| ()).await.expect("stored");
    volume.close().await.expect("closes");
    world.size_bytes *= 2;
    let volume = world.open("cache", Some(first.manifest)).await;
    let second = volume.snapshot(|_| ()).await.expect("stored");
    assert_ne!(first.manifest, second.manifest);
    assert_eq!(world.content_of(second.manifest).await, read_all(&volume).await);
    write(&volume, world.size_bytes - 1, [3]).await;
    let beyond = volume.write(world.size_bytes, Bytes::from_static(b"x")).await;
    assert!(matches!(beyond, Err(VolumeError::OutOfRange { .. })));
    assert!(matches!(volume.read(u64::MAX, 2).await, Err(VolumeError::OutOfRange { .. })));
    assert!(matches!(volume.discard(1, u64::MAX).await, Err(VolumeError::OutOfRange { .. })));
}

#[tokio::test]
async fn altered_and_missing_objects_are_never_served() {
    let world = World::new(256).await;
    let volume = world.open("cache", None).await;
    write(&volume, 0, random_bytes(200 * BLOCK)).await;
    let snapshot = volume.snapshot(|_| ()).await.expect("stored");
    let expected = read_all(&volume).await;
    let listed = world.store.list("", None).await.expect("lists");
    assert_eq!(listed.len(), 2);
    for (number, object) in listed.iter().enumerate() {
        let path = world.directory.path().join("objects").join(&object.name);
        let good = std::fs::read(&path).expect("there");
        for trial in 0..40 {
            let mut bad = good.clone();
            let index = good.len() * trial / 40;
            bad[index] ^= 1;
            std::fs::write(&path, &bad).expect("altered");
            let cache = format!("trial-{number}-{trial}");
            let outcome = match world.try_open(&cache, Some(snapshot.manifest)).await {
                Ok(volume) => volume.read(0, world.size_bytes).await,
                Err(error) => Err(error),
            };
            match outcome {
                Err(VolumeError::Damaged { .. } | VolumeError::Manifest { .. }) => (),
                other => panic!("byte {index} of {}: {other:?}", object.name),
            }
        }
        // A truncated object is altered too.
        std::fs::write(&path, &good[..good.len() - 1]).expect("cut");
        let volume = world.try_open(&format!("cut-{number}"), Some(snapshot.manifest)).await;
        let outcome = match volume {
            Ok(volume) => volume.read(0, world.size_bytes).await,
            Err(error) => Err(error),
        };
        assert!(outcome.is_err());
        std::fs::write(&path, &good).expect("restored");
    }
    assert_eq!(world.content_of(snapshot.manifest).await, expected);
}

#[tokio::test(start_paused = true)]
async fn transient_store_failures_are_retried() {
    let world = World::new(2048).await;
    world.store.set_faults(Faults { fail_before: 0.2, fail_after: 0.2, flip_bit: 0.0, ..Faults::default() });
    let volume = world.open("cache", None).await;
    write(&volume, 0, random_bytes(8 << 20)).await;
    let snapshot = volume.snapshot(|_| ()).await.expect("stored in the end");
    // A pack is read again twice if it is damaged: three flips in a row are too rare for a test to see.
    world.store.set_faults(Faults { fail_before: 0.2, fail_after: 0.1, flip_bit: 0.03, ..Faults::default() });
    assert_eq!(world.content_of(snapshot.manifest).await, read_all(&volume).await);
}

#[tokio::test(start_paused = true)]
async fn failed_snapshot_loses_nothing() {
    let world = World::new(8192).await;
    for calls in 0..6 {
        let cache = format!("cache-{calls}");
        let volume = world.open(&cache, None).await;
        write(&volume, 0, random_bytes(20 << 20)).await;
        world.store.cut_off_after(calls);
        let failed = volume.snapshot(|_| ()).await;
        world.store.cut_off(false);
        // Three packs and a manifest.
        assert_eq!(failed.is_err(), calls < 4, "{calls}: {failed:?}");
        if calls < 4 {
            assert_eq!(volume.status().await.expect("status").dirty_bytes, 20 << 20);
        }
        let expected = read_all(&volume).await;
        drop(volume);
        // The dirty blocks are also known after a kill.
        let volume = world.open(&cache, None).await;
        let snapshot = volume.snapshot(|_| ()).await.expect("stored");
        assert_eq!(world.content_of(snapshot.manifest).await, expected);
    }
}

#[tokio::test]
async fn dropped_snapshot_loses_nothing() {
    let world = World::new(4096).await;
    let volume = world.open("cache", None).await;
    write(&volume, 0, random_bytes(16 << 20)).await;
    for polls in 1..40 {
        let mut snapshot = Box::pin(volume.snapshot(|_| ()));
        let mut left = polls;
        let outcome = std::future::poll_fn(|context| {
            left -= 1;
            match snapshot.as_mut().poll(context) {
                std::task::Poll::Pending if left == 0 => std::task::Poll::Ready(None),
                other => other.map(Some),
            }
        });
        let done = outcome.await;
        drop(snapshot);
        if let Some(done) = done {
            done.expect("stored");
            break;
        }
    }
    let snapshot = volume.snapshot(|_| ()).await.expect("stored");
    assert_eq!(world.content_of(snapshot.manifest).await, read_all(&volume).await);
}

#[tokio::test]
async fn unconfirmed_commit_is_found_at_the_next_open() {
    let world = World::new(64).await;
    let volume = world.open("cache", None).await;
    write(&volume, 0, vec![1; 10 * BLOCK]).await;
    let first = volume.snapshot(|_| ()).await.expect("stored");
    write(&volume, BLOCK_BYTES, [2; BLOCK]).await;
    let second = volume.snapshot(|_| ()).await.expect("stored");
    write(&volume, 3 * BLOCK_BYTES, [3; BLOCK]).await;
    volume.flush().await.expect("flushes");
    let expected = read_all(&volume).await;
    drop(volume);
    // Killed. The controller may have committed none, one or both.
    for (head, dirty_blocks) in [(None, 10), (Some(first.manifest), 2), (Some(second.manifest), 1)] {
        let copy = format!("copy-{dirty_blocks}");
        copy_directory(&world, "cache", &copy);
        let volume = world.open(&copy, head).await;
        assert_eq!(read_all(&volume).await, expected);
        assert_eq!(volume.status().await.expect("status").dirty_bytes, dirty_blocks * BLOCK_BYTES);
        let snapshot = volume.snapshot(|_| ()).await.expect("stored");
        assert_eq!(world.content_of(snapshot.manifest).await, expected);
    }
}

#[tokio::test]
async fn superseded_cache_is_moved_aside() {
    let world = World::new(64).await;
    let volume = world.open("cache", None).await;
    write(&volume, 0, [1; BLOCK]).await;
    let base = volume.snapshot(|_| ()).await.expect("stored").manifest;
    volume.confirm_commit(base).await.expect("known");
    write(&volume, 0, [2; BLOCK]).await;
    volume.close().await.expect("closes");
    // Another placement continues from the same base.
    let elsewhere = world.open("elsewhere", Some(base)).await;
    write(&elsewhere, 0, [3; BLOCK]).await;
    let newer = elsewhere.snapshot(|_| ()).await.expect("stored").manifest;

    let volume = world.open("cache", Some(newer)).await;
    assert_eq!(read_all(&volume).await, read_all(&elsewhere).await);
    let aside = volume.status().await.expect("status").superseded.expect("the changes were kept");
    assert_eq!(std::fs::read(aside.join("data")).expect("kept")[..BLOCK], [2; BLOCK]);
    assert!(matches!(volume.confirm_commit(base).await, Err(VolumeError::UnknownManifest(_))));
}

#[tokio::test]
async fn progress_grows_to_the_total() {
    let world = World::new(1024).await;
    let volume = world.open("cache", None).await;
    write(&volume, 0, random_bytes(3 << 20)).await;
    let seen = std::sync::Mutex::new(Vec::<Progress>::new());
    let snapshot =
        volume.snapshot(|progress| seen.lock().expect("no panic").push(progress)).await.expect("stored");
    let seen = seen.into_inner().expect("no panic");
    assert!(seen.windows(2).all(|pair| pair[0].done_bytes <= pair[1].done_bytes));
    let last = seen.last().expect("reported");
    assert_eq!((last.done_bytes, last.changed_bytes), (3 << 20, snapshot.changed_bytes));
}

#[tokio::test]
async fn damaged_log_is_refused() {
    let world = World::new(64).await;
    let volume = world.open("cache", None).await;
    for block in 0..8 {
        write(&volume, block * 2 * BLOCK_BYTES, [1; BLOCK]).await;
        volume.flush().await.expect("flushes");
    }
    drop(volume);
    let path = world.directory.path().join("cache/dirty.log");
    let good = std::fs::read(&path).expect("there");
    for index in [20, 520, 600] {
        let mut bad = good.clone();
        bad[index] ^= 1;
        std::fs::write(&path, bad).expect("altered");
        assert!(
            matches!(world.try_open("cache", None).await, Err(VolumeError::CacheDamaged { .. })),
            "byte {index}"
        );
    }
    // A crash may leave a torn end, which is no damage.
    std::fs::write(&path, &good[..good.len() - 5]).expect("cut");
    let volume = world.open("cache", None).await;
    assert_eq!(volume.status().await.expect("status").dirty_bytes, 8 * BLOCK_BYTES);
}

fn copy_directory(world: &World, from: &str, to: &str) {
    let (from, to) = (world.directory.path().join(from), world.directory.path().join(to));
    std::fs::create_dir(&to).expect("made");
    for entry in std::fs::read_dir(from).expect("listed") {
        let entry = entry.expect("listed");
        std::fs::copy(entry.path(), to.join(entry.file_name())).expect("copied");
    }
}
