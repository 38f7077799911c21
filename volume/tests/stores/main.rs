//! The contract of an object store, tested on each: memory, a directory, S3 by an in-process server
//! (s3s), S3 by moto, and S3 by Ceph's gateway if it is installed.
//!
//! moto comes from PyPI. If the task runner has not installed it, the first run installs it under
//! the target directory.

mod ceph;
#[path = "../../../tests/src/moto.rs"]
mod moto;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

use burrow_volume as volume;
use bytes::Bytes;
use futures_util::future::{BoxFuture, join_all};
use hyper_util::rt::{TokioExecutor, TokioIo};
use protocol::{Epoch, Redacted, TenantId, VolumeId};
use volume::{
    DataKey, ObjectStore, StoreError, Volume, VolumeOptions,
    store::{DirectoryStore, MemoryStore, ObjectInfo, PutOutcome, S3Credentials, S3Options, S3Store},
};

use moto::Moto;

/// Tests the whole contract.
async fn check_contract(store: Arc<dyn ObjectStore>) {
    store.probe().await.expect("the probe accepts it");
    check_exclusive_create(&*store).await;
    check_reads(&*store).await;
    check_listing(&*store).await;
    check_delete(&*store).await;
    check_names(&*store).await;
    check_volume(store).await;
}

async fn check_exclusive_create(store: &dyn ObjectStore) {
    assert_eq!(store.put_if_absent("once/a", Bytes::from_static(b"first")).await, Ok(PutOutcome::Created));
    assert_eq!(store.put_if_absent("once/a", Bytes::from_static(b"second")).await, Ok(PutOutcome::Existed));
    assert_eq!(store.get("once/a", 100).await, Ok(Bytes::from_static(b"first")));
}

async fn check_reads(store: &dyn ObjectStore) {
    let body: Bytes = (0..3_000_000u32).flat_map(u32::to_le_bytes).take(9 << 20).collect();
    assert_eq!(store.put_if_absent("read/large", body.clone()).await, Ok(PutOutcome::Created));
    assert_eq!(store.put_if_absent("read/empty", Bytes::new()).await, Ok(PutOutcome::Created));
    assert_eq!(store.get("read/large", 9 << 20).await.as_ref(), Ok(&body));
    assert_eq!(store.get("read/empty", 0).await, Ok(Bytes::new()));
    for range in [0..1, 5_000_000..5_100_000, (9 << 20) - 1..9 << 20, 7..7] {
        let expected = body.slice(range.start as usize..range.end as usize);
        assert_eq!(store.get_range("read/large", range).await, Ok(expected));
    }
    assert!(store.get("read/large", 1000).await.is_err(), "larger than the limit");
    for range in [(9 << 20) - 5..(9 << 20) + 5, (9 << 20) + 5..(9 << 20) + 10] {
        let cut = store.get_range("read/large", range.clone()).await;
        assert!(matches!(cut, Err(StoreError::Malformed(_))), "{range:?} is beyond the end: {cut:?}");
    }
    assert_eq!(store.get("read/none", 10).await, Err(StoreError::NotFound("read/none".to_owned())));
    assert_eq!(store.get_range("read/none", 0..1).await, Err(StoreError::NotFound("read/none".to_owned())));
}

async fn check_listing(store: &dyn ObjectStore) {
    let names: Vec<String> = (0..25).map(|number| format!("list/deep/{:02}", number * 7 % 25)).collect();
    for name in &names {
        store.put_if_absent(name, Bytes::from(name.clone())).await.expect("stored");
    }
    let listed = store.list("list/de", None).await.expect("lists");
    let expected: Vec<ObjectInfo> =
        (0..25).map(|number| ObjectInfo { name: format!("list/deep/{number:02}"), bytes: 12 }).collect();
    assert_eq!(listed, expected);
    let rest = store.list("list/", Some("list/deep/22")).await.expect("lists");
    assert_eq!(rest, expected[23..]);
    assert_eq!(store.list("nothing/", None).await, Ok(Vec::new()));
}

async fn check_delete(store: &dyn ObjectStore) {
    store.put_if_absent("delete/a", Bytes::from_static(b"x")).await.expect("stored");
    assert_eq!(store.delete("delete/a").await, Ok(()));
    assert_eq!(store.delete("delete/a").await, Ok(()), "repeating it is no error");
    assert!(matches!(store.get("delete/a", 10).await, Err(StoreError::NotFound(_))));
    assert_eq!(store.put_if_absent("delete/a", Bytes::from_static(b"y")).await, Ok(PutOutcome::Created));
}

