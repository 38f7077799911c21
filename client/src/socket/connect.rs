//! The TCP connection below a WebSocket: direct, or through the proxy that the environment names, as for
//! requests.

use std::{error::Error, io};

use http::Uri;
use hyper_util::client::{
    legacy::connect::{HttpConnector, proxy::Tunnel},
    proxy::matcher::Matcher,
};
use tokio::net::TcpStream;
use tower::Service as _;

type BoxError = Box<dyn Error + Send + Sync>;

/// Connects to the host of an `http` or `https` address. `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and
/// `NO_PROXY` apply. A proxy gets a CONNECT, because the connection carries more than one request.
pub async fn connect(address: &str) -> Result<TcpStream, BoxError> {
    connect_by(&Matcher::from_env(), address).await
}

async fn connect_by(proxies: &Matcher, address: &str) -> Result<TcpStream, BoxError> {
    let target: Uri = address.parse()?;
    let Some(proxy) = proxies.intercept(&target) else {
        let stream = TcpStream::connect(host_and_port(&target)?).await?;
        // Keystrokes are sent at once.
        stream.set_nodelay(true)?;
        return Ok(stream);
    };
    let scheme = proxy.uri().scheme_str().unwrap_or("http");
    if scheme != "http" {
        return Err(format!("a proxy with the scheme {scheme} is not supported").into());
    }
    let (host, port) = host_and_port(&target)?;
    // A tunnel needs the port.
    let target: Uri = format!("http://{host}:{port}").parse()?;
    let mut tunnel = Tunnel::new(proxy.uri().clone(), connector());
    if let Some(auth) = proxy.basic_auth() {
        tunnel = tunnel.with_auth(auth.clone());
    }
    Ok(tunnel.call(target).await?.into_inner())
}

fn connector() -> HttpConnector {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    connector
}

fn host_and_port(target: &Uri) -> io::Result<(&str, u16)> {
    let default = if target.scheme_str() == Some("https") { 443 } else { 80 };
    let host = target.host().ok_or_else(|| io::Error::other("the address has no host"))?;
    Ok((host.trim_matches(['[', ']']), target.port_u16().unwrap_or(default)))
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
        net::TcpListener,
    };

    use super::*;

    #[tokio::test]
    async fn streams_use_proxy_of_environment() {
        let proxy = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = proxy.local_addr().expect("bound");
        let matcher =
            Matcher::builder().all(format!("http://user:secret@{address}")).no("direct.invalid").build();
        let serve = async {
            let (stream, _) = proxy.accept().await.expect("a client");
            let mut stream = BufReader::new(stream);
            let mut head = Vec::new();
            loop {
                let mut line = String::new();
                stream.read_line(&mut line).await.expect("readable");
                if line.trim().is_empty() {
                    break;
                }
                head.push(line.trim().to_lowercase());
            }
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.expect("written");
            (stream, head)
        };
        let (connected, (mut proxied, head)) =
            tokio::join!(connect_by(&matcher, "https://burrow.invalid"), serve);
        assert_eq!(head[0], "connect burrow.invalid:443 http/1.1");
        assert!(head.iter().any(|line| line.starts_with("proxy-authorization: basic ")), "{head:?}");
        // The server of the tunnel never speaks first.
        proxied.write_all(b"hello").await.expect("written");
        let mut text = [0; 5];
        connected.expect("a tunnel").read_exact(&mut text).await.expect("readable");
        assert_eq!(&text, b"hello");
        // An excluded host is not asked of the proxy; its name does not exist.
        assert!(connect_by(&matcher, "https://direct.invalid").await.is_err());
    }

    #[tokio::test]
    async fn refusal_of_proxy_is_an_error() {
        let proxy = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let matcher =
            Matcher::builder().http(format!("http://{}", proxy.local_addr().expect("bound"))).build();
        let serve = async {
            let (mut stream, _) = proxy.accept().await.expect("a client");
            let mut head = [0; 1024];
            let _ = stream.read(&mut head).await.expect("readable");
            stream.write_all(b"HTTP/1.1 403 Forbidden\r\n\r\n").await.expect("written");
            stream
        };
        let (connected, _stream) = tokio::join!(connect_by(&matcher, "http://burrow.invalid"), serve);
        assert!(connected.is_err());
    }
}
