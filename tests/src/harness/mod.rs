//! Processes, ports and `/proc`: what a test needs to start a server, watch it and be rid of it.

mod node;
mod proc;
mod shared;

pub(crate) use node::Guard;
pub use node::{Account, DevInfo, Node, NodeInfo, NodeOptions, Ports, mailrook_bin};
pub use proc::{ProcessTree, Usage, cpu_of_self_ms, pss_kib, raise_file_limit};
pub use shared::{Fixture, Shared, mail};

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

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

/// Ports in a row that nobody else gets as long as this lives, for servers that take a base port: ports that were free a
/// moment ago may be another test's by now.
#[derive(Debug)]
pub struct HeldPorts {
    /// The first.
    pub base: u16,
    _held: Vec<Socket>,
}

impl HeldPorts {
    /// Takes `count` ports of 127.0.0.1.
    pub fn take(count: u16) -> io::Result<HeldPorts> {
        for _ in 0..200 {
            // Below the ephemeral ports (32768 and up on Linux), so that no client's own port falls into it.
            let base = 10_000 + (rand::random::<u16>() % 200) * 100;
            let held: io::Result<Vec<Socket>> = (base..base + count).map(hold).collect();
            if let Ok(held) = held {
                return Ok(HeldPorts { base, _held: held });
            }
        }
        Err(io::Error::other("no run of free ports found"))
    }
}

/// Binds without SO_REUSEADDR, so that only one can, and then permits it, so that a server can beside it. As the socket
/// does not listen, a client is refused until the server does.
fn hold(port: u16) -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)).into())?;
    socket.set_reuse_address(true)?;
    Ok(socket)
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
