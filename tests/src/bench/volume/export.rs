//! The throughput of the volume's NBD export, compared with `qemu-nbd` on a raw file. Both are on a
//! memory file system, and fio is the client of both.

use std::{path::Path, process::Stdio, time::Duration};

use serde_json::Value;
use tokio::{net::UnixListener, process::Command};
use tokio_util::sync::CancellationToken;

use super::{Goal, Row, TestVolume, store};

const GOAL: f64 = 0.9;
/// A round in which the peer differs from its median by more than this factor was disturbed, and is
/// ignored.
const MAX_DEVIATION: f64 = 1.5;

/// One pattern of requests.
struct Workload {
    name: &'static str,
    arguments: &'static [&'static str],
    /// The part of fio's JSON that has the figure.
    direction: &'static str,
}

const WORKLOADS: [Workload; 5] = [
    Workload {
        name: "export: sequential read ÷ qemu-nbd",
        arguments: &["--rw=read", "--bs=1M", "--iodepth=4"],
        direction: "read",
    },
    Workload {
        name: "export: sequential write ÷ qemu-nbd",
        arguments: &["--rw=write", "--bs=1M", "--iodepth=4"],
        direction: "write",
    },
    Workload {
        name: "export: random 4 KiB read ÷ qemu-nbd",
        arguments: &["--rw=randread", "--bs=4k", "--iodepth=16"],
        direction: "read",
    },
    Workload {
        name: "export: random 4 KiB write ÷ qemu-nbd",
        arguments: &["--rw=randwrite", "--bs=4k", "--iodepth=16"],
        direction: "write",
    },
    Workload {
        name: "export: 4 KiB write + fsync ÷ qemu-nbd",
        arguments: &["--rw=randwrite", "--bs=4k", "--iodepth=1", "--fsync=1"],
        direction: "write",
    },
];

/// Measures the throughput of each workload. `quick`: with a smaller volume and fewer rounds.
pub async fn measure(directory: &Path, quick: bool) -> Vec<Row> {
    let (mib, rounds, seconds) = if quick { (128, 5, 1) } else { (512, 7, 2) };
    let (ours, theirs) = (directory.join("ours.sock"), directory.join("theirs.sock"));
    let test = TestVolume::new(&directory.join("disk"), mib << 20);
    let volume = test.open("cache", None, store(&directory.join("disk")).await).await;
    let stop = CancellationToken::new();
    let listener = UnixListener::bind(&ours).expect("a socket");
    let serving = tokio::spawn(runner::export::serve(listener, volume.clone(), mib << 20, stop.clone()));
    let raw = directory.join("raw");
    std::fs::File::create(&raw).and_then(|file| file.set_len(mib << 20)).expect("made");
    let mut peer = Command::new("qemu-nbd")
        .args(["-f", "raw", "-t", "-e", "4", "-x", "home", "--cache=writeback", "--discard=unmap", "-k"])
        .args([&theirs, &raw])
        .kill_on_drop(true)
        .spawn()
        .expect("qemu-nbd starts");
    burrow_tests::wait_until("qemu-nbd listens", || theirs.exists()).await;
    for socket in [&ours, &theirs] {
        fio(socket, &["--rw=write", "--bs=1M", "--iodepth=4", &format!("--size={mib}M")], "write").await;
    }
    let mut rows = Vec::new();
    for workload in &WORKLOADS {
        let (mut own, mut others) = (Vec::new(), Vec::new());
        let (size, runtime) = (format!("--size={mib}M"), format!("--runtime={seconds}"));
        let arguments = [workload.arguments, &["--time_based", &size, &runtime]].concat();
        for _ in 0..rounds {
            // Commit regularly, as the runner does: writers are throttled when too much is not in
            // the store.
            let snapshot = volume.snapshot(|_| ()).await.expect("stored");
            volume.confirm_commit(snapshot.manifest).await.expect("known");
            own.push(fio(&ours, &arguments, workload.direction).await);
            others.push(fio(&theirs, &arguments, workload.direction).await);
        }
        rows.push(row(workload.name, &own, &others));
    }
    peer.kill().await.expect("killed");
    stop.cancel();
    serving.await.expect("no panic");
    rows
}

fn row(name: &'static str, own: &[f64], others: &[f64]) -> Row {
    let floor = median(others);
    let is_undisturbed = |other: f64| other < floor * MAX_DEVIATION && other > floor / MAX_DEVIATION;
    let undisturbed: Vec<(f64, f64)> =
        own.iter().copied().zip(others.iter().copied()).filter(|(_, other)| is_undisturbed(*other)).collect();
    let (own, others): (Vec<f64>, Vec<f64>) = undisturbed.iter().copied().unzip();
    let (own, others) = (median(&own), median(&others));
    Row {
        name,
        detail: format!(
            "{own:.0} ÷ {others:.0} requests/s, median of {} rounds between snapshots",
            undisturbed.len()
        ),
        value: own / others,
        goal: Goal::AtLeast(GOAL),
        unit: "×",
    }
}

fn median(figures: &[f64]) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

/// Runs fio. Returns requests per second.
async fn fio(socket: &Path, arguments: &[&str], direction: &str) -> f64 {
    let output = Command::new("fio")
        .args(["--name=x", "--ioengine=nbd", "--output-format=json", "--norandommap", "--randrepeat=1"])
        .arg(format!("--uri=nbd+unix:///home?socket={}", socket.display()))
        .args(arguments)
        .stdin(Stdio::null())
        .output();
    let output = tokio::time::timeout(Duration::from_secs(300), output).await.expect("fio ends");
    let output = output.expect("fio starts");
    let stdout = String::from_utf8_lossy(&output.stdout);
    let json = stdout.find('{').map_or("", |start| &stdout[start..]);
    let report: Value = serde_json::from_str(json)
        .unwrap_or_else(|error| panic!("{error}: {stdout} {}", String::from_utf8_lossy(&output.stderr)));
    report["jobs"][0][direction]["iops"].as_f64().expect("a figure")
}
