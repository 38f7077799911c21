//! Kernel modules of the initramfs: loaded in the order of `load.list`, which the image's builder resolved.

use std::{fs::File, path::Path};

use anyhow::Context as _;

/// Loads every module that `<directory>/load.list` names, then frees their memory.
pub fn load_all(directory: &Path) -> anyhow::Result<()> {
    let list = directory.join("load.list");
    let text = std::fs::read_to_string(&list).with_context(|| format!("cannot read {}", list.display()))?;
    for name in names(&text) {
        load(&directory.join(name)).with_context(|| format!("cannot load the module {name}"))?;
    }
    // The initramfs is memory: what is loaded is not needed twice.
    let _ = std::fs::remove_dir_all(directory);
    Ok(())
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
