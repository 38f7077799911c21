//! Tests the export with independent clients (qemu, libnbd) and with hostile ones.

use std::{path::PathBuf, process::Stdio, sync::Arc, time::Duration};

use protocol::{Epoch, TenantId, VolumeId};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{UnixListener, UnixStream},
    process::Command as Program,
    task::JoinHandle,
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use volume::{DataKey, Volume, VolumeOptions, store};

use super::{serve, wire};

const SIZE: u64 = 64 << 20;
/// No client of these tests takes a tenth of it.
const TEST_TIMEOUT: Duration = Duration::from_secs(60);

/// A volume behind its socket.
struct ExportedVolume {
    directory: tempfile::TempDir,
    volume: Volume,
    stop: CancellationToken,
    serving: JoinHandle<()>,
}

impl ExportedVolume {
    async fn start() -> Self {
        Self::start_as_disk(SIZE).await
    }

    /// Exports the volume as a disk that may be larger.
    async fn start_as_disk(disk_bytes: u64) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let objects = store::DirectoryStore::open(directory.path().join("objects")).await.expect("a store");
        let opening = VolumeOptions {
            tenant: TenantId::random(),
            volume: VolumeId::random(),
            size_bytes: SIZE,
            epoch: Epoch(1),
            head: None,
            head_of: None,
            lineage: 0,
            cache: directory.path().join("cache"),
            key: DataKey::random(),
            store: Arc::new(objects),
        };
        let volume = Volume::open(opening).await.expect("opens");
        let listener = UnixListener::bind(directory.path().join("home.sock")).expect("a socket");
        let stop = CancellationToken::new();
        let serving = tokio::spawn(serve(listener, volume.clone(), disk_bytes, stop.clone()));
        Self { directory, volume, stop, serving }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn url(&self) -> String {
        format!("nbd+unix:///home?socket={}", self.path("home.sock").display())
    }

    async fn connect(&self) -> UnixStream {
        UnixStream::connect(self.path("home.sock")).await.expect("connects")
    }

    /// Connects and completes the handshake.
    async fn connect_to_export(&self) -> UnixStream {
        let mut stream = self.connect().await;
        let mut greeting = [0; 18];
        stream.read_exact(&mut greeting).await.expect("a greeting");
        stream.write_all(&3u32.to_be_bytes()).await.expect("sent");
        stream.write_all(&option(1, b"home")).await.expect("sent");
        let mut export = [0; 10];
        stream.read_exact(&mut export).await.expect("the export");
        assert_eq!(export[..8], SIZE.to_be_bytes());
        stream
    }

    async fn stop(self) {
        self.stop.cancel();
        timeout(TEST_TIMEOUT, self.serving).await.expect("ends in time").expect("does not panic");
        self.volume.close().await.expect("closes");
    }
}

async fn run(program: &str, arguments: &[&str]) -> String {
    let (success, output) = try_to_run(program, arguments).await;
    assert!(success, "{program} {arguments:?}: {output}");
    output
}

/// Whether the program succeeded, and its output.
async fn try_to_run(program: &str, arguments: &[&str]) -> (bool, String) {
    let command = Program::new(program).args(arguments).stdin(Stdio::null()).kill_on_drop(true).output();
    let output = timeout(TEST_TIMEOUT, command).await.unwrap_or_else(|_| panic!("{program} hangs"));
    let output = output.unwrap_or_else(|error| panic!("{program} (of qemu-utils or libnbd-bin): {error}"));
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output.status.success(), text)
}

fn option(code: u32, data: &[u8]) -> Vec<u8> {
    [&wire::OPTION_MAGIC.to_be_bytes()[..], &code.to_be_bytes(), &(data.len() as u32).to_be_bytes(), data]
        .concat()
}

fn request(flags: u16, command: u16, cookie: u64, offset: u64, length: u32) -> Vec<u8> {
    let mut bytes = 0x2560_9513u32.to_be_bytes().to_vec();
    bytes.extend_from_slice(&flags.to_be_bytes());
    bytes.extend_from_slice(&command.to_be_bytes());
    bytes.extend_from_slice(&cookie.to_be_bytes());
    bytes.extend_from_slice(&offset.to_be_bytes());
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes
}

/// Reads the next reply's cookie and error.
async fn read_reply(stream: &mut UnixStream) -> (u64, u32) {
    let mut bytes = [0; 16];
    timeout(TEST_TIMEOUT, stream.read_exact(&mut bytes)).await.expect("in time").expect("a reply");
    assert_eq!(bytes[..4], 0x6744_6698u32.to_be_bytes());
    let error = u32::from_be_bytes(bytes[4..8].try_into().expect("four"));
    (u64::from_be_bytes(bytes[8..].try_into().expect("eight")), error)
}

