//! Starts from prototypes: what restored guests share, what they must not share, and what happens with
//! prototypes that do not work.

use std::{
    collections::{HashMap, HashSet},
    fs,
    path::{Path, PathBuf},
};

use burrow_tests::{Stack, StackOptions, guests_enabled, short_directory, soak_factor};
use time::OffsetDateTime;

/// One line for each source of randomness or identity: its name and its value.
const IDENTITIES: &str = r#"
echo boot-id $(cat /proc/sys/kernel/random/boot_id)
echo machine-id $(cat /etc/machine-id)
echo hostname $(hostname)
echo urandom $(head -c 32 /dev/urandom | sha256sum | cut -c1-32)
echo uuid $(cat /proc/sys/kernel/random/uuid)
echo shell $SRANDOM$SRANDOM
python3 - << 'END'
import ctypes, os, random, secrets, tempfile
print("getrandom", os.getrandom(32).hex())
print("python", random.random())
print("secrets", secrets.token_hex(16))
libc = ctypes.CDLL(None)
libc.getauxval.restype = ctypes.c_ulong
print("auxiliary-vector", ctypes.string_at(libc.getauxval(25), 16).hex())
print("layout", hex(ctypes.addressof(ctypes.c_int.in_dll(libc, "opterr"))), hex(libc.getauxval(33)))
END
ssh-keygen -q -t ed25519 -N '' -f ~/key -C '' && echo key $(cut -d' ' -f2 ~/key.pub)
"#;

/// A cache of images in `place` that shares the files of the real one, but has no prototypes.
fn cache_without_prototypes(place: &Path) -> PathBuf {
    let from = PathBuf::from(std::env::var_os("BURROW_IMAGE_CACHE").expect("the task runner sets it"));
    let cache = place.join("images");
    for image in fs::read_dir(from).expect("readable").flatten() {
        let copy = cache.join(image.file_name());
        let Ok(files) = fs::read_dir(image.path()) else { continue };
        fs::create_dir_all(&copy).expect("made");
        for file in files.flatten().filter(|file| file.file_name() != "prototypes") {
            std::os::unix::fs::symlink(file.path(), copy.join(file.file_name())).expect("linked");
        }
    }
    cache
}

/// The only prototype of a cache of images.
fn find_prototype(cache: &Path) -> PathBuf {
    let images =
        fs::read_dir(cache).expect("readable").flatten().map(|image| image.path().join("prototypes"));
    let prototypes = images.filter_map(|prototypes| fs::read_dir(prototypes).ok()).flatten().flatten();
    let mut prototypes =
        prototypes.map(|entry| entry.path()).filter(|path| path.join("prototype.json").exists());
    prototypes.next().expect("a prototype")
}

/// Starts the workspace. Returns what the start printed.
async fn start(stack: &Stack, name: &str) -> String {
    let output = stack.run(&["start", name]).await;
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[tokio::test]
async fn restored_guests_share_no_identity() {
    if !guests_enabled() {
        return;
    }
    let place = short_directory();
    let stack = Stack::start(StackOptions::new("microvm", &place.path().join("d"))).await;
    let mut seen: HashMap<String, HashSet<String>> = HashMap::new();
    let clones = 2 * soak_factor().unwrap_or(1).min(50);
    for number in 0..clones {
        let name = format!("clone{number}");
        stack.run_ok(&["create", &name, "--no-start"]).await;
        let started = start(&stack, &name).await;
        assert!(started.contains("Copying the prototype"), "{started}");
        let before = OffsetDateTime::now_utc().unix_timestamp();
        let clock: i64 = stack.sh(&name, "date +%s").await.trim().parse().expect("a number");
        let after = OffsetDateTime::now_utc().unix_timestamp();
        assert!((before - 5..=after + 5).contains(&clock), "{before} {clock} {after}");
        let identities = stack.sh(&name, IDENTITIES).await;
        assert_eq!(identities.lines().count(), 12, "{identities}");
        for line in identities.lines() {
            let (source, value) = line.split_once(' ').expect("a source and a value");
            assert!(value.len() >= 6, "{line}");
            assert!(seen.entry(source.to_owned()).or_default().insert(value.to_owned()), "twice: {line}");
        }
        stack.run_ok(&["stop", &name]).await;
    }
    stack.interrupt().await;
}

#[tokio::test]
async fn damaged_prototype_is_replaced_or_avoided() {
    if !guests_enabled() {
        return;
    }
    let place = short_directory();
    let cache = cache_without_prototypes(place.path());
    let cache_path = cache.to_str().expect("text");
    let options = StackOptions::new("microvm", &place.path().join("d"));
    let stack = Stack::start(options.environment(&[("BURROW_IMAGE_CACHE", cache_path)])).await;
    stack.run_ok(&["create", "box", "--no-start"]).await;
    let started = start(&stack, "box").await;
    assert!(
        started.contains("Booting a prototype") && started.contains("Copying the prototype"),
        "{started}"
    );
    stack.sh("box", "echo kept > ~/file; sync").await;
    stack.run_ok(&["stop", "box"]).await;
    let memory = find_prototype(&cache).join("memory");
    let bytes = fs::metadata(&memory).expect("it exists").len();

    set_length(&memory, bytes / 2);
    let started = start(&stack, "box").await;
    assert!(started.contains("Booting a prototype"), "{started}");
    assert_eq!(stack.sh("box", "cat ~/file").await, "kept\n", "from another prototype");
    stack.run_ok(&["stop", "box"]).await;

    // The right size, but no guest.
    set_length(&memory, 0);
    set_length(&memory, bytes);
    let started = start(&stack, "box").await;
    assert!(started.contains("Booting…"), "{started}");
    assert_eq!(stack.sh("box", "cat ~/file").await, "kept\n", "after a boot");
    stack.interrupt().await;
}

fn set_length(path: &Path, bytes: u64) {
    fs::File::options()
        .write(true)
        .open(path)
        .and_then(|file| file.set_len(bytes))
        .expect("its length is set");
}
