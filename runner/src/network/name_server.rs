//! The resolver of guests with an allow-list. It listens on the guest's gateway, asks the host's name
//! servers about allowed names only, and allows connections to their addresses before it answers.
//!
//! Everything that arrives is hostile. What leaves the host for a guest is the question for the IPv4
//! address of an allowed name; answers contain such addresses and nothing else, so they carry no data
//! of anybody's choice. Queries per second and connections are bounded by the firewall rules.

use std::{
    net::{Ipv4Addr, TcpListener, UdpSocket},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use hickory_resolver::{
    Resolver, TokioResolver,
    config::{ResolveHosts, ResolverConfig},
    net::{DnsError, NetError, runtime::TokioRuntimeProvider},
};
use hickory_server::{
    Server,
    net::runtime::Time,
    proto::{
        op::{Header, HeaderCounts, Metadata, OpCode, ResponseCode},
        rr::{DNSClass, Name, RData, Record, RecordType, rdata::A},
    },
    server::{Request, RequestHandler, ResponseHandler, ResponseInfo},
    zone_handler::MessageResponseBuilder,
};
use protocol::{agent::GUEST_GATEWAY, network::NetworkRefusal};
use tokio::{sync::Semaphore, time::timeout};

use super::{
    NetworkError, cannot,
    egress::{AdmitError, Enforcement},
};

/// Questions that wait for the host's name servers at once.
const MAX_CONCURRENT_LOOKUPS: usize = 64;
/// How long a guest waits for an answer. Its own resolver repeats the question after 5 seconds.
const LOOKUP_TIMEOUT: Duration = Duration::from_millis(4500);
/// An idle TCP connection is closed after this time.
const TCP_TIMEOUT: Duration = Duration::from_secs(5);
const TCP_RESPONSES: usize = 16;
/// Addresses in one answer. With these it fits into 512 bytes, whatever the name.
const MAX_ANSWERS: usize = 12;
/// How long guests may keep an answer. A short time renews the addresses in the rules.
const MAX_ANSWER_TTL: Duration = Duration::from_secs(60);
const DNS_PORT: u16 = 53;

/// Sockets that were created inside the namespace.
#[derive(Debug)]
pub struct NameServerSockets {
    pub udp: UdpSocket,
    pub tcp: TcpListener,
}

impl NameServerSockets {
    /// Binds the gateway's address in the calling thread's namespace.
    pub fn bind() -> Result<Self, NetworkError> {
        let bind = || {
            let udp = UdpSocket::bind((GUEST_GATEWAY, DNS_PORT))?;
            let tcp = TcpListener::bind((GUEST_GATEWAY, DNS_PORT))?;
            udp.set_nonblocking(true)?;
            tcp.set_nonblocking(true)?;
            Ok(Self { udp, tcp })
        };
        bind().map_err(cannot("listen for DNS queries"))
    }
}

/// A running resolver. It ends when this is dropped.
pub struct NameServer {
    _server: Server<Handler>,
}

impl NameServer {
    /// Answers queries that arrive on `sockets`.
    pub fn start(
        enforcement: Arc<Enforcement>,
        sockets: NameServerSockets,
        upstream: ResolverConfig,
    ) -> Result<Self, NetworkError> {
        let mut builder = Resolver::builder_with_config(upstream, TokioRuntimeProvider::default());
        let options = builder.options_mut();
        // The host's file says where the host finds its own services.
        options.use_hosts_file = ResolveHosts::Never;
        options.timeout = Duration::from_secs(2);
        let resolver = builder.build().map_err(|error| NetworkError::Resolver(error.to_string()))?;
        let lookups = Semaphore::new(MAX_CONCURRENT_LOOKUPS);
        let mut server = Server::new(Handler { enforcement, resolver, lookups });
        let listen = || {
            server.register_socket(tokio::net::UdpSocket::from_std(sockets.udp)?);
            let tcp = tokio::net::TcpListener::from_std(sockets.tcp)?;
            server.register_listener(tcp, TCP_TIMEOUT, TCP_RESPONSES);
            Ok(())
        };
        listen().map_err(cannot("listen for DNS queries"))?;
        Ok(Self { _server: server })
    }
}

struct Handler {
    enforcement: Arc<Enforcement>,
    resolver: TokioResolver,
    lookups: Semaphore,
}

/// What a guest is answered.
#[derive(Debug, PartialEq, Eq)]
enum Answer {
    Addresses(Vec<Ipv4Addr>, Duration),
    /// No records, for this reason.
    Code(ResponseCode),
}

#[async_trait]
impl RequestHandler for Handler {
    async fn handle_request<R: ResponseHandler, T: Time>(
        &self,
        request: &Request,
        mut response_handle: R,
    ) -> ResponseInfo {
        let answer = self.answer(request).await;
        let response = MessageResponseBuilder::from_message_request(request);
        let mut metadata = Metadata::response_from_request(&request.metadata);
        metadata.recursion_available = true;
        let name = request.request_info().map(|info| info.query.original().name().clone());
        let sent = match (answer, name) {
            (Answer::Addresses(addresses, ttl), Ok(name)) => {
                let records = address_records(&name, &addresses, ttl);
                response_handle.send_response(response.build(metadata, &records, [], [], [])).await
            }
            (Answer::Code(code), _) => {
                metadata.response_code = code;
                response_handle.send_response(response.build_no_records(metadata)).await
            }
            (Answer::Addresses(..), Err(_)) => {
                metadata.response_code = ResponseCode::FormErr;
                response_handle.send_response(response.build_no_records(metadata)).await
            }
        };
        sent.unwrap_or_else(|error| {
            tracing::debug!(%error, "cannot answer a DNS query");
            ResponseInfo::from(Header { metadata, counts: HeaderCounts::default() })
        })
    }
}

impl Handler {
    async fn answer(&self, request: &Request) -> Answer {
        let Ok(info) = request.request_info() else { return Answer::Code(ResponseCode::FormErr) };
        if request.metadata.op_code != OpCode::Query {
            return Answer::Code(ResponseCode::NotImp);
        }
        let name = host_name(&info.query.name().to_string());
        if !self.enforcement.allows(&name).await {
            self.enforcement.record_refusal(&name, NetworkRefusal::NotAllowed);
            return Answer::Code(ResponseCode::Refused);
        }
        match (info.query.query_class(), info.query.query_type()) {
            (DNSClass::IN, RecordType::A) => self.look_up(&name).await,
            // Sandboxes have no IPv6, and answers of other types would carry data of somebody's choice
            // (TXT, NULL) or addresses that are not checked (HTTPS): there are none.
            (DNSClass::IN, RecordType::AAAA | RecordType::CNAME | RecordType::HTTPS | RecordType::SVCB) => {
                Answer::Code(ResponseCode::NoError)
            }
            _ => Answer::Code(ResponseCode::Refused),
        }
    }

    async fn look_up(&self, name: &str) -> Answer {
        let Ok(_permit) = self.lookups.try_acquire() else { return Answer::Code(ResponseCode::ServFail) };
        // The final dot keeps the host's search domains out.
        let lookup = timeout(LOOKUP_TIMEOUT, self.resolver.lookup(format!("{name}."), RecordType::A)).await;
        let lookup = match lookup {
            Ok(Ok(lookup)) => lookup,
            Ok(Err(error)) => return Answer::Code(failed_lookup_code(&error)),
            Err(_elapsed) => return Answer::Code(ResponseCode::ServFail),
        };
        let found = lookup.answers().iter().filter_map(|record| match &record.data {
            RData::A(A(address)) => Some((*address, record.ttl)),
            _ => None,
        });
        let (reachable, private): (Vec<_>, Vec<_>) =
            found.partition(|(address, _)| self.enforcement.is_reachable(*address));
        if reachable.is_empty() {
            if private.is_empty() {
                return Answer::Code(ResponseCode::NoError);
            }
            self.enforcement.record_refusal(name, NetworkRefusal::PrivateAddress);
            return Answer::Code(ResponseCode::Refused);
        }
        let ttl = reachable.iter().map(|(_, ttl)| *ttl).min().unwrap_or_default();
        let ttl = Duration::from_secs(ttl.into());
        let addresses: Vec<Ipv4Addr> =
            reachable.iter().map(|(address, _)| *address).take(MAX_ANSWERS).collect();
        match self.enforcement.admit(name, &addresses, ttl).await {
            Ok(()) => Answer::Addresses(addresses, ttl.min(MAX_ANSWER_TTL)),
            Err(AdmitError::NotAllowed) => Answer::Code(ResponseCode::Refused),
            Err(error @ (AdmitError::TooMany(_) | AdmitError::Rules(_))) => {
                tracing::warn!(%error, "cannot allow connections to a name");
                Answer::Code(ResponseCode::ServFail)
            }
        }
    }
}

/// A query's name as names are compared: in lower case, without the final dot.
fn host_name(query: &str) -> String {
    query.strip_suffix('.').unwrap_or(query).to_ascii_lowercase()
}

fn failed_lookup_code(error: &NetError) -> ResponseCode {
    match error {
        NetError::Dns(DnsError::NoRecordsFound(none)) => none.response_code,
        _ => ResponseCode::ServFail,
    }
}

fn address_records(name: &Name, addresses: &[Ipv4Addr], ttl: Duration) -> Vec<Record> {
    let ttl = u32::try_from(ttl.as_secs()).unwrap_or(u32::MAX);
    let records =
        addresses.iter().map(|address| Record::from_rdata(name.clone(), ttl, RData::A(A(*address))));
    records.collect()
}
