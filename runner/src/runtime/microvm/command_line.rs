//! QEMU's command line. Pure: descriptors come as numbers, and no secret is among the arguments.
//!
//! Disks and sockets are passed open, because the VMM's root directory does not have them.

use std::{os::fd::RawFd, path::PathBuf};

use protocol::agent::{HOME_SERIAL, PORT_NAME, ROOT_SERIAL, SCRATCH_SERIAL};
use serde::{Deserialize, Serialize};

/// Cache of translated code under TCG. A larger cache makes long sessions no faster and costs every
/// sandbox memory.
const TRANSLATION_CACHE_MIB: u32 = 128;

/// How QEMU runs guest code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Accelerator {
    /// On the processor's virtualization.
    Kvm,
    /// By translation: works everywhere, 5 to 7 times slower.
    Tcg,
}

impl Accelerator {
    /// "kvm" or "tcg".
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::Tcg => "tcg",
        }
    }
}

/// Everything that the command line of one VMM depends on. Descriptors are numbers in the VMM.
pub struct CommandLine {
    pub accelerator: Accelerator,
    /// Frequency of the host's time stamp counter, for guests that have no better clock to measure it.
    pub tsc_khz: Option<u64>,
    pub vcpus: u8,
    pub memory_mib: u32,
    /// Where the guest's memory is. `None`: in memory of the VMM's own.
    pub memory: Option<Memory>,
    /// Path in the VMM's root directory.
    pub kernel: PathBuf,
    /// Path in the VMM's root directory.
    pub initramfs: PathBuf,
    /// `None` for a probe.
    pub disks: Option<DiskDescriptors>,
    /// Listening socket of the agent's port.
    pub agent: RawFd,
    /// Listening socket of QEMU's control protocol.
    pub qmp: RawFd,
    /// `None`: the guest has no network.
    pub tap: Option<RawFd>,
    /// Whether the kernel logs everything, which a probe needs.
    pub is_verbose: bool,
}

/// The file that holds the guest's memory.
#[derive(Clone)]
pub struct Memory {
    /// Path in the VMM's root directory.
    pub path: PathBuf,
    /// Whether the VMM waits for the state of a prototype, whose memory the file has. Its changes stay
    /// its own then. Otherwise the file changes with the guest.
    pub is_restored: bool,
}

/// Where the home is.
#[derive(Clone, Copy)]
pub enum Home {
    /// Behind an NBD export, to which this descriptor is connected.
    Exported(RawFd),
    /// A disk of this many zero bytes, which keeps nothing.
    Blank(u64),
}

/// Descriptors of the three disks.
#[derive(Clone, Copy)]
pub struct DiskDescriptors {
    /// The image's root file system, read-only.
    pub root: RawFd,
    /// The writable layer above the root.
    pub scratch: RawFd,
    /// The home.
    pub home: Home,
}

impl CommandLine {
    /// The arguments for QEMU.
    pub fn to_arguments(&self) -> Vec<String> {
        let mut all = split("-no-user-config -nodefaults -no-reboot -display none");
        all.extend(split("-sandbox on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"));
        all.extend(self.machine_arguments());
        all.extend(split("-global virtio-mmio.force-legacy=false"));
        all.extend(self.processor_arguments());
        all.extend(self.kernel_arguments());
        all.extend(split("-chardev stdio,id=console,signal=off -serial chardev:console"));
        all.extend(split(&format!("-chardev socket,id=qmp,fd={},server=on,wait=off", self.qmp)));
        all.extend(split("-mon chardev=qmp,mode=control"));
        all.extend(split(&format!("-chardev socket,id=agent,fd={},server=on,wait=off", self.agent)));
        all.extend(split("-device virtio-serial-device"));
        all.extend(split(&format!("-device virtserialport,chardev=agent,name={PORT_NAME}")));
        // It never takes memory from the guest. It only learns which pages the guest does not use.
        all.extend(split("-device virtio-balloon-device,free-page-reporting=on"));
        all.extend(self.disks.iter().flat_map(|disks| disks.to_arguments()));
        all.extend(self.tap.iter().flat_map(|tap| network_arguments(*tap)));
        all
    }

    fn machine_arguments(&self) -> Vec<String> {
        let machine = "-machine microvm,acpi=on,rtc=on,pit=on,pic=on,isa-serial=on";
        let Some(Memory { path, is_restored }) = &self.memory else { return split(machine) };
        let share = if *is_restored { "off" } else { "on" };
        let mut all = split(&format!(
            "{machine},memory-backend=memory \
             -object memory-backend-file,id=memory,size={}M,mem-path={},share={share}",
            self.memory_mib,
            path.display()
        ));
        if *is_restored {
            all.extend(split("-incoming defer"));
        }
        all
    }

    fn processor_arguments(&self) -> Vec<String> {
        let (accelerator, model) = match self.accelerator {
            Accelerator::Kvm => ("kvm".to_owned(), "host"),
            Accelerator::Tcg => (format!("tcg,thread=multi,tb-size={TRANSLATION_CACHE_MIB}"), "max"),
        };
        split(&format!(
            "-accel {accelerator} -cpu {model} -smp {} -m {}M",
            self.vcpus.max(1),
            self.memory_mib
        ))
    }

