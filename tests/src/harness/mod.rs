//! Processes, ports and `/proc`: what a test needs to start a server, watch it and be rid of it.

mod node;
mod proc;
mod shared;

pub(crate) use node::Guard;
pub use node::{Account, DevInfo, Node, NodeInfo, NodeOptions, Ports, mailrook_bin};
pub use proc::{ProcessTree, Usage, cpu_of_self_ms, pss_kib, raise_file_limit};
pub use shared::{Fixture, Shared, mail};

use std::io;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

/// Ports that were free a moment ago, all different. Held together until the last is known.
pub fn free_ports(count: usize) -> io::Result<Vec<u16>> {
    let listeners: io::Result<Vec<_>> = (0..count)
        .map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
        .collect();
    listeners?
        .iter()
        .map(|l| Ok(l.local_addr()?.port()))
        .collect()
}

/// A run of `count` ports in a row that were free a moment ago, for servers that take a base port.
pub fn free_port_range(count: u16) -> io::Result<u16> {
    for _ in 0..200 {
        // Below the ephemeral ports (32768 and up on Linux), so that no client's own port falls into it.
        let base = 10_000 + (rand::random::<u16>() % 200) * 100;
        if (base..base + count).all(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()) {
            return Ok(base);
        }
    }
    Err(io::Error::other("no run of free ports found"))
}

/// Waits until something listens on the port.
pub fn wait_for_port(port: u16, timeout: Duration) -> io::Result<()> {
    wait_until(timeout, &format!("port {port} to answer"), || {
        TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()
    })
}

/// Waits until `done` says so; the error names what was waited for.
pub fn wait_until(timeout: Duration, what: &str, mut done: impl FnMut() -> bool) -> io::Result<()> {
    let begin = Instant::now();
    while !done() {
        if begin.elapsed() > timeout {
            return Err(io::Error::new(
                io::ErrorKind::TimedOut,
                format!("waited {timeout:?} for {what}"),
            ));
        }
        thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}
