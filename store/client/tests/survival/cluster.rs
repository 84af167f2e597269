//! The back ends: three nodes, each with the real handler of the client's requests, over groups whose replicated log is
//! one map.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use futures::{FutureExt, future::BoxFuture};
use mailrook_cluster::{Group, GroupError, GroupRole, GroupStatus, Touched, Watch};
use mailrook_kv::{MemorySnapshot, MemoryStore, Overlay, Read, Store};
use mailrook_mailbox::{
    Answer, Change, IndexEntry, MailboxInfo, Query, ShardCommand, answer as answer_shard,
};
use mailrook_store_client::{Client, ClientOptions, Reach, machines};
use mailrook_transport::{Duplex, Handler, Handlers, MemoryHub};
use mailrook_types::{AccountId, NodeId, ShardId, Uid, UidSet};
use parking_lot::Mutex;
use tokio::{
    sync::broadcast,
    time::{Instant, sleep},
};

use crate::{
    dice::Chance,
    weather::{Fault, Plant, Weather},
};

/// Where the sessions are.
pub const FRONT: NodeId = NodeId(9);
const BACK_ENDS: [NodeId; 3] = [NodeId(1), NodeId(2), NodeId(3)];
pub const SHARDS: [ShardId; 2] = [ShardId(1), ShardId(2)];

/// The log's time, always: what depends on it must not differ for what the faults have cost in time.
const LOG_TIME_MS: i64 = 1_700_000_000_000;
/// Of touched keys.
const WATCH_LAG_MAX: usize = 256;
/// How long a new leader of [`Plant::StaleAfterAnElection`] shows what was.
const STALE_FOR: Duration = Duration::from_millis(400);

/// The whole of it.
pub struct Cluster {
    pub hub: MemoryHub,
    groups: BTreeMap<ShardId, Log>,
    state: Mutex<State>,
}

/// A group's state, as all its copies have it.
struct Log {
    store: MemoryStore,
    touched: broadcast::Sender<Touched>,
}

struct State {
    weather: Weather,
    chance: Chance,
    leaders: BTreeMap<ShardId, Option<NodeId>>,
    /// Until when nobody is elected.
    outages: BTreeMap<ShardId, Instant>,
    up: BTreeSet<NodeId>,
    handlers: BTreeMap<NodeId, Handlers>,
    faults: usize,
    /// For the planted bugs: what was carried out and not answered, what was before the last command, who began to lead when.
    unanswered: HashSet<Vec<u8>>,
    before: BTreeMap<ShardId, MemorySnapshot>,
    elected: BTreeMap<ShardId, Instant>,
    lanes: u64,
}

struct Nobody;

impl Handler for Nobody {
    fn call(&self, _from: NodeId, _request: Bytes) -> BoxFuture<'static, Result<Bytes, String>> {
        async { Err("nobody answers this".to_owned()) }.boxed()
    }

    fn open(&self, _from: NodeId, _request: Bytes, _stream: Duplex) -> BoxFuture<'static, ()> {
        async {}.boxed()
    }
}

impl Cluster {
    /// Three nodes that run, in quiet weather.
    pub fn new(chance: Chance) -> Arc<Cluster> {
        let group = |shard| {
            let log = Log {
                store: MemoryStore::new(),
                touched: broadcast::Sender::new(WATCH_LAG_MAX),
            };
            (shard, log)
        };
        let groups: BTreeMap<ShardId, Log> =
            [ShardId::META, SHARDS[0], SHARDS[1]].map(group).into();
        let leaders = groups.keys().zip(BACK_ENDS);
        let leaders = leaders.map(|(shard, node)| (*shard, Some(node))).collect();
        let cluster = Arc::new(Cluster {
            hub: MemoryHub::default(),
            groups,
            state: Mutex::new(State {
                weather: Weather::Quiet,
                chance,
                leaders,
                outages: BTreeMap::new(),
                up: BACK_ENDS.into(),
                handlers: BTreeMap::new(),
                faults: 0,
                unanswered: HashSet::new(),
                before: BTreeMap::new(),
                elected: BTreeMap::new(),
                lanes: 0,
            }),
        });
        for node in BACK_ENDS {
            let handlers = Handlers {
                consensus: Arc::new(Nobody),
                store: cluster.client(node, true).handler(),
                control: Arc::new(Nobody),
                bulk: Arc::new(Nobody),
            };
            cluster.hub.start(node, handlers.clone());
            cluster.state.lock().handlers.insert(node, handlers);
        }
        cluster
    }

