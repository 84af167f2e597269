//! What a node knows of the others, also while it cannot ask: where they are, and how far they were.
//!
//! The feature level is part of it: a program that is too old is refused before it can read what it does not know.
//!
//! The file `nodes` in the cluster's folder is a versioned record. It is written when something of note has changed, and the
//! beats that were heard now and then: an old one proves less, not something wrong.

use std::{collections::BTreeMap, path::PathBuf};

use mailrook_kv::{decode, encode};
use mailrook_meta::{NodeRecord, NodeState};
use mailrook_store_client::Peers;
use mailrook_transport::{RejectCode, Rejection};
use mailrook_types::NodeId;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::files::{self, FileError, damaged};

/// How far a beat may run ahead of the one on disk.
const BEATS_UNSAVED_MAX: u64 = 60;

/// What is known of one node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    /// As people call it.
    pub name: String,
    /// `host:port`
    pub address: String,
    /// It was removed from the cluster, for ever.
    pub removed: bool,
    /// The highest beat that it told.
    pub beat: u64,
}

#[derive(Serialize, Deserialize)]
enum Stored {
    V1(BTreeMap<NodeId, Known>),
    V2 {
        nodes: BTreeMap<NodeId, Known>,
        feature_level: u32,
    },
}

/// Of a cluster of which nothing else is known.
const FIRST_LEVEL: u32 = 1;

/// The other nodes.
#[derive(Debug)]
pub struct Book {
    path: PathBuf,
    own: NodeId,
    nodes: Mutex<Nodes>,
}

#[derive(Debug)]
struct Nodes {
    known: BTreeMap<NodeId, Known>,
    /// The cluster's.
    feature_level: u32,
    /// As they lie on the disk.
    saved_beats: BTreeMap<NodeId, u64>,
}

impl Book {
    /// Reads what lies at `path`, if anything does.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn open(path: PathBuf, own: NodeId) -> Result<Book, FileError> {
        let (known, feature_level) = match files::read(&path)? {
            Some(bytes) => match decode(&bytes).map_err(|error| damaged(&path, error))? {
                Stored::V1(known) => (known, FIRST_LEVEL),
                Stored::V2 {
                    nodes,
                    feature_level,
                } => (nodes, feature_level),
            },
            None => (BTreeMap::new(), FIRST_LEVEL),
        };
        let saved_beats = known.iter().map(|(id, known)| (*id, known.beat)).collect();
        let nodes = Mutex::new(Nodes {
            known,
            feature_level,
            saved_beats,
        });
        Ok(Book { path, own, nodes })
    }

    /// The cluster's feature level, as it was heard of last.
    pub fn feature_level(&self) -> u32 {
        self.nodes.lock().feature_level
    }

    /// The cluster is at this feature level; it never goes down.
    ///
    /// # Errors
    /// It cannot be written; it is known nevertheless.
    pub fn learn_level(&self, level: u32) -> Result<(), FileError> {
        let mut nodes = self.nodes.lock();
        if level <= nodes.feature_level {
            return Ok(());
        }
        nodes.feature_level = level;
        self.save(&mut nodes)
    }

    /// An error, with words for it, if a program that knows levels up to `highest` cannot take part.
    ///
    /// # Errors
    /// Why.
    pub fn check_level(&self, highest: u32) -> Result<(), String> {
        let level = self.feature_level();
        if highest >= level {
            return Ok(());
        }
        Err(format!(
            "the cluster is at feature level {level}, and this node's program knows only levels up to {highest}: install a newer version"
        ))
    }

    /// What a node is called, if it is known.
    pub fn name(&self, node: NodeId) -> Option<String> {
        let nodes = self.nodes.lock();
        nodes.known.get(&node).map(|known| known.name.clone())
    }

    /// All nodes but this one.
    pub fn others(&self) -> BTreeMap<NodeId, Known> {
        let mut known = self.nodes.lock().known.clone();
        known.remove(&self.own);
        known
    }

    /// What the directory says of the nodes takes the place of what was known. Says whether that is news.
    ///
    /// # Errors
    /// It cannot be written; it is known nevertheless.
    pub fn learn(&self, records: &[NodeRecord]) -> Result<bool, FileError> {
        let mut nodes = self.nodes.lock();
        let mut next = BTreeMap::new();
        for record in records {
            let beat = nodes.known.get(&record.id).map_or(0, |known| known.beat);
            let known = Known {
                name: record.name.clone(),
                address: record.address.clone(),
                removed: matches!(record.state, NodeState::Removed { .. }),
                beat,
            };
            next.insert(record.id, known);
        }
        if next == nodes.known {
            return Ok(false);
        }
        nodes.known = next;
        self.save(&mut nodes)?;
        Ok(true)
    }

    /// A node told its beat. An error if it cannot be who it says.
    pub(crate) fn hear(&self, node: NodeId, beat: u64) -> Result<(), Rejection> {
        let mut nodes = self.nodes.lock();
        let saved = nodes.saved_beats.get(&node).copied().unwrap_or(0);
        let Some(known) = nodes.known.get_mut(&node) else {
            // It has joined a moment ago; its certificate is proof enough.
            return Ok(());
        };
        if known.removed {
            let words = format!(
                "{} was removed from the cluster, and cannot come back: what it holds may be older than what was acknowledged \
                 since. Its data directory is left as it is; with an empty one it can join as a new node",
                known.name
            );
            let code = RejectCode::Removed;
            return Err(Rejection { code, words });
        }
        if beat < known.beat {
            let words = format!(
                "the data directory of {} is an old copy: it was at beat {} before, and is at {beat} now. A node that was put \
                 back from a backup could vote twice or show old mail. Join it anew with an empty data directory",
                known.name, known.beat
            );
            let code = RejectCode::OldCopy { heard: known.beat };
            return Err(Rejection { code, words });
        }
        known.beat = beat;
        if beat > saved.saturating_add(BEATS_UNSAVED_MAX)
            && let Err(error) = self.save(&mut nodes)
        {
            tracing::warn!(%error, "what was heard of other nodes is not on the disk");
        }
        Ok(())
    }

    fn save(&self, nodes: &mut Nodes) -> Result<(), FileError> {
        let stored = Stored::V2 {
            nodes: nodes.known.clone(),
            feature_level: nodes.feature_level,
        };
        files::replace(&self.path, &encode(&stored))?;
        nodes.saved_beats = (nodes.known.iter())
            .map(|(id, known)| (*id, known.beat))
            .collect();
        Ok(())
    }
}

