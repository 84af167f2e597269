//! Why a node does not open.

use std::{io, path::PathBuf};

use mailrook_types::ShardId;
use thiserror::Error;

/// Why a data directory was not opened. Nothing in it was changed or removed; each text says what to do.
#[derive(Debug, Error)]
pub enum OpenError {
    /// The operating system refused something.
    #[error("{doing} {path}: {source}")]
    Io {
        /// What was tried, as in "reading".
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another process has it open.
    #[error(
        "{path} is in use by another process; stop that one first, or give this one a directory of its own"
    )]
    Locked {
        /// The data directory.
        path: PathBuf,
    },
    /// The directory holds something, and it is not Mailrook's.
    #[error(
        "{path} is not empty and is no data directory of Mailrook ({found} lies there); give an empty or a new directory"
    )]
    Foreign {
        /// The data directory.
        path: PathBuf,
        /// One thing that lies there.
        found: String,
    },
    /// The directory belongs to a node already.
    #[error(
        "{path} belongs to node {node} of cluster {cluster} already; give a new directory, or start that node with it"
    )]
    Known {
        /// The data directory.
        path: PathBuf,
        /// Its cluster.
        cluster: String,
        /// Its node.
        node: u64,
    },
    /// A newer version wrote it.
    #[error(
        "{path} was written in format {found}, this version knows formats up to {known}; install the newer version of Mailrook that wrote it"
    )]
    Newer {
        /// The data directory.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// The highest format this build reads.
        known: u32,
    },
    /// Something in it is not what was written.
    #[error("{path} is damaged: {what}. {remedy}")]
    Damaged {
        /// The file or directory.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
        /// What to do about it.
        remedy: &'static str,
    },
    /// A group did not start.
    #[error("group {shard} did not start: {cause}")]
    Group {
        /// Which.
        shard: ShardId,
        /// Why.
        cause: String,
    },
    /// The options contradict themselves or this machine.
    #[error("{0}")]
    Options(String),
}