    /// A node's client of all groups; of a front end it may have copies, which follow, or none.
    pub fn client(self: &Arc<Self>, node: NodeId, has_copies: bool) -> Client {
        let copy = |shard: &ShardId| -> (ShardId, Arc<dyn Group>) {
            let copy = Copy {
                cluster: Arc::clone(self),
                node,
                shard: *shard,
            };
            (*shard, Arc::new(copy))
        };
        let copies: BTreeMap<_, _> = match has_copies {
            true => self.groups.keys().map(copy).collect(),
            false => BTreeMap::new(),
        };
        let peers: Vec<NodeId> = BACK_ENDS.into_iter().filter(|id| *id != node).collect();
        let reach = Reach {
            copies: Arc::new(copies),
            network: Arc::new(self.hub.network(node)),
            peers: Arc::new(peers),
        };
        Client::new(reach, [node.0 as u8; 16], ClientOptions::default())
    }

    /// From now on.
    pub fn set_weather(&self, weather: Weather) {
        self.state.lock().weather = weather;
    }

    /// How many calls were struck so far.
    pub fn faults(&self) -> usize {
        self.state.lock().faults
    }

    /// Lets go of what holds itself.
    pub fn end(&self) {
        self.state.lock().handlers.clear();
        for node in BACK_ENDS {
            self.hub.stop(node);
        }
    }

    // --- what is there, whoever leads ---

    /// What a shard would answer.
    fn ask(&self, shard: ShardId, query: &Query) -> Answer {
        let snapshot = self.groups[&shard].store.snapshot();
        answer_shard(&snapshot, LOG_TIME_MS, query).unwrap()
    }

    /// The mailboxes of an account, and their messages.
    pub fn mail(&self, account: AccountId) -> Vec<(MailboxInfo, Vec<IndexEntry>)> {
        let mut mail = Vec::new();
        for shard in SHARDS {
            let Answer::Mailboxes(list) = self.ask(shard, &Query::Mailboxes { account }) else {
                continue;
            };
            for mailbox in list.mailboxes {
                let query = Query::Index {
                    account,
                    mailbox: mailbox.status.id,
                    uids: UidSet::from_range(Uid::MIN..=Uid::MAX),
                    limit: u32::MAX,
                };
                match self.ask(shard, &query) {
                    Answer::Index(entries) => mail.push((mailbox, entries)),
                    other => panic!("{other:?}"),
                }
            }
        }
        mail
    }

    /// All that can be known of an account, for comparing.
    pub fn state_of(&self, account: AccountId) -> String {
        let questions = |shard| {
            [Query::Mailboxes { account }, Query::Quota { account }]
                .map(|query| self.ask(shard, &query))
        };
        let shards = SHARDS.map(questions);
        let messages: Vec<_> = self.mail(account).into_iter().map(|(_, of)| of).collect();
        format!("{shards:?}{messages:?}")
    }

    // --- who leads ---

    fn require_leader(&self, node: NodeId, shard: ShardId) -> Result<(), GroupError> {
        let leader = self.state.lock().leaders[&shard];
        match leader {
            Some(leader) if leader == node => Ok(()),
            other => Err(GroupError::NotLeader {
                leader: other.map(|node| node.0),
            }),
        }
    }

    /// A process ends; others take its groups over a little later, and it comes back. The last one stays.
    fn kill(self: &Arc<Self>, node: NodeId) -> bool {
        let (takes_over, comes_back) = {
            let mut state = self.state.lock();
            if state.up.len() <= 1 || !state.up.remove(&node) {
                return false;
            }
            for leader in state.leaders.values_mut() {
                *leader = leader.filter(|leader| *leader != node);
            }
            let chance = &mut state.chance;
            (chance.range(20, 600), chance.range(500, 3000))
        };
        self.hub.stop(node);
        let cluster = Arc::clone(self);
        tokio::spawn(async move {
            sleep(Duration::from_millis(takes_over)).await;
            cluster.elect();
            sleep(Duration::from_millis(comes_back)).await;
            let handlers = {
                let mut state = cluster.state.lock();
                state.up.insert(node);
                state.handlers.get(&node).cloned()
            };
            if let Some(handlers) = handlers {
                cluster.hub.start(node, handlers);
            }
        });
        true
    }

