//! Tests the firewall rules with real packets. A "host" and an "internet" are namespaces of the
//! test; the guest is the test itself, which writes frames into the tap. Needs root.

use std::{
    fs::File,
    io::{Read as _, Write as _},
    net::{SocketAddr, UdpSocket},
    os::fd::AsRawFd as _,
    sync::{
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, Sender, channel},
    },
    thread,
    time::Duration,
};

use protocol::{
    network::{NetworkBounds, PolicyKey},
    runner::NetworkSpec,
};
use rtnetlink::{LinkUnspec, LinkVeth};

use super::*;

mod bounds;
mod lab;
mod policy;

const PUBLIC: [u8; 4] = [203, 0, 113, 1];
const HOST_PUBLIC: [u8; 4] = [203, 0, 113, 2];
const PORT: u16 = 9999;
const GUEST_MAC: [u8; 6] = [0x52, 0x54, 0, 0x6f, 0, 2];
const GUEST: [u8; 4] = [10, 111, 0, 2];
const GATEWAY: [u8; 4] = [10, 111, 0, 1];
/// Length of the header before each frame of a tap with IFF_VNET_HDR.
const VNET_HEADER_BYTES: usize = 10;
const TEST_TIMEOUT: Duration = Duration::from_secs(30);

/// A network whose policy is enforced by this process.
struct Network {
    namespace: OwnedFd,
    tap: OwnedFd,
    nameservers: Vec<IpAddr>,
    egress: Egress,
    revision: AtomicU64,
}

/// The key of the test's controller.
fn policy_key() -> PolicyKey {
    PolicyKey::new([7; 32])
}

impl Network {
    /// Enforces another policy, as the controller does.
    async fn set_policy(&self, policy: EffectivePolicy) -> Result<(), NetworkError> {
        let revision = self.revision.fetch_add(1, Ordering::Relaxed) + 1;
        self.egress.set_policy(policy_key().seal(NetworkSpec { revision, policy, seal: None })).await
    }

    async fn create(slot: u16, policy: EffectivePolicy, bounds: NetworkBounds) -> Result<Self, NetworkError> {
        Self::create_with(slot, (policy, bounds), host_nameservers(), NameServers::of_host()).await
    }

    async fn create_with(
        slot: u16,
        (policy, bounds): (EffectivePolicy, NetworkBounds),
        for_guests: Vec<IpAddr>,
        servers: NameServers,
    ) -> Result<Self, NetworkError> {
        let network = NetworkSpec { revision: 0, policy, seal: None };
        let allowed = AllowedNetwork { network, bounds, key: Some(policy_key()) };
        let created = super::Network::create_with(slot, &allowed, &for_guests).await?;
        let super::Network { links: SandboxLinks { namespace, tap }, nameservers, control, sockets } =
            created;
        let egress = Egress::start(Enforcer::Own(control), allowed, sockets, servers)?;
        Ok(Self { namespace, tap, nameservers, egress, revision: AtomicU64::new(0) })
    }
}

/// The payloads that a namespace received.
type ReceivedPayloads = Receiver<String>;

#[test]
fn guest_reaches_only_the_internet() {
    if let Err(reason) = check_available().and_then(|()| check_tap_available()) {
        eprintln!("skipped: {reason}");
        return;
    }
    // The namespaces belong to threads that end with the test.
    thread::spawn(send_packets).join().expect("packets are filtered");
}

fn send_packets() {
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).expect("a host");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let (internet_received, _internet) = create_internet().await;
        let (payloads, host_received) = channel();
        listen(payloads);
        // A new namespace inherits the setting of the real host.
        write_setting("/proc/sys/net/ipv4/ip_forward", "0").expect("disabled");
        let server = HostNetwork::open(&[]).await.expect("rules on the host");
        let network =
            Network::create(3, EffectivePolicy::Open, NetworkBounds::default()).await.expect("a network");
        let other =
            Network::create(4, EffectivePolicy::Open, NetworkBounds::default()).await.expect("another");
        let mut guest = Guest::new(&network);
        let forbidden = [
            [169, 254, 169, 254],
            [168, 63, 129, 16],
            [10, 0, 0, 1],
            [192, 168, 1, 1],
            [172, 16, 0, 1],
            HOST_PUBLIC,
            [100, 64, 0, 13],
            [100, 64, 0, 18],
        ];
        for address in forbidden {
            guest.send(GUEST, address, "forbidden");
        }
        guest.send([10, 111, 0, 77], PUBLIC, "spoofed");
        // Packets keep their order: if this one is answered and the others have not arrived, they
        // were dropped.
        guest.send(GUEST, PUBLIC, "allowed");
        assert_eq!(internet_received.recv_timeout(TEST_TIMEOUT).expect("received"), "allowed");
        guest.wait_for_answer("allowed");
        assert_eq!(internet_received.try_recv().ok(), None, "nothing else got out");
        assert_eq!(host_received.try_recv().ok(), None, "nothing reached the host");
        let exists = |slot: u16| async move {
            NamespaceLinks::of_current_thread().expect("netlink").has(&format!("bw{slot}")).await
        };
        assert!(exists(3).await && exists(4).await);
        let server = check_rules_survive(server, &mut guest, &host_received, &internet_received).await;
        check_connections_are_limited(&mut guest, &internet_received);
        drop(guest);
        drop((network, other));
        server.close().await;
        // The kernel removes namespaces asynchronously.
        let removed = async { while exists(3).await || exists(4).await {} };
        tokio::time::timeout(TEST_TIMEOUT, removed).await.expect("nothing is left");
    });
}

