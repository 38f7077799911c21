//! Kills runners and VMMs at random moments, and looks at what is left on the host.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use burrow_tests::{
    Stack, StackOptions, guests_enabled,
    leftovers::mounts_below,
    processes::{arguments_of, children_of},
    seed, send_signal, short_directory, soak_factor, wait_until,
};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use rustix::process::Signal;

/// Kills in the gate, and in the soak for each factor.
const KILLS: u32 = 6;
/// A start and a stop of an emulated guest take about this long.
const MAX_DELAY_MS: u64 = 2500;

/// What exists on the host because of workspaces.
#[derive(Debug, PartialEq, Eq)]
struct Inventory {
    programs: BTreeSet<String>,
    mounts: BTreeSet<String>,
    links: BTreeSet<String>,
    cgroups: BTreeSet<PathBuf>,
    run_files: BTreeSet<PathBuf>,
    unfinished_prototypes: BTreeSet<PathBuf>,
}

impl Inventory {
    fn take(stack: &Stack, data: &Path) -> Self {
        let names = |directory: &Path| {
            fs::read_dir(directory)
                .into_iter()
                .flatten()
                .flatten()
                .map(|entry| entry.path())
                .collect::<Vec<_>>()
        };
        let links = names(Path::new("/sys/class/net")).into_iter().map(|path| path.display().to_string());
        let hierarchies = names(Path::new("/sys/fs/cgroup")).into_iter().chain(["/sys/fs/cgroup".into()]);
        let cgroups = hierarchies.flat_map(|hierarchy| names(&hierarchy.join("burrow")));
        let images = std::env::var_os("BURROW_IMAGE_CACHE").map(PathBuf::from).unwrap_or_default();
        let prototypes = names(&images).into_iter().flat_map(|image| names(&image.join("prototypes")));
        Self {
            programs: sandbox_processes(stack)
                .into_iter()
                .map(|(pid, name)| format!("{pid} {name}"))
                .collect(),
            mounts: mounts_below(data).into_iter().collect(),
            links: links.filter(|link| link.contains("/bw")).collect(),
            cgroups: cgroups.filter(|path| path.is_dir()).collect(),
            run_files: names(&data.join("run")).into_iter().collect(),
            unfinished_prototypes: prototypes
                .filter(|path| path.extension().is_some_and(|end| end == "new"))
                .collect(),
        }
    }
}

/// The processes of the server that belong to workspaces, with their programs.
fn sandbox_processes(stack: &Stack) -> Vec<(u32, String)> {
    let mut found = Vec::new();
    let mut parents = vec![stack.pid()];
    while let Some(parent) = parents.pop() {
        for child in children_of(parent) {
            let words: Vec<String> = arguments_of(child).into_iter().take(2).collect();
            if words.iter().any(|word| word == "runner" || word.contains("qemu") || word.contains("mkfs")) {
                found.push((child, words.join(" ")));
            }
            parents.push(child);
        }
    }
    found
}

/// Starts the workspace and kills one of its processes after `delay`. Returns what was killed.
async fn kill_during_start(stack: &Stack, random: &mut StdRng) -> Option<String> {
    let delay = Duration::from_millis(random.random_range(0..MAX_DELAY_MS));
    let mut starting = stack.command(&["start", "box", "--no-wait"]).spawn().expect("it starts");
    starting.wait().await.expect("waited for");
    // The moment is what is random here; nothing waits for it.
    tokio::time::sleep(delay).await;
    let processes = sandbox_processes(stack);
    if processes.is_empty() {
        return None;
    }
    let (pid, name) = &processes[random.random_range(0..processes.len())];
    send_signal(*pid, Signal::KILL);
    Some(format!("{name} after {delay:?}"))
}

#[tokio::test]
async fn random_kills_leave_nothing() {
    if !guests_enabled() {
        return;
    }
    let seed = seed();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let place = short_directory();
    let data = place.path().join("d");
    let stack = Stack::start(StackOptions::new("microvm", &data)).await;
    stack.run_ok(&["create", "box"]).await;
    stack.sh("box", "echo kept > ~/file; sync").await;
    stack.run_ok(&["stop", "box"]).await;
    // A workspace is stopped when its home is saved; its runner ends a moment later.
    wait_until("the runner has ended", || sandbox_processes(&stack).is_empty()).await;
    let before = Inventory::take(&stack, &data);
    assert!(before.programs.is_empty(), "{before:?}");
    for number in 0..KILLS * soak_factor().unwrap_or(1) {
        let killed = kill_during_start(&stack, &mut random).await;
        println!("{number}: killed {killed:?}");
        // Whatever phase it is in, a stop ends it: of a start that is tried again, too.
        stack.run(&["stop", "box"]).await;
        let mut found = None;
        let is_clean = || {
            let now = Inventory::take(&stack, &data);
            if found.as_ref() != Some(&now) {
                println!("{now:?}");
            }
            *found.insert(now) == before
        };
        wait_until("nothing is left of the workspace", is_clean).await;
    }
    assert_eq!(stack.sh("box", "cat ~/file").await, "kept\n", "the home is as it was");
    stack.interrupt().await;
}
