//! The kernel's tables of TCP sockets, `/proc/net/tcp` and `/proc/net/tcp6`.

use std::{
    fs::File,
    io::{self, BufRead as _, BufReader, Read as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// The state of a listening socket.
const LISTEN: &str = "0A";
/// Most bytes of a table that are read: some 100,000 sockets. A guest with more shows what came first.
const MAX_TABLE_BYTES: u64 = 16 * 1024 * 1024;

/// A socket that accepts connections on the loopback interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ListeningSocket {
    pub port: u16,
    /// Names the socket among the descriptors of processes.
    pub inode: u64,
}

/// Finds the listening sockets that the loopback interface reaches, by port.
pub fn find_listening() -> io::Result<Vec<ListeningSocket>> {
    let mut sockets = read_table("/proc/net/tcp")?;
    match read_table("/proc/net/tcp6") {
        Ok(six) => sockets.extend(six),
        // A kernel without IPv6 has no such table.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    sockets.sort_unstable();
    Ok(sockets)
}

fn read_table(path: &str) -> io::Result<Vec<ListeningSocket>> {
    let lines = BufReader::new(File::open(path)?.take(MAX_TABLE_BYTES)).lines();
    let sockets = lines.map(|line| line.map(|line| parse_line(&line)));
    sockets.filter_map(io::Result::transpose).collect()
}

/// `sl: local_address remote_address state …`, of which the tenth column is the inode.
fn parse_line(line: &str) -> Option<ListeningSocket> {
    let mut columns = line.split_ascii_whitespace().skip(1);
    let (address, port) = columns.next()?.split_once(':')?;
    let state = columns.nth(1)?;
    let inode = columns.nth(5)?.parse().ok()?;
    if state != LISTEN || !accepts_loopback(parse_address(address)?) {
        return None;
    }
    let port = u16::from_str_radix(port, 16).ok()?;
    (port != 0).then_some(ListeningSocket { port, inode })
}

fn accepts_loopback(address: IpAddr) -> bool {
    let address = address.to_canonical();
    address.is_unspecified() || address == Ipv4Addr::LOCALHOST || address == Ipv6Addr::LOCALHOST
}

/// Words of 32 bits, each in the byte order of the machine.
fn parse_address(digits: &str) -> Option<IpAddr> {
    let word = |text: &str| u32::from_str_radix(text, 16).ok().map(u32::to_ne_bytes);
    match digits.len() {
        8 => Some(IpAddr::from(word(digits)?)),
        32 => {
            let mut bytes = [0; 16];
            for (index, place) in bytes.chunks_exact_mut(4).enumerate() {
                place.copy_from_slice(&word(digits.get(index * 8..index * 8 + 8)?)?);
            }
            Some(IpAddr::from(bytes))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_lists_reachable_listeners() {
        let rest =
            "00000000:00000000 00:00000000 00000000  1000        0 4711 1 0000000000000000 100 0 0 10 0";
        let six = "00000000000000000000000001000000";
        let mapped = "0000000000000000FFFF00000100007F";
        let other_six = "B80D0120000000000000000001000000";
        for (local, state, port) in [
            ("0100007F:0BB8", "0A", Some(3000)),
            ("00000000:1F90", "0A", Some(8080)),
            (&format!("{six}:1435")[..], "0A", Some(5173)),
            (&format!("{}:1435", "0".repeat(32)), "0A", Some(5173)),
            (&format!("{mapped}:1435"), "0A", Some(5173)),
            ("0100007F:0BB8", "01", None),
            ("02006F0A:0016", "0A", None),
            (&format!("{other_six}:1435"), "0A", None),
            ("0100007F:0000", "0A", None),
            ("0100007F", "0A", None),
            ("x:0BB8", "0A", None),
        ] {
            let remote = "00000000:0000";
            let line = format!("   0: {local} {remote} {state} {rest}");
            let expected = port.map(|port| ListeningSocket { port, inode: 4711 });
            assert_eq!(parse_line(&line), expected, "{line}");
        }
        let head = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  inode";
        assert_eq!(parse_line(head), None);
        assert_eq!(parse_line(""), None);
    }
}
