//! Which kernel modules the initramfs contains, and in which order they load. Pure: gets
//! `modules.dep` as text.

use std::collections::{BTreeMap, BTreeSet};

/// The modules that a guest needs before its root is mounted, in groups that load in parallel:
/// virtio with disks, console and network; and the root's file systems. ext4 is built into the
/// kernel.
pub const REQUIRED_MODULES: [&[&str]; 2] =
    [&["virtio_mmio", "virtio_blk", "virtio_console", "virtio_net"], &["erofs", "overlay"]];

/// File name suffixes of modules, by compression.
const SUFFIXES: [&str; 4] = [".ko", ".ko.xz", ".ko.zst", ".ko.gz"];

/// A module's canonical name: the kernel treats `virtio-net` and `virtio_net` as the same.
pub fn module_name(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or(path);
    let stem = SUFFIXES.iter().find_map(|suffix| file.strip_suffix(suffix)).unwrap_or(file);
    stem.replace('-', "_")
}

/// The paths of the requested modules and of all their dependencies, each after its dependencies.
///
/// `dependencies` is the text of `modules.dep`, `builtin` that of `modules.builtin`; built-in
/// modules are left out. The error is the name of a missing module.
pub fn load_order(requested: &[&str], dependencies: &str, builtin: &str) -> Result<Vec<String>, String> {
    let builtin: BTreeSet<String> = builtin.lines().map(|line| module_name(line.trim())).collect();
    let needs: BTreeMap<String, (&str, Vec<String>)> = dependencies
        .lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(path, needs)| (module_name(path), (path, needs.split_whitespace().map(module_name).collect())))
        .collect();
    let mut order = LoadOrder { builtin, needs, seen: BTreeSet::new(), paths: Vec::new() };
    requested.iter().try_for_each(|module| order.visit(module))?;
    Ok(order.paths)
}

/// A depth-first traversal of the dependencies.
struct LoadOrder<'a> {
    builtin: BTreeSet<String>,
    needs: BTreeMap<String, (&'a str, Vec<String>)>,
    seen: BTreeSet<String>,
    paths: Vec<String>,
}

impl LoadOrder<'_> {
    /// Appends a module after its dependencies. Each module is visited once, so cycles end.
    fn visit(&mut self, module: &str) -> Result<(), String> {
        if self.builtin.contains(module) || !self.seen.insert(module.to_owned()) {
            return Ok(());
        }
        let (path, needs) = self.needs.get(module).cloned().ok_or_else(|| module.to_owned())?;
        for needed in &needs {
            self.visit(needed)?;
        }
        self.paths.push(path.to_owned());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEPENDENCIES: &str = "\
kernel/drivers/net/virtio_net.ko: kernel/drivers/net/net_failover.ko kernel/net/core/failover.ko \
kernel/drivers/virtio/virtio_ring.ko kernel/drivers/virtio/virtio.ko
kernel/drivers/net/net_failover.ko: kernel/net/core/failover.ko
kernel/net/core/failover.ko:
kernel/drivers/virtio/virtio_ring.ko:
kernel/drivers/virtio/virtio.ko: kernel/drivers/virtio/virtio_ring.ko
kernel/fs/erofs/erofs.ko.xz: kernel/lib/libcrc32c.ko.xz
kernel/lib/libcrc32c.ko.xz:
kernel/a/round.ko: kernel/a/about.ko
kernel/a/about.ko: kernel/a/round.ko
";

    fn names(requested: &[&str], builtin: &str) -> Vec<String> {
        let order = load_order(requested, DEPENDENCIES, builtin).expect("no module is missing");
        order.iter().map(|path| module_name(path)).collect()
    }

    #[test]
    fn modules_follow_their_dependencies() {
        let expected =
            ["failover", "net_failover", "virtio_ring", "virtio", "virtio_net", "libcrc32c", "erofs"];
        assert_eq!(names(&["virtio_net", "erofs", "virtio"], ""), expected);
    }

    #[test]
    fn builtin_modules_are_skipped() {
        assert_eq!(names(&["erofs", "ext4"], "kernel/lib/libcrc32c.ko\nkernel/fs/ext4/ext4.ko\n"), ["erofs"]);
    }

    #[test]
    fn missing_module_is_named() {
        assert_eq!(load_order(&["overlay"], DEPENDENCIES, ""), Err("overlay".to_owned()));
    }

    #[test]
    fn dependency_cycle_ends() {
        assert_eq!(names(&["round"], "").len(), 2);
    }

    #[test]
    fn names_ignore_dashes_and_compression() {
        for path in ["kernel/crypto/crc32c-intel.ko", "crc32c_intel.ko.zst", "a/crc32c-intel.ko.gz"] {
            assert_eq!(module_name(path), "crc32c_intel");
        }
    }
}
