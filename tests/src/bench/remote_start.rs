//! A start whose home lies wholly in a store 20 ms away, beside restic's full restore from the same store over the same line: how
//! soon one is back at work.

use std::{
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use burrow_tests::{
    Options, Stack,
    store::{Line, Moto},
};

use super::{Goal, Row, directory, id_of, start, volume::home::Home};

const BUCKET: &str = "homes";
const AWAY: Duration = Duration::from_millis(20);
const GOAL: f64 = 0.1;
const CREDENTIALS: [(&str, &str); 2] = [("AWS_ACCESS_KEY_ID", "tester"), ("AWS_SECRET_ACCESS_KEY", "secret")];
/// A gibibyte of small files through an emulated machine.
const FILL_TIMEOUT: Duration = Duration::from_mins(20);

pub async fn measure(quick: bool) -> Row {
    let place = directory();
    let memory = tempfile::Builder::new().prefix("bench").tempdir_in("/dev/shm").expect("a directory");
    let home = Home::make(memory.path(), if quick { 128 } else { 1024 });
    let moto = Moto::start(BUCKET).await;
    let line = Line::with_delay(moto.address, AWAY).await;
    let store = format!("s3://{BUCKET}/burrow?endpoint=http://{}", line.address);
    let data = place.path().join("d");
    let options = Options::new("microvm", &data).with(&["--store", &store]).environment(&CREDENTIALS);
    let stack = Stack::start(options).await;
    stack.ok(&["create", "bench"]).await;
    fill(&stack, &home.tree).await;
    stack.ok(&["stop", "bench"]).await;
    // One start records what a start reads.
    let near = timed(&stack).await;
    stack.ok(&["stop", "bench"]).await;
    std::fs::remove_dir_all(data.join("cache")).expect("the cache was there");
    let far = timed(&stack).await;
    stack.interrupt().await;
    let repository = format!("s3:http://{}/{BUCKET}/restic", line.address);
    let restored = restic(&repository, &home.tree, memory.path()).await;
    Row {
        what: "start with the home 20 ms away ÷ restic's restore",
        detail: format!(
            "empty cache, to the prompt: {far:.2?} ÷ {restored:.2?}; {near:.2?} with a full cache"
        ),
        value: far.as_secs_f64() / restored.as_secs_f64(),
        goal: Goal::AtMost(GOAL),
        unit: "×",
    }
}

async fn timed(stack: &Stack) -> Duration {
    let id = id_of(stack, "bench").await;
    let api = start::api(stack);
    start::until_prompt(stack, &api, id.parse().expect("an id"), &id).await
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

async fn restic(repository: &str, tree: &Path, place: &Path) -> Duration {
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
    let words = |words: &[&str]| words.iter().map(ToString::to_string).collect();
    run(words(&["init"])).await.expect("no panic");
    run(words(&["backup", &tree.display().to_string()])).await.expect("no panic");
    let target = place.join("restored").display().to_string();
    run(words(&["restore", "latest", "--target", &target])).await.expect("no panic")
}