/// The rules hold while one server is left, and after another program has removed them. The last
/// server removes them. Returns a server that has loaded them again.
async fn check_rules_survive(
    server: HostNetwork,
    guest: &mut Guest,
    host_received: &ReceivedPayloads,
    internet_received: &ReceivedPayloads,
) -> HostNetwork {
    let second = HostNetwork::open(&[]).await.expect("shared rules");
    second.close().await;
    check_host_is_unreachable(guest, host_received, internet_received);

    load_rules(&rules::for_removal()).expect("removed by another program");
    assert!(host::reload(true).await, "connected again");
    check_host_is_unreachable(guest, host_received, internet_received);

    load_rules(&rules::for_removal()).expect("removed by another program");
    let started = Network::create(5, EffectivePolicy::Open, NetworkBounds::default())
        .await
        .expect("a start loads the rules");
    check_host_is_unreachable(guest, host_received, internet_received);
    drop(started);

    server.close().await;
    assert!(load_rules(rules::LIST).is_err(), "the last server removes the rules");
    assert_eq!(fs::read_to_string("/proc/sys/net/ipv4/ip_forward").expect("readable"), "0\n", "restored");
    let again = HostNetwork::open(&[]).await.expect("rules");
    assert_eq!(fs::read_to_string("/proc/sys/net/ipv4/ip_forward").expect("readable"), "1\n");
    again
}

fn check_host_is_unreachable(guest: &mut Guest, host: &ReceivedPayloads, internet: &ReceivedPayloads) {
    guest.send(GUEST, HOST_PUBLIC, "forbidden");
    guest.send(GUEST, PUBLIC, "allowed");
    assert_eq!(internet.recv_timeout(TEST_TIMEOUT).expect("received"), "allowed");
    assert_eq!(host.try_recv().ok(), None, "nothing reached the host");
}

/// One guest cannot fill the host's connection table. Its existing connections continue.
fn check_connections_are_limited(guest: &mut Guest, internet: &ReceivedPayloads) {
    let limit = u16::try_from(rules::MAX_CONNECTIONS).expect("small");
    let mut passed = 0;
    for port in 20_000..20_100 + limit {
        guest.send_from(port, PUBLIC, "new");
        guest.send(GUEST, PUBLIC, "existing");
        while internet.recv_timeout(TEST_TIMEOUT).expect("received") == "new" {
            passed += 1;
        }
    }
    assert!((limit - 10..=limit).contains(&passed), "{passed} of at most {limit} connections");
}

/// Creates a namespace that has all kinds of addresses and answers every packet, and the host's
/// routes to it.
async fn create_internet() -> (ReceivedPayloads, NamespaceLinks) {
    let host = NamespaceLinks::of_current_thread().expect("netlink");
    let (payloads, received) = channel();
    let (created, creating) = channel();
    thread::spawn(move || {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).expect("an internet");
        listen(payloads);
        created.send(open_namespace().expect("opened")).expect("awaited");
    });
    let internet = creating.recv().expect("created");
    let handle = host.handle();
    handle.link().add(LinkVeth::new("wan", "lan").build()).execute().await.expect("a pair");
    let moved = LinkUnspec::new_with_name("lan").setns_by_fd(internet.as_raw_fd()).build();
    handle.link().set(moved).execute().await.expect("moved");
    for (namespace, script) in [
        (
            None,
            "addr add 203.0.113.2/24 dev wan; link set wan up; link set lo up; \
             route add default via 203.0.113.1",
        ),
        (
            Some(&internet),
            "addr add 203.0.113.1/24 dev lan; link set lan up; link set lo up; \
             addr add 169.254.169.254/32 dev lo; addr add 168.63.129.16/32 dev lo; \
             addr add 10.0.0.1/32 dev lo; \
             addr add 192.168.1.1/32 dev lo; addr add 172.16.0.1/32 dev lo; \
             route add default via 203.0.113.2",
        ),
    ] {
        for line in script.split(';') {
            ip(namespace, line.trim());
        }
    }
    (received, host)
}

