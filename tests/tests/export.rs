//! The volume's NBD export with clients that share no code with it and verify what they read: fio's
//! nbd engine with its own checksums, and nbdkit.

use std::{path::PathBuf, process::Stdio, sync::Arc, time::Duration};

use burrow_tests::WAIT_TIMEOUT;
use protocol::{Epoch, TenantId, VolumeId};
use tokio::{net::UnixListener, process::Command, task::JoinHandle, time::timeout};
use tokio_util::sync::CancellationToken;
use volume::{DataKey, Volume, VolumeOptions, store::MemoryStore};

const SIZE_MIB: u64 = 64;
/// Snapshots are taken at this interval during the test.
const SNAPSHOT_INTERVAL: Duration = Duration::from_millis(200);

/// A volume that is exported on a socket.
struct ExportedVolume {
    directory: tempfile::TempDir,
    volume: Volume,
    stop: CancellationToken,
    serving: JoinHandle<()>,
}

impl ExportedVolume {
    async fn start() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let opening = VolumeOptions {
            tenant: TenantId::random(),
            volume: VolumeId::random(),
            size_bytes: SIZE_MIB << 20,
            epoch: Epoch(1),
            head: None,
            head_of: None,
            lineage: 0,
            cache: directory.path().join("cache"),
            key: DataKey::random(),
            store: Arc::new(MemoryStore::default()),
        };
        let volume = Volume::open(opening).await.expect("opens");
        let listener = UnixListener::bind(directory.path().join("home.sock")).expect("a socket");
        let stop = CancellationToken::new();
        let serving = runner::export::serve(listener, volume.clone(), SIZE_MIB << 20, stop.clone());
        Self { directory, volume, stop, serving: tokio::spawn(serving) }
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("home.sock")
    }

    async fn end(self) {
        self.stop.cancel();
        timeout(WAIT_TIMEOUT, self.serving).await.expect("it ends").expect("no panic");
    }
}

async fn run(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).kill_on_drop(true).output();
    let output = timeout(WAIT_TIMEOUT, output).await.expect("it ends in time").expect("it starts");
    let output_text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{output_text}");
    output_text
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fio_verifies_during_snapshots() {
    let exported = ExportedVolume::start().await;
    let volume = exported.volume.clone();
    let snapshots = tokio::spawn(async move {
        loop {
            let snapshot = volume.snapshot(|_| ()).await.expect("stored");
            volume.confirm_commit(snapshot.manifest).await.expect("known");
            tokio::time::sleep(SNAPSHOT_INTERVAL).await;
        }
    });
    for sizes in ["--bs=4k", "--bsrange=4k-64k", "--bs=1M"] {
        run(Command::new("fio")
            .args(["--name=verify", "--ioengine=nbd", "--rw=randwrite", "--iodepth=16", "--randrepeat=0"])
            .args([
                "--verify=crc32c",
                "--verify_fatal=1",
                "--do_verify=1",
                "--verify_backlog=64",
                "--fsync=32",
            ])
            .args([sizes, &format!("--size={SIZE_MIB}M")])
            // fio writes its verification state to the working directory.
            .current_dir(exported.directory.path())
            .arg(format!("--uri=nbd+unix:///home?socket={}", exported.socket().display())))
        .await;
    }
    snapshots.abort();
    let _ = snapshots.await;
    exported.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nbdkit_copies_the_volume() {
    let exported = ExportedVolume::start().await;
    let (image, copy) = (exported.directory.path().join("in"), exported.directory.path().join("out"));
    let mut content = vec![0; (SIZE_MIB << 20) as usize];
    rand::Rng::fill_bytes(&mut rand::rng(), &mut content[5 << 20..17 << 20]);
    std::fs::write(&image, &content).expect("written");
    // nbdkit is a client of our export and a server for nbdcopy. The filter splits large requests.
    let run_nbdkit = async |script: String| {
        run(Command::new("nbdkit")
            .args(["-U", "-", "--filter=blocksize", "nbd", "export=home", "maxdata=65536", "--run", &script])
            .arg(format!("socket={}", exported.socket().display())))
        .await
    };
    run_nbdkit(format!("nbdcopy --flush '{}' \"$uri\"", image.display())).await;
    run_nbdkit(format!("nbdcopy \"$uri\" '{}'", copy.display())).await;
    assert!(std::fs::read(&copy).expect("copied") == content);
    assert!(exported.volume.read(0, SIZE_MIB << 20).await.expect("reads") == content);
    exported.end().await;
}