    /// Whoever has no leader, and may have one, gets one.
    fn elect(&self) {
        let mut state = self.state.lock();
        let now = Instant::now();
        for shard in self.groups.keys() {
            let out = state.outages.get(shard).is_some_and(|until| *until > now);
            if state.leaders[shard].is_none() && !out {
                let up: Vec<NodeId> = state.up.iter().copied().collect();
                let leader = state.chance.pick(&up).copied();
                state.leaders.insert(*shard, leader);
                state.elected.insert(*shard, now);
            }
        }
    }

    /// Somebody else leads at once, as after a hand-over in good order.
    fn hand_over(&self, shard: ShardId) {
        let mut state = self.state.lock();
        let now = state.leaders[&shard];
        let others: Vec<NodeId> = state
            .up
            .iter()
            .copied()
            .filter(|up| Some(*up) != now)
            .collect();
        if let Some(next) = state.chance.pick(&others).copied() {
            state.leaders.insert(shard, Some(next));
            state.elected.insert(shard, Instant::now());
        }
    }

    /// Nobody leads for so long.
    fn outage(self: &Arc<Self>, shard: ShardId, lasts: Duration) {
        {
            let mut state = self.state.lock();
            state.leaders.insert(shard, None);
            state.outages.insert(shard, Instant::now() + lasts);
        }
        let cluster = Arc::clone(self);
        tokio::spawn(async move {
            sleep(lasts).await;
            cluster.elect();
        });
    }

    // --- what a leader does ---

    /// How long a call takes, and what befalls it.
    fn draw(&self) -> (Duration, Option<Fault>) {
        let mut state = self.state.lock();
        let weather = state.weather;
        let takes = Duration::from_micros(state.chance.range(100, 3000));
        let fault = weather.strike(&mut state.chance);
        state.faults += usize::from(fault.is_some());
        (takes, fault)
    }

    fn plant(&self) -> Option<Plant> {
        self.state.lock().weather.plant()
    }

    async fn propose(
        self: &Arc<Self>,
        node: NodeId,
        shard: ShardId,
        command: Bytes,
    ) -> Result<Bytes, GroupError> {
        self.require_leader(node, shard)?;
        let (takes, fault) = self.draw();
        sleep(takes).await;
        match fault {
            None => {}
            Some(Fault::DiesBefore) if self.kill(node) => std::future::pending().await,
            Some(Fault::DiesAfter) => {
                self.require_leader(node, shard)?;
                self.apply_unanswered(shard, &command);
                if self.kill(node) {
                    std::future::pending().await
                }
                return Err(GroupError::OutcomeUnknown);
            }
            Some(Fault::AnswerLost) => {
                self.require_leader(node, shard)?;
                self.apply_unanswered(shard, &command);
                return Err(GroupError::OutcomeUnknown);
            }
            Some(Fault::DiesBefore | Fault::RequestLost) => return Err(GroupError::Timeout),
            Some(Fault::HandOver) => self.hand_over(shard),
            Some(Fault::Stall(lasts)) => sleep(lasts).await,
            Some(Fault::Late(by)) => {
                let cluster = Arc::clone(self);
                tokio::spawn(async move {
                    sleep(by).await;
                    cluster.apply_unanswered(shard, &command);
                });
                return Err(GroupError::OutcomeUnknown);
            }
            Some(Fault::Outage(lasts)) => {
                self.require_leader(node, shard)?;
                if self.state.lock().chance.percent(50) {
                    self.apply_unanswered(shard, &command);
                }
                self.outage(shard, lasts);
                return Err(GroupError::OutcomeUnknown);
            }
        }
        self.require_leader(node, shard)?;
        Ok(self.apply(shard, &command))
    }

    async fn read_barrier(
        self: &Arc<Self>,
        node: NodeId,
        shard: ShardId,
    ) -> Result<(), GroupError> {
        self.require_leader(node, shard)?;
        let (takes, fault) = self.draw();
        sleep(takes / 4).await;
        match fault {
            None => {}
            Some(Fault::DiesBefore | Fault::DiesAfter) if self.kill(node) => {
                std::future::pending().await
            }
            Some(Fault::HandOver) => self.hand_over(shard),
            Some(Fault::Stall(lasts)) => sleep(lasts).await,
            Some(Fault::Outage(lasts)) => self.outage(shard, lasts),
            Some(_) => return Err(GroupError::Timeout),
        }
        self.require_leader(node, shard)
    }

