//! The addresses under which browsers reach a server: behind nginx as many configure it, and by
//! plain http from a local network. The steps in the browser are in `browser/address.mjs`.

use std::{
    fs,
    net::{IpAddr, UdpSocket},
    path::Path,
};

use burrow_tests::{
    Stack, StackOptions,
    browser::{browser_enabled, run_script_with},
    free_port, wait_until,
};
use tempfile::TempDir;
use tokio::process::{Child, Command};

/// A configuration of nginx for one site, as found in the wild.
struct Site {
    name: &'static str,
    tls: bool,
    /// Directives of its location, beside the usual ones for WebSockets.
    directives: &'static str,
}

const SITES: [Site; 4] = [
    Site { name: "a", tls: true, directives: "proxy_set_header Host $host:$server_port;" },
    // nginx sends the upstream's address as the host.
    Site { name: "b", tls: true, directives: "" },
    Site {
        name: "c",
        tls: true,
        directives: "proxy_set_header Host $host; proxy_set_header X-Forwarded-Host $host:$server_port;",
    },
    Site { name: "d", tls: false, directives: "proxy_read_timeout 20s;" },
];

#[tokio::test(flavor = "multi_thread")]
async fn common_proxies_work() {
    if !browser_enabled() {
        return;
    }
    for site in &SITES {
        let place = directory();
        let (port, upstream) = (free_port(), free_port());
        let _proxy = start_nginx(place.path(), site, port, upstream);
        let scheme = if site.tls { "https" } else { "http" };
        let url = format!("{scheme}://{}.ide.example.test:{port}", site.name);
        let options = StackOptions::new("fake", &place.path().join("d")).port(upstream);
        let stack = Stack::start_signed_out(options.with(&["--public-url", &url])).await;
        wait_until("nginx listens", || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()).await;
        let screenshots = format!("proxy-{}", site.name);
        run_script_with(&stack, "address.mjs", &screenshots, &[("BURROW_SMALL_UPLOADS", "1")]).await;
        stack.interrupt().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn local_network_works_by_plain_http() {
    if !browser_enabled() {
        return;
    }
    let Some(address) = address_of_this_computer() else {
        eprintln!("skipped: this computer has no network");
        return;
    };
    let place = directory();
    let options = StackOptions::new("fake", &place.path().join("d")).with(&["--listen", "0.0.0.0"]);
    let mut stack = Stack::start_signed_out(options).await;
    assert!(stack.log().contains(&format!("http://{address}:")), "{}", stack.log());
    assert!(stack.log().contains("unencrypted"), "{}", stack.log());
    stack.link = stack.link.replace("127.0.0.1", &address.to_string());
    run_script_with(&stack, "address.mjs", "plain-http", &[]).await;
    stack.interrupt().await;
}

/// A short path, because sockets are created below it, that the user of Postgres can enter.
fn directory() -> TempDir {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = tempfile::Builder::new().prefix("ad").tempdir_in("/tmp").expect("a directory");
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o711)).expect("permitted");
    directory
}

/// The address from which packets to other networks leave. No packet is sent.
fn address_of_this_computer() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    let address = socket.local_addr().ok()?.ip();
    (!address.is_loopback()).then_some(address)
}

fn start_nginx(place: &Path, site: &Site, port: u16, upstream: u16) -> Child {
    let directory = place.to_str().expect("text");
    let (name, directives) = (site.name, site.directives);
    let (tls, certificate) = if site.tls {
        make_certificate(place);
        (" ssl", format!("ssl_certificate {directory}/c.pem; ssl_certificate_key {directory}/k.pem;"))
    } else {
        ("", String::new())
    };
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {directory}/{kind};\n"))
        .concat();
    let text = format!(
        "daemon off; master_process off; pid {directory}/nginx.pid; error_log stderr; user root;
events {{}}
http {{
access_log off;
{temporary}
map $http_upgrade $up {{ default upgrade; '' close; }}
server {{
  listen 127.0.0.1:{port}{tls}; server_name {name}.ide.example.test; {certificate}
  location / {{
    proxy_pass http://127.0.0.1:{upstream}; proxy_http_version 1.1;
    proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $up;
    {directives}
  }}
}}
}}
"
    );
    let file = place.join("nginx.conf");
    fs::write(&file, text).expect("written");
    Command::new("nginx").arg("-c").arg(&file).kill_on_drop(true).spawn().expect("nginx starts")
}

fn make_certificate(place: &Path) {
    let status = std::process::Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "2",
        ])
        .args(["-subj", "/CN=ide.example.test", "-keyout"])
        .arg(place.join("k.pem"))
        .arg("-out")
        .arg(place.join("c.pem"))
        .stderr(std::process::Stdio::null())
        .status();
    assert!(status.expect("openssl starts").success());
}
