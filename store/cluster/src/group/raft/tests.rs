//! Snapshots between two copies, without a network: what a leader would send is carried by hand.

use std::{path::Path, sync::Arc};

use bytes::Bytes;
use mailrook_kv::{Applied, ApplyError, Space, StateMachine, View, encode};
use mailrook_transport::{Alone, Duplex};
use mailrook_types::{NodeId, ShardId};
use openraft::{EntryPayload, raft::AppendEntriesRequest};
use tokio::sync::{broadcast, mpsc};

use super::{
    Command, Entry, GroupParts, Origin, RaftGroup,
    handle::config,
    log::GroupLog,
    machine::Machine,
    network::Ways,
    send::SnapshotSender,
    snapshot::SnapshotSource,
    standing::Standing,
    transfer::{Answer, Offer},
    types::{Raft, Snapshot, SnapshotMeta, StoredMembership, Vote},
    wire::{self, WireLogId, WireVote},
};
use crate::{
    Group,
    data_dir::{DataDir, WitnessFile},
    disk::{FileSystemSpace, Reserve},
    guard::{GroupEvidence, check_group, log_group},
    log::{
        EngineLog, EngineOptions, LogWrite, OnFatal, RecordKey, SharedLog, WriterOptions,
        encode_entry, encode_log_id, encode_membership, log_id,
    },
    state::{GroupState, StateEngine, TableEngine},
};

const ONE: ShardId = ShardId(1);

struct Last;

impl StateMachine for Last {
    fn apply(
        &self,
        view: &mut View<'_>,
        _time_ms: i64,
        command: &[u8],
    ) -> Result<Applied, ApplyError> {
        view.put(Space::Index, b"last".to_vec(), command.to_vec());
        Ok(Applied::default())
    }

    fn makes_room(&self, _command: &[u8]) -> bool {
        false
    }
}

/// A data directory that is open for one copy.
struct Copy {
    dir: DataDir,
    witness: Arc<WitnessFile>,
    log: Arc<SharedLog>,
    state: Arc<GroupState>,
    reserve: Arc<Reserve>,
}

impl Copy {
    fn open(path: &Path) -> Copy {
        let dir = DataDir::open(path, &[ONE]).unwrap();
        let witness = Arc::new(WitnessFile::open(dir.witness()).unwrap());
        let options = EngineOptions {
            bytes_max: 64 << 20,
            file_bytes: None,
        };
        let log = Arc::new(EngineLog::open(&dir.log(), &options).unwrap());
        let writer = WriterOptions {
            on_fatal: OnFatal::abort(),
            plant: None,
        };
        let space = Box::new(FileSystemSpace {
            path: path.to_owned(),
        });
        let reserve = Arc::new(Reserve::new(space, 0).unwrap());
        let (noted, room) = (Arc::clone(&witness), Arc::clone(&reserve));
        let log = SharedLog::start(log, noted, room, writer, dir.lock());
        let log = Arc::new(log.unwrap());
        let engine: Arc<dyn TableEngine> =
            Arc::new(StateEngine::new(8 << 20, 8 << 20, 1, &dir.lock()).unwrap());
        let state = Arc::new(GroupState::open(&engine, &dir.group(ONE), ONE, true).unwrap());
        Copy {
            dir,
            witness,
            log,
            state,
            reserve,
        }
    }

    async fn machine(&self, node_id: u64) -> (Machine, GroupLog) {
        let standing = Arc::new(Standing::new(node_id));
        let shared = Arc::clone(&self.log);
        let log = GroupLog::open(ONE, shared, Arc::clone(&standing), 1 << 20).await;
        let log = log.unwrap();
        let machine = Machine {
            machine: Arc::new(Last),
            state: Arc::clone(&self.state),
            log: log.clone(),
            standing,
            touched: broadcast::Sender::new(1),
            reserve: Arc::clone(&self.reserve),
            plant: None,
        };
        (machine, log)
    }

