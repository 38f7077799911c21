//! Every decoder of untrusted bytes, with its corpus and random mutations of it. The fuzz targets
//! run the same functions for longer.

use std::{
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
};

use rand::{Rng as _, RngExt as _, SeedableRng as _, rngs::StdRng};

#[path = "../../fuzz/src/lib.rs"]
mod decoders;

/// Mutations of each file of a corpus.
const MUTATIONS: usize = 400;
const MAX_BYTES: usize = 4096;

#[test]
fn decoders_survive_any_bytes() {
    let factor = burrow_tests::soak_factor().unwrap_or(1) as usize;
    let mut random = StdRng::seed_from_u64(burrow_tests::seed());
    for (name, decode) in decoders::DECODERS {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(name);
        let files = fs::read_dir(&corpus).unwrap_or_else(|error| panic!("{}: {error}", corpus.display()));
        let mut seeds: Vec<_> = files.flatten().map(|file| file.path()).collect();
        seeds.sort();
        assert!(!seeds.is_empty(), "{name} has a corpus");
        for path in seeds {
            let mut bytes = fs::read(&path).expect("readable");
            for _ in 0..MUTATIONS * factor {
                let result = catch_unwind(AssertUnwindSafe(|| decode(&bytes)));
                assert!(result.is_ok(), "{name} panics on {bytes:02x?} (from {})", path.display());
                mutate(&mut bytes, &mut random);
            }
        }
    }
}

fn mutate(bytes: &mut Vec<u8>, random: &mut StdRng) {
    let at = random.random_range(0..=bytes.len());
    match random.random_range(0..5) {
        0 if at < bytes.len() => bytes[at] ^= 1 << random.random_range(0..8),
        1 if at < bytes.len() => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][random.random_range(0..5)],
        2 => bytes.truncate(at),
        3 if bytes.len() < MAX_BYTES => {
            let mut more = vec![0; random.random_range(1..16)];
            random.fill_bytes(&mut more);
            bytes.splice(at..at, more);
        }
        _ if bytes.len() < MAX_BYTES => {
            let copy = bytes[at.min(bytes.len())..].to_vec();
            bytes.extend(copy.into_iter().take(64));
        }
        _ => {}
    }
}
