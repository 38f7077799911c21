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
    let target: Uri = address.parse()?;
    match Matcher::from_env().intercept(&target) {
        Some(proxy) => {
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
        None => {
            let stream = TcpStream::connect(host_and_port(&target)?).await?;
            // Keystrokes are sent at once.
            stream.set_nodelay(true)?;
            Ok(stream)
        }
    }
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
