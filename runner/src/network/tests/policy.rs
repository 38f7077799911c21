//! Tests network policies with a guest that uses real sockets. Needs root.

use std::{io::ErrorKind, net::Ipv4Addr, time::Instant};

use hickory_resolver::{
    config::{NameServerConfig, ResolverConfig},
    proto::{op::ResponseCode, rr::RecordType},
};
use protocol::network::NetworkRefusal;

use super::{
    lab::{Internet, NAME_SERVER, RealGuest, client_hello, echo},
    *,
};

pub const ALLOWED: [u8; 4] = [203, 0, 113, 10];
pub const OTHER: [u8; 4] = [203, 0, 113, 20];
const SITE: [u8; 4] = [203, 0, 113, 30];

pub fn allowlist(names: &[&str]) -> EffectivePolicy {
    EffectivePolicy::Allowlist { names: names.iter().map(|name| name.parse().expect("a name")).collect() }
}

pub async fn create_network(slot: u16, policy: EffectivePolicy, bounds: NetworkBounds) -> Network {
    Network::create_with(slot, (policy, bounds), vec![NAME_SERVER.into()], name_servers())
        .await
        .expect("a network")
}

fn name_servers() -> NameServers {
    let server = NameServerConfig::udp_and_tcp(NAME_SERVER.into());
    NameServers(ResolverConfig::from_parts(None, vec![], vec![server]))
}

fn with_guest(
    policy: EffectivePolicy,
    test: impl AsyncFnOnce(&Internet, &Network, &RealGuest) + Send + 'static,
) {
    with_bounds(policy, NetworkBounds::default(), test);
}

/// Runs a test in a new "host" with an internet, a sandbox and its guest.
pub fn with_bounds(
    policy: EffectivePolicy,
    bounds: NetworkBounds,
    test: impl AsyncFnOnce(&Internet, &Network, &RealGuest) + Send + 'static,
) {
    if let Err(reason) = check_available().and_then(|()| check_tap_available()) {
        eprintln!("skipped: {reason}");
        return;
    }
    let run = move || {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).expect("a host");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let internet = Internet::start().await;
            let server = HostNetwork::open(&bounds.private_networks).await.expect("rules on the host");
            let network = create_network(7, policy, bounds).await;
            let guest = RealGuest::start(&network).await;
            test(&internet, &network, &guest).await;
            drop(network);
            server.close().await;
        });
    };
    // The namespaces belong to threads that end with the test.
    thread::spawn(run).join().expect("the policy is enforced");
}

fn is_refused<T: std::fmt::Debug>(result: &io::Result<T>) -> bool {
    let refused = [ErrorKind::ConnectionRefused, ErrorKind::HostUnreachable, ErrorKind::ConnectionReset];
    result.as_ref().is_err_and(|error| refused.contains(&error.kind()))
}

async fn check_refused(guest: &RealGuest, address: [u8; 4], port: u16) {
    let result = guest.connect(address, port).await;
    assert!(is_refused(&result), "TCP to {address:?}:{port}: {result:?}");
}

/// Asks our resolver for the addresses of a name.
pub async fn resolve(guest: &RealGuest, name: &'static str) -> (ResponseCode, Vec<IpAddr>) {
    guest.ask(GUEST_GATEWAY, name, RecordType::A).await.expect("an answer")
}

#[test]
fn allowlist_connects_only_to_resolved_names() {
    with_guest(allowlist(&["allowed.example", "*.site.example"]), async |internet, network, guest| {
        assert_eq!(network.nameservers, [IpAddr::V4(GUEST_GATEWAY)]);
        check_refused(guest, ALLOWED, 22).await;
        let found = (ResponseCode::NoError, vec![IpAddr::from(ALLOWED)]);
        assert_eq!(resolve(guest, "Allowed.Example.").await, found);
        assert_eq!(internet.take_asked(), ["allowed.example. A"]);
        guest.connect(ALLOWED, 22).await.expect("resolved");
        guest.send_datagram(ALLOWED, PORT).await.expect("resolved");
        assert_eq!(resolve(guest, "www.site.example.").await.1, [IpAddr::from(SITE)]);
        guest.connect(SITE, 8443).await.expect("resolved");
        for address in [OTHER, [10, 0, 0, 1], [169, 254, 169, 254], [192, 168, 1, 1], HOST_PUBLIC] {
            let result = guest.send_datagram(address, PORT).await;
            assert!(is_refused(&result), "UDP to {address:?}: {result:?}");
            check_refused(guest, address, 8443).await;
        }
        guest.ping(ALLOWED).await;
        guest.ping(OTHER).await;
        guest.connect(ALLOWED, 22).await.expect("after the pings");
        assert_eq!(internet.pings().await, 0, "no ICMP leaves");
        let traffic = network.egress.read_traffic().await.expect("counted");
        assert!(traffic.sent_bytes > 0 && traffic.received_bytes > 0, "{traffic:?}");
    });
}

