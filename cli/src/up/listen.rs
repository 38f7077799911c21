//! The port, taken before anything else is begun: who finds it taken should know at once.

use std::{
    io,
    net::{IpAddr, SocketAddr, TcpListener},
};

use crate::failure::{Failure, Kind};

pub fn bind(ip: IpAddr, port: u16) -> Result<TcpListener, Failure> {
    let address = SocketAddr::new(ip, port);
    let listener = TcpListener::bind(address).map_err(|error| refused(address, &error))?;
    listener.set_nonblocking(true).map_err(|error| refused(address, &error))?;
    Ok(listener)
}

fn refused(address: SocketAddr, error: &io::Error) -> Failure {
    let port = address.port();
    match error.kind() {
        io::ErrorKind::AddrInUse => Failure::new(
            Kind::Conflict,
            format!("Port {port} of {} is taken by another program", address.ip()),
        )
        .next(format!(
            "burrow up --port {}, or --port 0 for a free one",
            port.checked_add(1).unwrap_or(8080)
        )),
        io::ErrorKind::PermissionDenied => {
            Failure::error(format!("Port {port} may not be used by this user")).next("burrow up --port 8080")
        }
        io::ErrorKind::AddrNotAvailable => {
            Failure::error(format!("{} is no address of this machine", address.ip()))
                .next("burrow up --listen 127.0.0.1, or 0.0.0.0 for all")
        }
        _ => Failure::error(format!("Cannot listen on {address}")).because(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_is_named() {
        let loopback = IpAddr::from([127, 0, 0, 1]);
        let first = bind(loopback, 0).expect("a free one");
        let port = first.local_addr().expect("bound").port();
        let refused = bind(loopback, port).expect_err("taken");
        assert_eq!(refused.kind, Kind::Conflict);
        assert!(refused.to_string().contains(&port.to_string()), "{refused}");
    }

    #[test]
    fn a_foreign_address_is_named() {
        let refused = bind(IpAddr::from([192, 0, 2, 1]), 0).expect_err("documentation's own");
        assert!(refused.to_string().contains("192.0.2.1"), "{refused}");
    }
}
