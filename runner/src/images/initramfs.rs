//! Builds the initramfs: the agent as the guest's first process (`/init`), and the kernel modules
//! that it needs to reach its disks.

use std::{
    collections::BTreeSet,
    io::BufWriter,
    path::{Path, PathBuf},
};

use super::{
    Image, Progress, cache,
    cpio::CpioWriter,
    definition::short_hash,
    error::{ImageError, at},
    rootfs::LOAD_LIST,
    tools::{self, LZ4},
};

/// The message of the only step.
pub const BUILDING: &str = "Building the initramfs";
/// Part of every name. Raise it whenever the output for the same agent and modules changes.
const VERSION: u32 = 2;
/// The kernel reads only the "legacy" frame format of LZ4.
const COMPRESSION: [&str; 3] = ["-l", "-9", "-c"];
/// The VMM loads the initramfs at the highest page boundary that leaves room for it below the end of
/// memory, and the firmware writes the ACPI tables, which take 1 to 2 KiB, into the last page. An
/// initramfs whose last page is nearly full overwrites them: the guest then finds no disks. So the last
/// page of every initramfs has one byte.
const PAGE_BYTES: u64 = 4096;
/// Mount points of the agent. It creates missing ones itself; `dev` must exist before it starts,
/// because the kernel opens the console there.
const DIRECTORIES: [&str; 7] = ["dev", "proc", "sys", "image", "scratch", "root", "modules"];
/// Major and minor number of the console, which the kernel opens for the first process.
const CONSOLE: (u32, u32) = (5, 1);

/// Offsets in an ELF file: the position, size and number of its program headers.
const HEADERS_OFFSET: usize = 0x20;
const HEADER_SIZE_OFFSET: usize = 0x36;
const HEADER_COUNT_OFFSET: usize = 0x38;
/// The type of the program header that names a dynamic loader.
const INTERPRETER_HEADER: u32 = 3;

/// A file of the initramfs.
struct InitramfsFile {
    path: String,
    permissions: u32,
    content: Vec<u8>,
}

/// Returns the initramfs for an image and an agent, and builds it if it is not in the cache.
pub fn ensure(
    image: &Image,
    agent: &Path,
    cache_dir: &Path,
    progress: &Progress<'_>,
) -> Result<PathBuf, ImageError> {
    let files = collect_files(image, agent)?;
    let name = format!("{}.cpio.lz4", hash_files(&files));
    let target = cache_dir.join(&name);
    if target.is_file() {
        return Ok(target);
    }
    LZ4.require()?;
    let lock = cache::lock(cache_dir, progress)?;
    if target.is_file() {
        return Ok(target);
    }
    progress(BUILDING, None);
    let work = lock.build_directory()?;
    let (plain, packed) = (work.path.join("plain"), work.path.join("packed"));
    write_archive(&files, &plain)?;
    tools::filter(&LZ4, &COMPRESSION, &plain, &packed)?;
    leave_room_for_tables(&packed)?;
    cache::make_readable(&packed)?;
    lock.publish(&packed, &name)
}

fn collect_files(image: &Image, agent: &Path) -> Result<Vec<InitramfsFile>, ImageError> {
    let program = std::fs::read(agent).map_err(at("read", agent))?;
    if !is_static(&program) {
        return Err(ImageError::Agent { path: agent.to_owned() });
    }
    let mut files = vec![InitramfsFile { path: "init".into(), permissions: 0o755, content: program }];
    let list_path = image.modules_dir.join(LOAD_LIST);
    let list = std::fs::read_to_string(&list_path).map_err(at("read", &list_path))?;
    // A module that two groups need is listed twice.
    let modules: BTreeSet<&str> = list.lines().filter(|line| !line.is_empty()).collect();
    for module in modules {
        let from = image.modules_dir.join(module);
        let content = std::fs::read(&from).map_err(at("read", &from))?;
        files.push(InitramfsFile { path: format!("modules/{module}"), permissions: 0o644, content });
    }
    files.push(InitramfsFile {
        path: format!("modules/{LOAD_LIST}"),
        permissions: 0o644,
        content: list.into_bytes(),
    });
    Ok(files)
}

fn hash_files(files: &[InitramfsFile]) -> String {
    let mut hasher = blake3::Hasher::new_derive_key("burrow initramfs");
    hasher.update(&VERSION.to_le_bytes());
    for bytes in files.iter().flat_map(|file| [file.path.as_bytes(), &file.content]) {
        hasher.update(&(bytes.len() as u64).to_le_bytes());
        hasher.update(bytes);
    }
    short_hash(&hasher)
}

