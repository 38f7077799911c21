//! The proxy of guests with an allow-list. TCP to the ports of HTTPS and HTTP is redirected to it. It
//! reads the server's name from the TLS ClientHello or the Host header, and connects only if the policy
//! allows that name and our resolver has found this very address for it. Then it copies bytes.
//!
//! Without it, a guest could reach every site that shares an address with an allowed one. Names that
//! are encrypted (ECH) are hidden behind a name that the policy does not list, so they are refused. The
//! name is checked once for each connection.

use std::{
    io::{self, ErrorKind},
    net::{Ipv4Addr, SocketAddrV4, TcpListener},
    pin::pin,
    sync::Arc,
    time::Duration,
};

use nix::sys::socket::{getsockopt, sockopt::OriginalDst};
use protocol::agent::GUEST_GATEWAY;
use rustls::server::Acceptor;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional_with_sizes},
    net::TcpStream,
    sync::Semaphore,
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_util::task::AbortOnDropHandle;

use super::{NetworkError, cannot, egress::Enforcement, rules::MAX_PROXY_CONNECTIONS};

/// The port on the gateway to which connections are redirected.
pub const PROXY_PORT: u16 = 15_001;
pub const HTTP_PORT: u16 = 80;
pub const HTTPS_PORT: u16 = 443;
/// How long a client may take to send a name, and the server to accept.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(15);
/// Largest ClientHello or head of a request. Those of browsers with post-quantum keys have 2 KiB.
const MAX_HEAD_BYTES: usize = 16 * 1024;
/// Pause when no connection can be accepted, for example because no descriptor is free.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(100);
const MAX_HEADERS: usize = 64;
const COPY_BUFFER_BYTES: usize = 16 * 1024;

/// Binds the proxy's port in the calling thread's namespace.
pub fn bind() -> Result<TcpListener, NetworkError> {
    let bind = || {
        let listener = TcpListener::bind((GUEST_GATEWAY, PROXY_PORT))?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    };
    bind().map_err(cannot("listen for redirected connections"))
}

/// A running proxy. It and all of its connections end when this is dropped.
pub struct NamesProxy {
    _task: AbortOnDropHandle<()>,
}

impl NamesProxy {
    /// Serves connections that arrive at `listener`.
    pub fn start(enforcement: Arc<Enforcement>, listener: TcpListener) -> Result<Self, NetworkError> {
        let listener = tokio::net::TcpListener::from_std(listener);
        let listener = listener.map_err(cannot("listen for redirected connections"))?;
        Ok(Self { _task: AbortOnDropHandle::new(tokio::spawn(accept(enforcement, listener))) })
    }
}

async fn accept(enforcement: Arc<Enforcement>, listener: tokio::net::TcpListener) {
    let permits = Arc::new(Semaphore::new(MAX_PROXY_CONNECTIONS as usize));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_ended) = connections.join_next() => continue,
        };
        let Ok((guest, _)) = accepted else {
            sleep(ACCEPT_RETRY_DELAY).await;
            continue;
        };
        let Ok(permit) = permits.clone().try_acquire_owned() else {
            reset(&guest);
            continue;
        };
        let enforcement = enforcement.clone();
        connections.spawn(async move {
            if let Err(error) = serve(&enforcement, guest).await {
                tracing::debug!(%error, "a redirected connection ended");
            }
            drop(permit);
        });
    }
}

/// Serves one connection to its end.
async fn serve(enforcement: &Enforcement, mut guest: TcpStream) -> io::Result<()> {
    let mut changes = enforcement.subscribe();
    let destination = original_destination(&guest)?;
    let (head, name) = match timeout(HANDSHAKE_TIMEOUT, read_head(&mut guest, destination.port())).await {
        Ok(Ok(head)) => head,
        Ok(Err(error)) => {
            reset(&guest);
            return Err(error);
        }
        Err(_elapsed) => {
            reset(&guest);
            return Err(ErrorKind::TimedOut.into());
        }
    };
    let address = *destination.ip();
    if let Err((name, reason)) = enforcement.check_connection(name.as_deref(), address).await {
        enforcement.record_refusal(&name, reason);
        reset(&guest);
        return Ok(());
    }
    let name = name.unwrap_or_default();
    let mut server = match connect(enforcement, destination).await {
        Ok(server) => server,
        Err(error) => {
            reset(&guest);
            return Err(error);
        }
    };
    server.write_all(&head).await?;
    let is_revoked = {
        let copying =
            copy_bidirectional_with_sizes(&mut guest, &mut server, COPY_BUFFER_BYTES, COPY_BUFFER_BYTES);
        let mut copying = pin!(copying);
        loop {
            tokio::select! {
                copied = &mut copying => break copied.map(|_| false)?,
                changed = changes.changed() => {
                    if changed.is_err() || !enforcement.allows(&name).await {
                        break true;
                    }
                }
            }
        }
    };
    if is_revoked {
        reset(&guest);
        reset(&server);
    }
    Ok(())
}