async fn check_names(store: &dyn ObjectStore) {
    for name in ["", "../a", "/a", "a//b", "a/../b"] {
        assert!(store.put_if_absent(name, Bytes::new()).await.is_err(), "{name:?}");
        assert!(store.get(name, 1).await.is_err(), "{name:?}");
        assert!(store.delete(name).await.is_err(), "{name:?}");
    }
}

async fn check_volume(store: Arc<dyn ObjectStore>) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (tenant, id, key) = (TenantId::random(), VolumeId::random(), DataKey::random());
    let options = |cache: &str, head| VolumeOptions {
        tenant,
        volume: id,
        size_bytes: 64 << 20,
        epoch: Epoch(1),
        head,
        head_of: None,
        lineage: 0,
        cache: directory.path().join(cache),
        key: key.clone(),
        store: store.clone(),
    };
    let volume = Volume::open(options("one", None)).await.expect("opens");
    let mut bytes = vec![0; 20 << 20];
    rand::Rng::fill_bytes(&mut rand::rng(), &mut bytes);
    volume.write(12_345, bytes.clone().into()).await.expect("writes");
    let snapshot = volume.snapshot(|_| ()).await.expect("stored");
    assert!(snapshot.objects >= 3);
    let other = Volume::open(options("two", Some(snapshot.manifest))).await.expect("opens");
    assert_eq!(other.read(12_345, bytes.len() as u64).await.expect("reads"), bytes);
}

#[tokio::test]
async fn memory_store_fulfils_the_contract() {
    check_contract(Arc::new(MemoryStore::default())).await;
}

#[tokio::test]
async fn directory_store_fulfils_the_contract() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let url = format!("file://{}/new/objects", directory.path().display());
    let store = volume::store::open(&url).await.expect("opens");
    check_contract(store.clone()).await;
    let creators = (0..32).map(|number: u8| {
        let store = store.clone();
        async move { store.put_if_absent("race/a", Bytes::from(vec![number; 1000])).await.expect("answers") }
    });
    let created = join_all(creators).await.into_iter().filter(|put| *put == PutOutcome::Created).count();
    assert_eq!(created, 1, "one of many creators wins");
    let left = std::fs::read_dir(directory.path().join("new/objects/.incoming")).expect("there").count();
    assert_eq!(left, 0, "no temporary file is left");
}

#[tokio::test]
async fn directory_that_cannot_be_created_is_refused() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    std::fs::write(directory.path().join("file"), "").expect("written");
    let url = format!("file://{}/file/objects", directory.path().display());
    assert!(matches!(
        volume::store::open(&url).await,
        Err(StoreError::Denied(_) | StoreError::Unavailable(_))
    ));
}

#[tokio::test]
async fn s3s_fulfils_the_contract() {
    let server = S3sServer::start().await;
    check_contract(server.store("homes", "secret").await).await;
    let refused = server.store("homes", "guessed").await.get("once/a", 100).await;
    assert!(matches!(refused, Err(StoreError::Denied(_))), "{refused:?}");
    let missing = server.store("nowhere", "secret").await.get("once/a", 100).await;
    assert!(missing.is_err());
}

#[tokio::test]
async fn unreachable_s3_is_unavailable() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound");
    drop(listener);
    let store = S3Store::open(options(address, "homes", "secret")).await.expect("opens without a request");
    assert!(matches!(store.get("a", 10).await, Err(StoreError::Unavailable(_))));
}

#[tokio::test]
async fn moto_fulfils_the_contract() {
    let server = tokio::task::spawn_blocking(|| Moto::listen(moto_server())).await.expect("starts");
    let options = options(server.address, "homes", "secret");
    create_bucket(&options).await;
    check_contract(Arc::new(S3Store::open(options).await.expect("opens"))).await;
}

#[tokio::test]
async fn ceph_fulfils_the_contract() {
    if !ceph::Ceph::is_installed() {
        return eprintln!("radosgw is not installed: `cargo xtask soak` installs it");
    }
    let server = tokio::task::spawn_blocking(ceph::Ceph::start).await.expect("starts");
    let options = options(server.address, "homes", "secret");
    create_bucket(&options).await;
    check_contract(Arc::new(S3Store::open(options).await.expect("opens"))).await;
}