    fn kernel_arguments(&self) -> Vec<String> {
        let log_level = if self.is_verbose { "loglevel=7" } else { "quiet" };
        // Without the frequency an emulated guest calibrates its clock by a timer. A busy host delivers
        // that timer late, and the guest hangs. Without `tsc=reliable` a guest with several processors
        // finds their counters different and falls back to a clock that ticks 250 times a second on
        // each, and loses a third of the time on a busy host.
        let clock = self.tsc_khz.map(|khz| format!(" tsc_early_khz={khz} tsc=reliable no_timer_check"));
        // The kernel's self-tests of its ciphers are for certified systems. Emulated, they take a
        // quarter of its boot.
        let line = format!(
            "console=ttyS0 panic=-1 reboot=t random.trust_cpu=on cryptomgr.notests {log_level}{}",
            clock.unwrap_or_default()
        );
        let mut all =
            split(&format!("-kernel {} -initrd {}", self.kernel.display(), self.initramfs.display()));
        all.extend(["-append".to_owned(), line]);
        all
    }
}

impl DiskDescriptors {
    fn to_arguments(self) -> Vec<String> {
        let Self { root, scratch, home } = self;
        let home = match home {
            Home::Exported(connection) => {
                format!("driver=nbd,server.type=fd,server.str={connection},export=home,discard=unmap")
            }
            Home::Blank(bytes) => format!("driver=null-co,size={bytes},read-zeroes=on,discard=unmap"),
        };
        split(&format!(
            "-add-fd fd={root},set=1 \
             -blockdev driver=file,node-name=root-file,filename=/dev/fdset/1,read-only=on,locking=off \
             -blockdev driver=raw,node-name=root,file=root-file,read-only=on \
             -device virtio-blk-device,drive=root,serial={ROOT_SERIAL} \
             -add-fd fd={scratch},set=2 \
             -blockdev driver=file,node-name=scratch-file,filename=/dev/fdset/2,locking=off,\
             discard=unmap,cache.no-flush=on \
             -blockdev driver=raw,node-name=scratch,file=scratch-file,discard=unmap,cache.no-flush=on \
             -device virtio-blk-device,drive=scratch,serial={SCRATCH_SERIAL} \
             -blockdev {home},node-name=home \
             -device virtio-blk-device,drive=home,serial={HOME_SERIAL}"
        ))
    }
}

fn network_arguments(tap: RawFd) -> Vec<String> {
    split(&format!("-netdev tap,id=net,fd={tap} -device virtio-net-device,netdev=net,mac=52:54:00:6f:00:02"))
}

fn split(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command_line() -> CommandLine {
        CommandLine {
            accelerator: Accelerator::Tcg,
            tsc_khz: Some(2_000_000),
            vcpus: 2,
            memory_mib: 1024,
            memory: None,
            kernel: "/kernel".into(),
            initramfs: "/initramfs".into(),
            disks: Some(DiskDescriptors { root: 12, scratch: 13, home: Home::Exported(14) }),
            agent: 15,
            qmp: 16,
            tap: None,
            is_verbose: false,
        }
    }

    #[test]
    fn guest_without_tap_has_no_network() {
        let line = command_line().to_arguments().join(" ");
        assert!(!line.contains("-netdev") && !line.contains("-nic"), "{line}");
        let line = CommandLine { tap: Some(17), ..command_line() }.to_arguments().join(" ");
        assert!(line.contains("-netdev tap,id=net,fd=17"), "{line}");
    }

    #[test]
    fn only_restored_guest_keeps_its_memory_apart() {
        let memory = |is_restored| Memory { path: "/guest-memory".into(), is_restored };
        let line = |memory| CommandLine { memory, ..command_line() }.to_arguments().join(" ");
        let prototype = line(Some(memory(false)));
        assert!(prototype.contains("mem-path=/guest-memory,share=on") && !prototype.contains("-incoming"));
        assert!(line(Some(memory(true))).contains("mem-path=/guest-memory,share=off -incoming defer"));
        assert!(!line(None).contains("memory-backend"));
    }

    #[test]
    fn blank_home_needs_no_descriptor() {
        let disks = DiskDescriptors { root: 12, scratch: 13, home: Home::Blank(4096) };
        let line = CommandLine { disks: Some(disks), ..command_line() }.to_arguments().join(" ");
        assert!(line.contains("driver=null-co,size=4096,read-zeroes=on") && !line.contains("nbd"), "{line}");
    }

    #[test]
    fn seccomp_sandbox_is_always_on() {
        assert!(command_line().to_arguments().join(" ").contains("-sandbox on,"));
    }

    #[test]
    fn emulated_guest_trusts_its_counter() {
        let line = command_line().to_arguments().join(" ");
        assert!(line.contains("tsc_early_khz=2000000 tsc=reliable no_timer_check"), "{line}");
    }

    #[test]
    fn kvm_guest_uses_host_clock() {
        let kvm = CommandLine { accelerator: Accelerator::Kvm, tsc_khz: None, ..command_line() };
        let line = kvm.to_arguments().join(" ");
        assert!(line.contains("-accel kvm -cpu host") && !line.contains("tsc_early_khz"), "{line}");
    }
}
