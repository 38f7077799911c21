//! Ceph's object gateway on a cluster of one monitor and one in-memory OSD, from Debian's packages.

use std::{
    fs,
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

const START_TIMEOUT: Duration = Duration::from_secs(120);
/// How often it is checked whether the gateway listens.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// A running cluster. It ends when it is dropped.
pub struct Ceph {
    children: Vec<Child>,
    pub address: SocketAddr,
    directory: tempfile::TempDir,
}

impl Ceph {
    /// Whether the packages are installed. `cargo xtask soak` installs them.
    pub fn is_installed() -> bool {
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path).any(|directory| directory.join("radosgw").is_file())
    }

    /// Starts a cluster with one user, `tester`, whose secret is `secret`.
    pub fn start() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let (monitor, gateway) = (free_port(), free_port());
        let address = SocketAddr::from(([127, 0, 0, 1], gateway));
        let mut ceph = Self { children: Vec::new(), address, directory };
        let (cluster, osd) = (uuid(), uuid());
        ceph.configure(&cluster, monitor);
        ceph.create_keys();
        let monitor = format!("v2:127.0.0.1:{monitor}");
        ceph.run("monmaptool", &["--create", "--addv", "a", &monitor, "--fsid", &cluster, "monmap"]);
        ceph.run("ceph-mon", &["--mkfs", "-i", "a", "--monmap", "monmap", "--keyring", "keyring"]);
        ceph.spawn("ceph-mon", &["-i", "a", "-f"]);
        ceph.run("ceph", &["osd", "new", &osd]);
        ceph.run("ceph-osd", &["-i", "0", "--mkfs", "--osd-uuid", &osd]);
        ceph.spawn("ceph-osd", &["-i", "0", "-f"]);
        let frontend = format!("beast endpoint={address}");
        ceph.spawn("radosgw", &["-n", "client.admin", "-f", "--rgw-frontends", &frontend]);
        let user = [
            "--uid",
            "tester",
            "--display-name",
            "Tester",
            "--access-key",
            "tester",
            "--secret-key",
            "secret",
        ];
        ceph.run("radosgw-admin", &[&["user", "create"], &user[..]].concat());
        ceph.wait_until_listening();
        ceph
    }

    fn configure(&self, cluster: &str, monitor: u16) {
        let directory = self.directory.path().display();
        let text = format!(
            "[global]\nfsid = {cluster}\nmon_host = v2:127.0.0.1:{monitor}\npublic_addr = 127.0.0.1\n\
             mon_data = {directory}/mon\nosd_data = {directory}/osd\nrgw_data = {directory}\n\
             keyring = {directory}/keyring\nrun_dir = {directory}\npid_file =\n\
             admin_socket = {directory}/$name.asok\nlog_file = {directory}/$name.log\n\
             osd_objectstore = memstore\nmemstore_device_bytes = 2147483648\nosd_pool_default_size = 1\n\
             osd_pool_default_min_size = 1\nosd_pool_default_pg_num = 1\nosd_crush_chooseleaf_type = 0\n\
             mon_allow_pool_size_one = true\nmon_data_avail_crit = 0\n",
        );
        fs::write(self.directory.path().join("ceph.conf"), text).expect("written");
        for data in ["mon", "osd"] {
            fs::create_dir(self.directory.path().join(data)).expect("made");
        }
    }

    fn create_keys(&self) {
        let all = ["--cap", "mon", "allow *", "--cap", "osd", "allow *"];
        for (name, more) in [("mon.", &["-C"][..]), ("client.admin", &[]), ("osd.0", &[])] {
            self.run_without_config("ceph-authtool", &[&["keyring", "-g", "-n", name], more, &all].concat());
        }
    }

    fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args(arguments).current_dir(self.directory.path()).stdin(Stdio::null());
        command
    }

    fn run(&self, program: &str, arguments: &[&str]) {
        self.run_without_config(program, &[arguments, &["-c", "ceph.conf"]].concat());
    }

    fn run_without_config(&self, program: &str, arguments: &[&str]) {
        let mut command = self.command(
            "timeout",
            &[&[START_TIMEOUT.as_secs().to_string().as_str(), program], arguments].concat(),
        );
        let output = command.output().unwrap_or_else(|error| panic!("{program}: {error}"));
        let text = [output.stdout, output.stderr].concat();
        assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&text));
    }

    fn spawn(&mut self, program: &str, arguments: &[&str]) {
        let log = fs::File::create(self.directory.path().join(program).with_extension("out")).expect("a log");
        let mut command = self.command(program, &[arguments, &["-c", "ceph.conf"]].concat());
        let child = command.stdout(Stdio::null()).stderr(log).spawn();
        self.children.push(child.unwrap_or_else(|error| panic!("{program}: {error}")));
    }

    fn wait_until_listening(&mut self) {
        let deadline = Instant::now() + START_TIMEOUT;
        while TcpStream::connect(self.address).is_err() {
            let has_ended =
                self.children.iter_mut().any(|child| child.try_wait().expect("waited for").is_some());
            assert!(!has_ended && Instant::now() < deadline, "{}", read_logs(self.directory.path()));
            sleep(POLL_INTERVAL);
        }
    }
}

impl Drop for Ceph {
    fn drop(&mut self) {
        for child in self.children.iter_mut().rev() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A port that is free now: the servers do not report which one they chose.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("bound").port()
}

fn uuid() -> String {
    fs::read_to_string("/proc/sys/kernel/random/uuid").expect("there").trim().to_owned()
}

fn read_logs(directory: &Path) -> String {
    let files = fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path());
    let logs = files.filter(|file| file.extension().is_some_and(|end| end == "out"));
    logs.map(|file| fs::read_to_string(file).unwrap_or_default()).collect()
}