    /// Carries a command out whose sender will not hear of it.
    fn apply_unanswered(&self, shard: ShardId, command: &[u8]) {
        self.apply(shard, command);
        if self.plant() == Some(Plant::NewOperationForARepeat) {
            self.state.lock().unanswered.insert(command.to_vec());
        }
    }

    fn apply(&self, shard: ShardId, command: &[u8]) -> Bytes {
        let replaced = self.as_another_operation(command);
        let command = replaced.as_deref().unwrap_or(command);
        let log = &self.groups[&shard];
        let machine = machines()(shard);
        let (applied, batch) = {
            let snapshot = log.store.snapshot();
            let mut view = Overlay::<dyn Read>::new(&snapshot);
            let applied = machine.apply(&mut view, LOG_TIME_MS, command).unwrap();
            (applied, view.into_batch())
        };
        if self.plant() == Some(Plant::StaleAfterAnElection) {
            let before = log.store.snapshot();
            self.state.lock().before.insert(shard, before);
        }
        log.store.write(batch).unwrap();
        // An error means that nobody listens.
        let _ = log.touched.send(Touched::Keys(applied.touched.into()));
        applied.reply.into()
    }

    /// [`Plant::NewOperationForARepeat`]
    fn as_another_operation(&self, command: &[u8]) -> Option<Vec<u8>> {
        let mut state = self.state.lock();
        if !state.unanswered.remove(command) {
            return None;
        }
        let Ok(ShardCommand::Account(mut repeated)) = ShardCommand::decode(command) else {
            return None;
        };
        if matches!(repeated.change, Change::Account(_)) {
            return None;
        }
        state.lanes += 1;
        repeated.op.lane = u64::MAX - state.lanes;
        Some(ShardCommand::Account(repeated).encode())
    }

    /// [`Plant::StaleAfterAnElection`]
    fn stale(&self, shard: ShardId) -> Option<MemorySnapshot> {
        let state = self.state.lock();
        let is_new = |at: &Instant| at.elapsed() < STALE_FOR;
        state.elected.get(&shard).filter(|at| is_new(at))?;
        state.before.get(&shard).cloned()
    }
}

/// A node's copy of a group.
struct Copy {
    cluster: Arc<Cluster>,
    node: NodeId,
    shard: ShardId,
}

impl Group for Copy {
    fn shard(&self) -> ShardId {
        self.shard
    }

    fn propose(&self, command: Bytes) -> BoxFuture<'_, Result<Bytes, GroupError>> {
        self.cluster.propose(self.node, self.shard, command).boxed()
    }

    fn read_barrier(&self) -> BoxFuture<'_, Result<(), GroupError>> {
        self.cluster.read_barrier(self.node, self.shard).boxed()
    }

    fn visit_state(&self, visit: &mut dyn FnMut(&dyn Read, i64)) -> Result<(), GroupError> {
        let stale = self.cluster.stale(self.shard);
        let now = || self.cluster.groups[&self.shard].store.snapshot();
        visit(&stale.unwrap_or_else(now), LOG_TIME_MS);
        Ok(())
    }

    fn visit_state_at(
        &self,
        _index: u64,
        _visit: &mut dyn FnMut(&dyn Read, u64),
    ) -> Result<(), GroupError> {
        unreachable!("nobody compares copies")
    }

    fn watch(&self) -> Watch {
        Watch::new(self.cluster.groups[&self.shard].touched.subscribe())
    }

    fn status(&self) -> GroupStatus {
        let leader = self.cluster.state.lock().leaders[&self.shard];
        GroupStatus {
            shard: self.shard,
            role: match leader == Some(self.node) {
                true => GroupRole::Leader,
                false => GroupRole::Follower,
            },
            leader: leader.map(|node| node.0),
            term: 1,
            led_for_ms: None,
            voters: BACK_ENDS.map(|node| node.0).into(),
            learners: Vec::new(),
            changing: false,
            progress: Vec::new(),
            last_index: 1,
            committed_index: 1,
            applied_index: 1,
            flushed_index: 1,
            purged_index: 0,
            log_time_ms: LOG_TIME_MS,
            in_flight_bytes: 0,
        }
    }

    fn shutdown(&self) -> BoxFuture<'_, ()> {
        async {}.boxed()
    }
}
