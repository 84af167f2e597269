//! Nodes on a bridge, each in a namespace of its own, and what can go wrong between them.
//!
//! Clients do not cross the bridge: they enter a node's namespace and use its loopback ([`Space::enter`]). So a node
//! that is cut off from its peers still has clients, which is where stale reads would show.
//!
//! A cut is made where packets arrive, so that nothing tells the sender: no error, no reset, established connections
//! included.

use std::io;
use std::sync::Arc;

use super::space::Space;

/// Its third octet is free for whoever reads a packet dump; nothing outside the namespaces knows it.
const SUBNET: &str = "10.86.0";
/// The rules of every node. Empty at first; what a fault needs is added to the set or to the chain, and `heal` empties both.
const RULES: &str = "\
add table inet faults
add set inet faults deaf_to { type ipv4_addr; }
add chain inet faults arrives { type filter hook input priority 0; }
flush chain inet faults arrives
add rule inet faults arrives ip saddr @deaf_to drop
";

/// The bridge and the nodes' namespaces.
pub struct Network {
    bridge: Space,
    nodes: Vec<Arc<Space>>,
}

impl Network {
    /// A bridge with this many nodes.
    pub fn new(nodes: usize) -> io::Result<Self> {
        let bridge = Space::new()?;
        bridge.run(&["ip", "link", "add", "bridge", "type", "bridge"])?;
        bridge.run(&["ip", "link", "set", "bridge", "up"])?;
        let mut network = Self {
            bridge,
            nodes: Vec::new(),
        };
        for _ in 0..nodes {
            network.add_node()?;
        }
        Ok(network)
    }

    /// One node more; its number, from 0.
    pub fn add_node(&mut self) -> io::Result<usize> {
        let number = self.nodes.len();
        let space = Space::new()?;
        let (port, pid) = (format!("node{number}"), space.pid().to_string());
        self.bridge.run(&[
            "ip", "link", "add", &port, "type", "veth", "peer", "name", "eth0", "netns", &pid,
        ])?;
        self.bridge
            .run(&["ip", "link", "set", &port, "master", "bridge", "up"])?;
        let address = format!("{}/24", Self::address(number));
        space.run(&["ip", "address", "add", &address, "dev", "eth0"])?;
        space.run(&["ip", "link", "set", "eth0", "up"])?;
        self.nodes.push(Arc::new(space));
        self.rules(number, RULES)?;
        Ok(number)
    }

    /// Where the others reach the node.
    pub fn address(node: usize) -> String {
        format!("{SUBNET}.{}", node + 1)
    }

    /// The node's namespaces.
    pub fn space(&self, node: usize) -> &Arc<Space> {
        &self.nodes[node]
    }

    /// Nothing that `from` sends reaches `to`.
    pub fn cut_one_way(&self, from: usize, to: usize) -> io::Result<()> {
        let address = Self::address(from);
        self.rules(
            to,
            &format!("add element inet faults deaf_to {{ {address} }}\n"),
        )
    }

    /// Two nodes no longer reach each other.
    pub fn cut(&self, one: usize, other: usize) -> io::Result<()> {
        self.cut_one_way(one, other)?;
        self.cut_one_way(other, one)
    }

    /// The node no longer hears anybody.
    pub fn deafen(&self, node: usize) -> io::Result<()> {
        self.others(node)
            .try_for_each(|other| self.cut_one_way(other, node))
    }

    /// Nobody hears the node any longer.
    pub fn mute(&self, node: usize) -> io::Result<()> {
        self.others(node)
            .try_for_each(|other| self.cut_one_way(node, other))
    }

    /// Both.
    pub fn isolate(&self, node: usize) -> io::Result<()> {
        self.deafen(node)?;
        self.mute(node)
    }

    /// So many of 100 packets that arrive at the node are lost, 99 at most.
    pub fn lose(&self, node: usize, percent: u32) -> io::Result<()> {
        let rule = format!(
            "add rule inet faults arrives iifname eth0 numgen random mod 100 < {percent} drop\n"
        );
        self.rules(node, &rule)
    }

