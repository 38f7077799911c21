//! The addresses under which browsers reach a server: behind nginx as many configure it, and by
//! plain http and by https from a local network. The steps in the browser are in `browser/address.mjs`.

use std::{
    net::{IpAddr, UdpSocket},
    path::Path,
};

use burrow_tests::{
    Stack, StackOptions,
    browser::{browser_enabled, run_script_with},
    free_port,
    reverse_proxy::{make_certificate, start_nginx},
    short_directory, wait_until,
};
use tokio::process::Child;

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
        let place = short_directory();
        let (port, upstream) = (free_port(), free_port());
        let _proxy = start_site(place.path(), site, port, upstream);
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

/// Starts a server for the local network, with a link to an address of this computer. None without
/// a browser or a network.
async fn start_in_network(place: &Path, arguments: &[&str]) -> Option<(Stack, IpAddr)> {
    if !browser_enabled() {
        return None;
    }
    let Some(address) = address_of_this_computer() else {
        eprintln!("skipped: this computer has no network");
        return None;
    };
    let options = StackOptions::new("fake", &place.join("d")).with(&["--listen", "0.0.0.0"]);
    let mut stack = Stack::start_signed_out(options.with(arguments)).await;
    stack.link = stack.link.replace("127.0.0.1", &address.to_string());
    Some((stack, address))
}

#[tokio::test(flavor = "multi_thread")]
async fn local_network_works_by_plain_http() {
    let place = short_directory();
    let Some((stack, address)) = start_in_network(place.path(), &[]).await else { return };
    assert!(stack.log().contains(&format!("http://{address}:")), "{}", stack.log());
    assert!(stack.log().contains("unencrypted"), "{}", stack.log());
    run_script_with(&stack, "address.mjs", "plain-http", &[]).await;
    stack.interrupt().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn local_network_works_by_https() {
    let place = short_directory();
    let Some((stack, _)) = start_in_network(place.path(), &["--tls", "self"]).await else { return };
    assert!(!stack.log().contains("unencrypted"), "{}", stack.log());
    run_script_with(&stack, "address.mjs", "tls-self", &[]).await;
    stack.interrupt().await;
}

/// The address from which packets to other networks leave. No packet is sent.
fn address_of_this_computer() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    let address = socket.local_addr().ok()?.ip();
    (!address.is_loopback()).then_some(address)
}

fn start_site(place: &Path, site: &Site, port: u16, upstream: u16) -> Child {
    let directory = place.to_str().expect("text");
    let Site { name, directives, .. } = site;
    let host = format!("{name}.ide.example.test");
    let (tls, certificate) = if site.tls {
        make_certificate(place, &host);
        (" ssl", format!("ssl_certificate {directory}/proxy.pem; ssl_certificate_key {directory}/proxy.key;"))
    } else {
        ("", String::new())
    };
    let http = format!(
        "map $http_upgrade $up {{ default upgrade; '' close; }}
server {{
  listen 127.0.0.1:{port}{tls}; server_name {host}; {certificate}
  location / {{
    proxy_pass http://127.0.0.1:{upstream}; proxy_http_version 1.1;
    proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $up;
    {directives}
  }}
}}"
    );
    start_nginx(place, &http)
}
