//! What every store promises, asked of each: a directory, S3 by an in-process server, S3 by one that is not Rust (moto), and by
//! Ceph's gateway where it is installed.
//!
//! moto comes from PyPI; where the task runner has not, the first run installs it beneath the target directory.

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

/// Everything that is asked of any store.
async fn keeps_its_promises(store: Arc<dyn ObjectStore>) {
    store.probe().await.expect("the probe finds it fit");
    creates_once(&*store).await;
    reads_what_was_written(&*store).await;
    lists_in_order(&*store).await;
    deletes(&*store).await;
    refuses_bad_names(&*store).await;
    carries_a_volume(store).await;
}

async fn creates_once(store: &dyn ObjectStore) {
    assert_eq!(store.put_if_absent("once/a", Bytes::from_static(b"first")).await, Ok(PutOutcome::Created));
    assert_eq!(store.put_if_absent("once/a", Bytes::from_static(b"second")).await, Ok(PutOutcome::Existed));
    assert_eq!(store.get("once/a", 100).await, Ok(Bytes::from_static(b"first")));
}

async fn reads_what_was_written(store: &dyn ObjectStore) {
    let body: Bytes = (0..3_000_000u32).flat_map(u32::to_le_bytes).take(9 << 20).collect();
    assert_eq!(store.put_if_absent("read/large", body.clone()).await, Ok(PutOutcome::Created));
    assert_eq!(store.put_if_absent("read/empty", Bytes::new()).await, Ok(PutOutcome::Created));
    assert_eq!(store.get("read/large", 9 << 20).await.as_ref(), Ok(&body));
    assert_eq!(store.get("read/empty", 0).await, Ok(Bytes::new()));
    for range in [0..1, 5_000_000..5_100_000, (9 << 20) - 1..9 << 20, 7..7] {
        let expected = body.slice(range.start as usize..range.end as usize);
        assert_eq!(store.get_range("read/large", range).await, Ok(expected));
    }
    assert!(store.get("read/large", 1000).await.is_err(), "larger than it may be");
    for range in [(9 << 20) - 5..(9 << 20) + 5, (9 << 20) + 5..(9 << 20) + 10] {
        let cut = store.get_range("read/large", range.clone()).await;
        assert!(matches!(cut, Err(StoreError::Malformed(_))), "{range:?} is beyond the end: {cut:?}");
    }
    assert_eq!(store.get("read/none", 10).await, Err(StoreError::NotFound("read/none".to_owned())));
    assert_eq!(store.get_range("read/none", 0..1).await, Err(StoreError::NotFound("read/none".to_owned())));
}

async fn lists_in_order(store: &dyn ObjectStore) {
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

async fn deletes(store: &dyn ObjectStore) {
    store.put_if_absent("delete/a", Bytes::from_static(b"x")).await.expect("stored");
    assert_eq!(store.delete("delete/a").await, Ok(()));
    assert_eq!(store.delete("delete/a").await, Ok(()), "again is no error");
    assert!(matches!(store.get("delete/a", 10).await, Err(StoreError::NotFound(_))));
    assert_eq!(store.put_if_absent("delete/a", Bytes::from_static(b"y")).await, Ok(PutOutcome::Created));
}

async fn refuses_bad_names(store: &dyn ObjectStore) {
    for name in ["", "../a", "/a", "a//b", "a/../b"] {
        assert!(store.put_if_absent(name, Bytes::new()).await.is_err(), "{name:?}");
        assert!(store.get(name, 1).await.is_err(), "{name:?}");
        assert!(store.delete(name).await.is_err(), "{name:?}");
    }
}

async fn carries_a_volume(store: Arc<dyn ObjectStore>) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (tenant, id, key) = (TenantId::random(), VolumeId::random(), DataKey::random());
    let opening = |cache: &str, head| VolumeOptions {
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
    let volume = Volume::open(opening("one", None)).await.expect("opens");
    let mut bytes = vec![0; 20 << 20];
    rand::Rng::fill_bytes(&mut rand::rng(), &mut bytes);
    volume.write(12_345, bytes.clone().into()).await.expect("writes");
    let snapshot = volume.snapshot(|_| ()).await.expect("stored");
    assert!(snapshot.objects >= 3);
    let other = Volume::open(opening("two", Some(snapshot.manifest))).await.expect("opens");
    assert_eq!(other.read(12_345, bytes.len() as u64).await.expect("reads"), bytes);
}

#[tokio::test]
async fn memory_keeps_its_promises() {
    keeps_its_promises(Arc::new(MemoryStore::default())).await;
}

#[tokio::test]
async fn a_directory_keeps_its_promises() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let url = format!("file://{}/new/objects", directory.path().display());
    let store = volume::store::open(&url).await.expect("opens");
    keeps_its_promises(store.clone()).await;
    let creators = (0..32).map(|number: u8| {
        let store = store.clone();
        async move { store.put_if_absent("race/a", Bytes::from(vec![number; 1000])).await.expect("answers") }
    });
    let created = join_all(creators).await.into_iter().filter(|put| *put == PutOutcome::Created).count();
    assert_eq!(created, 1, "one of many creators wins");
    let left = std::fs::read_dir(directory.path().join("new/objects/.incoming")).expect("there").count();
    assert_eq!(left, 0, "nothing half-written is left");
}

