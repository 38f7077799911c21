//! Every command of the documentation, and the documented configurations of reverse proxies. The
//! blocks marked `sh,run` of a page are one script. The scripts run in the order of the summary,
//! against one server with the fake runtime.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use burrow_tests::{
    Stack, StackOptions, WAIT_TIMEOUT, burrow, free_port,
    reverse_proxy::{make_certificate, start_nginx},
    short_directory, wait_until,
};
use tokio::process::{Child, Command as AsyncCommand};

fn documents() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests is in the checkout").join("docs/src")
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The pages of the summary that are in `docs/src`, in its order.
fn pages() -> Vec<PathBuf> {
    let summary = read(&documents().join("SUMMARY.md"));
    let targets = summary.lines().filter_map(|line| line.split_once("](")?.1.strip_suffix(')'));
    targets.map(|target| documents().join(target)).filter(|page| page.is_file()).collect()
}

/// The content of the blocks with this info string.
fn blocks(page: &str, info: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut current: Option<(bool, String)> = None;
    for line in page.lines() {
        match (line.strip_prefix("```"), &mut current) {
            (Some(found), None) => current = Some((found == info, String::new())),
            (Some(_), Some(_)) => {
                let (is_wanted, text) = current.take().expect("inside a block");
                blocks.extend(is_wanted.then_some(text));
            }
            (None, Some((_, text))) => writeln!(text, "{line}").expect("memory"),
            (None, None) => {}
        }
    }
    blocks
}

#[tokio::test(flavor = "multi_thread")]
async fn documented_commands_succeed() {
    let place = short_directory();
    let data = place.path().join("d");
    let stack = Stack::start(StackOptions::new("fake", &data)).await;
    let program = burrow().canonicalize().expect("built");
    let path = std::env::join_paths(
        std::iter::once(program.parent().expect("in a directory").to_owned())
            .chain(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())),
    );
    let path = path.expect("a path");
    let mut failures = Vec::new();
    for page in pages() {
        let script = blocks(&read(&page), "sh,run").concat();
        if script.is_empty() {
            continue;
        }
        let workdir = short_directory();
        let mut command = AsyncCommand::new("bash");
        command
            .args(["-eux", "-o", "pipefail", "-c", &script])
            .current_dir(workdir.path())
            .env("PATH", &path)
            .env("HOME", workdir.path())
            .env("XDG_CONFIG_HOME", workdir.path().join("config"))
            .env("BURROW_URL", &stack.url)
            .env("BURROW_TOKEN", &stack.token)
            .env("BURROW_DATA_DIR", &data)
            // For pages that start a server of their own.
            .env("BURROW_RUNTIME", "fake")
            .env("BURROW_PORT", "0")
            .stdin(Stdio::null())
            .kill_on_drop(true);
        let output = tokio::time::timeout(WAIT_TIMEOUT, command.output()).await;
        let output = output.unwrap_or_else(|_| panic!("{} does not end", page.display())).expect("bash");
        if !output.status.success() {
            let error = String::from_utf8_lossy(&output.stderr).into_owned();
            let lines: Vec<&str> = error.lines().rev().take(25).collect();
            let lines: Vec<&str> = lines.into_iter().rev().collect();
            failures.push(format!("{}: {}\n{}", page.display(), output.status, lines.join("\n")));
        }
    }
    assert!(failures.is_empty(), "{}\n{}", failures.join("\n\n"), stack.log());
    stack.interrupt().await;
}

#[test]
fn command_reference_is_current() {
    let directory = short_directory();
    let generated = directory.path().join("cli.md");
    let status = Command::new(burrow()).args(["reference", "--markdown"]).arg(&generated).status();
    assert!(status.expect("it starts").success());
    let recorded = read(&documents().join("cli.md"));
    assert!(read(&generated) == recorded, "docs/src/cli.md is outdated: run `cargo xtask docs --reference`");
}

/// A reverse proxy with the text of the page, on a port of its own.
struct Proxy {
    _child: Child,
    /// `https://localhost:PORT`
    url: String,
}

/// The first block of the page in this language, with the example's names replaced.
fn configuration(language: &str, replacements: &[(&str, &str)]) -> String {
    let page = read(&documents().join("operator/reverse-proxy.md"));
    let mut text = blocks(&page, language).into_iter().next().expect("a configuration");
    for (example, actual) in replacements {
        assert!(text.contains(example), "the configuration for {language} does not contain {example}");
        text = text.replace(example, actual);
    }
    text
}

