//! What a program in the VMM's jail can reach. The program is Perl, which every Debian has: a script
//! attempts actions and prints how each ended.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Stdio,
};

use tokio::io::AsyncReadExt as _;

use super::{GuestMemory, Jail};
use crate::cgroup::{Disks, Limits, SandboxCgroup};

/// A user that owns nothing and runs nothing else.
const UID: u32 = 619_998;
const PERL: &str = "/usr/bin/perl";

/// Attempts each system call (name, number, arguments) and prints its error, or "done".
const CALLS: &str = r#"
    for (split /;/, $ARGV[0]) {
        my ($name, $number, @arguments) = split /,/;
        $! = 0;
        my $result = syscall($number, map { $_ + 0 } @arguments);
        print "$name ", ($result == -1 ? $! + 0 : "done"), "\n";
    }
"#;

/// Prints facts about the process and what it can see.
const FACTS: &str = r#"
    $| = 1;
    print "uid $> $<\n", "groups $)\n", "pid $$\n";
    my @seen;
    my @directories = ("/");
    while (my $directory = shift @directories) {
        opendir(my $handle, $directory) or next;
        for (sort grep { !/^\.\.?$/ } readdir $handle) {
            my $path = ($directory eq "/" ? "" : $directory) . "/$_";
            push @seen, $path;
            push @directories, $path if -d $path && !-l $path && $path !~ m{^/usr/(lib|lib64|share)/};
        }
    }
    print "seen @seen\n";
    for my $path ("/x", "/tmp/x", "/usr/x", "/usr/lib/x", "/usr/bin/perl", $0) {
        print "written $path\n" if open(my $handle, ">>", $path);
    }
    for my $other (2 .. 70000) { print "process $other\n" if kill 0, $other }
    my $child = fork;
    print "forked\n" if defined $child;
    print "environment ", join(" ", keys %ENV), "\n";
    exec "/bin/sh", "-c", "echo executed";
"#;

/// System calls that the VMM does not need: name, number, and arguments that harm nothing elsewhere.
const FORBIDDEN: &str = "socket inet,41,2,1,0;socket unix,41,1,1,0;socket netlink,41,16,3,0;\
    socket packet,41,17,3,0;socket vsock,41,40,1,0;socket alg,41,38,5,0;socketpair,53,1,1,0,0;\
    connect,42,99,0,0;bind,49,99,0,0;\
    mount,165,0,0,0,0,0;umount2,166,0,0;pivot_root,155,0,0;chroot,161,0;unshare,272,0;setns,308,-1,0;\
    open_tree,428,-1,0,0;move_mount,429,-1,0,-1,0,0;fsopen,430,0,0;mount_setattr,442,-1,0,0,0,0;\
    clone3,435,0,0;ptrace,101,99,0,0,0;process_vm_readv,310,1,0,0,0,0,0;process_vm_writev,311,1,0,0,0,0,0;\
    pidfd_open,434,0,0;pidfd_getfd,438,-1,0,0;pidfd_send_signal,424,-1,0,0,0;kcmp,312,0,0,0,0,0;\
    bpf,321,99,0,0;perf_event_open,298,0,0,-1,-1,0;userfaultfd,323,99;\
    io_uring_setup,425,0,0;io_uring_enter,426,-1,0,0,0,0;io_uring_register,427,-1,0,0,0;\
    keyctl,250,99,0,0,0,0;add_key,248,0,0,0,0,0;request_key,249,0,0,0,0;\
    init_module,175,0,0,0;finit_module,313,-1,0,0;delete_module,176,0,0;\
    kexec_load,246,0,0,0,-1;reboot,169,0,0,0,0;sethostname,170,0,0;setdomainname,171,0,0;\
    swapon,167,0,0;swapoff,168,0;iopl,172,9;ioperm,173,-1,1,1;acct,163,1;\
    settimeofday,164,1,0;clock_settime,227,0,0;adjtimex,159,0;quotactl,179,-1,0,0,0;\
    personality,135,-1;name_to_handle_at,303,-1,0,0,0,0;open_by_handle_at,304,-1,0,0;\
    fanotify_init,300,-1,0;inotify_init1,294,-1;mknod,133,0,0,0;mkdir,83,0,0;symlink,88,0,0;link,86,0,0;\
    rename,82,0,0;unlink,87,0;rmdir,84,0;chmod,90,0,0;fchmod,91,99,0;chown,92,0,0,0;utimensat,280,99,1,1,0;\
    setxattr,188,0,0,0,0,0;setuid,105,0;setgid,106,0;setgroups,116,-1,0;setresuid,117,0,0,0;\
    setfsuid,122,0;capset,126,0,0;msgget,68,12345,0;semget,64,12345,0,0;shmget,29,12345,0,0;shmat,30,-1,0,0;\
    mq_open,240,0,0,0,0;syslog,103,-1,0,0;vhangup,153;mbind,237,0,0,99,0,0,0;\
    migrate_pages,256,0,0,0,0;move_pages,279,1,0,0,0,0,0;set_mempolicy,238,99,0,0;\
    landlock_create_ruleset,444,0,0,0;sched_setscheduler,144,0,99,0;setpriority,141,99,0,0;\
    execveat,322,-1,0,0,0,0;kill,62,99999,0;tkill,200,99999,0;rt_sigqueueinfo,129,99999,0,0;\
    setsid,112;setpgid,109,-1,0;prlimit64 of another,302,99999,7,0,0;prctl dumpable,157,4,1,0,0,0;\
    prctl ptracer,157,1499557217,-1,0,0,0;splice,275,-1,0,-1,0,0,0;vmsplice,278,-1,0,0,0;tee,276,-1,-1,0,0;\
    sendfile,40,-1,-1,0,0;copy_file_range,326,-1,0,-1,0,0,0;modify_ldt,154,99,0,0;lookup_dcookie,212,0,0,0;\
    memfd_secret,447,-1;process_madvise,440,-1,0,0,0,0;pkey_alloc,330,0,-1";