#[test]
fn resolver_answers_only_allowed_names() {
    with_guest(allowlist(&["allowed.example", "*.site.example"]), async |internet, network, guest| {
        let nothing = |code| (code, vec![]);
        for name in ["other.example.", "secret-data.evil.example.", "site.example.", "a.b.site.example.", "."]
        {
            assert_eq!(resolve(guest, name).await, nothing(ResponseCode::Refused), "{name}");
        }
        for kind in [RecordType::MX, RecordType::TXT, RecordType::NULL, RecordType::ANY] {
            let answer = guest.ask(GUEST_GATEWAY, "allowed.example.", kind).await.expect("an answer");
            assert_eq!(answer, nothing(ResponseCode::Refused), "{kind}");
        }
        for kind in [RecordType::AAAA, RecordType::HTTPS] {
            let answer = guest.ask(GUEST_GATEWAY, "allowed.example.", kind).await.expect("an answer");
            assert_eq!(answer, nothing(ResponseCode::NoError), "{kind}");
        }
        assert_eq!(internet.take_asked(), [""; 0], "nothing of this leaves the host");
        for name in ["rebound.site.example.", "metadata.site.example."] {
            assert_eq!(resolve(guest, name).await, nothing(ResponseCode::Refused), "{name}");
        }
        let mixed = resolve(guest, "mixed.site.example.").await;
        assert_eq!(mixed.1, [IpAddr::from([203, 0, 113, 50])], "private addresses are left out");
        assert_eq!(resolve(guest, "missing.site.example.").await, nothing(ResponseCode::NXDomain));

        // The host's own name server is a way to ours; others are refused, also if their name is allowed.
        let ours = guest.ask(NAME_SERVER, "other.example.", RecordType::A).await.expect("an answer");
        assert_eq!(ours, nothing(ResponseCode::Refused));
        resolve(guest, "allowed.example.").await;
        for server in [ALLOWED, OTHER] {
            let answer = guest.ask(Ipv4Addr::from(server), "other.example.", RecordType::A).await;
            assert!(is_refused(&answer), "{answer:?}");
            check_refused(guest, server, 53).await;
        }

        let refused = network.egress.refused();
        let reason =
            |name: &str| refused.iter().find(|refused| refused.name == name).map(|refused| refused.reason);
        assert_eq!(reason("secret-data.evil.example"), Some(NetworkRefusal::NotAllowed));
        assert_eq!(reason("rebound.site.example"), Some(NetworkRefusal::PrivateAddress));
        assert_eq!(reason("allowed.example"), None);
    });
}

#[test]
fn servers_name_must_match_the_address() {
    with_guest(allowlist(&["allowed.example", "*.site.example"]), async |internet, network, guest| {
        resolve(guest, "allowed.example.").await;
        resolve(guest, "www.site.example.").await;
        let request = |host: &str| format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n").into_bytes();
        guest.connect_with(ALLOWED, 443, client_hello("allowed.example")).await.expect("its name");
        guest.connect_with(ALLOWED, 443, client_hello("Allowed.Example")).await.expect("its name");
        guest.connect_with(SITE, 443, client_hello("www.site.example")).await.expect("its name");
        guest.connect_with(ALLOWED, 80, request("allowed.example:80")).await.expect("its name");
        // Two names on one address: this one's is ALLOWED, too.
        resolve(guest, "alias.site.example.").await;
        guest.connect_with(ALLOWED, 443, client_hello("alias.site.example")).await.expect("its name");
        for (address, port, bytes) in [
            (ALLOWED, 443, client_hello("other.example")),
            (ALLOWED, 443, client_hello("www.site.example")),
            (SITE, 443, client_hello("allowed.example")),
            (ALLOWED, 443, client_hello("203.0.113.10")),
            (ALLOWED, 443, b"SSH-2.0-OpenSSH_9.2 not TLS at all\r\n".to_vec()),
            (ALLOWED, 443, request("allowed.example")),
            (ALLOWED, 80, request("other.example")),
            (ALLOWED, 80, request("www.site.example")),
            (ALLOWED, 80, b"GET / HTTP/1.0\r\n\r\n".to_vec()),
            (ALLOWED, 80, client_hello("allowed.example")),
            (OTHER, 443, client_hello("allowed.example")),
        ] {
            let result = guest.connect_with(address, port, bytes).await;
            assert!(is_refused(&result), "{address:?}:{port}: {result:?}");
        }
        assert!(is_refused(&guest.send_datagram(ALLOWED, 443).await), "QUIC hides the name");
        let refused = network.egress.refused();
        let count = |name: &str, reason: NetworkRefusal| {
            refused.iter().find(|one| one.name == name && one.reason == reason).map(|one| one.count)
        };
        assert_eq!(count("other.example", NetworkRefusal::NotAllowed), Some(2));
        assert_eq!(count("www.site.example", NetworkRefusal::WrongAddress), Some(2));
        assert_eq!(count("203.0.113.10", NetworkRefusal::MissingName), Some(2));
        assert_eq!(internet.take_asked().len(), 3, "the proxy asks for no names");
    });
}

