//! A guest with a real network stack, and an internet with name and echo servers, as namespaces of the
//! test.

use std::{
    io::{Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    sync::{Arc, Mutex},
};

use hickory_resolver::proto::{
    op::{Message, Query, ResponseCode},
    rr::{Name, RData, Record, RecordType, rdata::A},
    serialize::binary::{BinDecodable as _, BinEncodable as _},
};

use super::*;

pub const NAME_SERVER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 53);
const TCP_PORTS: [u16; 5] = [22, 53, 80, 443, 8443];

/// All addresses that the internet answers on, public and not.
const ADDRESSES: [[u8; 4]; 11] = [
    [203, 0, 113, 10],
    [203, 0, 113, 20],
    [203, 0, 113, 30],
    [203, 0, 113, 40],
    [203, 0, 113, 50],
    [203, 0, 113, 53],
    [10, 0, 0, 1],
    [169, 254, 169, 254],
    [192, 168, 1, 1],
    [100, 66, 0, 1],
    [100, 100, 100, 200],
];
/// A datagram to this port is answered with [`FLOOD`] of them.
pub const FLOOD_PORT: u16 = 9998;
/// Datagrams in one flood.
pub const FLOOD: usize = 4000;

/// What the internet's name server knows.
fn addresses_of(name: &str) -> &'static [[u8; 4]] {
    match name {
        "allowed.example." | "alias.site.example." => &[[203, 0, 113, 10]],
        "other.example." => &[[203, 0, 113, 20]],
        "www.site.example." => &[[203, 0, 113, 30]],
        "a.b.site.example." => &[[203, 0, 113, 40]],
        "rebound.site.example." => &[[10, 0, 0, 1]],
        "metadata.site.example." => &[[169, 254, 169, 254]],
        "mixed.site.example." => &[[203, 0, 113, 50], [192, 168, 1, 1]],
        _ => &[],
    }
}

type Job = Box<dyn FnOnce() + Send>;

/// A thread in a namespace of its own that runs closures.
pub struct Namespaced {
    jobs: Sender<Job>,
    pub namespace: OwnedFd,
}

impl Namespaced {
    pub fn start() -> Self {
        let (jobs, waiting) = channel::<Job>();
        let (created, creating) = channel();
        thread::spawn(move || {
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).expect("a namespace");
            created.send(open_namespace().expect("opened")).expect("awaited");
            while let Ok(job) = waiting.recv() {
                job();
            }
        });
        Self { jobs, namespace: creating.recv().expect("created") }
    }

    /// Runs a closure in the namespace. The test's own tasks continue until it returns.
    pub async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        let (done, result) = tokio::sync::oneshot::channel();
        self.jobs.send(Box::new(move || drop(done.send(work())))).expect("a thread");
        tokio::time::timeout(TEST_TIMEOUT, result).await.expect("in time").expect("no panic")
    }
}

/// An internet behind the calling thread's namespace, which is the host.
pub struct Internet {
    pub inside: Namespaced,
    /// The names that its name server was asked for.
    asked: Arc<Mutex<Vec<String>>>,
    /// The addresses that have received datagrams.
    received: Arc<Mutex<Vec<[u8; 4]>>>,
}

impl Internet {
    pub async fn start() -> Self {
        let inside = Namespaced::start();
        let host = NamespaceLinks::of_current_thread().expect("netlink");
        let handle = host.handle();
        handle.link().add(LinkVeth::new("wan", "lan").build()).execute().await.expect("a pair");
        let moved = LinkUnspec::new_with_name("lan").setns_by_fd(inside.namespace.as_raw_fd()).build();
        handle.link().set(moved).execute().await.expect("moved");
        for line in ["addr add 203.0.113.2/24 dev wan", "link set wan up", "link set lo up"] {
            ip(None, line);
        }
        ip(None, "route add default via 203.0.113.1");
        for line in ["addr add 203.0.113.1/24 dev lan", "link set lan up", "link set lo up"] {
            ip(Some(&inside.namespace), line);
        }
        for [a, b, c, d] in ADDRESSES {
            ip(Some(&inside.namespace), &format!("addr add {a}.{b}.{c}.{d}/32 dev lan"));
        }
        ip(Some(&inside.namespace), "route add default via 203.0.113.2");
        let asked = Arc::new(Mutex::new(Vec::new()));
        let names = asked.clone();
        let received = Arc::new(Mutex::new(Vec::new()));
        let addresses = received.clone();
        inside
            .run(move || {
                TCP_PORTS.into_iter().for_each(echo_tcp);
                for address in ADDRESSES {
                    echo_udp(address, addresses.clone());
                }
                answer_with_floods();
                serve_names(names);
            })
            .await;
        Self { inside, asked, received }
    }

