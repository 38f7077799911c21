//! Kernel modules of the initramfs: loaded as `load.list` says, which the image's builder resolved.

use std::{fs::File, path::Path, thread};

use anyhow::Context as _;

/// Loads every module that `<directory>/load.list` names, then frees their memory. Its paragraphs need nothing of each other and
/// load side by side.
pub fn load_all(directory: &Path) -> anyhow::Result<()> {
    let list = directory.join("load.list");
    let text = std::fs::read_to_string(&list).with_context(|| format!("cannot read {}", list.display()))?;
    thread::scope(|scope| {
        let groups: Vec<_> =
            text.split("\n\n").map(|group| scope.spawn(|| load_group(directory, group))).collect();
        groups.into_iter().try_for_each(|group| group.join().unwrap_or_else(|_| anyhow::bail!("a bug")))
    })?;
    // The initramfs is memory: what is loaded is not needed twice.
    let _ = std::fs::remove_dir_all(directory);
    Ok(())
}

fn load_group(directory: &Path, group: &str) -> anyhow::Result<()> {
    names(group).try_for_each(|name| {
        load(&directory.join(name)).with_context(|| format!("cannot load the module {name}"))
    })
}

fn names(list: &str) -> impl Iterator<Item = &str> {
    list.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'))
}

fn load(path: &Path) -> anyhow::Result<()> {
    use nix::kmod::{ModuleInitFlags, finit_module};
    match finit_module(&File::open(path)?, c"", ModuleInitFlags::empty()) {
        Ok(()) | Err(nix::Error::EEXIST) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn comments_and_blank_lines_name_nothing() {
        let list = "# order matters\nvirtio.ko\n\n  virtio_ring.ko \n";
        assert_eq!(super::names(list).collect::<Vec<_>>(), ["virtio.ko", "virtio_ring.ko"]);
    }
}