#[test]
fn policy_change_closes_connections() {
    with_guest(allowlist(&["allowed.example", "www.site.example"]), async |internet, network, guest| {
        resolve(guest, "allowed.example.").await;
        resolve(guest, "www.site.example.").await;
        let allowed = guest.connect(ALLOWED, 22).await.expect("resolved");
        let site = guest.connect(SITE, 22).await.expect("resolved");
        let hello = |name| client_hello(name);
        let allowed_tls = guest.connect_with(ALLOWED, 443, hello("allowed.example")).await.expect("resolved");
        let site_tls = guest.connect_with(SITE, 443, hello("www.site.example")).await.expect("resolved");

        let start = Instant::now();
        network.set_policy(allowlist(&["www.site.example", "other.example"])).await.expect("enforced");
        assert!(start.elapsed().as_secs_f32() < 1.0, "{:?}", start.elapsed());
        check_closed(guest, allowed).await;
        check_closed(guest, allowed_tls).await;
        let site = check_open(guest, site).await;
        let site_tls = check_open(guest, site_tls).await;
        check_refused(guest, ALLOWED, 22).await;
        assert_eq!(resolve(guest, "allowed.example.").await.0, ResponseCode::Refused);
        assert_eq!(resolve(guest, "other.example.").await.1, [IpAddr::from(OTHER)]);
        guest.connect(OTHER, 22).await.expect("allowed now");

        network.set_policy(EffectivePolicy::Open).await.expect("enforced");
        let site = check_open(guest, site).await;
        let site_tls = check_open(guest, site_tls).await;
        let anything = guest.connect([203, 0, 113, 40], 22).await.expect("all public addresses");
        internet.take_asked();
        let answer = guest.ask(GUEST_GATEWAY, "allowed.example.", RecordType::TXT).await.expect("an answer");
        assert_eq!(answer.0, ResponseCode::NoError, "from the host's name server");
        assert_eq!(internet.take_asked(), ["allowed.example. TXT"]);

        network.set_policy(EffectivePolicy::None).await.expect("enforced");
        check_closed(guest, site).await;
        check_closed(guest, site_tls).await;
        check_closed(guest, anything).await;
        check_refused(guest, SITE, 22).await;
        internet.take_asked();
        let answer = guest.ask(NAME_SERVER, "allowed.example.", RecordType::A).await;
        assert!(is_refused(&answer), "{answer:?}");
        assert_eq!(internet.take_asked(), [""; 0]);

        network.set_policy(allowlist(&["allowed.example"])).await.expect("enforced");
        check_refused(guest, ALLOWED, 22).await;
        resolve(guest, "allowed.example.").await;
        guest.connect(ALLOWED, 22).await.expect("resolved again");
    });
}

#[test]
fn policy_none_lets_nothing_out() {
    with_guest(EffectivePolicy::None, async |internet, network, guest| {
        for port in [22, 53, 80, 443] {
            check_refused(guest, ALLOWED, port).await;
        }
        assert!(is_refused(&guest.send_datagram(ALLOWED, PORT).await));
        guest.ping(ALLOWED).await;
        let answer = guest.ask(NAME_SERVER, "canary.evil.example.", RecordType::A).await;
        assert!(is_refused(&answer), "{answer:?}");
        assert_eq!(internet.take_asked(), [""; 0]);
        assert_eq!(internet.pings().await, 0);
        assert_eq!(network.egress.read_traffic().await.expect("counted").sent_bytes, 0);
    });
}

/// The connection passes nothing any more: the guest's next packet is answered with a reset.
async fn check_closed(guest: &RealGuest, mut stream: std::net::TcpStream) {
    let result = guest.run(move || echo(&mut stream)).await;
    assert!(is_refused(&result), "{result:?}");
}

async fn check_open(guest: &RealGuest, mut stream: std::net::TcpStream) -> std::net::TcpStream {
    let (stream, result) = guest
        .run(move || {
            let result = echo(&mut stream);
            (stream, result)
        })
        .await;
    result.expect("still allowed");
    stream
}