fn write_archive(files: &[InitramfsFile], to: &Path) -> Result<(), ImageError> {
    let output = std::fs::File::create(to).map_err(at("write", to))?;
    let write = || {
        let mut archive = CpioWriter::new(BufWriter::new(output));
        for directory in DIRECTORIES {
            archive.add_directory(directory)?;
        }
        archive.add_character_device("dev/console", 0o600, CONSOLE)?;
        for file in files {
            archive.add_file(&file.path, file.permissions, &file.content)?;
        }
        archive.finish().map(drop)
    };
    write().map_err(at("write", to))
}

/// Extends a file with zeros, which the kernel ignores at the end of an initramfs, until one byte of it
/// is in its last page.
fn leave_room_for_tables(path: &Path) -> Result<(), ImageError> {
    let extend = || {
        let file = std::fs::OpenOptions::new().write(true).open(path)?;
        let length = file.metadata()?.len();
        file.set_len(padded_length(length))
    };
    extend().map_err(at("extend", path))
}

fn padded_length(length: u64) -> u64 {
    length.saturating_sub(1).next_multiple_of(PAGE_BYTES) + 1
}

/// Whether a 64-bit ELF program runs without a dynamic loader.
fn is_static(program: &[u8]) -> bool {
    let number = |at: usize, size: usize| {
        let bytes = program.get(at..at.checked_add(size)?)?;
        Some(bytes.iter().rev().fold(0_u64, |number, byte| number << 8 | u64::from(*byte)))
    };
    let is_static = || {
        let (start, size, count) =
            (number(HEADERS_OFFSET, 8)?, number(HEADER_SIZE_OFFSET, 2)?, number(HEADER_COUNT_OFFSET, 2)?);
        let kinds: Option<Vec<u64>> = (0..count)
            .map(|index| number(usize::try_from(start.checked_add(index * size)?).ok()?, 4))
            .collect();
        Some(!kinds?.contains(&u64::from(INTERPRETER_HEADER)))
    };
    program.starts_with(b"\x7fELF\x02\x01") && is_static().unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A program with one program header of this type.
    fn program(kind: u8) -> Vec<u8> {
        let mut bytes = vec![0; 0x80];
        bytes[..6].copy_from_slice(b"\x7fELF\x02\x01");
        (bytes[HEADERS_OFFSET], bytes[HEADER_SIZE_OFFSET], bytes[HEADER_COUNT_OFFSET], bytes[0x40]) =
            (0x40, 0x38, 1, kind);
        bytes
    }

    fn image(directory: &Path) -> Image {
        std::fs::write(directory.join(LOAD_LIST), "a.ko\nb.ko\n\na.ko\n").expect("a file");
        std::fs::write(directory.join("a.ko"), "first").expect("a file");
        std::fs::write(directory.join("b.ko"), "second").expect("a file");
        let none = PathBuf::new;
        Image {
            name: String::new(),
            rootfs: none(),
            kernel: none(),
            modules_dir: directory.to_owned(),
            manifest: none(),
        }
    }

    #[test]
    fn static_programs_are_detected() {
        assert!(is_static(&program(1)));
        assert!(!is_static(&program(3)));
        let complete = program(1);
        for length in 0..0x44 {
            assert!(!is_static(&complete[..length]), "{length} bytes");
        }
        assert!(!is_static(b"#!/bin/sh\n"));
        let test_program = std::fs::read("/proc/self/exe").expect("readable");
        assert!(!is_static(&test_program), "tests are linked dynamically");
    }

    #[test]
    fn last_page_has_room_for_tables() {
        for (length, expected) in [(1, 1), (2, 4097), (4096, 4097), (4097, 4097), (4098, 8193)] {
            assert_eq!(padded_length(length), expected, "{length}");
        }
    }

    #[test]
    fn initramfs_is_named_by_its_content() {
        let (modules, cache) =
            (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
        let image = image(modules.path());
        let agent = modules.path().join("agent");
        let build = || ensure(&image, &agent, cache.path(), &|_, _| {}).expect("built");
        std::fs::write(&agent, program(1)).expect("a file");
        let first = build();
        assert_eq!(build(), first);
        std::fs::write(&agent, program(2)).expect("a file");
        assert_ne!(build(), first);
        let content = std::fs::read(&first).expect("it is there");
        assert!(content.starts_with(&[0x02, 0x21, 0x4c, 0x18]));
        assert_eq!(content.len() % 4096, 1);
        std::fs::write(&agent, program(3)).expect("a file");
        let error = ensure(&image, &agent, cache.path(), &|_, _| {}).expect_err("not static");
        assert!(matches!(error, ImageError::Agent { .. }), "{error}");
    }
}