#[tokio::test]
async fn a_directory_that_cannot_be_made_is_refused() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    std::fs::write(directory.path().join("file"), "").expect("written");
    let url = format!("file://{}/file/objects", directory.path().display());
    assert!(matches!(
        volume::store::open(&url).await,
        Err(StoreError::Denied(_) | StoreError::Unavailable(_))
    ));
}

#[tokio::test]
async fn s3_in_process_keeps_its_promises() {
    let server = InProcess::start().await;
    keeps_its_promises(server.store("homes", "secret").await).await;
    let refused = server.store("homes", "guessed").await.get("once/a", 100).await;
    assert!(matches!(refused, Err(StoreError::Denied(_))), "{refused:?}");
    let missing = server.store("nowhere", "secret").await.get("once/a", 100).await;
    assert!(missing.is_err());
}

#[tokio::test]
async fn s3_that_does_not_answer_is_unavailable() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound");
    drop(listener);
    let store = S3Store::open(options(address, "homes", "secret")).await.expect("opens without asking");
    assert!(matches!(store.get("a", 10).await, Err(StoreError::Unavailable(_))));
}

#[tokio::test]
async fn s3_that_is_not_rust_keeps_its_promises() {
    let server = tokio::task::spawn_blocking(|| Moto::listen(moto_server())).await.expect("starts");
    let options = options(server.address, "homes", "secret");
    create_bucket(&options).await;
    keeps_its_promises(Arc::new(S3Store::open(options).await.expect("opens"))).await;
}

#[tokio::test]
async fn s3_by_ceph_keeps_its_promises() {
    if !ceph::Ceph::is_installed() {
        return eprintln!("radosgw is not installed: `cargo xtask soak` installs it");
    }
    let server = tokio::task::spawn_blocking(ceph::Ceph::start).await.expect("starts");
    let options = options(server.address, "homes", "secret");
    create_bucket(&options).await;
    keeps_its_promises(Arc::new(S3Store::open(options).await.expect("opens"))).await;
}

#[tokio::test]
async fn a_store_that_lets_a_second_create_through_is_refused() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let store = Careless(DirectoryStore::open(directory.path().to_owned()).await.expect("opens"));
    assert!(matches!(store.probe().await, Err(StoreError::Unsupported(_))));
    assert_eq!(store.list("probe/", None).await, Ok(Vec::new()), "the probe leaves nothing");
}

/// Ignores `If-None-Match`, as some servers do.
struct Careless(DirectoryStore);

impl ObjectStore for Careless {
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
    fn get<'a>(&'a self, name: &'a str, bytes_max: u64) -> BoxFuture<'a, Result<Bytes, StoreError>> {
        self.0.get(name, bytes_max)
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
    S3Options { credentials: Some(credentials), ..S3Options::parse(&url).expect("an address") }
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
    let made = aws_sdk_s3::Client::from_conf(config).create_bucket().bucket(&options.bucket).send().await;
    made.expect("the bucket is made");
}

/// s3s-fs behind a socket, for as long as it is held.
struct InProcess {
    address: SocketAddr,
    serving: tokio::task::JoinHandle<()>,
    _directory: tempfile::TempDir,
}

impl InProcess {
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

impl Drop for InProcess {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// The server's executable, as the task runner names it or installed first where it is missing.
fn moto_server() -> PathBuf {
    std::env::var_os("BURROW_MOTO_SERVER").map_or_else(installed_moto, PathBuf::from)
}

fn installed_moto() -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("moto-5");
    let (server, whole) = (directory.join("bin/moto_server"), directory.join("installed"));
    if !whole.exists() {
        let _ = std::fs::remove_dir_all(&directory);
        succeed(Command::new("python3").args(["-m", "venv"]).arg(&directory));
        let pip = directory.join("bin/pip");
        succeed(Command::new(pip).args(["install", "--quiet", "moto[server]==5.*"]));
        std::fs::write(whole, "").expect("noted");
    }
    server
}

fn succeed(command: &mut Command) {
    let status = command.status().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(status.success(), "{command:?}: {status}");
}
