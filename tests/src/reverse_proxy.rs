//! nginx in front of a server, with the configuration of a test, and a certificate for it.

use std::{
    fmt::Write as _,
    fs,
    path::Path,
    process::{Command as BlockingCommand, Stdio},
};

use tokio::process::{Child, Command};

/// Starts nginx with this content of its `http` block. `place` is for its files. Dropping the process
/// kills it.
pub fn start_nginx(place: &Path, http: &str) -> Child {
    let directory = place.to_str().expect("text");
    let mut temporary = String::new();
    for kind in ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"] {
        writeln!(temporary, "{kind}_temp_path {directory}/{kind};").expect("memory");
    }
    let text = format!(
        "daemon off;\nmaster_process off;\npid {directory}/nginx.pid;\nerror_log stderr;\nuser root;\n\
         events {{}}\nhttp {{\naccess_log off;\n{temporary}{http}\n}}\n"
    );
    let file = place.join("nginx.conf");
    fs::write(&file, text).expect("written");
    // One process: a worker would outlive its killed master and keep the test's output open.
    Command::new("nginx").arg("-c").arg(&file).kill_on_drop(true).spawn().expect("nginx starts")
}

/// Writes a certificate for `host` that trusts itself, and its key: `proxy.pem` and `proxy.key`.
pub fn make_certificate(place: &Path, host: &str) {
    let status = BlockingCommand::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"])
        .args(["-days", "2", "-subj", &format!("/CN={host}")])
        .args(["-addext", &format!("subjectAltName=DNS:{host}")])
        .args(["-addext", "basicConstraints=critical,CA:FALSE", "-keyout"])
        .arg(place.join("proxy.key"))
        .arg("-out")
        .arg(place.join("proxy.pem"))
        .stderr(Stdio::null())
        .status();
    assert!(status.expect("openssl starts").success());
}
