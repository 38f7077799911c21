//! Tests what the operator of a host sets for all sandboxes, with guests that use real sockets. Needs root.

use std::{
    sync::{Arc, Mutex},
    time::Instant,
};

use hickory_resolver::proto::{op::ResponseCode, rr::RecordType};

use super::{
    lab::{FLOOD_PORT, Internet, NAME_SERVER, RealGuest, count, echo_udp},
    policy::{ALLOWED, OTHER, allowlist, create_network, resolve, with_bounds},
    *,
};

const PACKETS_PER_SECOND: u32 = 500;
/// So many packets or datagrams are a flood: a multiple of what the limit lets through in this time.
const FLOOD_PACKETS: u64 = 10_000;
/// Packets that are not part of a flood, such as those of ARP and of the test's own connections.
const OTHER_PACKETS: u64 = 100;
const PRIVATE: [u8; 4] = [10, 0, 0, 1];
const HOST_PRIVATE: [u8; 4] = [10, 0, 0, 2];

fn limited(packets_per_second: Option<u32>, mbit_per_second: Option<u32>) -> NetworkBounds {
    NetworkBounds { packets_per_second, mbit_per_second, private_networks: vec![] }
}

fn private(networks: &[&str]) -> NetworkBounds {
    let private_networks = networks.iter().map(|network| network.parse().expect("private")).collect();
    NetworkBounds { private_networks, ..NetworkBounds::default() }
}

/// What a limit lets through from a time on.
fn allowance(per_second: u32, burst: u32, start: Instant) -> u64 {
    let seconds = start.elapsed().as_secs_f64();
    u64::from(burst) + (f64::from(per_second) * seconds).ceil() as u64
}

/// Floods until so many packets have arrived at the sandbox's link. What was sent before the connection at
/// the end has then passed or was dropped.
async fn flood(network: &Network, guest: &RealGuest, length: usize) {
    while count(&network.namespace, "guest").received_packets < FLOOD_PACKETS {
        guest.flood(ALLOWED, length).await;
    }
    guest.connect(ALLOWED, 22).await.expect("connects between the drops");
}

#[test]
fn flood_is_cut_and_starves_nobody() {
    let bounds = limited(Some(PACKETS_PER_SECOND), None);
    with_bounds(EffectivePolicy::Open, bounds.clone(), async move |_, network, guest| {
        let other_network = create_network(8, EffectivePolicy::Open, bounds).await;
        let other = RealGuest::start(&other_network).await;
        let start = Instant::now();
        tokio::join!(flood(network, guest, 20), async {
            for _ in 0..100 {
                // Not the flood's server, whose queue is full.
                other.send_datagram(OTHER, PORT).await.expect("no datagram of another sandbox is lost");
            }
        });
        let sent = count(&network.namespace, "up").sent_packets;
        let allowed = allowance(PACKETS_PER_SECOND, PACKETS_PER_SECOND, start);
        assert!(sent <= allowed + OTHER_PACKETS, "{sent} packets have left, {allowed} may");
        assert!(sent >= u64::from(PACKETS_PER_SECOND), "{sent} packets have left");
    });
}

#[test]
fn flood_towards_a_guest_is_cut() {
    let bounds = limited(Some(PACKETS_PER_SECOND), None);
    with_bounds(EffectivePolicy::Open, bounds, async |_, network, guest| {
        let start = Instant::now();
        while count(&network.namespace, "up").received_packets < FLOOD_PACKETS {
            guest.send(ALLOWED, FLOOD_PORT).await;
            guest.connect(ALLOWED, 22).await.expect("connects between the drops");
        }
        let received = count(guest.namespace(), "eth0").received_packets;
        let allowed = allowance(PACKETS_PER_SECOND, PACKETS_PER_SECOND, start);
        assert!(received <= allowed + OTHER_PACKETS, "{received} packets have arrived, {allowed} may");
    });
}

#[test]
fn bandwidth_is_limited() {
    let (mbit, length) = (2, 1400);
    with_bounds(EffectivePolicy::Open, limited(None, Some(mbit)), async move |_, network, guest| {
        let start = Instant::now();
        flood(network, guest, length).await;
        let sent = count(&network.namespace, "up").sent_bytes;
        let bytes = mbit * 125_000;
        let allowed = allowance(bytes, bytes + 128 * 1024, start);
        // The link counts its own headers, too.
        assert!(sent <= allowed + allowed / 50, "{sent} bytes have left, {allowed} may");
        assert!(sent >= u64::from(bytes), "{sent} bytes have left");
        let upload = guest.connect_with(ALLOWED, 22, vec![7; 1 << 20]).await;
        upload.expect("a large transfer gets through");
    });
}