    /// A copy that waits for a leader.
    async fn follow(&self, node_id: u64) -> Raft {
        let (machine, log) = self.machine(node_id).await;
        let ways = Ways {
            shard: ONE,
            network: Arc::new(Alone(NodeId(node_id))),
            snapshots: SnapshotSender::default(),
            standing: Arc::new(Standing::new(node_id)),
            plant: None,
        };
        Raft::new(node_id, config(ONE, true).unwrap(), ways, log, machine)
            .await
            .unwrap()
    }

    fn last(&self) -> Option<Vec<u8>> {
        self.state
            .tables()
            .unwrap()
            .get(Space::Index, b"last")
            .unwrap()
    }

    fn check(&self) {
        let marks = self.witness.content().groups[&ONE];
        let evidence = GroupEvidence {
            shard: ONE,
            marks,
            applied: self.state.applied().log_id,
        };
        check_group(&*self.log.store().unwrap(), &self.dir.log(), &evidence).unwrap();
    }

    fn close(self) {
        self.state.close().unwrap();
        self.log.close();
    }
}

/// Node 1, with fifty commands in a group that it has begun at `path`.
async fn leader(path: &Path) -> Arc<RaftGroup> {
    let space = Box::new(FileSystemSpace {
        path: path.to_owned(),
    });
    let Copy { log, state, .. } = Copy::open(path);
    let group = RaftGroup::start(GroupParts {
        shard: ONE,
        network: Arc::new(Alone(NodeId(1))),
        snapshots: SnapshotSender::default(),
        origin: Origin::Founded,
        machine: Arc::new(Last),
        state,
        log,
        log_cache_bytes: 1 << 20,
        groups: 1,
        wall: Arc::new(super::wall_ms),
        heard: super::Heard::of(false),
        plant: None,
        reserve: Arc::new(Reserve::new(space, 0).unwrap()),
        correction: super::Correction::default(),
    })
    .await
    .unwrap();
    for number in 1..=50u8 {
        group
            .propose(Bytes::copy_from_slice(&[number]))
            .await
            .unwrap();
    }
    group
}

