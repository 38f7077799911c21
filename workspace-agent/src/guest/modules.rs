//! Kernel modules of the initramfs, loaded in the order of `load.list`. The builder of the image
//! has resolved their dependencies.

use std::{fs::File, path::Path, thread};

use anyhow::Context as _;

/// Loads every module that `<directory>/load.list` names, then deletes the directory to free its
/// memory. The paragraphs of the list do not depend on each other and are loaded in parallel.
pub fn load_all(directory: &Path) -> anyhow::Result<()> {
    let list = directory.join("load.list");
    let text = std::fs::read_to_string(&list).with_context(|| format!("cannot read {}", list.display()))?;
    thread::scope(|scope| {
        let groups: Vec<_> =
            text.split("\n\n").map(|group| scope.spawn(|| load_group(directory, group))).collect();
        groups.into_iter().try_for_each(|group| {
            group.join().unwrap_or_else(|_| anyhow::bail!("loading kernel modules panicked"))
        })
    })?;
    // The initramfs is in memory, and no module is loaded twice.
    let _ = std::fs::remove_dir_all(directory);
    Ok(())
}

fn load_group(directory: &Path, group: &str) -> anyhow::Result<()> {
    module_names(group).try_for_each(|name| {
        load_module(&directory.join(name)).with_context(|| format!("cannot load the kernel module {name}"))
    })
}

fn module_names(list: &str) -> impl Iterator<Item = &str> {
    list.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'))
}

fn load_module(path: &Path) -> anyhow::Result<()> {
    use nix::kmod::{ModuleInitFlags, finit_module};
    match finit_module(&File::open(path)?, c"", ModuleInitFlags::empty()) {
        Ok(()) | Err(nix::Error::EEXIST) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn module_names_skip_comments_and_blank_lines() {
        let list = "# order matters\nvirtio.ko\n\n  virtio_ring.ko \n";
        assert_eq!(super::module_names(list).collect::<Vec<_>>(), ["virtio.ko", "virtio_ring.ko"]);
    }
}