/// Where the guest wanted to connect.
fn original_destination(guest: &TcpStream) -> io::Result<SocketAddrV4> {
    let original = getsockopt(guest, OriginalDst)?;
    let address = Ipv4Addr::from(u32::from_be(original.sin_addr.s_addr));
    Ok(SocketAddrV4::new(address, u16::from_be(original.sin_port)))
}

async fn connect(enforcement: &Enforcement, destination: SocketAddrV4) -> io::Result<TcpStream> {
    let socket = enforcement.open_socket().await.map_err(io::Error::other)?;
    timeout(HANDSHAKE_TIMEOUT, socket.connect(destination.into())).await?
}

/// Closes a connection with a reset, so that the guest's program fails at once.
fn reset(stream: &TcpStream) {
    // The connection closes in any case.
    let _ = stream.set_zero_linger();
}

/// Reads until the server's name is known. Returns all bytes that were read, and the name, if there is
/// one.
async fn read_head(guest: &mut TcpStream, port: u16) -> io::Result<(Vec<u8>, Option<String>)> {
    let (mut head, mut parser) = (Vec::new(), HeadParser::new(port)?);
    loop {
        let start = head.len();
        let remaining = MAX_HEAD_BYTES.saturating_sub(start);
        if remaining == 0 {
            return Err(io::Error::new(ErrorKind::InvalidData, "the head is too large"));
        }
        if (&mut *guest).take(remaining as u64).read_buf(&mut head).await? == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        match parser.parse(&head, start)? {
            Head::Incomplete => {}
            Head::Unnamed => return Ok((head, None)),
            Head::Named(name) => {
                return Ok((head, Some(name.trim_end_matches('.').to_ascii_lowercase())));
            }
        }
    }
}

/// What the first bytes of a connection say.
#[derive(Debug, PartialEq, Eq)]
enum Head {
    /// More bytes are needed.
    Incomplete,
    /// The client names this server.
    Named(String),
    /// The client names no server, or more than one.
    Unnamed,
}

impl From<Option<String>> for Head {
    fn from(name: Option<String>) -> Self {
        name.map_or(Self::Unnamed, Self::Named)
    }
}

/// Finds the server's name in the first bytes of a connection.
enum HeadParser {
    Tls(Box<Acceptor>),
    Http,
}

impl HeadParser {
    fn new(port: u16) -> io::Result<Self> {
        match port {
            HTTPS_PORT => Ok(Self::Tls(Box::default())),
            HTTP_PORT => Ok(Self::Http),
            _ => Err(io::Error::new(ErrorKind::InvalidInput, "the connection was not redirected")),
        }
    }

    /// Parses the head, of which the bytes from `start` are new.
    fn parse(&mut self, head: &[u8], start: usize) -> io::Result<Head> {
        match self {
            Self::Tls(acceptor) => {
                let mut new = &head[start..];
                while !new.is_empty() {
                    acceptor.read_tls(&mut new)?;
                }
                let accepted = acceptor
                    .accept()
                    .map_err(|(error, _alert)| io::Error::new(ErrorKind::InvalidData, error))?;
                let Some(accepted) = accepted else { return Ok(Head::Incomplete) };
                Ok(accepted.client_hello().server_name().map(str::to_owned).into())
            }
            Self::Http => parse_host(head),
        }
    }
}

fn parse_host(head: &[u8]) -> io::Result<Head> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    let status = request.parse(head).map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?;
    if status.is_partial() {
        return Ok(Head::Incomplete);
    }
    let mut hosts = request.headers.iter().filter(|header| header.name.eq_ignore_ascii_case("host"));
    // A server may choose among several.
    let (Some(host), None) = (hosts.next(), hosts.next()) else { return Ok(Head::Unnamed) };
    let host = str::from_utf8(host.value).ok();
    Ok(host.map(|host| host.rsplit_once(':').map_or(host, |(host, _port)| host).to_owned()).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_is_the_only_host_header() {
        let named = |name: &str| Head::Named(name.to_owned());
        for (head, expected) in [
            ("GET / HTTP/1.1\r\nHost: a.example\r\n\r\n", named("a.example")),
            ("GET / HTTP/1.1\r\nhost: a.example:80\r\n\r\nbody", named("a.example")),
            ("GET / HTTP/1.1\r\nHost: a.example\r\nHost: b.example\r\n\r\n", Head::Unnamed),
            ("GET / HTTP/1.0\r\n\r\n", Head::Unnamed),
            ("GET / HTTP/1.1\r\nHost: a.exa", Head::Incomplete),
        ] {
            assert_eq!(parse_host(head.as_bytes()).expect("valid"), expected, "{head:?}");
        }
        for head in ["PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "hello\r\n\r\n", "\x16\x03\x01"] {
            assert!(parse_host(head.as_bytes()).is_err(), "{head:?}");
        }
    }
}