impl Peers for Book {
    fn nodes(&self) -> Vec<NodeId> {
        let others = self.others();
        let present = others.into_iter().filter(|(_, known)| !known.removed);
        present.map(|(id, _)| id).collect()
    }
}

#[cfg(test)]
mod tests {
    use mailrook_meta::FeatureLevels;
    use mailrook_types::Timestamp;

    use super::*;

    fn record(id: u64, state: NodeState) -> NodeRecord {
        NodeRecord {
            id: NodeId(id),
            name: format!("node{id}"),
            address: format!("10.0.0.{id}:7424"),
            zone: String::new(),
            state,
            joined: Timestamp(0),
            levels: FeatureLevels {
                lowest: 1,
                highest: 1,
            },
        }
    }

    #[test]
    fn what_is_known_survives_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("nodes");
        let book = Book::open(path.clone(), NodeId(1)).unwrap();
        let records = [1, 2, 3].map(|id| record(id, NodeState::Active));
        assert!(book.learn(&records).unwrap());
        assert!(!book.learn(&records).unwrap());
        assert_eq!(book.nodes(), [NodeId(2), NodeId(3)]);
        book.hear(NodeId(2), 500).unwrap();
        let again = Book::open(path, NodeId(1)).unwrap();
        assert_eq!(again.others(), book.others());
    }

    #[test]
    fn a_program_that_is_too_old_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("nodes");
        // As the first version wrote it.
        files::replace(&path, &encode(&Stored::V1(BTreeMap::new()))).unwrap();
        let book = Book::open(path.clone(), NodeId(1)).unwrap();
        book.check_level(1).unwrap();
        book.learn_level(2).unwrap();
        book.learn_level(1).unwrap();
        let again = Book::open(path, NodeId(1)).unwrap();
        assert!(again.check_level(1).unwrap_err().contains("level 2"));
        again.check_level(2).unwrap();
    }

    #[test]
    fn an_old_copy_and_a_removed_node_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let book = Book::open(dir.path().join("nodes"), NodeId(1)).unwrap();
        let at = Timestamp(5);
        book.learn(&[
            record(2, NodeState::Active),
            record(3, NodeState::Removed { at }),
        ])
        .unwrap();
        book.hear(NodeId(2), 70).unwrap();
        book.hear(NodeId(2), 70).unwrap();
        let old = book.hear(NodeId(2), 69).unwrap_err();
        assert!(old.words.contains("old copy") && old.code == RejectCode::OldCopy { heard: 70 });
        let removed = book.hear(NodeId(3), 1).unwrap_err();
        assert!(removed.words.contains("removed") && removed.code == RejectCode::Removed);
        assert_eq!(book.nodes(), [NodeId(2)]);
    }
}