/// Prints a line when it runs, and waits to be killed.
const WAIT: &str = "$| = 1; print qq(runs\\n); sleep 600";
/// A slot that no runner proposes.
const SLOT: u16 = 16_311;

/// Opens the file of the guest's memory as the VMM does, changes it in each way, and prints what it reads
/// afterwards.
const CHANGE_MEMORY: &str = r#"
open(my $file, "+<", "/guest-memory") or die "cannot open: $!";
my $written = syswrite($file, "changed");
print defined($written) ? "written " : "refused ";
print syscall(285, fileno($file), 3, 4096, 4096) == 0 ? "freed " : "kept ";
for my $at (0, 4096) {
    sysseek($file, $at, 0);
    sysread($file, my $text, 7);
    print $text =~ /^\0*$/ ? "zero" : $text, " ";
}
print open(my $again, "+<", "/guest-memory") ? "again" : "once";
"#;

async fn run_in_jail(script: &str, argument: &str) -> String {
    run_in(Jail::for_program(PathBuf::from(PERL), Some(UID)), script, argument).await
}

async fn run_in(mut jail: Jail, script: &str, argument: &str) -> String {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("script");
    std::fs::write(&file, script).expect("written");
    let script = jail.show(&file, "script").expect("it is there");
    let arguments = vec![script.display().to_string(), argument.to_owned()];
    let mut process = jail.spawn(arguments).await.expect("started");
    let (mut output, mut errors) = (String::new(), String::new());
    let stdout = process.child.stdout.as_mut().expect("piped");
    stdout.read_to_string(&mut output).await.expect("read");
    process.child.stderr.as_mut().expect("piped").read_to_string(&mut errors).await.expect("read");
    let status = process.child.wait().await.expect("waited for");
    println!("{status}\n{errors}");
    output
}

/// How each system call ended outside of the jail, for a user without rights.
async fn run_outside(argument: &str) -> String {
    let mut command = tokio::process::Command::new(PERL);
    command.args(["-e", CALLS, argument]).uid(UID).gid(UID).stdin(Stdio::null());
    let output = command.output().await.expect("started");
    String::from_utf8(output.stdout).expect("text")
}

