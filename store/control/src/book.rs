//! What a node knows of the others, also while it cannot ask: where they are, and how far they were.
//!
//! The feature level is part of it: a program that is too old is refused before it can read what it does not know.
//!
//! The file `nodes` in the cluster's folder is a versioned record. What the directory says of nodes and of the level is there
//! before it counts as learnt: who is told no, must be told no after a restart, too. Beats are written now and then, beside:
//! an old one proves less, not something wrong, and they are heard where frames are read.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use mailrook_cluster::simulation;
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
    /// It has no store: of groups it knows nothing by itself. Written beside, as earlier records have no room for it.
    #[serde(skip)]
    pub storeless: bool,
}

#[derive(Serialize, Deserialize)]
enum Stored {
    V1(BTreeMap<NodeId, Known>),
    V2 {
        nodes: BTreeMap<NodeId, Known>,
        feature_level: u32,
    },
    /// Written only where there are nodes without a store, of which older programs know nothing.
    V3 {
        nodes: BTreeMap<NodeId, Known>,
        feature_level: u32,
        storeless: BTreeSet<NodeId>,
    },
}

impl Stored {
    fn of(nodes: BTreeMap<NodeId, Known>, feature_level: u32) -> Stored {
        let storeless = nodes.iter().filter(|(_, known)| known.storeless);
        let storeless: BTreeSet<NodeId> = storeless.map(|(id, _)| *id).collect();
        if storeless.is_empty() {
            return Stored::V2 {
                nodes,
                feature_level,
            };
        }
        Stored::V3 {
            nodes,
            feature_level,
            storeless,
        }
    }

    /// The nodes, and the cluster's level.
    fn into_known(self) -> (BTreeMap<NodeId, Known>, u32) {
        match self {
            Stored::V1(known) => (known, FIRST_LEVEL),
            Stored::V2 {
                nodes,
                feature_level,
            } => (nodes, feature_level),
            Stored::V3 {
                mut nodes,
                feature_level,
                storeless,
            } => {
                for (id, known) in &mut nodes {
                    known.storeless = storeless.contains(id);
                }
                (nodes, feature_level)
            }
        }
    }
}

/// Of a cluster of which nothing else is known.
const FIRST_LEVEL: u32 = 1;

/// The other nodes.
#[derive(Debug)]
pub struct Book {
    path: PathBuf,
    own: NodeId,
    /// Never held while the disk is waited for.
    nodes: Mutex<Nodes>,
    /// Held while the file is written: one at a time.
    saving: Mutex<()>,
    /// Beats are about to be written.
    saves_soon: AtomicBool,
}

#[derive(Debug)]
struct Nodes {
    known: BTreeMap<NodeId, Known>,
    /// The cluster's.
    feature_level: u32,
    /// As they lie on the disk.
    saved_beats: BTreeMap<NodeId, u64>,
    /// Something else than beats is not on the disk.
    is_unsaved: bool,
}

impl Nodes {
    /// What the directory's records say.
    fn told_by(&self, records: &[NodeRecord]) -> BTreeMap<NodeId, Known> {
        let known = |record: &NodeRecord| {
            let beat = self.known.get(&record.id).map_or(0, |known| known.beat);
            let known = Known {
                name: record.name.clone(),
                address: record.address.clone(),
                removed: matches!(record.state, NodeState::Removed { .. }),
                beat,
                storeless: matches!(record.state, NodeState::Storeless(_)),
            };
            (record.id, known)
        };
        records.iter().map(known).collect()
    }
}

