//! What nodes say of themselves when they connect, and in each ping.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use mailrook_cluster::Node;
use mailrook_kv::{decode, encode};
use mailrook_transport::Introduce;
use mailrook_types::NodeId;
use serde::{Deserialize, Serialize};

use crate::book::Book;

#[derive(Serialize, Deserialize)]
enum Introduction {
    V1 {
        /// Counts up with what the node has promised to remember.
        beat: u64,
    },
}

/// Introduces this node, and judges the others.
pub struct Introductions {
    book: Arc<Book>,
    node: OnceLock<Arc<Node>>,
}

impl Introductions {
    /// Of a node whose store is not open yet: it must not be reached, nor reach others, before
    /// [`Introductions::opened`].
    pub fn new(book: Arc<Book>) -> Introductions {
        Introductions {
            book,
            node: OnceLock::new(),
        }
    }

    /// From now on this node's own beat is told.
    pub fn opened(&self, node: &Arc<Node>) {
        // A second call changes nothing.
        let _ = self.node.set(Arc::clone(node));
    }
}

impl Introduce for Introductions {
    fn introduce(&self) -> Bytes {
        let beat = self.node.get().map_or(0, |node| node.beat());
        encode(&Introduction::V1 { beat }).into()
    }

    fn admit(&self, from: NodeId, introduction: Bytes) -> Result<(), String> {
        let Introduction::V1 { beat } = decode(&introduction)
            .map_err(|error| format!("your introduction cannot be read: {error}"))?;
        self.book.hear(from, beat)
    }

    fn admit_level(&self, _from: NodeId, level: u32) -> Result<(), String> {
        self.book.check_level(level)
    }
}