fn results(output: &str) -> BTreeMap<&str, &str> {
    output.lines().filter_map(|line| line.rsplit_once(' ')).collect()
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

#[tokio::test]
async fn jail_refuses_all_other_system_calls() {
    if !is_root() {
        return eprintln!("skipped: only root can enter the whole jail");
    }
    let not_implemented = libc::ENOSYS.to_string();
    let jailed = run_in_jail(CALLS, FORBIDDEN).await;
    let jailed = results(&jailed);
    assert_eq!(jailed.len(), FORBIDDEN.split(';').count(), "{jailed:?}");
    for (call, result) in &jailed {
        assert_eq!(result, &not_implemented, "{call}");
    }
    // Elsewhere most of them exist, so the jail is what refuses them.
    let outside = run_outside(FORBIDDEN).await;
    let existing = results(&outside).into_values().filter(|result| *result != not_implemented).count();
    assert!(existing > jailed.len() * 8 / 10, "{existing}: {outside}");
}

#[tokio::test]
async fn jail_shows_only_program_and_libraries() {
    if !is_root() {
        return eprintln!("skipped: only root can enter the whole jail");
    }
    let output = run_in_jail(FACTS, "").await;
    let fact = |name: &str| {
        output.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')).unwrap_or_default()
    };
    assert_eq!(fact("uid"), format!("{UID} {UID}"), "{output}");
    assert_eq!(fact("groups"), UID.to_string());
    assert_eq!(fact("pid"), "1", "it has its own process namespace");
    assert_eq!(fact("environment"), "");
    for refused in ["written", "process", "forked", "executed"] {
        assert!(!output.lines().any(|line| line.starts_with(refused)), "{output}");
    }
    let allowed = ["/lib", "/lib64", "/usr", "/usr/bin", "/usr/lib", "/usr/share", PERL, "/script"];
    for path in fact("seen").split(' ') {
        let is_expected = allowed.contains(&path)
            || ["/usr/lib", "/usr/lib64", "/usr/share"].iter().any(|parent| {
                path.strip_prefix(parent).is_some_and(|rest| rest[1..].split('/').count() == 1)
            });
        assert!(is_expected, "{path} is there: {output}");
    }
}

#[tokio::test]
async fn jail_starts_program_in_cgroup() {
    if let Err(reason) = crate::cgroup::check_available() {
        return eprintln!("skipped: {reason}");
    }
    let slot = crate::slot::Slot::acquire_exactly(SLOT).expect("free");
    let resources =
        protocol::workspace::Resources { vcpus: 1, memory_mib: 64, home_mib: 1, scratch_mib: 1, pids: 1 };
    let mut cgroup = SandboxCgroup::create(&slot, &Limits::of_microvm(&resources, Disks::default())).await;
    let mut jail = Jail::for_program(PathBuf::from(PERL), Some(UID));
    jail.set_cgroups(cgroup.open_entries().expect("opened"));
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("script");
    std::fs::write(&file, WAIT).expect("written");
    let script = jail.show(&file, "script").expect("it is there");
    let mut process = jail.spawn(vec![script.display().to_string()]).await.expect("started");
    let mut line = [0; 4];
    process.child.stdout.as_mut().expect("piped").read_exact(&mut line).await.expect("it runs");
    let id = process.child.id().expect("it runs");
    let joined = std::fs::read_to_string(format!("/proc/{id}/cgroup")).expect("readable");
    assert!(joined.contains(&format!("/burrow/sandbox-{SLOT}\n")), "{joined}");
    cgroup.remove().await;
    assert!(!process.child.wait().await.expect("waited for").success(), "it was killed");
}

/// A file of two pages, which begin with "first.." and "second.".
fn memory_file() -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().expect("a file");
    file.as_file().set_len(8192).expect("its length is set");
    for (at, text) in [(0, b"first.."), (4096, b"second.")] {
        std::os::unix::fs::FileExt::write_all_at(file.as_file(), text, at).expect("written");
    }
    file
}

async fn change_memory(memory: GuestMemory) -> String {
    let mut jail = Jail::for_program(PathBuf::from(PERL), is_root().then_some(UID));
    jail.set_max_file_bytes(8192);
    assert_eq!(jail.set_memory(memory).expect("supervised"), Path::new("/guest-memory"));
    run_in(jail, CHANGE_MEMORY, "").await
}

#[tokio::test]
async fn guest_changes_no_prototype() {
    let file = memory_file();
    let before = std::fs::read(file.path()).expect("readable");
    let private = std::fs::File::open(file.path()).expect("opened");
    let output = change_memory(GuestMemory::private(private)).await;
    // QEMU is told that pages are free, but the file has them still.
    assert_eq!(output, "refused freed first.. second. once");
    assert_eq!(std::fs::read(file.path()).expect("readable"), before);
}

#[tokio::test]
async fn new_prototype_follows_its_guest() {
    let file = memory_file();
    let shared = std::fs::File::options().read(true).write(true).open(file.path()).expect("opened");
    assert_eq!(change_memory(GuestMemory::shared(shared)).await, "written freed changed zero once");
}