    /// Everything reaches everybody again.
    pub fn heal(&self) -> io::Result<()> {
        let rules = format!("{RULES}flush set inet faults deaf_to\n");
        (0..self.nodes.len()).try_for_each(|node| self.rules(node, &rules))
    }

    fn others(&self, node: usize) -> impl Iterator<Item = usize> + use<> {
        (0..self.nodes.len()).filter(move |other| *other != node)
    }

    fn rules(&self, node: usize, rules: &str) -> io::Result<()> {
        // All of them at once, or none.
        let words = ["nft", "--", rules];
        self.nodes[node].run(&words).map(drop).map_err(|e| {
            let text =
                format!("{e} (the fault tests need nftables and a kernel with CONFIG_NF_TABLES)");
            io::Error::new(e.kind(), text)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{SocketAddr, TcpListener, TcpStream};
    use std::thread;
    use std::time::Duration;

    use super::*;

    /// Above the 200 ms after which TCP sends again.
    const PATIENCE: Duration = Duration::from_millis(400);
    /// For what must come, on a machine that is busy.
    const LONG: Duration = Duration::from_secs(20);

    /// An echo server on the node, which ends with the test process.
    fn echo(network: &Network, node: usize) {
        let listen = || TcpListener::bind("0.0.0.0:7").unwrap();
        let listener = network.space(node).within(listen).unwrap();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                thread::spawn(move || {
                    let mut byte = [0];
                    while stream.read_exact(&mut byte).is_ok() && stream.write_all(&byte).is_ok() {}
                });
            }
        });
    }

    fn connect(network: &Network, from: usize, to: usize) -> io::Result<TcpStream> {
        connect_within(PATIENCE, network, from, to)
    }

    fn reaches(network: &Network, from: usize, to: usize) -> bool {
        connect_within(LONG, network, from, to).is_ok()
    }

    fn connect_within(
        patience: Duration,
        network: &Network,
        from: usize,
        to: usize,
    ) -> io::Result<TcpStream> {
        let target: SocketAddr = format!("{}:7", Network::address(to)).parse().unwrap();
        let stream = network
            .space(from)
            .within(|| TcpStream::connect_timeout(&target, patience))??;
        stream.set_read_timeout(Some(patience))?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    fn echoes(stream: &mut TcpStream) -> bool {
        stream.write_all(b"x").is_ok() && stream.read_exact(&mut [0]).is_ok()
    }

    #[test]
    fn cuts_are_silent_one_way_or_both_and_heal() {
        let network = Network::new(3).unwrap();
        (0..3).for_each(|node| echo(&network, node));
        let mut standing = connect_within(LONG, &network, 0, 1).unwrap();
        assert!(echoes(&mut standing));
        standing.set_read_timeout(Some(PATIENCE)).unwrap();

        network.cut_one_way(1, 0).unwrap();
        // The request gets there, the answer does not come back, and nobody says so.
        assert!(!echoes(&mut standing));
        let refused = connect(&network, 0, 1).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::TimedOut);
        assert!(reaches(&network, 0, 2));

        network.heal().unwrap();
        standing.set_read_timeout(Some(LONG)).unwrap();
        assert!(standing.read_exact(&mut [0]).is_ok(), "TCP sends it again");
        assert!(reaches(&network, 0, 1));

        network.isolate(2).unwrap();
        assert!(connect(&network, 0, 2).is_err() && connect(&network, 2, 0).is_err());
        assert!(reaches(&network, 0, 1));
        network.heal().unwrap();
        assert!(reaches(&network, 2, 0));
    }

    #[test]
    fn packets_are_lost_at_random() {
        let network = Network::new(2).unwrap();
        echo(&network, 1);
        network.lose(1, 99).unwrap();
        // One of a hundred gets through, at once or when it is sent again.
        assert!((0..5).any(|_| connect(&network, 0, 1).is_err()));
        network.heal().unwrap();
        network.lose(1, 20).unwrap();
        let mut got = 0;
        for _ in 0..40 {
            let mut stream = connect(&network, 0, 1);
            got += u32::from(stream.as_mut().is_ok_and(echoes));
        }
        assert!((5..=39).contains(&got), "{got} of 40 got through");
    }
}