#[tokio::test]
async fn store_that_creates_twice_is_refused() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let store = OverwritingStore(DirectoryStore::open(directory.path().to_owned()).await.expect("opens"));
    assert!(matches!(store.probe().await, Err(StoreError::Unsupported(_))));
    assert_eq!(store.list("probe/", None).await, Ok(Vec::new()), "the probe leaves nothing");
}

/// Ignores `If-None-Match`, as some servers do.
struct OverwritingStore(DirectoryStore);

impl ObjectStore for OverwritingStore {
    fn put_if_absent<'a>(
        &'a self,
        name: &'a str,
        body: Bytes,
    ) -> BoxFuture<'a, Result<PutOutcome, StoreError>> {
        Box::pin(async move {
            self.0.delete(name).await?;
            self.0.put_if_absent(name, body).await
        })
    }
    fn get<'a>(&'a self, name: &'a str, max_bytes: u64) -> BoxFuture<'a, Result<Bytes, StoreError>> {
        self.0.get(name, max_bytes)
    }
    fn get_range<'a>(
        &'a self,
        name: &'a str,
        range: std::ops::Range<u64>,
    ) -> BoxFuture<'a, Result<Bytes, StoreError>> {
        self.0.get_range(name, range)
    }
    fn list<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Vec<ObjectInfo>, StoreError>> {
        self.0.list(prefix, after)
    }
    fn delete<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<(), StoreError>> {
        self.0.delete(name)
    }
}

fn options(address: SocketAddr, bucket: &str, secret: &str) -> S3Options {
    let url = format!("s3://{bucket}/some/prefix?endpoint=http://{address}&region=eu-central-1");
    let credentials =
        S3Credentials { access_key: "tester".to_owned(), secret_key: Redacted::new(secret.to_owned()) };
    S3Options { credentials: Some(credentials), ..S3Options::parse(&url).expect("a URL") }
}

async fn create_bucket(options: &S3Options) {
    let credentials = options.credentials.as_ref().expect("given");
    let config = aws_config::defaults(aws_config::BehaviorVersion::latest())
        .region(aws_config::Region::new("us-east-1"))
        .endpoint_url(options.endpoint.as_deref().expect("given"))
        .credentials_provider(aws_sdk_s3::config::Credentials::new(
            &credentials.access_key,
            credentials.secret_key.expose(),
            None,
            None,
            "test",
        ))
        .load()
        .await;
    let config = aws_sdk_s3::config::Builder::from(&config).force_path_style(true).build();
    let created = aws_sdk_s3::Client::from_conf(config).create_bucket().bucket(&options.bucket).send().await;
    created.expect("the bucket is created");
}

/// A server of s3s-fs in this process. It ends when it is dropped.
struct S3sServer {
    address: SocketAddr,
    serving: tokio::task::JoinHandle<()>,
    _directory: tempfile::TempDir,
}

impl S3sServer {
    async fn start() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        std::fs::create_dir(directory.path().join("homes")).expect("a bucket");
        let files = s3s_fs::FileSystem::new(directory.path()).expect("a file system");
        let mut builder = s3s::service::S3ServiceBuilder::new(files);
        builder.set_auth(s3s::auth::SimpleAuth::from_single("tester", "secret"));
        let service = builder.build();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let serving = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let service = service.clone();
                connections.spawn(async move {
                    let server = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                    let _ = server.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Self { address, serving, _directory: directory }
    }

    async fn store(&self, bucket: &str, secret: &str) -> Arc<dyn ObjectStore> {
        Arc::new(S3Store::open(options(self.address, bucket, secret)).await.expect("opens"))
    }
}

impl Drop for S3sServer {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// The path of moto's server: the one in `BURROW_MOTO_SERVER`, or one that is installed first.
fn moto_server() -> PathBuf {
    std::env::var_os("BURROW_MOTO_SERVER").map_or_else(install_moto, PathBuf::from)
}

fn install_moto() -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("moto-5");
    let (server, marker) = (directory.join("bin/moto_server"), directory.join("installed"));
    if !marker.exists() {
        let _ = std::fs::remove_dir_all(&directory);
        run_command(Command::new("python3").args(["-m", "venv"]).arg(&directory));
        let pip = directory.join("bin/pip");
        run_command(Command::new(pip).args(["install", "--quiet", "moto[server]==5.*"]));
        std::fs::write(marker, "").expect("written");
    }
    server
}

fn run_command(command: &mut Command) {
    let status = command.status().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(status.success(), "{command:?}: {status}");
}