/// What a leader of node 1 with fifty commands sends to the copy at `to`.
async fn snapshot_for(to: &Path) -> (Vote, SnapshotMeta, SnapshotSource) {
    let from = tempfile::tempdir().unwrap();
    let group = leader(from.path()).await;
    let (meta, folder) = SnapshotSource::Live(Arc::clone(&group.state))
        .checkpoint("for-2")
        .unwrap();
    let arrived = to.join("groups/1/incoming");
    std::fs::rename(folder, &arrived).unwrap();
    let vote = openraft::Vote {
        leader_id: meta.last_log_id.unwrap().leader_id,
        committed: true,
    };
    group.shutdown().await;
    (vote, meta, SnapshotSource::Folder(arrived))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_takes_the_place_of_the_log_and_the_log_goes_on_behind_it() {
    use openraft::RaftLogReader;
    let dir = tempfile::tempdir().unwrap();
    let copy = Copy::open(dir.path());
    let raft = copy.follow(2).await;
    let (vote, meta, snapshot) = snapshot_for(dir.path()).await;
    let last = meta.last_log_id.unwrap();
    raft.install_full_snapshot(
        vote,
        Snapshot {
            meta: meta.clone(),
            snapshot,
        },
    )
    .await
    .unwrap();
    assert_eq!(copy.last(), Some(vec![50]));
    assert_eq!(copy.state.applied().log_id, Some(last));
    // The next entry, committed.
    let next = log_id(last.leader_id.term, last.leader_id.node_id, last.index + 1);
    let command = Command {
        time_ms: 1,
        bytes: Bytes::from_static(&[51]),
    };
    let append = AppendEntriesRequest {
        vote,
        prev_log_id: Some(last),
        entries: vec![Entry {
            log_id: next,
            payload: EntryPayload::Normal(command),
        }],
        leader_commit: Some(next),
    };
    raft.append_entries(append).await.unwrap();
    raft.wait(None)
        .applied_index(Some(next.index), "the next entry")
        .await
        .unwrap();
    assert_eq!(copy.last(), Some(vec![51]));
    raft.shutdown().await.unwrap();
    copy.close();
    let copy = Copy::open(dir.path());
    copy.check();
    assert_eq!(
        (copy.last(), copy.state.applied().log_id),
        (Some(vec![51]), Some(next))
    );
    // What was cut is not skipped: a copy that lacks it would take the rest for what comes next.
    let (_, mut log) = copy.machine(2).await;
    let cut = log.limited_get_log_entries(last.index, next.index + 1);
    assert!(cut.await.unwrap().is_empty());
    let there = log.limited_get_log_entries(next.index, next.index + 1);
    assert_eq!(there.await.unwrap().len(), 1);
    drop(log);
    let raft = copy.follow(2).await;
    raft.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_that_cannot_be_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let group = leader(dir.path()).await;
    let committed = group.status().committed_index;
    let vote = |term, node| WireVote {
        term,
        node,
        committed: true,
    };
    let last = |term, node, index| WireLogId::from(&log_id(term, node, index));
    let contradicts = (vote(9, 2), last(9, 2, committed));
    let later_than_its_sender = (vote(9, 2), last(9, 3, committed + 10));
    let of_another = (vote(9, 1), last(9, 1, committed + 10));
    let of_a_candidate = WireVote {
        committed: false,
        ..vote(9, 2)
    };
    for (vote, last) in [
        contradicts,
        later_than_its_sender,
        of_another,
        (of_a_candidate, last(9, 2, committed + 10)),
    ] {
        let offer = Offer {
            vote,
            last,
            membership: encode_membership(&StoredMembership::default()),
            files: Vec::new(),
        };
        let (outgoing, mut answers) = mpsc::channel(8);
        let (_nothing, incoming) = mpsc::channel(1);
        let stream = Duplex { outgoing, incoming };
        group
            .receive_snapshot(NodeId(2), encode(&offer).into(), stream)
            .await;
        let answer = answers.recv().await.unwrap();
        let answer: Answer = wire::read_reply(&answer).unwrap();
        assert!(matches!(answer, Answer::Failed(_)), "{offer:?}: {answer:?}");
    }
    // It goes on.
    group.propose(Bytes::from_static(&[51])).await.unwrap();
    group.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_after_an_install_is_no_damage() {
    use openraft::storage::{RaftLogStorage, RaftStateMachine};

    let dir = tempfile::tempdir().unwrap();
    let copy = Copy::open(dir.path());
    let (_, meta, snapshot) = snapshot_for(dir.path()).await;
    let (mut machine, log) = copy.machine(2).await;
    // The state is replaced; that the log is cut up to it is not written any more.
    machine.install_snapshot(&meta, snapshot).await.unwrap();
    drop((machine, log));
    copy.close();
    let copy = Copy::open(dir.path());
    copy.check();
    let raft = copy.follow(2).await;
    raft.shutdown().await.unwrap();
    copy.close();
    let copy = Copy::open(dir.path());
    let (_, mut log) = copy.machine(2).await;
    assert_eq!(
        log.get_log_state().await.unwrap().last_log_id,
        meta.last_log_id,
        "the hole is closed"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_between_the_note_of_a_cut_and_the_cut_leaves_no_gap() {
    let dir = tempfile::tempdir().unwrap();
    let copy = Copy::open(dir.path());
    let group = log_group(ONE);
    let append = |indexes: &[u64]| {
        let entry = |index: &u64| {
            encode_entry(&Entry {
                log_id: log_id(1, 1, *index),
                payload: EntryPayload::Blank,
            })
        };
        let entries = indexes.iter().map(entry).collect();
        LogWrite::Append { group, entries }
    };
    let cut = LogWrite::Record {
        group,
        key: RecordKey::Purged,
        value: encode_log_id(&log_id(1, 1, 7)),
    };
    for write in [append(&[1, 2]), cut] {
        copy.log.write_durably(write, None).await.unwrap();
    }
    copy.close();
    let copy = Copy::open(dir.path());
    let (_, log) = copy.machine(2).await;
    assert_eq!(log.last(), Some(log_id(1, 1, 7)));
    copy.log.write_durably(append(&[8]), None).await.unwrap();
    assert_eq!(copy.log.store().unwrap().bounds(group), Some((8, 8)));
}
