//! The `FORMAT` file: what a person and every version of Mailrook can read of a data directory.

use std::{fmt::Write, io, path::Path};

use super::damaged;
use crate::OpenError;

/// The format that this build writes, and the highest that it reads.
const VERSION: u32 = 1;
const TITLE: &str = "mailrook data directory";

/// Who a node is. Drawn at random once, never used for another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    /// Names the cluster.
    pub(crate) cluster_id: u128,
    /// Names the node. Never zero.
    pub(crate) node_id: u64,
}

impl Identity {
    /// Draws a new one.
    pub(crate) fn random() -> io::Result<Identity> {
        let mut bytes = [0; 24];
        crate::simulation::fill_random(&mut bytes)?;
        let (cluster, node) = bytes.split_at(16);
        let number = |bytes: &[u8]| {
            bytes
                .iter()
                .fold(0u128, |sum, byte| sum << 8 | u128::from(*byte))
        };
        // 63 bits, so that the id is a positive number to every language that reads it as JSON; zero means none.
        let node_id = (number(node) as u64 >> 1).max(1);
        Ok(Identity {
            cluster_id: number(cluster),
            node_id,
        })
    }

    /// The cluster's name, as it is shown.
    pub(crate) fn cluster(&self) -> String {
        format!("{:032x}", self.cluster_id)
    }

    /// The file's text.
    pub(crate) fn print(&self) -> String {
        let mut text = format!(
            "{TITLE}\nformat {VERSION}\ncluster {}\nnode {}\n",
            self.cluster(),
            self.node_id
        );
        let crc = crc32fast::hash(text.as_bytes());
        // Writing to a String does not fail.
        let _ = writeln!(text, "checksum {crc:08x}");
        text
    }

    /// Reads the file's text. The version is looked at first: a newer one may have other lines.
    pub(crate) fn parse(path: &Path, root: &Path, text: &[u8]) -> Result<Identity, OpenError> {
        let unreadable = || damaged(path, "it is not what was written");
        let text = str::from_utf8(text).map_err(|_| unreadable())?;
        let field = |name: &str| {
            text.lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))
                .ok_or_else(unreadable)
        };
        if text.lines().next() != Some(TITLE) {
            return Err(unreadable());
        }
        let found = field("format")?.parse().map_err(|_| unreadable())?;
        if found > VERSION {
            return Err(OpenError::Newer {
                path: root.to_owned(),
                found,
                known: VERSION,
            });
        }
        let identity = Identity {
            cluster_id: u128::from_str_radix(field("cluster")?, 16).map_err(|_| unreadable())?,
            node_id: field("node")?.parse().map_err(|_| unreadable())?,
        };
        if identity.print() == text {
            Ok(identity)
        } else {
            Err(unreadable())
        }
    }
}