async fn expect_disconnect(mut stream: UnixStream) {
    let mut rest = Vec::new();
    // A reset is a disconnect too.
    let _ = timeout(TEST_TIMEOUT, stream.read_to_end(&mut rest)).await.expect("the connection ends");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn qemu_reads_its_writes() {
    let exported = ExportedVolume::start().await;
    let url = exported.url();
    let commands = [
        "write -P 0x11 0 8M",
        "write -P 0x22 1234 5678",
        "write -f -P 0x33 20M 4k",
        "aio_write -P 0x44 30M 1M",
        "aio_write -P 0x55 31M 1M",
        "aio_flush",
        "write -z 4M 1M",
        "write -z -u 5M 64k",
        "discard 6M 1M",
        "flush",
        "read -P 0x11 0 1234",
        "read -P 0x22 1234 5678",
        "read -P 0x33 20M 4k",
        "read -P 0x44 30M 1M",
        "read -P 0x55 31M 1M",
        "read -P 0 4M 1M",
        "read -P 0 5M 64k",
        "read -P 0 6M 1M",
        "read -P 0x11 7M 1M",
        "read -P 0 40M 24M",
    ];
    let mut arguments = vec!["-f", "raw"];
    for command in commands {
        arguments.extend(["-c", command]);
    }
    arguments.push(&url);
    let output = run("qemu-io", &arguments).await;
    assert!(!output.contains("Pattern verification failed"), "{output}");
    let content = exported.volume.read(20 << 20, 4096).await.expect("reads");
    assert!(content.iter().all(|byte| *byte == 0x33));
    exported.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn libnbd_sees_announced_features() {
    let exported = ExportedVolume::start().await;
    let output = run("nbdinfo", &["--json", &exported.url()]).await;
    for promised in [
        format!("\"export-size\": {SIZE}"),
        "\"can_flush\": true".to_owned(),
        "\"can_fua\": true".to_owned(),
        "\"can_trim\": true".to_owned(),
        "\"can_zero\": true".to_owned(),
        "\"can_multi_conn\": true".to_owned(),
        "\"is_read_only\": false".to_owned(),
        "\"block_size_preferred\": 4096".to_owned(),
        "\"block_size_maximum\": 33554432".to_owned(),
    ] {
        assert!(output.contains(&promised), "{promised} is not in {output}");
    }
    let listed = run("nbdinfo", &["--list", &exported.url()]).await;
    assert!(listed.contains("export=\"home\""), "{listed}");
    exported.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn copied_images_are_identical() {
    let exported = ExportedVolume::start().await;
    let (image, copy) = (exported.path("in.raw"), exported.path("out.raw"));
    let mut content = vec![0; SIZE as usize];
    rand::Rng::fill_bytes(&mut rand::rng(), &mut content[..20 << 20]);
    rand::Rng::fill_bytes(&mut rand::rng(), &mut content[50 << 20..(50 << 20) + 12_345]);
    std::fs::write(&image, &content).expect("written");
    let (image, copy) = (image.display().to_string(), copy.display().to_string());
    run("nbdcopy", &["--flush", "--connections=4", "--requests=32", &image, &exported.url()]).await;
    run("nbdcopy", &[&exported.url(), &copy]).await;
    assert!(std::fs::read(&copy).expect("copied") == content, "nbdcopy");
    run("qemu-img", &["compare", "-f", "raw", "-F", "raw", &image, &exported.url()]).await;
    run("qemu-img", &["convert", "-n", "-f", "raw", "-O", "raw", &copy, &exported.url()]).await;
    run("qemu-img", &["compare", "-f", "raw", "-F", "raw", &image, &exported.url()]).await;
    assert!(exported.volume.read(0, SIZE).await.expect("reads") == content, "the volume");
    exported.stop().await;
}

/// A disk may be larger than the home. Beyond the home, reads give zeros, discards succeed, and
/// writes fail with ENOSPC. A home that grows reaches further at once.
#[tokio::test]
async fn disk_beyond_the_home_is_empty_and_full() {
    let exported = ExportedVolume::start_as_disk(1 << 40).await;
    let url = exported.url();
    let io = |commands: &[&str]| {
        let arguments: Vec<String> =
            commands.iter().flat_map(|command| ["-c".to_owned(), (*command).to_owned()]).collect();
        let url = url.clone();
        async move {
            let mut all = vec!["-f".to_owned(), "raw".to_owned()];
            all.extend(arguments);
            all.push(url);
            let all: Vec<&str> = all.iter().map(String::as_str).collect();
            try_to_run("qemu-io", &all).await.1
        }
    };
    let last = SIZE - 4096;
    let output = io(&[
        &format!("write -P 7 {last} 4096"),
        &format!("read -P 0 {SIZE} 64k"),
        &format!("read -P 0 {} 4096", (1_u64 << 40) - 4096),
        &format!("discard {SIZE} 1M"),
        &format!("discard {last} 1M"),
        "flush",
    ])
    .await;
    assert!(!output.contains("failed") && !output.contains("Pattern"), "{output}");
    let output = io(&[&format!("write -P 7 {SIZE} 4096"), &format!("write -P 7 {last} 8192")]).await;
    assert_eq!(output.matches("No space left").count(), 2, "{output}");
    exported.volume.grow(SIZE + (1 << 20)).await.expect("grows");
    let output = io(&[&format!("write -P 7 {SIZE} 4096"), &format!("read -P 7 {SIZE} 4096")]).await;
    assert!(!output.contains("failed") && !output.contains("Pattern"), "{output}");
}

#[tokio::test]
async fn replies_have_cookies_and_error_numbers() {
    let exported = ExportedVolume::start().await;
    let mut stream = exported.connect_to_export().await;
    let cases: [(Vec<u8>, u32); 9] = [
        (request(0, 0, 1, SIZE, 1), 22),
        (request(0, 0, 2, u64::MAX, 16), 22),
        (request(0, 0, 3, 0, (32 << 20) + 1), 75),
        (request(0, 4, 4, SIZE - 1, 2), 22),
        (request(0, 6, 5, SIZE - 1, 2), 28),
        (request(0, 99, 6, 0, 0), 22),
        (request(1 << 4, 6, 7, 0, 4096), 22),
        (request(0, 3, 8, 0, 0), 0),
        (request(1, 6, 9, 0, 1 << 20), 0),
    ];
    for (bytes, error) in cases {
        stream.write_all(&bytes).await.expect("sent");
        let cookie = u64::from_be_bytes(bytes[8..16].try_into().expect("eight"));
        assert_eq!(read_reply(&mut stream).await, (cookie, error));
    }
    // The payload of a refused write is consumed, so the next request is decoded correctly.
    stream.write_all(&[request(0, 1, 10, SIZE - 10, 20), vec![1; 20]].concat()).await.expect("sent");
    assert_eq!(read_reply(&mut stream).await, (10, 28));
    stream.write_all(&[request(1, 1, 11, 77, 3), b"abc".to_vec()].concat()).await.expect("sent");
    assert_eq!(read_reply(&mut stream).await, (11, 0));
    assert_eq!(exported.volume.status().await.expect("status").dirty_bytes, 4096);
    stream.write_all(&request(0, 0, 12, 76, 5)).await.expect("sent");
    assert_eq!(read_reply(&mut stream).await, (12, 0));
    let mut content = [9; 5];
    stream.read_exact(&mut content).await.expect("content");
    assert_eq!(&content, b"\0abc\0");
    stream.write_all(&request(0, 2, 13, 0, 0)).await.expect("sent");
    expect_disconnect(stream).await;
    exported.stop().await;
}

#[tokio::test]
async fn unknown_options_are_declined() {
    let exported = ExportedVolume::start().await;
    let mut stream = exported.connect().await;
    let mut greeting = [0; 18];
    stream.read_exact(&mut greeting).await.expect("a greeting");
    stream.write_all(&1u32.to_be_bytes()).await.expect("sent");
    let info = |name: &[u8]| [&(name.len() as u32).to_be_bytes()[..], name, &[0, 0]].concat();
    let cases = [
        (5, Vec::new(), wire::REPLY_UNSUPPORTED),
        (8, Vec::new(), wire::REPLY_UNSUPPORTED),
        (77, vec![1; 8192], wire::REPLY_UNSUPPORTED),
        (3, b"x".to_vec(), wire::REPLY_INVALID),
        (7, b"x".to_vec(), wire::REPLY_INVALID),
        (6, vec![0xff; 30], wire::REPLY_INVALID),
        (7, info(b"other"), wire::REPLY_UNKNOWN),
        (6, info(b""), wire::REPLY_INFO),
    ];
    for (code, data, expected) in cases {
        stream.write_all(&option(code, &data)).await.expect("sent");
        let mut last = wire::REPLY_INFO;
        let mut first = None;
        while last == wire::REPLY_INFO {
            let mut header = [0; 20];
            stream.read_exact(&mut header).await.expect("a reply");
            assert_eq!(header[8..12], u32::to_be_bytes(code));
            last = u32::from_be_bytes(header[12..16].try_into().expect("four"));
            first = first.or(Some(last));
            let length = u32::from_be_bytes(header[16..].try_into().expect("four"));
            stream.read_exact(&mut vec![0; length as usize]).await.expect("its data");
        }
        assert_eq!(first, Some(expected), "option {code}");
    }
    stream.write_all(&option(2, &[])).await.expect("sent");
    expect_disconnect(stream).await;
    exported.stop().await;
}

#[tokio::test]
async fn protocol_violation_closes_only_its_connection() {
    let exported = ExportedVolume::start().await;
    let mut good = exported.connect_to_export().await;
    let before = [
        0xffu32.to_be_bytes().to_vec(),
        [&3u32.to_be_bytes()[..], &[0; 16]].concat(),
        [&3u32.to_be_bytes()[..], &wire::OPTION_MAGIC.to_be_bytes(), &7u32.to_be_bytes(), &[0xff; 4]]
            .concat(),
        [&3u32.to_be_bytes()[..], &option(1, b"other")].concat(),
        [&3u32.to_be_bytes()[..], &option(55, b"").repeat(100)].concat(),
    ];
    for bytes in before {
        let mut stream = exported.connect().await;
        let _ = stream.write_all(&bytes).await;
        expect_disconnect(stream).await;
    }
    let after = [vec![0; 28], request(0, 1, 1, 0, (32 << 20) + 1)];
    for bytes in after {
        let mut stream = exported.connect_to_export().await;
        stream.write_all(&bytes).await.expect("sent");
        expect_disconnect(stream).await;
    }
    // A client that disconnects in the middle of a write: nothing of it is stored.
    let mut stream = exported.connect_to_export().await;
    stream.write_all(&[request(0, 1, 1, 0, 1 << 20), vec![7; 1000]].concat()).await.expect("sent");
    drop(stream);

    good.write_all(&request(0, 0, 1, 0, 4096)).await.expect("sent");
    assert_eq!(read_reply(&mut good).await, (1, 0));
    let mut content = vec![1; 4096];
    good.read_exact(&mut content).await.expect("content");
    assert!(content.iter().all(|byte| *byte == 0));
    exported.stop().await;
}

#[tokio::test]
async fn random_bytes_are_harmless() {
    let seed: u64 = rand::random();
    println!("seed {seed}");
    let mut random = <rand::rngs::StdRng as rand::SeedableRng>::seed_from_u64(seed);
    let exported = ExportedVolume::start().await;
    for round in 0..200 {
        let mut stream =
            if round % 2 == 0 { exported.connect().await } else { exported.connect_to_export().await };
        let mut bytes = vec![0; rand::RngExt::random_range(&mut random, 1..4000)];
        rand::Rng::fill_bytes(&mut random, &mut bytes);
        if round % 4 == 3 {
            // Behind a valid header, so that more of it is decoded.
            bytes.splice(0..0, request(0, rand::RngExt::random_range(&mut random, 0..8), 0, 0, 1 << 12));
        }
        let _ = stream.write_all(&bytes).await;
        let _ = stream.shutdown().await;
        expect_disconnect(stream).await;
    }
    exported.stop().await;
}

#[tokio::test]
async fn stalled_client_stops_only_itself() {
    let exported = ExportedVolume::start().await;
    let mut stalled = exported.connect_to_export().await;
    // Far more than socket buffers hold. Beyond its bound the server does not even read the requests.
    let requests = tokio::spawn(async move {
        for cookie in 0..10_000 {
            if stalled.write_all(&request(0, 0, cookie, 0, 1 << 20)).await.is_err() {
                break;
            }
        }
    });
    let mut good = exported.connect_to_export().await;
    good.write_all(&request(0, 3, 1, 0, 0)).await.expect("sent");
    assert_eq!(read_reply(&mut good).await, (1, 0));
    requests.abort();
    let _ = requests.await;
    exported.stop().await;
}

#[tokio::test]
async fn accepted_requests_are_answered_after_stop() {
    let exported = ExportedVolume::start().await;
    let mut stream = exported.connect_to_export().await;
    let body = vec![5; 8 << 20];
    stream.write_all(&[request(1, 1, 1, 0, 8 << 20), body].concat()).await.expect("sent");
    stream.write_all(&request(0, 0, 2, 0, 16)).await.expect("sent");
    // The first reply may belong to either request. It proves that the server has accepted that one.
    let (first, error) = read_reply(&mut stream).await;
    assert_eq!(error, 0);
    if first == 2 {
        stream.read_exact(&mut [0; 16]).await.expect("content");
        exported.stop.cancel();
        assert_eq!(read_reply(&mut stream).await, (1, 0));
    }
    exported.stop().await;
    expect_disconnect(stream).await;
}
