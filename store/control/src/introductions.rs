//! What nodes say of themselves when they connect, and in each ping.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use mailrook_cluster::{DamagedNode, Node};
use mailrook_kv::{decode, encode};
use mailrook_transport::{Introduce, RejectCode, Rejection};
use mailrook_types::NodeId;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::book::Book;

#[derive(Serialize, Deserialize)]
enum Introduction {
    V1 {
        /// Counts up with what the node has promised to remember.
        beat: u64,
        /// The machine's clock, in milliseconds since 1970.
        wall_ms: i64,
    },
}

/// Clocks that differ by less agree: what expires goes by minutes at least (DESIGN "Log time").
const SKEW_MAX_MS: i64 = 5_000;

/// Who introduces itself.
enum Own {
    Open(Arc<Node>),
    Damaged(Arc<DamagedNode>),
}

impl Own {
    fn beat(&self) -> u64 {
        match self {
            Own::Open(node) => node.beat(),
            Own::Damaged(node) => node.beat(),
        }
    }

    fn wall_ms(&self) -> i64 {
        match self {
            Own::Open(node) => node.wall_ms(),
            Own::Damaged(node) => node.wall_ms(),
        }
    }
}

/// Introduces this node, and judges the others.
pub struct Introductions {
    book: Arc<Book>,
    own: OnceLock<Own>,
    /// The highest beat that was told.
    told: AtomicU64,
    clocks: Mutex<Clocks>,
}

/// By how much the other nodes' clocks are ahead of this one's, in milliseconds, as last heard.
#[derive(Default)]
struct Clocks(BTreeMap<NodeId, i64>);

impl Clocks {
    fn correction_ms(&self) -> i64 {
        correction_ms(self.0.values().copied())
    }
}

impl Introductions {
    /// Of a node whose store is not open yet: it must not be reached, nor reach others, before
    /// [`Introductions::opened`].
    pub fn new(book: Arc<Book>) -> Introductions {
        Introductions {
            book,
            own: OnceLock::new(),
            told: AtomicU64::new(0),
            clocks: Mutex::default(),
        }
    }

    /// From now on this node's own beat is told.
    pub fn opened(&self, node: &Arc<Node>) {
        self.set(Own::Open(Arc::clone(node)));
    }

    /// The same, of a node that cannot open.
    pub fn damaged(&self, node: &Arc<DamagedNode>) {
        self.set(Own::Damaged(Arc::clone(node)));
    }

    fn set(&self, own: Own) {
        // A second call changes nothing.
        let _ = self.own.set(own);
    }

    /// Notes another node's clock, and corrects the store's by what the majority says.
    fn hear_clock(&self, from: NodeId, wall_ms: i64) {
        let Some(Own::Open(node)) = self.own.get() else {
            return;
        };
        let mut clocks = self.clocks.lock();
        // The log's time is stamped by nodes with a store alone, and theirs is the majority that counts: those without may be
        // many, and all on one machine that has the wrong time. Of who joined a moment ago it is not known yet what it is.
        if self.book.has_store(from) {
            let ahead_ms = wall_ms.saturating_sub(node.wall_ms());
            clocks.0.insert(from, ahead_ms);
        } else {
            clocks.0.remove(&from);
        }
        node.correct_clock(clocks.correction_ms());
    }
}

/// The median of the others' clocks and this one's, if it is far from this one's. Of two in the middle the nearer: two
/// nodes do not know which of them is wrong.
fn correction_ms(others: impl Iterator<Item = i64>) -> i64 {
    let mut ahead: Vec<i64> = others.chain([0]).collect();
    ahead.sort_unstable();
    let (low, high) = (ahead[(ahead.len() - 1) / 2], ahead[ahead.len() / 2]);
    let median = if low.unsigned_abs() <= high.unsigned_abs() {
        low
    } else {
        high
    };
    if median.unsigned_abs() > SKEW_MAX_MS.unsigned_abs() {
        median
    } else {
        0
    }
}

impl Introduce for Introductions {
    fn introduce(&self) -> Bytes {
        // Nobody hears it before the store is open.
        let own = self.own.get().map(|own| (own.beat(), own.wall_ms()));
        let (beat, wall_ms) = own.unwrap_or_default();
        self.told.fetch_max(beat, Ordering::AcqRel);
        encode(&Introduction::V1 { beat, wall_ms }).into()
    }

    fn admit(&self, from: NodeId, introduction: Bytes) -> Result<(), Rejection> {
        let Introduction::V1 { beat, wall_ms } = decode(&introduction)
            .map_err(|error| format!("your introduction cannot be read: {error}"))?;
        self.book.hear(from, beat)?;
        self.hear_clock(from, wall_ms);
        Ok(())
    }

    /// Another node may know more of this one than it does itself. Then what it holds is not served any more, and is left as
    /// it is: that a node was removed is never taken back, and a beat that it is not at is of a directory that went on.
    fn rejected(&self, by: NodeId, rejection: &Rejection) {
        let for_good = match rejection.code {
            RejectCode::Unspecified => false,
            RejectCode::Removed => true,
            // What this process has told itself may have overtaken an earlier word of it.
            RejectCode::OldCopy { heard } => self.told.load(Ordering::Acquire) < heard,
        };
        if !for_good {
            return;
        }
        let name = self.book.name(by).unwrap_or_else(|| by.to_string());
        match self.own.get() {
            Some(Own::Open(node)) => node.fence(&format!("{name} says: {rejection}")),
            // It serves nothing.
            Some(Own::Damaged(_)) | None => tracing::error!(by = name, %rejection, "rejected"),
        }
    }