#[test]
fn zero_sets_no_limit() {
    with_bounds(EffectivePolicy::Open, limited(None, None), async |_, network, guest| {
        let start = Instant::now();
        let allowed = || allowance(PACKETS_PER_SECOND, PACKETS_PER_SECOND, start);
        let passing = async {
            while count(&network.namespace, "up").sent_packets < 2 * allowed() {
                guest.flood(ALLOWED, 20).await;
            }
        };
        tokio::time::timeout(TEST_TIMEOUT, passing)
            .await
            .expect("more passes than a limit would let through");
    });
}

/// Addresses that a private network may contain. Those at the end stay out of reach.
const PRIVATE_ADDRESSES: [[u8; 4]; 6] =
    [PRIVATE, [100, 66, 0, 1], [192, 168, 1, 1], [169, 254, 169, 254], [100, 100, 100, 200], HOST_PRIVATE];

/// Checks that datagrams reach the first of [`PRIVATE_ADDRESSES`] and none of the others.
async fn check_reached(internet: &Internet, guest: &RealGuest, count: usize) {
    let (reachable, others) = PRIVATE_ADDRESSES.split_at(count);
    for address in others {
        guest.send(*address, PORT).await;
    }
    for address in reachable.iter().chain([&ALLOWED]) {
        guest.send_datagram(*address, PORT).await.expect("reachable");
    }
    assert_eq!(internet.take_received(), [reachable, &[ALLOWED]].concat());
}

#[test]
fn allowed_private_networks_are_reached() {
    let bounds = private(&["10.0.0.0/8", "100.64.0.0/10"]);
    with_bounds(EffectivePolicy::Open, bounds.clone(), async move |internet, network, guest| {
        ip(None, "addr add 10.0.0.2/32 dev wan");
        let host = Arc::new(Mutex::new(Vec::new()));
        echo_udp(HOST_PRIVATE, host.clone());
        check_reached(internet, guest, 2).await;
        guest.connect(PRIVATE, 22).await.expect("allowed");

        // Another server of this host allows nothing, and its sandboxes reach nothing.
        let second = HostNetwork::open(&[]).await.expect("rules");
        let closed = create_network(8, EffectivePolicy::Open, NetworkBounds::default()).await;
        let closed_guest = RealGuest::start(&closed).await;
        check_reached(internet, &closed_guest, 0).await;
        check_reached(internet, guest, 2).await;
        second.close().await;
        check_reached(internet, guest, 2).await;
        drop(closed);

        network.set_policy(EffectivePolicy::None).await.expect("enforced");
        for address in PRIVATE_ADDRESSES {
            guest.send(address, PORT).await;
        }
        network.set_policy(allowlist(&["*.site.example"])).await.expect("enforced");
        assert_eq!(resolve(guest, "rebound.site.example.").await.1, [IpAddr::from(PRIVATE)]);
        guest.connect(PRIVATE, 22).await.expect("a private address of an allowed name");
        let refused = (ResponseCode::Refused, vec![]);
        assert_eq!(resolve(guest, "metadata.site.example.").await, refused);
        assert_eq!(resolve(guest, "mixed.site.example.").await.1, [IpAddr::from([203, 0, 113, 50])]);
        assert_eq!(internet.take_received(), [[0; 4]; 0], "nothing was reached with the policy `none`");
        assert_eq!(*host.lock().expect("no panic"), [[0; 4]; 0], "the host stays out of reach");
    });
}

#[test]
fn rules_of_the_host_end_with_their_server() {
    let bounds = private(&["10.0.0.0/8"]);
    // The sandbox's own rules allow what the server of this test does not.
    let run = move || {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).expect("a host");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let internet = Internet::start().await;
            ip(None, "addr add 10.0.0.2/32 dev wan");
            let server = HostNetwork::open(&[]).await.expect("rules");
            let network = create_network(7, EffectivePolicy::Open, bounds.clone()).await;
            let guest = RealGuest::start(&network).await;
            check_reached(&internet, &guest, 0).await;
            let allowing = HostNetwork::open(&bounds.private_networks).await.expect("rules");
            check_reached(&internet, &guest, 1).await;
            allowing.close().await;
            // Nothing of it is left. Its connections end with its sandboxes.
            let other = create_network(8, EffectivePolicy::Open, bounds).await;
            let other = (RealGuest::start(&other).await, other);
            check_reached(&internet, &other.0, 0).await;
            let own = ["10.0.0.2".parse().expect("private")];
            let refused = HostNetwork::open(&own).await.expect_err("its own address");
            assert!(matches!(refused, NetworkError::OwnAddress(_)), "{refused}");
            let answer = guest.ask(NAME_SERVER, "allowed.example.", RecordType::A).await.expect("an answer");
            assert_eq!(answer.1, [IpAddr::from(ALLOWED)]);
            drop((network, other));
            server.close().await;
        });
    };
    if let Err(reason) = check_available().and_then(|()| check_tap_available()) {
        eprintln!("skipped: {reason}");
        return;
    }
    thread::spawn(run).join().expect("the rules hold");
}
