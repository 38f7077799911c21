//! The time until a prompt when the home is only in an object store with 20 ms of latency, compared
//! with a full restore by restic from the same store.

use std::{
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use burrow_tests::{
    Stack, StackOptions,
    store::{Moto, Proxy},
};

use super::{Goal, Row, directory, id_of, start, volume::home::SampleHome};

const BUCKET: &str = "homes";
const LATENCY_DELAY: Duration = Duration::from_millis(20);
const GOAL: f64 = 0.1;
const CREDENTIALS: [(&str, &str); 2] = [("AWS_ACCESS_KEY_ID", "tester"), ("AWS_SECRET_ACCESS_KEY", "secret")];
/// For copying a GiB of small files into an emulated microVM.
const FILL_TIMEOUT: Duration = Duration::from_mins(20);

/// Measures a start with an empty cache. `quick`: with a smaller home.
pub async fn measure(quick: bool) -> Row {
    let directory = directory();
    let memory = tempfile::Builder::new().prefix("bench").tempdir_in("/dev/shm").expect("a directory");
    let home = SampleHome::create(memory.path(), if quick { 128 } else { 1024 });
    let moto = Moto::start(BUCKET).await;
    let proxy = Proxy::with_delay(moto.address, LATENCY_DELAY).await;
    let store = format!("s3://{BUCKET}/burrow?endpoint=http://{}", proxy.address);
    let data = directory.path().join("d");
    let options = StackOptions::new("microvm", &data).with(&["--store", &store]).environment(&CREDENTIALS);
    let stack = Stack::start(options).await;
    stack.run_ok(&["create", "bench"]).await;
    fill(&stack, &home.tree).await;
    stack.run_ok(&["stop", "bench"]).await;
    // The first start records which blocks a start reads.
    let near = time_start(&stack).await;
    stack.run_ok(&["stop", "bench"]).await;
    std::fs::remove_dir_all(data.join("cache")).expect("the cache was there");
    let far = time_start(&stack).await;
    stack.interrupt().await;
    let repository = format!("s3:http://{}/{BUCKET}/restic", proxy.address);
    let restored = time_restic_restore(&repository, &home.tree, memory.path()).await;
    Row {
        name: "start from remote store ÷ restic restore",
        detail: format!(
            "empty cache, 20 ms latency, to the prompt: {far:.2?} ÷ {restored:.2?}; full cache: {near:.2?}"
        ),
        value: far.as_secs_f64() / restored.as_secs_f64(),
        goal: Goal::AtMost(GOAL),
        unit: "×",
    }
}

async fn time_start(stack: &Stack) -> Duration {
    let workspace = id_of(stack, "bench").await;
    start::time_start(&start::api(stack), workspace).await.to_prompt
}

async fn fill(stack: &Stack, tree: &Path) {
    let mut tar = Command::new("tar")
        .args(["-c", "-C"])
        .arg(tree)
        .arg(".")
        .stdout(Stdio::piped())
        .spawn()
        .expect("tar");
    let archive = tar.stdout.take().expect("piped");
    let mut filling =
        stack.command(&["exec", "-i", "bench", "--", "bash", "-c", "mkdir tree && tar -x -C tree && sync"]);
    let filled = tokio::time::timeout(FILL_TIMEOUT, filling.stdin(archive).status()).await;
    assert!(filled.expect("it ends").expect("it starts").success(), "{}", stack.log());
    assert!(tar.wait().expect("waited for").success());
}

async fn time_restic_restore(repository: &str, tree: &Path, place: &Path) -> Duration {
    let run = |arguments: Vec<String>| {
        let mut restic = Command::new("restic");
        restic.args(["--quiet", "--repo", repository, "--cache-dir"]).arg(place.join("restic-cache"));
        restic.args(arguments).env("RESTIC_PASSWORD", "burrow").envs(CREDENTIALS);
        tokio::task::spawn_blocking(move || {
            let begun = Instant::now();
            assert!(restic.status().expect("restic runs").success(), "{restic:?}");
            begun.elapsed()
        })
    };
    let owned = |arguments: &[&str]| arguments.iter().map(ToString::to_string).collect();
    run(owned(&["init"])).await.expect("no panic");
    run(owned(&["backup", &tree.display().to_string()])).await.expect("no panic");
    let target = place.join("restored").display().to_string();
    run(owned(&["restore", "latest", "--target", &target])).await.expect("no panic")
}
