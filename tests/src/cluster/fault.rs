//! What can go wrong, drawn at random, and begun. [`Cluster::heal`] ends all of it.

use std::fmt;
use std::io;
use std::thread;
use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, SliceRandom};
use rustix::process::Signal;

use super::member::{DISK_RESERVE_MEBIBYTES, name};
use super::rig::Cluster;

const DAY_SECONDS: i64 = 86_400;

/// One fault, with the numbers of the nodes it strikes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// kill -9.
    Kill(usize),
    /// kill -9 of all at once, as when the power fails.
    PowerCut,
    /// SIGSTOP.
    Pause(usize),
    /// Cut off from all others, both ways.
    Isolate(usize),
    /// Two nodes no longer reach each other, and a third reaches both.
    Cut(usize, usize),
    /// Hears nobody.
    Deafen(usize),
    /// Is heard by nobody.
    Mute(usize),
    /// Loses so many of 100 packets that arrive.
    Lose(usize, u32),
    /// Every sync takes so many ms longer.
    SlowDisk(usize, u64),
    /// The disk has so many MiB left.
    FullDisk(usize, u64),
    /// The wall clock jumps by so many seconds.
    Clock(usize, i64),
    /// SIGTERM and a start.
    Restart(usize),
    /// All nodes go down in one order and come up in another.
    Swizzle(Vec<usize>, Vec<usize>),
    /// A node joins.
    Join,
    /// A node is drained and removed.
    Remove(usize),
}

impl Fault {
    /// Any.
    pub fn draw(random: &mut StdRng, cluster: &Cluster, nodes_at_first: usize) -> Self {
        match random.random_range(0..20) {
            0..=1 => Self::Restart(pick(random, cluster)),
            2 => {
                let (mut down, mut up) = (cluster.numbers(), cluster.numbers());
                down.shuffle(random);
                up.shuffle(random);
                Self::Swizzle(down, up)
            }
            3 => Self::PowerCut,
            4 if cluster.numbers().len() <= nodes_at_first => Self::Join,
            4 => Self::Remove(pick(random, cluster)),
            _ => Self::draw_sudden(random, cluster),
        }
    }

    /// One that strikes at once, so that it can come on top of another.
    pub fn draw_sudden(random: &mut StdRng, cluster: &Cluster) -> Self {
        let node = pick(random, cluster);
        let others: Vec<usize> = cluster
            .numbers()
            .into_iter()
            .filter(|n| *n != node)
            .collect();
        match random.random_range(0..13) {
            0..=2 => Self::Kill(node),
            3..=4 => Self::Pause(node),
            5 => Self::Isolate(node),
            6 => Self::Cut(node, others.choose(random).copied().unwrap_or(node)),
            7 => Self::Deafen(node),
            8 => Self::Mute(node),
            9 => Self::Lose(node, random.random_range(5..=60)),
            10 => Self::SlowDisk(node, random.random_range(20..=1_500)),
            11 if cluster.member(node).disk.is_some() => {
                Self::FullDisk(node, random.random_range(0..DISK_RESERVE_MEBIBYTES))
            }
            _ => Self::Clock(node, random.random_range(-DAY_SECONDS..=DAY_SECONDS)),
        }
    }

    /// Makes it happen.
    pub fn begin(&self, cluster: &mut Cluster) -> io::Result<()> {
        match self {
            Self::Kill(node) => cluster.kill9(*node),
            Self::PowerCut => {
                let numbers = cluster.numbers();
                // All signals first: whoever is waited for gives the others time.
                for node in &numbers {
                    cluster.member(*node).signal(Signal::KILL)?;
                }
                numbers.into_iter().try_for_each(|node| cluster.kill9(node))
            }
            Self::Pause(node) => cluster.member(*node).signal(Signal::STOP),
            Self::Isolate(node) => cluster.network.isolate(*node),
            Self::Cut(one, other) => cluster.network.cut(*one, *other),
            Self::Deafen(node) => cluster.network.deafen(*node),
            Self::Mute(node) => cluster.network.mute(*node),
            Self::Lose(node, percent) => cluster.network.lose(*node, *percent),
            Self::SlowDisk(node, ms) => {
                let control = &cluster.member(*node).control;
                control.slow_disk(Duration::from_millis(*ms))
            }
            Self::FullDisk(node, left) => match &cluster.member(*node).disk {
                Some(disk) => disk.fill_to(left << 20),
                None => Err(io::Error::other("the disk of this node cannot be filled")),
            },
            Self::Clock(node, seconds) => cluster.member(*node).control.clock_off_by(*seconds),
            Self::Restart(node) => {
                cluster.stop(*node)?;
                cluster.start_node(*node)
            }
            Self::Swizzle(down, up) => {
                // Every second one has no time to say good-bye.
                for (at, node) in down.iter().enumerate() {
                    match at % 2 {
                        0 => cluster.stop(*node)?,
                        _ => cluster.kill9(*node)?,
                    }
                }
                for node in up {
                    cluster.start_node(*node)?;
                    thread::sleep(Duration::from_millis(100));
                }
                Ok(())
            }
            Self::Join => cluster.add_node().map(drop),
            Self::Remove(node) => {
                // Whoever leaves hands over what it has, which takes all copies it is to go to.
                cluster.wait_until_whole()?;
                cluster.remove_node(*node)
            }
        }
    }

    /// One word, to count by.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Kill(_) => "kill -9",
            Self::PowerCut => "all killed",
            Self::Pause(_) => "SIGSTOP",
            Self::Isolate(_) => "cut off",
            Self::Cut(..) => "two cut apart",
            Self::Deafen(_) => "deaf",
            Self::Mute(_) => "mute",
            Self::Lose(..) => "packet loss",
            Self::SlowDisk(..) => "slow disk",
            Self::FullDisk(..) => "full disk",
            Self::Clock(..) => "clock jump",
            Self::Restart(_) => "restart",
            Self::Swizzle(..) => "all restarted",
            Self::Join => "joined",
            Self::Remove(_) => "removed",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = self.kind();
        match self {
            Self::Kill(node)
            | Self::Pause(node)
            | Self::Isolate(node)
            | Self::Deafen(node)
            | Self::Mute(node)
            | Self::Restart(node)
            | Self::Remove(node) => write!(f, "{}: {kind}", name(*node)),
            Self::Cut(one, other) => write!(f, "{} and {}: {kind}", name(*one), name(*other)),
            Self::Lose(node, percent) => write!(f, "{}: {kind} of {percent} %", name(*node)),
            Self::SlowDisk(node, ms) => write!(f, "{}: {kind}, {ms} ms a sync", name(*node)),
            Self::FullDisk(node, left) => write!(f, "{}: {kind}, {left} MiB left", name(*node)),
            Self::Clock(node, seconds) => write!(f, "{}: {kind} of {seconds} s", name(*node)),
            Self::Swizzle(down, up) => write!(f, "{kind}: down {down:?}, up {up:?}"),
            Self::Join => write!(f, "a node {kind}"),
            Self::PowerCut => f.write_str(kind),
        }
    }
}

fn pick(random: &mut StdRng, cluster: &Cluster) -> usize {
    cluster.numbers().choose(random).copied().unwrap_or(0)
}