fn is_installed(program: &str) -> bool {
    let is_there = Command::new(program).arg("version").output().is_ok();
    if !is_there {
        eprintln!("{program} is not installed: its configuration is not tested");
    }
    is_there
}

fn nginx(place: &Path, upstream: &str) -> Proxy {
    let port = free_port();
    let place_text = place.to_str().expect("text");
    let site = configuration(
        "nginx",
        &[
            ("listen 443 ssl", &format!("listen 127.0.0.1:{port} ssl")),
            ("burrow.example.org", "localhost"),
            ("/etc/ssl/burrow.pem", &format!("{place_text}/proxy.pem")),
            ("/etc/ssl/burrow.key", &format!("{place_text}/proxy.key")),
            ("http://127.0.0.1:8080", upstream),
        ],
    );
    let child = start_nginx(place, &site);
    Proxy { _child: child, url: format!("https://localhost:{port}") }
}

fn caddy(place: &Path, upstream: &str) -> Proxy {
    let port = free_port();
    let place_text = place.to_str().expect("text");
    let site = configuration(
        "caddy",
        &[
            (
                "burrow.example.org {",
                &format!("localhost:{port} {{\n    tls {place_text}/proxy.pem {place_text}/proxy.key"),
            ),
            ("127.0.0.1:8080", upstream.strip_prefix("http://").expect("an address")),
        ],
    );
    let file = place.join("Caddyfile");
    fs::write(&file, format!("{{\n    admin off\n    auto_https disable_redirects\n}}\n{site}"))
        .expect("written");
    let child = AsyncCommand::new("caddy")
        .args(["run", "--adapter", "caddyfile", "--config"])
        .arg(&file)
        .env("HOME", place)
        .env("XDG_DATA_HOME", place.join("data"))
        .env("XDG_CONFIG_HOME", place.join("config"))
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn();
    Proxy { _child: child.expect("caddy starts"), url: format!("https://localhost:{port}") }
}

#[tokio::test(flavor = "multi_thread")]
async fn documented_proxies_relay_everything() {
    let place = short_directory();
    let stack = Stack::start(StackOptions::new("fake", &place.path().join("d"))).await;
    stack.run_ok(&["create", "demo"]).await;
    make_certificate(place.path(), "localhost");
    let mut proxies = Vec::new();
    if is_installed("nginx") {
        proxies.push(nginx(place.path(), &stack.url));
    }
    if is_installed("caddy") {
        proxies.push(caddy(place.path(), &stack.url));
    }
    let large = place.path().join("large");
    fs::write(&large, vec![b'x'; 8 * 1024 * 1024]).expect("written");
    for proxy in &proxies {
        let authority = proxy.url.strip_prefix("https://").expect("https");
        wait_until("the proxy listens", || std::net::TcpStream::connect(authority).is_ok()).await;
        let through = |arguments: &[&str]| {
            let mut command = stack.command(arguments);
            command.env("BURROW_URL", &proxy.url).env("SSL_CERT_FILE", place.path().join("proxy.pem"));
            command
        };
        let output = through(&["exec", "demo", "--", "echo", "works"]).output().await.expect("it runs");
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(String::from_utf8_lossy(&output.stdout), "works\n", "{}: {error}", proxy.url);
        // A body that is larger than a proxy's default limit, and a stream that does not end by itself.
        let script = r#"
            id=$("$0" show demo -o json | jq -r .id)
            api="curl -sSf --cacert $SSL_CERT_FILE"
            header="Authorization: Bearer $BURROW_TOKEN"
            $api -H "$header" -T "$1" "$BURROW_URL/api/v1/workspaces/$id/agent/files/content?path=large"
            $api -H "$header" "$BURROW_URL/api/v1/workspaces/$id/agent/files/content?path=large" | cmp - "$1"
            timeout 20 $api -N -H "$header" "$BURROW_URL/api/v1/workspaces/$id/events" | grep -m1 phase
        "#;
        let mut shell = AsyncCommand::new("bash");
        shell.args(["-eux", "-c", script]).arg(burrow()).arg(&large);
        shell.env("BURROW_URL", &proxy.url).env("BURROW_TOKEN", &stack.token);
        shell.env("SSL_CERT_FILE", place.path().join("proxy.pem"));
        let output = shell.output().await.expect("bash");
        assert!(output.status.success(), "{}: {}", proxy.url, String::from_utf8_lossy(&output.stderr));
    }
    drop(proxies);
    stack.interrupt().await;
}
