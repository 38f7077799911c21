//! TLS through a running gateway: real certificates, and the clients that users have.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use burrow_gateway::{CertificateFiles, Limits, TlsConfig};
use client::{Api, ApiError, TrustedAuthorities};
use protocol::{Code, exec::ExecRequest};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::Notify,
    time::sleep,
};

use crate::harness::{Harness, REDIRECT_ORIGIN, TEST_TIMEOUT, in_time, limits, problem};

mod harness;

/// A name of the gateway in its certificate.
const NAME: &str = "burrow.example";

/// A gateway with certificate files, and their directory.
struct Fixture {
    harness: Harness,
    place: tempfile::TempDir,
    reload: Arc<Notify>,
}

impl Fixture {
    fn new(limits: Limits) -> Self {
        let place = tempfile::tempdir().expect("a directory");
        let (certificate, key) = write_certificate(place.path(), "server", "127.0.0.1");
        let config = TlsConfig {
            source: Box::new(CertificateFiles::new(certificate, key)),
            has_hsts: true,
            ca_certificate: Some("a certificate".to_owned()),
            reload: Arc::default(),
        };
        let reload = config.reload.clone();
        Self { harness: Harness::with_tls(limits, Some(config)), place, reload }
    }

    fn url(&self, path: &str) -> String {
        self.harness.url(path).replacen("http", "https", 1)
    }

    /// A client of ours that trusts the certificate in this file.
    fn api(&self, trusted: &str) -> Api {
        let authorities = TrustedAuthorities::load(Some(&self.place.path().join(trusted))).expect("valid");
        Api::with_token(&self.url(""), "anna".to_owned().into(), authorities).expect("valid")
    }

    /// Opens a stream that the workspace refuses, so that the error tells how far it came.
    async fn exec(&self, trusted: &str) -> ApiError {
        let request = ExecRequest { argv: vec!["true".to_owned()], ..Default::default() };
        let api = self.api(trusted);
        in_time(api.exec(self.harness.controller.workspace, &request)).await.err().expect("refused")
    }

