//! Which kernel modules the initramfs carries, and in which order they load. Pure: reads `modules.dep` as text.

use std::collections::{BTreeMap, BTreeSet};

/// What a machine needs before its root is mounted, in groups that load side by side: the bus with disks, link and network, and
/// the root's file systems. ext4 is built in.
pub const WANTED: [&[&str]; 2] =
    [&["virtio_mmio", "virtio_blk", "virtio_console", "virtio_net"], &["erofs", "overlay"]];

/// Endings of modules, as distributions compress them.
const ENDINGS: [&str; 4] = [".ko", ".ko.xz", ".ko.zst", ".ko.gz"];

/// A module's name as the kernel says it: `virtio-net` and `virtio_net` are one.
pub fn name(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or(path);
    let stem = ENDINGS.iter().find_map(|ending| file.strip_suffix(ending)).unwrap_or(file);
    stem.replace('-', "_")
}

/// The paths of the wanted modules and all that they need, each after what it needs.
///
/// `dependencies` is `modules.dep`, `builtin` is `modules.builtin`: what is in the kernel already needs no loading.
/// An error is the name of a module that there is not.
pub fn load_order(wanted: &[&str], dependencies: &str, builtin: &str) -> Result<Vec<String>, String> {
    let builtin: BTreeSet<String> = builtin.lines().map(|line| name(line.trim())).collect();
    let needs: BTreeMap<String, (&str, Vec<String>)> = dependencies
        .lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(path, needs)| (name(path), (path, needs.split_whitespace().map(name).collect())))
        .collect();
    let mut order = Order { builtin, needs, seen: BTreeSet::new(), paths: Vec::new() };
    wanted.iter().try_for_each(|module| order.visit(module))?;
    Ok(order.paths)
}

struct Order<'a> {
    builtin: BTreeSet<String>,
    needs: BTreeMap<String, (&'a str, Vec<String>)>,
    seen: BTreeSet<String>,
    paths: Vec<String>,
}

impl Order<'_> {
    /// Depth first. Each module is entered once, so even a file with a circle in it ends.
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
kernel/drivers/net/virtio_net.ko: kernel/drivers/net/net_failover.ko kernel/net/core/failover.ko kernel/drivers/virtio/virtio_ring.ko kernel/drivers/virtio/virtio.ko
kernel/drivers/net/net_failover.ko: kernel/net/core/failover.ko
kernel/net/core/failover.ko:
kernel/drivers/virtio/virtio_ring.ko:
kernel/drivers/virtio/virtio.ko: kernel/drivers/virtio/virtio_ring.ko
kernel/fs/erofs/erofs.ko.xz: kernel/lib/libcrc32c.ko.xz
kernel/lib/libcrc32c.ko.xz:
kernel/a/round.ko: kernel/a/about.ko
kernel/a/about.ko: kernel/a/round.ko
";

    fn names(wanted: &[&str], builtin: &str) -> Vec<String> {
        let order = load_order(wanted, DEPENDENCIES, builtin).expect("all are there");
        order.iter().map(|path| name(path)).collect()
    }

    #[test]
    fn each_module_comes_after_what_it_needs_and_once() {
        let expected =
            ["failover", "net_failover", "virtio_ring", "virtio", "virtio_net", "libcrc32c", "erofs"];
        assert_eq!(names(&["virtio_net", "erofs", "virtio"], ""), expected);
    }

    #[test]
    fn what_is_built_in_is_not_loaded() {
        assert_eq!(names(&["erofs", "ext4"], "kernel/lib/libcrc32c.ko\nkernel/fs/ext4/ext4.ko\n"), ["erofs"]);
    }

    #[test]
    fn a_module_that_is_not_there_is_named() {
        assert_eq!(load_order(&["overlay"], DEPENDENCIES, ""), Err("overlay".to_owned()));
    }

    #[test]
    fn a_circle_ends() {
        assert_eq!(names(&["round"], "").len(), 2);
    }

    #[test]
    fn dashes_and_compression_are_no_part_of_a_name() {
        for path in ["kernel/crypto/crc32c-intel.ko", "crc32c_intel.ko.zst", "a/crc32c-intel.ko.gz"] {
            assert_eq!(name(path), "crc32c_intel");
        }
    }
}
