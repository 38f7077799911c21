//! Real containers, where the host can run them. Their image holds Perl, which every Debian has, and their
//! agent is a script that reports what it can do on the channel.

use std::{
    io::{BufRead as _, BufReader},
    os::unix::{fs::PermissionsExt as _, net::UnixStream},
    path::Path,
    process::Command as HostCommand,
    time::Duration,
};

use futures_util::FutureExt as _;
use protocol::{
    Epoch, TenantId, VolumeId,
    runner::{RunnerSpec, RuntimeKind},
    workspace::Tier,
};
use tokio::time::timeout;
use volume::{DataKey, Volume, VolumeOptions, store::DirectoryStore};

use super::*;
use crate::{
    reporter::Reporter,
    slot::Slot,
    supervisor::{SandboxHost, serve},
};

/// Slots that no runner proposes, and that no other test uses.
const SLOTS: [u16; 5] = [16_321, 16_322, 16_323, 16_324, 16_325];
const HOME_MIB: u32 = 64;
/// How long a container may take to report, or to end.
const TIMEOUT: Duration = Duration::from_secs(10);
/// What a container leaves can be seen only while no other test has one.
static ONE_AT_A_TIME: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// Reports facts and the results of system calls, then waits for the end of its input.
const AGENT: &str = r#"#!/usr/bin/perl
open(my $client, "+<&=", 3) or die "no channel: $!";
sub report { print $client "@_\n" }
sub names { opendir(my $d, $_[0]) or return; grep { !/^\./ } sort(readdir $d) }
report("user $> $< $)");
report("pid $$");
open(my $host, "<", "/proc/sys/kernel/hostname"); report("host", <$host> =~ s/\n//r);
open(my $links, "<", "/proc/net/dev"); report("links", map { /^ *(\w+):/ ? $1 : () } <$links>);
report("processes", grep { /^\d+$/ } names("/proc"));
report("sys", names("/sys"));
report("kept", -s "/home/dev/kept" // "nothing");
report("skeleton", -e "/home/dev/.profile" ? "copied" : "missing");
for my $path ("/x", "/usr/x", "/etc/hosts", "/sys/x", "/proc/sys/kernel/hostname", "/proc/sysrq-trigger",
        "/run/x", "/dev/x", "/tmp/x", "/var/tmp/x", "/dev/shm/x", "/home/dev/kept") {
    my $handle;
    report("written", $path) if open($handle, ">>", $path) && syswrite($handle, "x") && close($handle);
}
for my $device (names("/dev")) { report("device", $device) if -b "/dev/$device"; }
report("core", 0 + (-s "/proc/kcore" // 0));
for (split /;/, $ENV{CALLS} // do { open(my $calls, "<", "/etc/calls"); local $/; <$calls> }) {
    my ($name, $number, @arguments) = split /,/;
    $! = 0;
    my $result = syscall($number, map { $_ + 0 } @arguments);
    report("call $name=" . ($result == -1 ? $! + 0 : "done"));
}
report("end");
close $client;
1 while <STDIN>;
"#;

/// System calls that a container must not make: name, number, and arguments that harm nothing elsewhere.
const FORBIDDEN: &str = "socket vsock,41,40,1,0;socket packet,41,17,3,0;socket raw,41,2,3,1;\
    socket raw 6,41,10,3,58;socket netfilter,41,16,3,12;socket xfrm,41,16,3,6;socket audit,41,16,3,9;\
    socket alg,41,38,5,0;socket bluetooth,41,31,3,1;socket can,41,29,3,1;socket key,41,15,3,2;\
    mount,165,0,0,0,0,0;umount2,166,0,0;pivot_root,155,0,0;chroot,161,0;unshare user,272,268435456;\
    unshare net,272,1073741824;unshare mount,272,131072;clone user,56,268435473,0,0,0,0;\
    clone net,56,1073741841,0,0,0,0;clone3,435,0,0;setns,308,-1,0;open_tree,428,-1,0,0;\
    move_mount,429,-1,0,-1,0,0;fsopen,430,0,0;fsmount,432,-1,0,0;mount_setattr,442,-1,0,0,0,0;\
    ptrace,101,99,0,0,0;process_vm_readv,310,1,0,0,0,0,0;process_vm_writev,311,1,0,0,0,0,0;\
    pidfd_getfd,438,-1,0,0;kcmp,312,0,0,0,0,0;bpf,321,99,0,0;perf_event_open,298,0,0,-1,-1,0;\
    userfaultfd,323,99;io_uring_setup,425,0,0;io_uring_enter,426,-1,0,0,0,0;\
    io_uring_register,427,-1,0,0,0;keyctl,250,99,0,0,0,0;add_key,248,0,0,0,0,0;request_key,249,0,0,0,0;\
    init_module,175,0,0,0;finit_module,313,-1,0,0;delete_module,176,0,0;kexec_load,246,0,0,0,-1;\
    reboot,169,0,0,0,0;sethostname,170,0,0;setdomainname,171,0,0;swapon,167,0,0;swapoff,168,0;iopl,172,9;\
    ioperm,173,-1,1,1;acct,163,1;settimeofday,164,1,0;clock_settime,227,0,0;adjtimex,159,0;\
    quotactl,179,-1,0,0,0;open_by_handle_at,304,-1,0,0;fanotify_init,300,-1,0;syslog,103,-1,0,0;vhangup,153;\
    modify_ldt,154,99,0,0;personality,135,131072;ioctl TIOCSTI,16,0,21522,0;ioctl TIOCLINUX,16,0,21532,0;\
    ioctl TIOCSTI with other bits,16,0,4294988818,0;ioctl TIOCSETD,16,0,21539,0;\
    setsockopt TCP_ULP,54,0,6,31,0,0;setsockopt TCP_ULP with other bits,54,0,4294967302,31,0,0;\
    socket sctp,41,2,1,132;socket udplite,41,2,2,136;socket l2tp,41,2,2,115;socket mptcp 6,41,10,1,262;\
    move_pages,279,1,0,0,0,0,0;mbind,237,0,0,99,0,0,0;set_mempolicy,238,99,0,0;\
    migrate_pages,256,0,0,0,0;lookup_dcookie,212,0,0,0;process_madvise,440,-1,0,0,0,0;\
    memfd_secret,447,-1;uselib,134,0;nfsservctl,180,0,0,0;ustat,136,0,0;sysfs,139,9";
/// Calls that programs need.
const NEEDED: &str = "socket unix,41,1,1,0;socket tcp,41,2,1,6;socket udp,41,2,2,17;socket route,41,16,3,0;\
    setsockopt TCP_NODELAY,54,0,6,1,0,0;setsockopt SO_REUSEADDR,54,0,1,2,0,0;getrandom,318,0,0,0;\
    memfd_create,319,0,99;inotify_init1,294,0";

/// A directory with an image, and a volume.
struct Fixture {
    _alone: tokio::sync::MutexGuard<'static, ()>,
    directory: tempfile::TempDir,
    volume: Volume,
}

impl Fixture {
    /// `None` where no containers can run with these kernels.
    async fn create(calls: &str, kernels: &[Kernel]) -> Option<Self> {
        let mut missing = check_available().err();
        if kernels.contains(&Kernel::Gvisor) {
            missing = missing.or(gvisor::check_available(None).await.err());
        }
        let missing = missing
            .or_else(|| HostCommand::new("mkfs.erofs").arg("-V").output().err().map(|e| e.to_string()));
        if let Some(reason) = missing {
            eprintln!("skipped, no container is started: {reason}");
            return None;
        }
        let alone = ONE_AT_A_TIME.lock().await;
        let directory = tempfile::tempdir().expect("a directory");
        build_image(directory.path(), calls);
        let agent = directory.path().join("agent");
        fs::write(&agent, AGENT).expect("written");
        fs::set_permissions(&agent, fs::Permissions::from_mode(0o755)).expect("executable");
        let objects = DirectoryStore::open(directory.path().join("objects")).await.expect("a store");
        let options = VolumeOptions {
            tenant: TenantId::random(),
            volume: VolumeId::random(),
            size_bytes: u64::from(HOME_MIB) * MIB,
            epoch: Epoch(1),
            head: None,
            head_of: None,
            lineage: 0,
            cache: directory.path().join("cache"),
            key: DataKey::random(),
            store: Arc::new(objects),
        };
        let volume = Volume::open(options).await.expect("opens");
        Some(Self { _alone: alone, directory, volume })
    }

    fn spec(&self, written_by: Option<Tier>) -> RunnerSpec {
        let path = |name: &str| self.directory.path().join(name);
        let _ = fs::remove_dir_all(path("run"));
        fs::create_dir(path("run")).expect("created");
        serde_json::from_value(serde_json::json!({
            "tenant": TenantId::random(), "workspace": protocol::WorkspaceId::random(), "name": "box",
            "epoch": 1, "runtime": "container", "volume": VolumeId::random(), "head": null,
            "resources": {
                "vcpus": 1, "memory_mib": 128, "home_mib": HOME_MIB, "scratch_mib": 64, "pids": 64,
            },
            "written_by": written_by, "data_key": "", "run_dir": path("run"),
            "cache_dir": path("cache"), "image_dir": path("image"), "initramfs": "", "agent": path("agent"),
            "slot": 0, "token": "", "grant_key": "",
            "network": { "revision": 0, "policy": protocol::network::EffectivePolicy::Open },
        }))
        .expect("a specification")
    }

    /// Starts a container through a supervisor that is a task of this process.
    async fn start(
        &self,
        slot: u16,
        kernel: Kernel,
        written_by: Option<Tier>,
    ) -> Result<Container, RuntimeError> {
        let mut spec = self.spec(written_by);
        spec.runtime = if kernel == Kernel::Host { RuntimeKind::Container } else { RuntimeKind::Gvisor };
        let reporter = Reporter::new(&spec);
        let (socket, sessions_end) = UnixStream::pair().expect("a pair");
        let mut host = SandboxHost::new(Arc::new(spec.clone()), Slot::acquire_exactly(slot), None);
        tokio::spawn(async move {
            serve(&mut host, Arc::new(socket)).await.expect("understood");
            host.remove().await;
        });
        let supervisor = Supervisor::over(sessions_end).expect("a thread");
        let (spec, supervisor) = (&spec, Some(&supervisor));
        let context = StartContext { spec, supervisor, volume: &self.volume, reporter: &reporter };
        Container::start(&context, supervisor.expect("one")).await
    }
}

/// What the agent reports.
async fn report(container: &Container) -> String {
    let channel = container.agent().channel().try_clone().expect("copied");
    channel.set_read_timeout(Some(TIMEOUT)).expect("a socket");
    let read = move || {
        let lines = BufReader::new(channel).lines().map_while(Result::ok);
        lines.take_while(|line| line != "end").map(|line| line + "\n").collect()
    };
    let text: String = tokio::task::spawn_blocking(read).await.expect("no panic");
    assert!(!text.is_empty(), "{:?}", container.log());
    text
}

/// What is the same with each kernel.
fn check_isolation(report: &str) {
    assert_eq!(facts(report, "user"), ["1000 1000 1000"], "one user, one group");
    assert_eq!(facts(report, "pid"), ["1"]);
    assert_eq!(facts(report, "processes"), ["1"], "it sees itself only");
    assert_eq!(facts(report, "host"), ["box"]);
    let mut links: Vec<_> = facts(report, "links").iter().flat_map(|links| links.split(' ')).collect();
    links.sort_unstable();
    assert_eq!(links, ["eth0", "lo"]);
    assert!(report.contains("\nsys\n"), "nothing of the host's devices");
    assert_eq!(facts(report, "core"), ["0"]);
    assert_eq!(facts(report, "device"), Vec::<&str>::new());
    assert_eq!(facts(report, "written"), ["/tmp/x", "/var/tmp/x", "/dev/shm/x", "/home/dev/kept"]);
}

fn build_image(directory: &Path, calls: &str) {
    let root = directory.join("root");
    for name in ["proc", "dev", "sys", "run", "tmp", "var/tmp", "home/dev", "etc/skel", "usr/bin", "lib64"] {
        fs::create_dir_all(root.join(name)).expect("created");
    }
    for name in ["etc/hosts", "etc/hostname", "etc/resolv.conf", "etc/skel/.profile"] {
        fs::write(root.join(name), "").expect("written");
    }
    fs::write(root.join("etc/calls"), calls).expect("written");
    let listed = HostCommand::new("ldd").arg("/usr/bin/perl").output().expect("ldd runs").stdout;
    let listed = String::from_utf8(listed).expect("text");
    let libraries =
        listed.split_whitespace().filter(|word| word.starts_with('/')).filter(|word| !word.ends_with(':'));
    for file in libraries.chain(["/usr/bin/perl"]) {
        let target = root.join(&file[1..]);
        fs::create_dir_all(target.parent().expect("in a directory")).expect("created");
        fs::copy(file, target).expect("copied");
    }
    let image = directory.join("image");
    fs::create_dir(&image).expect("created");
    let mut pack = HostCommand::new("mkfs.erofs");
    let packed = pack.arg(image.join(crate::images::ROOTFS)).arg(&root).output().expect("mkfs.erofs runs");
    assert!(packed.status.success(), "{packed:?}");
}

fn facts<'a>(report: &'a str, name: &str) -> Vec<&'a str> {
    report.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(' ')).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn container_isolates_and_keeps_home() {
    let calls = format!("{FORBIDDEN};{NEEDED}");
    let Some(fixture) = Fixture::create(&calls, &[Kernel::Host]).await else { return };
    let container = fixture.start(SLOTS[0], Kernel::Host, None).await.expect("started");
    let first = report(&container).await;
    println!("{first}{:?}", container.log());
    check_isolation(&first);
    assert_eq!(facts(&first, "skeleton"), ["copied"]);
    assert_eq!(facts(&first, "kept"), ["nothing"]);
    let refused = libc::ENOSYS.to_string();
    let results = facts(&first, "call");
    assert_eq!(results.len(), calls.split(';').count(), "{results:?}");
    for (position, result) in results.iter().enumerate() {
        let is_refused = result.rsplit_once('=').expect("a result").1 == refused;
        assert_eq!(is_refused, position < FORBIDDEN.split(';').count(), "{result}");
    }
    container.shut_down().await.expect("ended");

    let started = fixture.start(SLOTS[0], Kernel::Host, Some(Tier::Container)).await;
    let container = started.expect("started again");
    assert_eq!(facts(&report(&container).await, "kept"), ["1"], "the home was kept");
    container.kill().await;
    let started = fixture.start(SLOTS[0], Kernel::Host, Some(Tier::Container)).await;
    let container = started.expect("started after a kill");
    assert_eq!(facts(&report(&container).await, "kept"), ["2"], "and what was written before a kill");
    container.shut_down().await.expect("ended");
    fixture.volume.close().await.expect("closed");
}

#[tokio::test(flavor = "multi_thread")]
async fn gvisor_isolates_and_shares_homes() {
    let Some(fixture) = Fixture::create(NEEDED, &[Kernel::Host, Kernel::Gvisor]).await else { return };
    let container = fixture.start(SLOTS[3], Kernel::Gvisor, None).await.expect("started");
    let first = report(&container).await;
    println!("{first}{:?}", container.log());
    check_isolation(&first);
    assert_eq!(facts(&first, "skeleton"), ["copied"]);
    container.shut_down().await.expect("ended");
    for (kernel, written_by, kept) in [
        (Kernel::Host, Tier::Gvisor, "1"),
        (Kernel::Gvisor, Tier::Container, "2"),
        (Kernel::Gvisor, Tier::Gvisor, "3"),
        (Kernel::Host, Tier::Gvisor, "4"),
    ] {
        let container = fixture.start(SLOTS[3], kernel, Some(written_by)).await.expect("started");
        assert_eq!(facts(&report(&container).await, "kept"), [kept], "{kernel:?} after {written_by:?}");
        // Both ends keep what was written.
        if kept == "2" { container.kill().await } else { container.shut_down().await.expect("ended") }
    }
    fixture.volume.close().await.expect("closed");
}

#[tokio::test(flavor = "multi_thread")]
async fn container_leaves_nothing() {
    check_leftovers(Kernel::Host, SLOTS[1]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn gvisor_leaves_nothing() {
    check_leftovers(Kernel::Gvisor, SLOTS[4]).await;
}

async fn check_leftovers(kernel: Kernel, slot: u16) {
    let Some(fixture) = Fixture::create(NEEDED, &[kernel]).await else { return };
    let leftovers = |fixture| leftovers(fixture, slot);
    for _ in 0..2 {
        let mut container = fixture.start(slot, kernel, None).await.expect("started");
        report(&container).await;
        let exit = container.wait().now_or_never();
        assert!(exit.is_none(), "it runs: {exit:?} {:?}", container.log());
        container.shut_down().await.expect("ended");
    }
    // The kernel releases a loop device and ends a session a moment after the last use.
    let released = async {
        while !leftovers(&fixture).is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    assert!(timeout(TIMEOUT, released).await.is_ok(), "{:?}", leftovers(&fixture));
    fixture.volume.close().await.expect("closed");
}

#[tokio::test(flavor = "multi_thread")]
async fn home_of_virtual_machine_is_refused() {
    let Some(fixture) = Fixture::create(NEEDED, &[Kernel::Host]).await else { return };
    for kernel in [Kernel::Host, Kernel::Gvisor] {
        let error = fixture.start(SLOTS[2], kernel, Some(Tier::Microvm)).await.err().expect("refused");
        assert!(error.to_string().contains("written by a virtual machine"), "{error}");
    }
    assert_eq!(leftovers(&fixture, SLOTS[2]), Vec::<String>::new(), "nothing was started");
    fixture.volume.close().await.expect("closed");
}

/// Mounts, loop devices, cgroups, threads and processes of this test.
fn leftovers(fixture: &Fixture, slot: u16) -> Vec<String> {
    let directory = fixture.directory.path().to_str().expect("a text");
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("readable");
    let mut found: Vec<_> =
        mounts.lines().filter(|line| line.contains(directory)).map(str::to_owned).collect();
    for device in fs::read_dir("/sys/block").expect("readable").flatten() {
        let file = fs::read_to_string(device.path().join("loop/backing_file")).unwrap_or_default();
        if file.contains(directory) {
            found.push(file);
        }
    }
    // A volume is served until its file system, and with it the loop device, is gone.
    for thread in fs::read_dir("/proc/self/task").expect("readable").flatten() {
        let name = fs::read_to_string(thread.path().join("comm")).unwrap_or_default();
        found.extend((name.trim() == "home-volume").then_some(name));
    }
    for process in fs::read_dir("/proc").expect("readable").flatten() {
        let arguments = fs::read(process.path().join("cmdline")).unwrap_or_default();
        let arguments = String::from_utf8_lossy(&arguments).replace('\0', " ");
        found.extend(arguments.contains(directory).then_some(arguments));
    }
    let cgroups = HostCommand::new("find")
        .args(["/sys/fs/cgroup", "-name", &format!("sandbox-{slot}")])
        .output()
        .expect("find runs");
    found.extend(String::from_utf8_lossy(&cgroups.stdout).lines().map(str::to_owned));
    found
}