    /// The addresses that have received datagrams since the last call.
    pub fn take_received(&self) -> Vec<[u8; 4]> {
        std::mem::take(&mut self.received.lock().expect("no panic"))
    }

    /// The names that were asked for since the last call.
    pub fn take_asked(&self) -> Vec<String> {
        std::mem::take(&mut self.asked.lock().expect("no panic"))
    }

    /// Echo requests that have arrived.
    pub async fn pings(&self) -> u64 {
        let table =
            self.inside.run(|| fs::read_to_string("/proc/thread-self/net/snmp").expect("a table")).await;
        let mut lines = table.lines().filter_map(|line| line.strip_prefix("Icmp: "));
        let (names, values) = (lines.next().expect("names"), lines.next().expect("values"));
        let index = names.split(' ').position(|name| name == "InEchos").expect("a counter");
        values.split(' ').nth(index).and_then(|value| value.parse().ok()).expect("a number")
    }
}

fn echo_tcp(port: u16) {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).expect("a listener");
    thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            thread::spawn(move || {
                let mut buffer = [0; 4096];
                while let Ok(length @ 1..) = stream.read(&mut buffer) {
                    if stream.write_all(&buffer[..length]).is_err() {
                        return;
                    }
                }
            });
        }
    });
}

pub fn echo_udp(address: [u8; 4], received: Arc<Mutex<Vec<[u8; 4]>>>) {
    let socket = UdpSocket::bind(SocketAddr::from((address, PORT))).expect("a socket");
    thread::spawn(move || {
        let mut buffer = [0; 64];
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            received.lock().expect("no panic").push(address);
            let _ = socket.send_to(&buffer[..length], from);
        }
    });
}

fn answer_with_floods() {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, FLOOD_PORT)).expect("a socket");
    thread::spawn(move || {
        while let Ok((_, from)) = socket.recv_from(&mut [0; 64]) {
            for _ in 0..FLOOD {
                let _ = socket.send_to(b"flood", from);
            }
        }
    });
}

/// Packets and bytes of a link.
#[derive(Clone, Copy, Debug)]
pub struct LinkCounters {
    pub received_packets: u64,
    pub sent_packets: u64,
    pub sent_bytes: u64,
}

/// Counts what a link of a namespace has received and sent.
pub fn count(namespace: &OwnedFd, link: &str) -> LinkCounters {
    let path = format!("--net=/proc/{}/fd/{}", std::process::id(), namespace.as_raw_fd());
    let output =
        std::process::Command::new("nsenter").args([&path, "cat", "/proc/net/dev"]).output().expect("runs");
    let table = String::from_utf8(output.stdout).expect("text");
    let numbers = table.lines().filter_map(|line| line.split_once(':'));
    let numbers = numbers.filter(|(name, _)| name.trim() == link).map(|(_, numbers)| numbers).next();
    let numbers: Vec<u64> = numbers
        .expect("the link")
        .split_whitespace()
        .map(|number| number.parse().expect("a number"))
        .collect();
    LinkCounters { received_packets: numbers[1], sent_bytes: numbers[8], sent_packets: numbers[9] }
}

fn serve_names(asked: Arc<Mutex<Vec<String>>>) {
    let socket = UdpSocket::bind((NAME_SERVER, 53)).expect("a socket");
    thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            let request = Message::from_bytes(&buffer[..length]).expect("a query");
            let query = request.queries[0].clone();
            let name = query.name().to_string().to_lowercase();
            asked.lock().expect("no panic").push(format!("{name} {}", query.query_type()));
            let mut response = Message::response(request.metadata.id, request.metadata.op_code);
            for address in addresses_of(&name) {
                let address = A(Ipv4Addr::from(*address));
                response.add_answer(Record::from_rdata(query.name().clone(), 30, RData::A(address)));
            }
            if addresses_of(&name).is_empty() {
                response.metadata.response_code = ResponseCode::NXDomain;
            }
            response.add_query(query);
            let _ = socket.send_to(&response.to_bytes().expect("encoded"), from);
        }
    });
}

/// A guest: a namespace whose interface is connected to the sandbox's tap.
pub struct RealGuest(Namespaced);

impl RealGuest {
    pub async fn start(network: &Network) -> Self {
        let guest = Namespaced::start();
        let own = guest.run(|| tap::create("eth0").expect("a tap")).await;
        for line in [
            "link set lo up",
            "link set eth0 up",
            "addr add 10.111.0.2/30 dev eth0",
            "route add default via 10.111.0.1",
        ] {
            ip(Some(&guest.namespace), line);
        }
        let sandbox = network.tap.try_clone().expect("a descriptor");
        copy_frames(own.try_clone().expect("a descriptor"), sandbox.try_clone().expect("a descriptor"));
        copy_frames(sandbox, own);
        Self(guest)
    }