impl Book {
    /// Reads what lies at `path`, if anything does.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn open(path: PathBuf, own: NodeId) -> Result<Book, FileError> {
        let (known, feature_level) = match files::read(&path)? {
            Some(bytes) => {
                let stored: Stored = decode(&bytes).map_err(|error| damaged(&path, error))?;
                stored.into_known()
            }
            None => (BTreeMap::new(), FIRST_LEVEL),
        };
        let saved_beats = known.iter().map(|(id, known)| (*id, known.beat)).collect();
        let nodes = Mutex::new(Nodes {
            known,
            feature_level,
            saved_beats,
            is_unsaved: false,
        });
        Ok(Book {
            path,
            own,
            nodes,
            saving: Mutex::new(()),
            saves_soon: AtomicBool::new(false),
        })
    }

    /// The cluster's feature level, as it was heard of last.
    pub fn feature_level(&self) -> u32 {
        self.nodes.lock().feature_level
    }

    /// Whether all of this was learnt before, and is on the disk.
    pub(crate) fn has_learnt(&self, level: u32, records: &[NodeRecord]) -> bool {
        let nodes = self.nodes.lock();
        !nodes.is_unsaved && level <= nodes.feature_level && nodes.told_by(records) == nodes.known
    }

    /// The cluster is at this feature level; it never goes down. Waits for the disk.
    ///
    /// # Errors
    /// It cannot be written; it is known nevertheless.
    pub fn learn_level(&self, level: u32) -> Result<(), FileError> {
        let mut nodes = self.nodes.lock();
        if level > nodes.feature_level {
            nodes.feature_level = level;
            nodes.is_unsaved = true;
        }
        let is_unsaved = nodes.is_unsaved;
        drop(nodes);
        if is_unsaved { self.save() } else { Ok(()) }
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

    /// The members that are not this node, with a store or without.
    pub fn members(&self) -> Vec<NodeId> {
        let others = self.others().into_iter();
        let present = others.filter(|(_, known)| !known.removed);
        present.map(|(id, _)| id).collect()
    }

    /// Whether a node is known, and known to have a store.
    pub(crate) fn has_store(&self, node: NodeId) -> bool {
        let nodes = self.nodes.lock();
        let known = nodes.known.get(&node);
        known.is_some_and(|known| !known.storeless && !known.removed)
    }

    /// What the directory says of the nodes takes the place of what was known. Says whether that is news. Waits for the disk.
    ///
    /// # Errors
    /// It cannot be written; it is known nevertheless.
    pub fn learn(&self, records: &[NodeRecord]) -> Result<bool, FileError> {
        let mut nodes = self.nodes.lock();
        let next = nodes.told_by(records);
        let is_news = next != nodes.known;
        if is_news {
            nodes.known = next;
            nodes.is_unsaved = true;
        }
        let is_unsaved = nodes.is_unsaved;
        drop(nodes);
        if is_unsaved {
            self.save()?;
        }
        Ok(is_news)
    }

    /// A node told its beat. An error if it cannot be who it says. Waits for nothing.
    pub(crate) fn hear(self: &Arc<Self>, node: NodeId, beat: u64) -> Result<(), Rejection> {
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
        drop(nodes);
        if beat > saved.saturating_add(BEATS_UNSAVED_MAX)
            && !self.saves_soon.swap(true, Ordering::AcqRel)
        {
            self.save_beats_soon();
        }
        Ok(())
    }

    fn save_beats_soon(self: &Arc<Self>) {
        if simulation::is_on() {
            return self.save_beats();
        }
        let book = Arc::clone(self);
        tokio::task::spawn_blocking(move || book.save_beats());
    }

    /// All that were heard until now, in one go.
    fn save_beats(&self) {
        let _one = self.saving.lock();
        self.saves_soon.store(false, Ordering::Release);
        if let Err(error) = self.save_locked() {
            tracing::warn!(%error, "what was heard of other nodes is not on the disk");
        }
    }

    fn save(&self) -> Result<(), FileError> {
        let _one = self.saving.lock();
        self.save_locked()
    }

    /// What is known now; who calls holds `saving`.
    fn save_locked(&self) -> Result<(), FileError> {
        let mut nodes = self.nodes.lock();
        let (known, feature_level) = (nodes.known.clone(), nodes.feature_level);
        // What is learnt meanwhile says so again.
        nodes.is_unsaved = false;
        drop(nodes);
        let beats = known.iter().map(|(id, known)| (*id, known.beat)).collect();
        let stored = Stored::of(known, feature_level);
        let written = files::replace(&self.path, &encode(&stored));
        let mut nodes = self.nodes.lock();
        match &written {
            Ok(()) => nodes.saved_beats = beats,
            Err(_) => nodes.is_unsaved = true,
        }
        written
    }
}

