//! The initramfs: the agent as the machine's first program, and the modules that bring it to its disks.

use std::{
    collections::BTreeSet,
    io::BufWriter,
    path::{Path, PathBuf},
};

use super::{
    Image, Progress, cache,
    cpio::Archive,
    definition::short_name,
    error::{Error, at},
    rootfs::LOAD_LIST,
    tools::{self, LZ4},
};

/// Goes into every name. Raise it whenever other bytes are made of the same agent and modules.
const VERSION: u32 = 1;
/// The kernel reads only the old ("legacy") frames of LZ4.
const COMPRESSION: [&str; 3] = ["-l", "-9", "-c"];
/// Where the agent mounts; it makes what is missing, but a first program must have something to stand on.
const DIRECTORIES: [&str; 7] = ["dev", "proc", "sys", "image", "scratch", "root", "modules"];
/// Major and minor number of the console, which the kernel opens for the first program.
const CONSOLE: (u32, u32) = (5, 1);

/// Of an ELF file: where its program headers are, and the kind of header that asks for a dynamic loader.
const HEADERS_AT: usize = 0x20;
const HEADER_SIZE_AT: usize = 0x36;
const HEADER_COUNT_AT: usize = 0x38;
const INTERPRETER: u32 = 3;

struct Part {
    path: String,
    permissions: u32,
    content: Vec<u8>,
}

/// The initramfs of an image and an agent; made if it is not in the cache.
pub fn ensure(
    image: &Image,
    agent: &Path,
    cache_dir: &Path,
    progress: &Progress<'_>,
) -> Result<PathBuf, Error> {
    let parts = parts(image, agent)?;
    let name = format!("{}.cpio.lz4", name(&parts));
    let target = cache_dir.join(&name);
    if target.is_file() {
        return Ok(target);
    }
    LZ4.require()?;
    let lock = cache::lock(cache_dir, progress)?;
    if target.is_file() {
        return Ok(target);
    }
    progress("Packing the agent for the machine's first program", None);
    let work = lock.workplace()?;
    let (plain, packed) = (work.path.join("plain"), work.path.join("packed"));
    write(&parts, &plain)?;
    tools::filter(&LZ4, &COMPRESSION, &plain, &packed)?;
    cache::readable(&packed)?;
    lock.publish(&packed, &name)
}

fn parts(image: &Image, agent: &Path) -> Result<Vec<Part>, Error> {
    let program = std::fs::read(agent).map_err(at("read", agent))?;
    if !is_static(&program) {
        return Err(Error::Agent { path: agent.to_owned() });
    }
    let mut parts = vec![Part { path: "init".into(), permissions: 0o755, content: program }];
    let list_path = image.modules_dir.join(LOAD_LIST);
    let list = std::fs::read_to_string(&list_path).map_err(at("read", &list_path))?;
    // What two groups need is in both.
    let files: BTreeSet<&str> = list.lines().filter(|line| !line.is_empty()).collect();
    for file in files {
        let from = image.modules_dir.join(file);
        let content = std::fs::read(&from).map_err(at("read", &from))?;
        parts.push(Part { path: format!("modules/{file}"), permissions: 0o644, content });
    }
    parts.push(Part { path: format!("modules/{LOAD_LIST}"), permissions: 0o644, content: list.into_bytes() });
    Ok(parts)
}

fn name(parts: &[Part]) -> String {
    let mut hasher = blake3::Hasher::new_derive_key("burrow initramfs");
    hasher.update(&VERSION.to_le_bytes());
    for bytes in parts.iter().flat_map(|part| [part.path.as_bytes(), &part.content]) {
        hasher.update(&(bytes.len() as u64).to_le_bytes());
        hasher.update(bytes);
    }
    short_name(&hasher)
}

fn write(parts: &[Part], to: &Path) -> Result<(), Error> {
    let file = std::fs::File::create(to).map_err(at("write", to))?;
    let write = || {
        let mut archive = Archive::new(BufWriter::new(file));
        for directory in DIRECTORIES {
            archive.directory(directory)?;
        }
        archive.character_device("dev/console", 0o600, CONSOLE)?;
        for part in parts {
            archive.file(&part.path, part.permissions, &part.content)?;
        }
        archive.finish().map(drop)
    };
    write().map_err(at("write", to))
}

/// Whether a program of 64 bits runs where there is no dynamic loader.
fn is_static(program: &[u8]) -> bool {
    let number = |at: usize, size: usize| {
        let bytes = program.get(at..at.checked_add(size)?)?;
        Some(bytes.iter().rev().fold(0_u64, |number, byte| number << 8 | u64::from(*byte)))
    };
    let look = || {
        let (start, size, count) =
            (number(HEADERS_AT, 8)?, number(HEADER_SIZE_AT, 2)?, number(HEADER_COUNT_AT, 2)?);
        let kinds: Option<Vec<u64>> = (0..count)
            .map(|index| number(usize::try_from(start.checked_add(index * size)?).ok()?, 4))
            .collect();
        Some(!kinds?.contains(&u64::from(INTERPRETER)))
    };
    program.starts_with(b"\x7fELF\x02\x01") && look().unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A program with one header of a kind.
    fn program(kind: u8) -> Vec<u8> {
        let mut bytes = vec![0; 0x80];
        bytes[..6].copy_from_slice(b"\x7fELF\x02\x01");
        (bytes[HEADERS_AT], bytes[HEADER_SIZE_AT], bytes[HEADER_COUNT_AT], bytes[0x40]) =
            (0x40, 0x38, 1, kind);
        bytes
    }

    fn image(directory: &Path) -> Image {
        std::fs::write(directory.join(LOAD_LIST), "a.ko\nb.ko\n\na.ko\n").expect("a file");
        std::fs::write(directory.join("a.ko"), "first").expect("a file");
        std::fs::write(directory.join("b.ko"), "second").expect("a file");
        let no = PathBuf::new;
        Image {
            name: String::new(),
            rootfs: no(),
            kernel: no(),
            modules_dir: directory.to_owned(),
            manifest: no(),
        }
    }

    #[test]
    fn a_program_that_wants_a_loader_is_told_from_one_that_does_not() {
        assert!(is_static(&program(1)));
        assert!(!is_static(&program(3)));
        let whole = program(1);
        for length in 0..0x44 {
            assert!(!is_static(&whole[..length]), "{length} bytes");
        }
        assert!(!is_static(b"#!/bin/sh\n"));
        let me = std::fs::read("/proc/self/exe").expect("we run");
        assert!(!is_static(&me), "tests are linked dynamically");
    }

    #[test]
    fn another_agent_is_another_initramfs_and_the_same_is_the_same() {
        let (modules, cache) =
            (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
        let image = image(modules.path());
        let agent = modules.path().join("agent");
        let make = || ensure(&image, &agent, cache.path(), &|_, _| {}).expect("it is made");
        std::fs::write(&agent, program(1)).expect("a file");
        let first = make();
        assert_eq!(make(), first);
        std::fs::write(&agent, program(2)).expect("a file");
        assert_ne!(make(), first);
        assert!(std::fs::read(&first).expect("it is there").starts_with(&[0x02, 0x21, 0x4c, 0x18]));
        std::fs::write(&agent, program(3)).expect("a file");
        let error = ensure(&image, &agent, cache.path(), &|_, _| {}).expect_err("not static");
        assert!(matches!(error, Error::Agent { .. }), "{error}");
    }
}