    /// Waits until new connections get the certificate in this file.
    async fn wait_for(&self, trusted: &str) {
        let deadline = tokio::time::Instant::now() + TEST_TIMEOUT;
        while !self.exec(trusted).await.is(Code::Conflict) {
            assert!(tokio::time::Instant::now() < deadline, "the new certificate is not used");
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// The address of the listener that only redirects.
    fn redirect_address(&self) -> SocketAddr {
        self.harness.redirect_address.expect("there is one with TLS")
    }

    /// A client as a browser is one, which trusts the certificate of the server.
    fn browser(&self) -> reqwest::Client {
        let pem = std::fs::read(self.place.path().join("server.pem")).expect("there");
        let certificate = reqwest::Certificate::from_pem(&pem).expect("valid");
        let builder = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none());
        builder.resolve(NAME, self.harness.address()).tls_certs_only([certificate]).build().expect("valid")
    }
}

/// Writes a new certificate and its key: `NAME.pem` and `NAME.key`.
fn write_certificate(place: &Path, name: &str, host: &str) -> (PathBuf, PathBuf) {
    let made = rcgen::generate_simple_self_signed(vec![host.to_owned(), NAME.to_owned()]).expect("made");
    let (certificate, key) = (place.join(format!("{name}.pem")), place.join(format!("{name}.key")));
    std::fs::write(&certificate, made.cert.pem()).expect("written");
    std::fs::write(&key, made.signing_key.serialize_pem()).expect("written");
    (certificate, key)
}

#[tokio::test]
async fn requests_are_served_by_https() {
    let fixture = Fixture::new(limits());
    let sent = fixture.browser().get(fixture.url("/api/v1/headers")).send();
    let response = in_time(sent).await.expect("a response");
    assert_eq!(response.version(), http::Version::HTTP_2);
    assert!(!response.headers().contains_key("strict-transport-security"), "not for a loopback address");
    let seen: serde_json::Value = in_time(response.json()).await.expect("JSON");
    let headers = seen["headers"].as_array().expect("a list");
    assert!(headers.contains(&serde_json::json!(["x-burrow-secure", "true"])), "{headers:?}");
    let url = format!("https://{NAME}:{}/", fixture.harness.address().port());
    let page = fixture.browser().get(url).send();
    let page = in_time(page).await.expect("a response");
    assert!(page.headers()["strict-transport-security"].to_str().expect("text").starts_with("max-age="));
}

#[tokio::test]
async fn streams_and_errors_of_our_client() {
    let fixture = Fixture::new(limits());
    assert!(fixture.exec("server.pem").await.is(Code::Conflict), "the workspace has answered");
    write_certificate(fixture.place.path(), "other", "127.0.0.1");
    for error in
        [fixture.exec("other.pem").await, fixture.api("other.pem").version().await.expect_err("refused")]
    {
        assert!(matches!(error, ApiError::Untrusted { .. }) && !error.is_transient(), "{error:?}");
        assert!(error.to_string().contains("no authority that this computer trusts"), "{error}");
    }
}

#[tokio::test]
async fn replaced_certificate_is_used() {
    let fixture = Fixture::new(Limits { certificate_check_interval: Duration::from_millis(5), ..limits() });
    let place = fixture.place.path();
    write_certificate(place, "next", "127.0.0.1");
    // The key is still that of the first certificate.
    std::fs::copy(place.join("server.pem"), place.join("first.pem")).expect("copied");
    std::fs::copy(place.join("next.pem"), place.join("server.pem")).expect("copied");
    // Many looks at the files later …
    for _ in 0..20 {
        assert!(fixture.exec("first.pem").await.is(Code::Conflict), "the old one stays in use");
    }
    std::fs::copy(place.join("next.key"), place.join("server.key")).expect("copied");
    fixture.wait_for("next.pem").await;
}

#[tokio::test]
async fn certificate_is_loaded_at_once_on_request() {
    let fixture = Fixture::new(Limits { certificate_check_interval: Duration::from_hours(1), ..limits() });
    let place = fixture.place.path();
    std::fs::copy(place.join("server.pem"), place.join("first.pem")).expect("copied");
    write_certificate(place, "server", "127.0.0.1");
    assert!(fixture.exec("first.pem").await.is(Code::Conflict), "nobody has looked at the files");
    fixture.reload.notify_one();
    fixture.wait_for("server.pem").await;
}

#[tokio::test]
async fn redirecting_listener_serves_nothing_else() {
    let fixture = Fixture::new(limits());
    let browser = fixture.browser();
    for (method, path) in
        [("GET", "/workspaces?x=1"), ("POST", "/api/v1/auth/login"), ("PUT", "/burrow-ca.crt")]
    {
        let url = format!("http://{}{path}", fixture.redirect_address());
        let request = browser.request(method.parse().expect("valid"), url).header("host", "evil.example");
        let response = in_time(request.body("password").send()).await.expect("a response");
        assert_eq!(response.status(), 308, "{method}");
        assert_eq!(response.headers()["location"], format!("{REDIRECT_ORIGIN}{path}"), "{method}");
    }
    assert_eq!(fixture.harness.grant_requests(), 0);
}

#[tokio::test]
async fn redirecting_listener_shares_connection_limits() {
    let limits = Limits { max_connections: 32, request_head_timeout: Duration::from_hours(1), ..limits() };
    let fixture = Fixture::new(limits);
    // An address has 2 silent connections, on both listeners together: one more closes the oldest.
    let mut silent = Vec::new();
    for address in [fixture.harness.address(), fixture.redirect_address(), fixture.redirect_address()] {
        silent.push(in_time(TcpStream::connect(address)).await.expect("connected"));
    }
    let reads = silent.iter_mut().map(|stream| Box::pin(async { stream.read(&mut [0; 1]).await }));
    let (closed, ..) = in_time(futures_util::future::select_all(reads)).await;
    assert!(matches!(closed, Ok(0) | Err(_)), "{closed:?}");
}

#[tokio::test]
async fn redirecting_listener_closes_silent_connection() {
    let fixture = Fixture::new(Limits { request_head_timeout: Duration::from_millis(300), ..limits() });
    let mut silent = in_time(TcpStream::connect(fixture.redirect_address())).await.expect("connected");
    let _ = in_time(silent.read_to_end(&mut Vec::new())).await;
}

#[tokio::test]
async fn plain_http_is_redirected() {
    let fixture = Fixture::new(limits());
    let browser = fixture.browser();
    let sent = browser.get(fixture.harness.url("/workspaces?x=1")).send();
    let response = in_time(sent).await.expect("a response");
    assert_eq!(response.status(), 308);
    assert_eq!(response.headers()["location"].to_str().expect("text"), fixture.url("/workspaces?x=1"));
    let sent = browser.post(fixture.harness.url("/api/v1/auth/login")).send();
    let refused = problem(in_time(sent).await.expect("a response")).await;
    assert!(refused.code == Code::BadRequest && refused.detail.contains("https://127.0.0.1:"), "{refused:?}");
    assert_eq!(fixture.harness.grant_requests(), 0);
    for url in [fixture.url("/burrow-ca.crt"), fixture.harness.url("/burrow-ca.crt")] {
        let response = in_time(browser.get(url).send()).await.expect("a response");
        assert_eq!(response.headers()["content-type"], "application/x-x509-ca-cert");
        assert_eq!(in_time(response.text()).await.expect("text"), "a certificate");
    }
}

#[tokio::test]
async fn unfinished_handshake_is_closed() {
    let limits = Limits { request_head_timeout: Duration::from_millis(300), max_connections: 32, ..limits() };
    let fixture = Fixture::new(limits);
    // A record of 512 bytes that never comes, and nothing at all.
    for start in [&[0x16, 3, 1, 2, 0, 1][..], &[]] {
        let mut stream = in_time(TcpStream::connect(fixture.harness.address())).await.expect("connected");
        in_time(stream.write_all(start)).await.expect("sent");
        let _ = in_time(stream.read_to_end(&mut Vec::new())).await;
    }
    let mut unfinished = Vec::new();
    for _ in 0..100 {
        unfinished.push(in_time(TcpStream::connect(fixture.harness.address())).await.expect("connected"));
    }
    assert!(fixture.exec("server.pem").await.is(Code::Conflict), "the others lock nobody out");
}