/// Of those without a store nobody need ask for a leader: they would ask on.
impl Peers for Book {
    fn nodes(&self) -> Vec<NodeId> {
        let others = self.others();
        let present = others
            .into_iter()
            .filter(|(_, known)| !known.removed && !known.storeless);
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

    #[tokio::test]
    async fn what_is_known_survives_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("nodes");
        let book = Arc::new(Book::open(path.clone(), NodeId(1)).unwrap());
        let records = [1, 2, 3].map(|id| record(id, NodeState::Active));
        assert!(book.learn(&records).unwrap());
        assert!(!book.learn(&records).unwrap());
        assert_eq!(book.nodes(), [NodeId(2), NodeId(3)]);
        book.hear(NodeId(2), 500).unwrap();
        until_saved(&book, NodeId(2), 500).await;
        let again = Book::open(path, NodeId(1)).unwrap();
        assert_eq!(again.others(), book.others());
    }

    #[test]
    fn who_has_no_store_is_known_and_not_asked_for_leaders() {
        use mailrook_meta::FrontRoles;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("nodes");
        let book = Book::open(path.clone(), NodeId(1)).unwrap();
        let roles = FrontRoles {
            front: true,
            proxy: false,
        };
        let without = [
            record(2, NodeState::Active),
            record(3, NodeState::Storeless(roles)),
        ];
        assert!(book.learn(&without).unwrap());
        for book in [&book, &Book::open(path.clone(), NodeId(1)).unwrap()] {
            assert_eq!(book.nodes(), [NodeId(2)]);
            assert_eq!(book.members(), [NodeId(2), NodeId(3)]);
            assert!(book.has_store(NodeId(2)) && !book.has_store(NodeId(3)));
            assert!(!book.has_store(NodeId(4)), "nothing is known of it");
            assert!(!book.learn(&without).unwrap(), "nothing new");
        }
        // It gets a store: then older programs can read the book again.
        let with = [2, 3].map(|id| record(id, NodeState::Active));
        assert!(book.learn(&with).unwrap());
        assert_eq!(book.nodes(), [NodeId(2), NodeId(3)]);
        let written = files::read(&path).unwrap().unwrap();
        assert!(matches!(decode(&written), Ok(Stored::V2 { .. })));
    }

    async fn until_saved(book: &Book, node: NodeId, beat: u64) {
        let saved = async {
            while book.nodes.lock().saved_beats.get(&node) != Some(&beat) {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        };
        let patience = std::time::Duration::from_secs(10);
        tokio::time::timeout(patience, saved).await.unwrap();
    }

    #[tokio::test]
    #[expect(
        clippy::await_holding_lock,
        reason = "as a disk that does not answer; only a thread beside waits for it"
    )]
    async fn beats_are_heard_while_the_disk_does_not_answer() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("nodes");
        let book = Arc::new(Book::open(path.clone(), NodeId(1)).unwrap());
        let records = [1, 2].map(|id| record(id, NodeState::Active));
        assert!(!book.has_learnt(1, &records));
        book.learn(&records).unwrap();
        assert!(book.has_learnt(1, &records));
        let writing = book.saving.lock();
        for beat in 1..=1000 {
            book.hear(NodeId(2), beat).unwrap();
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        assert_eq!(book.name(NodeId(2)).as_deref(), Some("node2"));
        assert_eq!(book.nodes.lock().saved_beats[&NodeId(2)], 0);
        drop(writing);
        until_saved(&book, NodeId(2), 1000).await;
        let again = Book::open(path, NodeId(1)).unwrap();
        assert_eq!(again.others()[&NodeId(2)].beat, 1000);
        // What is not on the disk is not taken for learnt.
        std::fs::remove_dir_all(dir.path()).unwrap();
        book.learn_level(2).unwrap_err();
        assert!(!book.has_learnt(2, &records));
        std::fs::create_dir(dir.path()).unwrap();
        book.learn_level(2).unwrap();
        assert!(book.has_learnt(2, &records));
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

    #[tokio::test]
    async fn an_old_copy_and_a_removed_node_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let book = Arc::new(Book::open(dir.path().join("nodes"), NodeId(1)).unwrap());
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