fn ip(namespace: Option<&OwnedFd>, arguments: &str) {
    let mut command = match namespace {
        None => std::process::Command::new("ip"),
        Some(namespace) => {
            let mut command = std::process::Command::new("nsenter");
            let path = format!("/proc/{}/fd/{}", std::process::id(), namespace.as_raw_fd());
            command.arg(format!("--net={path}")).arg("ip");
            command
        }
    };
    let status = command.args(arguments.split_whitespace()).status().expect("ip runs");
    assert!(status.success(), "ip {arguments}");
}

/// Sends on each payload that any address of the calling thread's namespace receives, and answers it.
fn listen(payloads: Sender<String>) {
    let socket = UdpSocket::bind(SocketAddr::from(([0, 0, 0, 0], PORT))).expect("a socket");
    thread::spawn(move || {
        let mut buffer = [0; 64];
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            let _ = socket.send_to(&buffer[..length], from);
            if payloads.send(String::from_utf8_lossy(&buffer[..length]).into_owned()).is_err() {
                return;
            }
        }
    });
}

/// A minimal network stack behind the tap.
struct Guest {
    tap: File,
    gateway: [u8; 6],
}

impl Guest {
    fn new(network: &Network) -> Self {
        let tap = File::from(network.tap.try_clone().expect("a descriptor"));
        let mut guest = Self { tap, gateway: [0xff; 6] };
        guest.send_arp(1, [0; 6], GATEWAY);
        guest.gateway = loop {
            let frame = guest.next_frame();
            if frame[12..14] == [8, 6] && frame[20..22] == [0, 2] && frame[28..32] == GATEWAY {
                break *frame[22..28].first_chunk().expect("six");
            }
        };
        guest
    }

    fn send_arp(&mut self, operation: u8, target_mac: [u8; 6], target: [u8; 4]) {
        let to = if operation == 1 { [0xff; 6] } else { target_mac };
        let head = [0, 1, 8, 0, 6, 4, 0, operation];
        let body = [&head[..], &GUEST_MAC, &GUEST, &target_mac, &target].concat();
        self.send_frame(to, [8, 6], &body);
    }

    fn send(&mut self, from: [u8; 4], to: [u8; 4], payload: &str) {
        self.send_udp((from, PORT), to, payload);
    }

    fn send_from(&mut self, port: u16, to: [u8; 4], payload: &str) {
        self.send_udp((GUEST, port), to, payload);
    }

    fn send_udp(&mut self, (from, port): ([u8; 4], u16), to: [u8; 4], payload: &str) {
        let length = u16::try_from(8 + payload.len()).expect("short");
        let ports = [port.to_be_bytes(), PORT.to_be_bytes(), length.to_be_bytes(), [0, 0]].concat();
        let mut header = [0x45, 0, 0, 0, 0, 1, 0, 0, 64, 17, 0, 0].to_vec();
        header[2..4].copy_from_slice(&(20 + length).to_be_bytes());
        header.extend(from.iter().chain(&to));
        let sum: u32 = header.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
        let folded = (sum & 0xffff) + (sum >> 16);
        let folded = (folded & 0xffff) + (folded >> 16);
        let checksum = !u16::try_from(folded).expect("folded");
        header[10..12].copy_from_slice(&checksum.to_be_bytes());
        let packet = [&header[..], &ports, payload.as_bytes()].concat();
        self.send_frame(self.gateway, [8, 0], &packet);
    }

    fn send_frame(&mut self, to: [u8; 6], kind: [u8; 2], body: &[u8]) {
        let frame = [&[0; VNET_HEADER_BYTES][..], &to, &GUEST_MAC, &kind, body].concat();
        assert_eq!(self.tap.write(&frame).expect("room"), frame.len());
    }

    /// Receives the next frame. ARP requests for our address are answered on the way.
    fn next_frame(&mut self) -> Vec<u8> {
        let mut buffer = [0; 2048];
        loop {
            let length = self.tap.read(&mut buffer).expect("a frame");
            let frame = buffer[VNET_HEADER_BYTES..length].to_vec();
            if frame.len() < 42 {
                continue;
            }
            if frame[12..14] == [8, 6] && frame[20..22] == [0, 1] && frame[38..42] == GUEST {
                let mac = *frame[22..28].first_chunk().expect("six");
                let sender = *frame[28..32].first_chunk().expect("four");
                self.send_arp(2, mac, sender);
                continue;
            }
            return frame;
        }
    }

    fn wait_for_answer(&mut self, payload: &str) {
        loop {
            let frame = self.next_frame();
            let is_udp = frame[12..14] == [8, 0] && frame[23] == 17;
            if is_udp && frame[26..30] == PUBLIC && frame[42..].starts_with(payload.as_bytes()) {
                return;
            }
        }
    }
}
