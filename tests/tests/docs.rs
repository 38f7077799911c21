//! Every command of the documentation, and the documented configurations of reverse proxies. The
//! blocks marked `sh,run` of a page are one script. The scripts run in the order of the summary,
//! against one server with the fake runtime. All other commands of `burrow`, in other blocks and in
//! prose, are parsed. xtask does the same with its own.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use burrow_cli::commands::Arguments;
use burrow_tests::{
    BENCH_ROWS, Stack, StackOptions, WAIT_TIMEOUT, burrow, free_port,
    reverse_proxy::{make_certificate, start_nginx},
    short_directory, wait_until,
};
use clap::{Parser as _, error::ErrorKind};
use tokio::process::{Child, Command as AsyncCommand};

/// Documents outside of `docs/src` that name commands.
const OTHER_DOCUMENTS: [&str; 7] = [
    "README.md",
    "CONTRIBUTING.md",
    "SPECIFICATION.md",
    "ARCHITECTURE.md",
    "SECURITY.md",
    "docs/README.md",
    "docs/glossary.md",
];

fn checkout() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests is in the checkout")
}

fn documents() -> PathBuf {
    checkout().join("docs/src")
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

/// A fenced block: its info string and its content.
struct Block {
    info: String,
    text: String,
}

/// The fenced blocks of a page, and the text between them.
fn split_page(page: &str) -> (Vec<Block>, String) {
    let (mut blocks, mut prose) = (Vec::new(), String::new());
    let mut current: Option<Block> = None;
    for line in page.lines() {
        match (line.trim_start().strip_prefix("```"), &mut current) {
            (Some(info), None) => current = Some(Block { info: info.to_owned(), text: String::new() }),
            (Some(_), Some(_)) => blocks.extend(current.take()),
            (None, Some(block)) => writeln!(block.text, "{line}").expect("memory"),
            (None, None) => writeln!(prose, "{line}").expect("memory"),
        }
    }
    (blocks, prose)
}

/// The content of the blocks with this info string.
fn blocks(page: &str, info: &str) -> Vec<String> {
    split_page(page).0.into_iter().filter(|block| block.info == info).map(|block| block.text).collect()
}

/// The simple commands of a shell script: without redirections, variables before the program, and what
/// stands in quotes. A line that cannot be split, such as a part of a longer text, has none.
fn simple_commands(script: &str) -> Vec<Vec<String>> {
    let mut commands = Vec::new();
    for line in script.replace("\\\n", " ").lines() {
        let words = shlex::split(line).unwrap_or_default().into_iter();
        let words: Vec<String> = words
            .flat_map(|word| match word.strip_suffix(';') {
                Some(word) => vec![word.to_owned(), ";".to_owned()],
                None => vec![word],
            })
            .collect();
        for command in words.split(|word| ["|", "||", "&&", ";", "&"].contains(&word.as_str())) {
            let is_redirection = |word: &&String| word.trim_start_matches('2').starts_with(['<', '>']);
            let is_variable = |word: &&String| word.contains('=') || *word == "sudo";
            let words = command.iter().take_while(|word| !is_redirection(word)).skip_while(is_variable);
            commands.push(words.cloned().collect());
        }
    }
    commands
}

/// Why `words` is no command of `burrow`. In prose, what follows a command may be left out or be a
/// placeholder.
fn command_error(words: &[String], is_prose: bool) -> Option<String> {
    let is_placeholder = |word: &String| word.bytes().all(|byte| byte.is_ascii_uppercase());
    if is_prose && words.get(1).is_some_and(is_placeholder) {
        return None;
    }
    let error = Arguments::try_parse_from(words).err()?;
    let is_wrong = match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => false,
        ErrorKind::UnknownArgument | ErrorKind::InvalidSubcommand => true,
        _ => !is_prose,
    };
    is_wrong.then(|| error.to_string())
}

#[test]
fn documented_commands_are_known() {
    let others = OTHER_DOCUMENTS.map(|name| checkout().join(name));
    let (mut count, mut failures) = (0, Vec::new());
    for page in others.into_iter().filter(|page| page.is_file()).chain(pages()) {
        let (blocks, prose) = split_page(&read(&page));
        let scripts = blocks.into_iter().filter(|block| block.info.starts_with("sh"));
        let mut found: Vec<(Vec<String>, bool)> = Vec::new();
        for script in scripts {
            found.extend(simple_commands(&script.text).into_iter().map(|command| (command, false)));
        }
        for span in prose.split('`').skip(1).step_by(2) {
            let span = span.replace('\n', " ").replace("\\|", "|");
            found.extend(simple_commands(&span).into_iter().map(|command| (command, true)));
        }
        for (words, is_prose) in found {
            let error = match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
                ["burrow", ..] => command_error(&words, is_prose),
                ["cargo", "xtask", "bench", ref rows @ ..] => unknown_rows(rows),
                _ => continue,
            };
            count += 1;
            failures.extend(error.map(|error| format!("{}: {}: {error}", page.display(), words.join(" "))));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert!(count > 300, "found {count} commands");
}

fn unknown_rows(rows: &[&str]) -> Option<String> {
    let unknown = rows.iter().find(|row| !BENCH_ROWS.contains(row) && **row != "--quick")?;
    Some(format!("`{unknown}` is no row of the benchmark"))
}

#[test]
fn commands_are_found_in_scripts() {
    let script = "A=1 burrow up --x 'a b' > /dev/null # why\nseq 2 | sudo burrow list; ls\n";
    let found = simple_commands(script);
    let expected = [vec!["burrow", "up", "--x", "a b"], vec!["seq", "2"], vec!["burrow", "list"]];
    assert_eq!(found[..3], expected);
    let words = |line: &str| simple_commands(line).remove(0);
    assert!(command_error(&words("burrow lst"), true).is_some());
    assert!(command_error(&words("burrow list --nonsense"), true).is_some());
    assert!(command_error(&words("burrow restore"), true).is_none());
    assert!(command_error(&words("burrow restore"), false).is_some());
    assert!(unknown_rows(&["echo", "nonsense"]).is_some());
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
