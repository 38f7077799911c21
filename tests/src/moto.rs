//! moto's server: an S3 that shares no code with ours. The volume's tests include this file too.

use std::{
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    path::PathBuf,
    process::{Child, Command, Stdio},
};

/// The server as a child process. Dropping it ends the process.
pub struct Moto {
    child: Child,
    /// The address that it listens on.
    pub address: SocketAddr,
}

impl Moto {
    /// Starts the program and waits until it listens.
    pub fn listen(server: PathBuf) -> Self {
        let mut child = Command::new(server)
            .args(["-H", "127.0.0.1", "-p", "0"])
            .env("PYTHONUNBUFFERED", "1")
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("moto starts");
        let mut stderr = BufReader::new(child.stderr.take().expect("piped"));
        let mut line = String::new();
        let address = loop {
            line.clear();
            assert_ne!(stderr.read_line(&mut line).expect("readable"), 0, "moto ended before it listened");
            if let Some((_, address)) = line.split_once("http://") {
                break address.trim().parse().expect("an address");
            }
        };
        // It logs each request. If nobody read the log, it would block.
        std::thread::spawn(move || std::io::copy(&mut stderr, &mut std::io::sink()));
        Self { child, address }
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
