//! A realistic home from a seed: some 37,000 files in a GiB, most of them small text, and a few
//! databases. It exists as a tree for programs that copy files, and as an ext4 image for those that
//! copy blocks. Then the same one per cent is changed in both: files are rewritten, files are
//! removed, and pages of the databases are written in place. The proportions are chosen so that
//! restic uploads as much for the change as for the real home that the goals come from: four times
//! the new content.

use std::{
    fmt::Write as _,
    fs,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use rand::{Rng as _, RngExt as _, SeedableRng as _, rngs::StdRng};

/// Bytes of a block of the file system.
pub const BLOCK: usize = 4096;
const SEED: u64 = 20_260_101;
const FILES_A_GIB: usize = 34_000;
const FILES_A_DIRECTORY: usize = 60;
/// One file in so many is changed or deleted: in the real home, 216 and 20 of 41,025.
const CHANGED_OF: usize = 190;
const DELETED_OF: usize = 2050;
const WORDS: usize = 4096;
/// Databases per GiB, the size of each, and what is written in each: places, and pages per place.
const DATABASES_A_GIB: u64 = 8;
const DATABASE_BYTES: usize = 12 << 20;
const PLACES: usize = 3;
const PAGES: usize = 4;

/// The home, before and after the change.
pub struct SampleHome {
    /// Directory of the files.
    pub tree: PathBuf,
    /// ext4 image of the files before the change.
    pub image: PathBuf,
    /// ext4 image after the change.
    pub changed_image: PathBuf,
    /// Number of files.
    pub files: usize,
    databases: u64,
    /// For each database and place: the database, the offset in its file, and the new pages.
    pages: Vec<(u64, usize, Vec<u8>)>,
    /// Bytes of all files.
    pub bytes: u64,
    random: StdRng,
    words: Vec<String>,
}

impl SampleHome {
    /// Creates the tree and both images. [`SampleHome::change_tree`] changes the tree.
    pub fn create(directory: &Path, mib: u64) -> Self {
        let mut random = StdRng::seed_from_u64(SEED);
        let words = (0..WORDS).map(|_| word(&mut random)).collect();
        let mut home = Self {
            tree: directory.join("tree"),
            image: directory.join("home.raw"),
            changed_image: directory.join("changed.raw"),
            files: FILES_A_GIB * mib as usize / 1024,
            databases: (DATABASES_A_GIB * mib / 1024).max(1),
            pages: Vec::new(),
            bytes: 0,
            random,
            words,
        };
        for number in 0..home.files {
            let path = home.path(number);
            if number % FILES_A_DIRECTORY == 0 {
                fs::create_dir_all(path.parent().expect("a directory")).expect("made");
            }
            let content = home.content();
            home.bytes += content.len() as u64;
            fs::write(path, content).expect("written");
        }
        for number in 0..home.databases {
            let mut content = Vec::new();
            while content.len() < DATABASE_BYTES {
                content.extend(home.content());
            }
            content.truncate(DATABASE_BYTES);
            home.bytes += DATABASE_BYTES as u64;
            fs::write(home.database(number), content).expect("written");
        }
        let image_mib = home.bytes * 4 / 3 / (1 << 20) + 64;
        let tree = home.tree.clone();
        run(Command::new("mkfs.ext4")
            .args(["-q", "-F", "-b", "4096", "-E", "lazy_itable_init=0,nodiscard", "-d"])
            .arg(&tree)
            .arg(&home.image)
            .arg(format!("{image_mib}M")));
        home.change_image(directory);
        home
    }

    fn name(number: usize) -> String {
        format!("d{}/f{number}", number / FILES_A_DIRECTORY)
    }

    fn path(&self, number: usize) -> PathBuf {
        self.tree.join(Self::name(number))
    }

    fn database(&self, number: u64) -> PathBuf {
        self.tree.join(format!("database{number}"))
    }

    fn content(&mut self) -> Vec<u8> {
        let length = match self.random.random_range(0..1000) {
            0..700 => self.random.random_range(100..8192),
            700..950 => self.random.random_range(8192..65_536),
            950..997 => self.random.random_range(65_536..400_000),
            _ => self.random.random_range(400_000..3_000_000),
        };
        let mut content = Vec::with_capacity(length + 16);
        // A third is compressed already: pictures, archives, Git objects.
        if self.random.random_ratio(1, 3) {
            content.resize(length, 0);
            self.random.fill_bytes(&mut content);
            return content;
        }
        while content.len() < length {
            // Words with small numbers are frequent.
            let rank = self.random.random::<f64>().powi(3) * WORDS as f64;
            content.extend_from_slice(self.words[rank as usize].as_bytes());
            content.push(if self.random.random_ratio(1, 9) { b'\n' } else { b' ' });
        }
        content.truncate(length);
        content
    }

    /// Writes the changed files next to the tree, and applies the change to the image with debugfs.
    fn change_image(&mut self, directory: &Path) {
        let changes = directory.join("changes");
        fs::create_dir(&changes).expect("made");
        let mut script = String::new();
        for index in 0..self.files / CHANGED_OF {
            let number = index * CHANGED_OF + 7;
            let content = self.content();
            let (name, file) = (Self::name(number), changes.join(number.to_string()));
            fs::write(&file, content).expect("written");
            writeln!(script, "rm {name}\nwrite {} {name}", file.display()).expect("text");
        }
        for index in 0..self.files / DELETED_OF {
            writeln!(script, "rm {}", Self::name(index * DELETED_OF + 11)).expect("text");
        }
        let commands = directory.join("change.debugfs");
        fs::write(&commands, script).expect("written");
        run(Command::new("cp").arg("--sparse=always").arg(&self.image).arg(&self.changed_image));
        run(Command::new("debugfs").arg("-w").arg("-f").arg(&commands).arg(&self.changed_image));
        self.change_pages();
    }

    /// Writes pages of the databases in place. The file system does not move them.
    fn change_pages(&mut self) {
        let image = fs::File::options().write(true).open(&self.changed_image).expect("opens");
        for number in 0..self.databases {
            let listed = Command::new("debugfs")
                .args(["-R", &format!("blocks database{number}")])
                .arg(&self.changed_image)
                .output()
                .expect("debugfs runs");
            let listed = String::from_utf8(listed.stdout).expect("text");
            let blocks: Vec<u64> = listed.split_whitespace().filter_map(|block| block.parse().ok()).collect();
            assert_eq!(blocks.len(), DATABASE_BYTES / BLOCK, "the database's blocks");
            for _ in 0..PLACES {
                let page = self.random.random_range(0..blocks.len() - PAGES);
                let mut content = vec![0; PAGES * BLOCK];
                self.random.fill_bytes(&mut content[..PAGES * BLOCK / 2]);
                for (index, part) in content.chunks(BLOCK).enumerate() {
                    image.write_all_at(part, blocks[page + index] * BLOCK as u64).expect("written");
                }
                self.pages.push((number, page * BLOCK, content));
            }
        }
    }

    /// Applies the same change to the tree.
    pub fn change_tree(&self) {
        for change in fs::read_dir(self.tree.with_file_name("changes")).expect("made").flatten() {
            let number: usize =
                change.file_name().to_str().and_then(|name| name.parse().ok()).expect("a number");
            fs::copy(change.path(), self.path(number)).expect("copied");
        }
        for (database, offset, content) in &self.pages {
            let file = fs::File::options().write(true).open(self.database(*database)).expect("opens");
            file.write_all_at(content, *offset as u64).expect("written");
        }
        for index in 0..self.files / DELETED_OF {
            fs::remove_file(self.path(index * DELETED_OF + 11)).expect("removed");
        }
    }

    /// The byte ranges that differ between the images, with the content of the changed one.
    pub fn changed_ranges(&self) -> Vec<(u64, Vec<u8>)> {
        let (before, after) =
            (fs::read(&self.image).expect("read"), fs::read(&self.changed_image).expect("read"));
        let mut runs: Vec<(u64, Vec<u8>)> = Vec::new();
        for (index, (old, new)) in before.chunks(BLOCK).zip(after.chunks(BLOCK)).enumerate() {
            if old == new {
                continue;
            }
            let offset = (index * BLOCK) as u64;
            match runs.last_mut() {
                Some((start, run)) if *start + run.len() as u64 == offset => run.extend_from_slice(new),
                _ => runs.push((offset, new.to_vec())),
            }
        }
        runs
    }
}

/// A random word.
fn word(random: &mut StdRng) -> String {
    (0..random.random_range(2..10)).map(|_| char::from(random.random_range(b'a'..=b'z'))).collect()
}

/// Runs a program that must succeed.
pub fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}
