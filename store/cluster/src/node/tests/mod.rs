//! Tests of the whole back end, with a toy state machine.

mod admission;
mod basics;
mod cluster;
mod crash;
mod damage;
mod fence;
mod hand_over;
mod log;
mod machine;
mod power;
mod recover;
mod space;

use std::path::Path;

use machine::machines;

use super::{Machines, Node, NodeOptions, OpenError, Parts, open};

/// Small enough that files, flushes and cuts happen within a test.
fn options(dir: &Path) -> NodeOptions {
    NodeOptions {
        first_shards: 2,
        block_cache_bytes: 8 << 20,
        write_buffer_bytes: 8 << 20,
        log_cache_bytes: 1 << 20,
        log_bytes_max: 8 << 20,
        disk_reserve_bytes: 0,
        ..NodeOptions::new(dir)
    }
}

/// Small log files, and otherwise as in production.
fn parts() -> Parts {
    Parts {
        log_file_bytes: Some(1 << 20),
        ..Parts::default()
    }
}

pub(super) async fn start(dir: &Path) -> Node {
    try_start(dir).await.unwrap()
}

async fn try_start(dir: &Path) -> Result<Node, OpenError> {
    open::open(options(dir), machines(), parts()).await
}