    fn admit_level(&self, _from: NodeId, level: u32) -> Result<(), String> {
        self.book.check_level(level)
    }

    /// The clock of a node that has left is no part of the majority's.
    fn forget(&self, node: NodeId) {
        let mut clocks = self.clocks.lock();
        if clocks.0.remove(&node).is_some()
            && let Some(Own::Open(own)) = self.own.get()
        {
            own.correct_clock(clocks.correction_ms());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use mailrook_cluster::{Node, NodeOptions};
    use mailrook_meta::{FeatureLevels, FrontRoles, LEVEL_FRONT_NODES, NodeRecord, NodeState};
    use mailrook_store_client::machines;
    use mailrook_transport::{Introduce, RejectCode, Rejection};
    use mailrook_types::{NodeId, Timestamp};

    use super::{Introductions, correction_ms};
    use crate::book::Book;

    #[tokio::test(flavor = "multi_thread")]
    async fn a_node_that_is_rejected_for_good_serves_no_more() {
        let dir = tempfile::tempdir().unwrap();
        let options = NodeOptions {
            first_shards: 1,
            disk_reserve_bytes: 0,
            ..NodeOptions::new(dir.path().join("store"))
        };
        let node = Arc::new(Node::open(options, machines()).await.unwrap());
        let book = Book::open(dir.path().join("nodes"), node.node_id()).unwrap();
        let introductions = Introductions::new(Arc::new(book));
        introductions.opened(&node);
        let rejected = |code| {
            let words = "for a reason".to_owned();
            introductions.rejected(NodeId(2), &Rejection { code, words });
        };
        let told = node.beat();
        introductions.introduce();
        rejected(RejectCode::Unspecified);
        // Overtaken on the way.
        rejected(RejectCode::OldCopy { heard: told });
        assert!(node.groups().all(|group| !group.is_stopped()));
        let heard = node.beat() + 1000;
        rejected(RejectCode::OldCopy { heard });
        assert!(node.groups().all(|group| group.is_stopped()));
        node.shutdown().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn the_clocks_of_nodes_without_a_store_do_not_count() {
        let dir = tempfile::tempdir().unwrap();
        let options = NodeOptions {
            first_shards: 1,
            disk_reserve_bytes: 0,
            ..NodeOptions::new(dir.path().join("store"))
        };
        let node = Arc::new(Node::open(options, machines()).await.unwrap());
        let book = Arc::new(Book::open(dir.path().join("nodes"), node.node_id()).unwrap());
        let roles = FrontRoles {
            front: true,
            proxy: true,
        };
        let record = |id, state| NodeRecord {
            id: NodeId(id),
            name: format!("node{id}"),
            address: format!("10.0.0.{id}:7424"),
            zone: String::new(),
            state,
            joined: Timestamp(0),
            levels: FeatureLevels {
                lowest: 1,
                highest: LEVEL_FRONT_NODES,
            },
        };
        let storeless = [2, 3].map(|id| record(id, NodeState::Storeless(roles)));
        book.learn(&storeless).unwrap();
        let introductions = Introductions::new(Arc::clone(&book));
        introductions.opened(&node);
        let day_ms = 86_400_000;
        let correction_ms = || {
            for id in [2, 3] {
                introductions.hear_clock(NodeId(id), node.wall_ms() + day_ms);
            }
            introductions.clocks.lock().correction_ms()
        };
        assert_eq!(correction_ms(), 0);
        // Nor of nodes that it does not know.
        for id in [4, 5] {
            introductions.hear_clock(NodeId(id), node.wall_ms() + day_ms);
        }
        assert_eq!(introductions.clocks.lock().correction_ms(), 0);
        // Two nodes with a store are a majority.
        book.learn(&[2, 3].map(|id| record(id, NodeState::Active)))
            .unwrap();
        let corrected = correction_ms();
        assert!((corrected - day_ms).abs() < 1000, "{corrected}");
        // And none any more once they have given it up.
        book.learn(&storeless).unwrap();
        assert_eq!(correction_ms(), 0);
        node.shutdown().await;
    }

    #[test]
    fn clocks_of_nodes_that_have_left_are_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let book = Book::open(dir.path().join("nodes"), NodeId(1)).unwrap();
        let introductions = Introductions::new(Arc::new(book));
        let day = 86_400_000;
        for node in [2, 3] {
            introductions.clocks.lock().0.insert(NodeId(node), day);
        }
        let correction_ms = || introductions.clocks.lock().correction_ms();
        assert_eq!(correction_ms(), day);
        introductions.forget(NodeId(2));
        introductions.forget(NodeId(3));
        introductions.forget(NodeId(3));
        assert_eq!(correction_ms(), 0);
        assert!(introductions.clocks.lock().0.is_empty());
    }

    #[test]
    fn the_majority_s_clock_counts() {
        let day = 86_400_000;
        for (others, expected) in [
            (vec![], 0),
            (vec![day], 0),
            (vec![day, 10], 0),
            (vec![-day, -day + 20], -day + 20),
            (vec![day, day, 5, 0], 0),
            (vec![day, day, day, 0], day),
            (vec![4_000, 4_000], 0),
        ] {
            assert_eq!(
                correction_ms(others.iter().copied()),
                expected,
                "{others:?}"
            );
        }
    }
}
