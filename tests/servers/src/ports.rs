//! Ports of the loopback interface that nobody else uses.

use std::hash::{BuildHasher, RandomState};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};

use crate::error::Error;

/// Below what systems hand out to clients (32768 and up on Linux, 49152 elsewhere), so that no
/// connection takes the port of a server that is down for a moment.
const RANGE: std::ops::Range<u16> = 15_000..32_000;

/// Some ports. None is given to another test, in any process, while this value lives: the UDP port
/// of the same number is its lock, which ends with the process.
#[derive(Debug)]
pub(crate) struct Ports {
    numbers: Vec<u16>,
    locks: Vec<UdpSocket>,
}

impl Ports {
    pub(crate) fn free(count: usize) -> Result<Self, Error> {
        let mut ports = Self { numbers: Vec::new(), locks: Vec::new() };
        for port in candidates() {
            if ports.numbers.len() == count {
                return Ok(ports);
            }
            if let Ok(lock) = UdpSocket::bind((Ipv4Addr::LOCALHOST, port))
                && is_free(port)
            {
                ports.numbers.push(port);
                ports.locks.push(lock);
            }
        }
        Err(Error::here("free ports", format!("none is left in {RANGE:?}")))
    }

    pub(crate) fn numbers(&self) -> &[u16] {
        &self.numbers
    }

    /// The first one, which the server listens on.
    pub(crate) fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.numbers.first().copied().unwrap_or_default()).into()
    }

    /// Whether nobody listens on any of them.
    pub(crate) fn are_free(&self) -> bool {
        self.numbers.iter().copied().all(is_free)
    }
}

fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

/// Every port of the range once, from a random one on.
fn candidates() -> impl Iterator<Item = u16> {
    let random = RandomState::new().hash_one(std::process::id());
    let start =
        RANGE.start + u16::try_from(random % u64::from(RANGE.end - RANGE.start)).unwrap_or(0);
    (start..RANGE.end).chain(RANGE.start..start)
}