    pub async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        self.0.run(work).await
    }

    /// Connects and has a text echoed.
    pub async fn connect(&self, address: [u8; 4], port: u16) -> io::Result<TcpStream> {
        self.connect_with(address, port, b"hello".to_vec()).await
    }

    /// Connects and has these bytes echoed.
    pub async fn connect_with(&self, address: [u8; 4], port: u16, bytes: Vec<u8>) -> io::Result<TcpStream> {
        self.run(move || {
            let address = SocketAddr::from((address, port));
            let mut stream = TcpStream::connect_timeout(&address, TEST_TIMEOUT)?;
            stream.set_read_timeout(Some(TEST_TIMEOUT))?;
            stream.write_all(&bytes)?;
            let mut echoed = vec![0; bytes.len()];
            stream.read_exact(&mut echoed)?;
            assert_eq!(echoed, bytes, "nothing is changed on the way");
            Ok(stream)
        })
        .await
    }

    /// Has a text echoed over UDP.
    pub async fn send_datagram(&self, address: [u8; 4], port: u16) -> io::Result<()> {
        self.run(move || {
            let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
            socket.connect(SocketAddr::from((address, port)))?;
            socket.set_read_timeout(Some(TEST_TIMEOUT))?;
            socket.send(b"hello")?;
            socket.recv(&mut [0; 64]).map(drop)
        })
        .await
    }

    /// Sends [`FLOOD`] datagrams of this length, and waits for no answer.
    pub async fn flood(&self, address: [u8; 4], length: usize) {
        self.run(move || {
            let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).expect("a socket");
            let datagram = vec![0; length];
            for _ in 0..FLOOD {
                // A full queue drops datagrams, as a real link does.
                let _ = socket.send_to(&datagram, SocketAddr::from((address, PORT)));
            }
        })
        .await;
    }

    /// The guest's own namespace.
    pub fn namespace(&self) -> &OwnedFd {
        &self.0.namespace
    }

    /// Sends a datagram, and waits for no answer.
    pub async fn send(&self, address: [u8; 4], port: u16) {
        self.run(move || {
            let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).expect("a socket");
            // A refusal can arrive at once.
            let _ = socket.send_to(b"hello", SocketAddr::from((address, port)));
        })
        .await;
    }

    /// Asks a name server.
    pub async fn ask(
        &self,
        server: Ipv4Addr,
        name: &'static str,
        kind: RecordType,
    ) -> io::Result<(ResponseCode, Vec<IpAddr>)> {
        self.run(move || {
            let mut message = Message::query();
            message.add_query(Query::query(Name::from_ascii(name).expect("a name"), kind));
            message.metadata.recursion_desired = true;
            let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
            socket.connect((server, 53))?;
            socket.set_read_timeout(Some(TEST_TIMEOUT))?;
            socket.send(&message.to_bytes().expect("encoded"))?;
            let mut buffer = [0; 4096];
            let length = socket.recv(&mut buffer)?;
            let answer = Message::from_bytes(&buffer[..length]).map_err(io::Error::other)?;
            let addresses = answer.answers.iter().filter_map(|record| record.data.ip_addr()).collect();
            Ok((answer.metadata.response_code, addresses))
        })
        .await
    }

    /// Sends an echo request, and does not wait for an answer.
    pub async fn ping(&self, address: [u8; 4]) {
        use nix::sys::socket::{
            AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, sendto, socket,
        };
        self.run(move || {
            let socket = socket(AddressFamily::Inet, SockType::Raw, SockFlag::empty(), SockProtocol::Icmp);
            let socket = socket.expect("a raw socket");
            let [a, b, c, d] = address;
            let request = [8, 0, 0xf7, 0xfe, 0, 1, 0, 0];
            let to = SockaddrIn::new(a, b, c, d, 0);
            sendto(socket.as_raw_fd(), &request, &to, MsgFlags::empty()).expect("sent");
        })
        .await;
    }
}

/// A ClientHello that names this server. An address is not named.
pub fn client_hello(server: &str) -> Vec<u8> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    let server = server.to_owned().try_into().expect("a name");
    let mut client = rustls::ClientConnection::new(Arc::new(config), server).expect("a client");
    let mut bytes = Vec::new();
    while client.wants_write() {
        client.write_tls(&mut bytes).expect("written");
    }
    bytes
}

/// Sends a text and waits until it comes back.
pub fn echo(stream: &mut TcpStream) -> io::Result<()> {
    stream.write_all(b"hello")?;
    stream.read_exact(&mut [0; 5])
}

fn copy_frames(from: OwnedFd, to: OwnedFd) {
    thread::spawn(move || {
        let (mut from, mut to) = (File::from(from), File::from(to));
        let mut frame = vec![0; 70_000];
        while let Ok(length @ 1..) = from.read(&mut frame) {
            // A full queue drops frames, as a real link does.
            let _ = to.write(&frame[..length]);
        }
    });
}
