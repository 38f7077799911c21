//! QEMU's command line. No effects: descriptors come as numbers, and no secret is among the arguments.
//!
//! Files and sockets are handed over open: the VMM's user may open nothing itself.

use std::os::fd::RawFd;

use protocol::agent::{HOME_SERIAL, PORT_NAME, ROOT_SERIAL, SCRATCH_SERIAL};

use super::accelerator::Accelerator;

/// Translated code of a guest under TCG. More makes a long session no faster and is memory of every machine.
const TRANSLATION_MIB: u32 = 128;

/// What it takes to write the command line of one machine.
pub struct Plan {
    pub accelerator: Accelerator,
    /// The host's time stamp counter, where the guest has no better clock to measure it against.
    pub tsc_khz: Option<u64>,
    pub vcpus: u8,
    pub memory_mib: u32,
    pub kernel: RawFd,
    pub initramfs: RawFd,
    pub disks: Option<Disks>,
    /// Listening sockets.
    pub agent: RawFd,
    pub qmp: RawFd,
    pub tap: Option<RawFd>,
    /// Everything that the kernel says, for a probe.
    pub verbose: bool,
}

#[derive(Clone, Copy)]
pub struct Disks {
    pub root: RawFd,
    pub scratch: RawFd,
    /// A connection to the home's export.
    pub home: RawFd,
}

impl Plan {
    pub fn arguments(&self) -> Vec<String> {
        let mut all = words("-no-user-config -nodefaults -no-reboot -display none");
        all.extend(words("-sandbox on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"));
        all.extend(words("-machine microvm,acpi=on,rtc=on,pit=on,pic=on,isa-serial=on"));
        all.extend(words("-global virtio-mmio.force-legacy=false"));
        all.extend(self.processor());
        all.extend(self.kernel());
        all.extend(words("-chardev stdio,id=console,signal=off -serial chardev:console"));
        all.extend(words(&format!("-chardev socket,id=qmp,fd={},server=on,wait=off", self.qmp)));
        all.extend(words("-mon chardev=qmp,mode=control"));
        all.extend(words(&format!("-chardev socket,id=agent,fd={},server=on,wait=off", self.agent)));
        all.extend(words("-device virtio-serial-device"));
        all.extend(words(&format!("-device virtserialport,chardev=agent,name={PORT_NAME}")));
        all.extend(self.disks.iter().flat_map(Disks::arguments));
        all.extend(self.tap.iter().flat_map(|tap| network(*tap)));
        all
    }

    fn processor(&self) -> Vec<String> {
        let (accelerator, model) = match self.accelerator {
            Accelerator::Kvm => ("kvm".to_owned(), "host"),
            Accelerator::Tcg => (format!("tcg,thread=multi,tb-size={TRANSLATION_MIB}"), "max"),
        };
        words(&format!(
            "-accel {accelerator} -cpu {model} -smp {} -m {}M",
            self.vcpus.max(1),
            self.memory_mib
        ))
    }

    fn kernel(&self) -> Vec<String> {
        let says = if self.verbose { "loglevel=7" } else { "quiet" };
        // Without the hint an emulated guest measures its clock against a timer that a busy host delivers late, and hangs.
        let clock = self.tsc_khz.map(|khz| format!(" tsc_early_khz={khz} no_timer_check"));
        // The kernel's tests of its own ciphers are for certified systems; emulated they are a quarter of its start.
        let line = format!(
            "console=ttyS0 panic=-1 reboot=t random.trust_cpu=on cryptomgr.notests {says}{}",
            clock.unwrap_or_default()
        );
        let mut all =
            words(&format!("-kernel /proc/self/fd/{} -initrd /proc/self/fd/{}", self.kernel, self.initramfs));
        all.extend(["-append".to_owned(), line]);
        all
    }
}

impl Disks {
    fn arguments(&self) -> Vec<String> {
        let Self { root, scratch, home } = self;
        words(&format!(
            "-add-fd fd={root},set=1 \
             -blockdev driver=file,node-name=root-file,filename=/dev/fdset/1,read-only=on,locking=off \
             -blockdev driver=raw,node-name=root,file=root-file,read-only=on \
             -device virtio-blk-device,drive=root,serial={ROOT_SERIAL} \
             -add-fd fd={scratch},set=2 \
             -blockdev driver=file,node-name=scratch-file,filename=/dev/fdset/2,locking=off,discard=unmap,cache.no-flush=on \
             -blockdev driver=raw,node-name=scratch,file=scratch-file,discard=unmap,cache.no-flush=on \
             -device virtio-blk-device,drive=scratch,serial={SCRATCH_SERIAL} \
             -blockdev driver=nbd,node-name=home,server.type=fd,server.str={home},export=home,discard=unmap \
             -device virtio-blk-device,drive=home,serial={HOME_SERIAL}"
        ))
    }
}

fn network(tap: RawFd) -> Vec<String> {
    words(&format!("-netdev tap,id=net,fd={tap} -device virtio-net-device,netdev=net,mac=52:54:00:6f:00:02"))
}

fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> Plan {
        Plan {
            accelerator: Accelerator::Tcg,
            tsc_khz: Some(2_000_000),
            vcpus: 2,
            memory_mib: 1024,
            kernel: 10,
            initramfs: 11,
            disks: Some(Disks { root: 12, scratch: 13, home: 14 }),
            agent: 15,
            qmp: 16,
            tap: None,
            verbose: false,
        }
    }

    #[test]
    fn without_a_tap_there_is_no_network_at_all() {
        let line = plan().arguments().join(" ");
        assert!(!line.contains("-netdev") && !line.contains("-nic"), "{line}");
        let line = Plan { tap: Some(17), ..plan() }.arguments().join(" ");
        assert!(line.contains("-netdev tap,id=net,fd=17"), "{line}");
    }

    #[test]
    fn the_sandbox_is_always_on() {
        assert!(plan().arguments().join(" ").contains("-sandbox on,"));
    }

    #[test]
    fn under_kvm_the_clock_is_the_hosts() {
        let line = Plan { accelerator: Accelerator::Kvm, tsc_khz: None, ..plan() }.arguments().join(" ");
        assert!(line.contains("-accel kvm -cpu host") && !line.contains("tsc_early_khz"), "{line}");
    }
}
