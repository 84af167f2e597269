//! Runs on every node. It keeps the address book as the directory has it, and says what this node is; on the node that
//! leads the meta group it also looks at the cluster, has `mailrook-placement` decide, and carries that out.
//!
//! A controller that was deposed without knowing it does no harm: records change by compare-and-set, copies are made and
//! dropped on the record's word alone, and a group's members change by its leader's log.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Weak},
    time::Duration,
};

use futures::future::BoxFuture;
use mailrook_cluster::{GroupRole, Node, simulation::run_blocking};
use mailrook_meta::{
    LEVEL_MOVES, MetaAnswer, MetaCommand, MetaQuery, MetaReply, NodeRecord, NodeState,
    SETTING_MOVE_RATE, SETTING_MOVES_PAUSED,
};
use mailrook_placement::{Action, Planned, plan};
use mailrook_store_api::{Directory, StoreError};
use mailrook_store_client::Shards;
use mailrook_transport::{Network, TlsNetwork};
use mailrook_types::{NodeId, ShardId};
use parking_lot::Mutex;
use tokio::{
    task::{JoinHandle, JoinSet},
    time::Instant,
};

use crate::{
    book::Book,
    desk::Desk,
    gather::{self, ClusterView, gather, misfit},
    hands::Hands,
    keeper::Keeper,
    mend::{self, leaving},
    move_figures::MoveFigures,
    moves::{AccountMover, KEPT_FOR, Pace},
    recovered::Recovered,
    rotation::{self, signer_of},
    settings::{LEVEL_COPY_REMOVAL, LEVEL_SLOT_MOVES, Member},
    slots::{SLOTS_AT_ONCE, SlotMover},
    upgrade::Upgrade,
    wire::Ask,
};

/// How often the controller looks at the cluster.
const TICK: Duration = Duration::from_secs(1);

/// How often a node looks at the directory's nodes.
const BOOK_EVERY: Duration = Duration::from_secs(1);

/// How often the controller looks whether a rotation of the CA can go on.
const ROTATION_EVERY: Duration = Duration::from_secs(2);

/// How long a move that did not get on lets others go first.
const MOVE_RESTS_FOR: Duration = Duration::from_secs(10);

/// Accounts that move at a time.
const MOVES_UNDER_WAY: usize = 2;

/// How often a controller looks whether it still is the one: a glance at a status in memory.
const DEPOSED_EVERY: Duration = Duration::from_millis(50);

/// A step that takes longer is planned anew.
pub(crate) const STEP_MAX: Duration = Duration::from_secs(30);

/// What is told where nodes are.
pub trait Addresses: Send + Sync + 'static {
    /// A node is reached at `address`.
    fn set(&self, node: NodeId, address: &str);
    /// A node is not reached any more.
    fn forget(&self, node: NodeId);
}

impl Addresses for TlsNetwork {
    fn set(&self, node: NodeId, address: &str) {
        self.set_address(node, address);
    }

    fn forget(&self, node: NodeId) {
        TlsNetwork::forget(self, node);
    }
}

/// What a controller works with.
pub struct Controller {
    /// The node, as long as it is open.
    pub node: Weak<Node>,
    /// The cluster's directory.
    pub directory: Arc<dyn Directory>,
    /// The shards, whose slots of the tables move.
    pub shards: Arc<dyn Shards>,
    /// The way to other nodes.
    pub network: Arc<dyn Network>,
    /// Is told where they are.
    pub addresses: Arc<dyn Addresses>,
    /// What is known of them.
    pub book: Arc<Book>,
    /// What this node proves itself with.
    pub keeper: Arc<Keeper>,
    /// Groups that this node brought back alone.
    pub recovered: Arc<Recovered>,
    /// Changes what this node has.
    pub desk: Arc<Desk>,
    /// What this node is.
    pub member: Member,
    /// Counts the accounts that it moves.
    pub moves: Arc<MoveFigures>,
}

/// What a running controller remembers: nothing that another one would miss.
struct Running {
    parts: Controller,
    /// Since when nodes have not reported.
    absent: BTreeMap<NodeId, Instant>,
    /// Copies that members of groups did not have at the last look.
    bare: BTreeSet<(ShardId, NodeId)>,
    /// Groups with a step under way.
    busy: Arc<Mutex<BTreeSet<ShardId>>>,
    steps: JoinSet<()>,
    /// Moves of slots; one or none.
    moving: JoinSet<()>,
    /// Moves of accounts, and which they are.
    movers: JoinSet<(u64, bool)>,
    moved: BTreeSet<u64>,
    pace: Arc<Pace>,
    /// Moves that did not get on, and until when others go first.
    rested: BTreeMap<u64, Instant>,
    /// The reasons of the steps that were begun last, to log each once.
    told: BTreeSet<String>,
    settled: bool,
    book_looked: Option<Instant>,
    rotation_looked: Option<Instant>,
    upgrade: Upgrade,
}

impl Controller {
    /// Has nodes be reached that are in the book, and starts.
    pub fn start(self) -> JoinHandle<()> {
        for (id, known) in self.book.others() {
            if !known.removed {
                self.addresses.set(id, &known.address);
            }
        }
        let running = Running {
            parts: self,
            absent: BTreeMap::new(),
            bare: BTreeSet::new(),
            busy: Arc::default(),
            steps: JoinSet::new(),
            moving: JoinSet::new(),
            movers: JoinSet::new(),
            moved: BTreeSet::new(),
            pace: Arc::default(),
            rested: BTreeMap::new(),
            told: BTreeSet::new(),
            settled: false,
            book_looked: None,
            rotation_looked: None,
            upgrade: Upgrade::default(),
        };
        tokio::spawn(running.run())
    }
}

impl Running {
    async fn run(mut self) {
        loop {
            let Some(node) = self.parts.node.upgrade() else {
                return;
            };
            if !self.settled {
                self.settled = self.tried("settling in", self.settle(&node).await);
            }
            if self
                .book_looked
                .is_none_or(|looked| looked.elapsed() >= BOOK_EVERY)
            {
                self.book_looked = Some(Instant::now());
                let looked = self.look_at_nodes().await;
                self.tried("looking at the nodes", looked);
            }
            if leads_meta(&node) {
                let own = Weak::clone(&self.parts.node);
                let round = tokio::select! {
                    biased;
                    round = self.round(&node) => round,
                    () = deposed(&own) => Ok(()),
                };
                self.tried("looking at the cluster", round);
            }
            let leads = leads_meta(&node);
            drop(node);
            if leads {
                // Noticed at once: its movers and those of the next one would be in each other's way.
                let deposed = deposed(&self.parts.node);
                if tokio::time::timeout(TICK, deposed).await.is_ok() {
                    self.step_down();
                }
            } else {
                self.step_down();
                tokio::time::sleep(TICK).await;
            }
        }
    }

    /// Another node's controller decides now: movers stop, and what was remembered may not hold when it is this one's turn again.
    fn step_down(&mut self) {
        self.absent.clear();
        self.told.clear();
        self.upgrade = Upgrade::default();
        self.pace.stop();
        self.pace = Arc::default();
        // Those that have an account fenced end by themselves.
        std::mem::take(&mut self.movers).detach_all();
        self.moved.clear();
        self.rested.clear();
    }

    fn tried(&self, doing: &str, result: Result<(), StoreError>) -> bool {
        if let Err(error) = &result {
            tracing::debug!(%error, "{doing} failed; it is tried again");
        }
        result.is_ok()
    }

    /// Says what this node is, and hands over what it made when it began the cluster.
    async fn settle(&self, node: &Node) -> Result<(), StoreError> {
        match self.announce_self(node.node_id()).await? {
            MetaReply::Node(_) => {}
            MetaReply::Refused(refusal) => {
                tracing::error!(%refusal, "the cluster does not take this node as it is configured");
                return Err(StoreError::Unacceptable(refusal.to_string()));
            }
            other => return Err(misfit(&other)),
        }
        self.hand_over_ca().await?;
        self.record_first_groups(node).await?;
        self.record_recovered(node).await
    }

    async fn announce_self(&self, own: NodeId) -> Result<MetaReply, StoreError> {
        let member = &self.parts.member;
        let node = member.with_id(own);
        let Some(roles) = member.front else {
            return self.command(MetaCommand::AnnounceNode(node)).await;
        };
        // Older programs could not apply it.
        let settings = gather::settings(&*self.parts.directory).await?;
        match settings.check_front_nodes() {
            Ok(()) => {
                self.command(MetaCommand::AnnounceFront { node, roles })
                    .await
            }
            Err(refusal) => Ok(MetaReply::Refused(refusal)),
        }
    }

    async fn hand_over_ca(&self) -> Result<(), StoreError> {
        let papers = self.parts.keeper.papers();
        let internal = |error: crate::FileError| StoreError::Internal(error.to_string());
        let Some(ca) = papers.first_ca().map_err(internal)? else {
            return Ok(());
        };
        // Nobody else can be there before it, whose program would have to know it. If somebody is, that one decides. And who
        // comes finds the cluster at the level that it stays at.
        let to = self.parts.member.levels.highest;
        self.command(MetaCommand::RaiseFeatureLevel { to }).await?;
        let put = MetaCommand::PutClusterCa {
            epoch_before: 0,
            trusted: vec![ca.certificate().pem()],
            signer: signer_of(&ca),
        };
        match self.command(put).await? {
            // Refused: it was put before, by this node; nobody else began the cluster.
            MetaReply::Epoch(_) | MetaReply::Refused(_) => {}
            other => return Err(misfit(&other)),
        }
        papers.forget_first_ca().map_err(internal)
    }

    /// The groups that were made with the cluster have no records yet: what has none may be taken for new.
    async fn record_first_groups(&self, node: &Node) -> Result<(), StoreError> {
        let own = node.node_id();
        let records = self.records(None).await?;
        for group in node.groups() {
            let status = group.status();
            let unplaced =
                !(records.iter()).any(|record| record.shard == status.shard && record.epoch > 0);
            if unplaced && status.voters == [own.0] {
                self.place(status.shard, 0, vec![own]).await?;
            }
        }
        Ok(())
    }

    /// Groups that this node brought back alone are to have no other copies but those that it fills: what others hold is
    /// of the time before.
    async fn record_recovered(&self, node: &Node) -> Result<(), StoreError> {
        let own = node.node_id();
        for shard in self.parts.recovered.shards() {
            let status = node.group(shard).map(|group| group.status());
            let Some(status) = status.filter(|status| status.voters == [own.0]) else {
                tracing::warn!(%shard, "this node was to bring the group back, and does not have it alone");
                self.forget_recovered(shard)?;
                continue;
            };
            if status.role != GroupRole::Leader {
                let text = format!("group {shard} has not elected this node yet");
                return Err(StoreError::Unavailable(text));
            }
            let epoch = self.records(Some(shard)).await?.pop();
            let epoch = epoch.map_or(0, |record| record.epoch);
            self.place(shard, epoch, vec![own]).await?;
            tracing::warn!(%shard, "the group is brought back from this node's copy alone");
            self.forget_recovered(shard)?;
        }
        Ok(())
    }

    fn forget_recovered(&self, shard: ShardId) -> Result<(), StoreError> {
        let forgotten = self.parts.recovered.forget(shard);
        forgotten.map_err(|error| StoreError::Internal(error.to_string()))
    }

    async fn look_at_nodes(&mut self) -> Result<(), StoreError> {
        let records = gather::nodes(&*self.parts.directory).await?;
        let settings = gather::settings(&*self.parts.directory).await?;
        let records = self.learn(settings.feature_level, records).await;
        for record in &records {
            if record.is_member() {
                self.parts.addresses.set(record.id, &record.address);
            } else {
                self.parts.addresses.forget(record.id);
            }
        }
        // Somebody may have announced what this node was before.
        let own = self.parts.network.node();
        if let Some(record) = records.iter().find(|record| record.id == own)
            && !self.is_as_announced(record)
        {
            self.settled = false;
        }
        Ok(())
    }

    /// Puts what the directory says into the book, before anything is done by it.
    async fn learn(&self, level: u32, records: Vec<NodeRecord>) -> Vec<NodeRecord> {
        let book = Arc::clone(&self.parts.book);
        if book.has_learnt(level, &records) {
            return records;
        }
        let learnt = run_blocking(move || {
            if let Err(error) = book.learn_level(level) {
                tracing::warn!(%error, "the feature level is not on the disk");
            }
            if let Err(error) = book.learn(&records) {
                tracing::warn!(%error, "the book of nodes is not on the disk");
            }
            records
        });
        // An error, and no nodes, once the runtime ends.
        learnt.await.unwrap_or_default()
    }

    fn is_as_announced(&self, record: &NodeRecord) -> bool {
        let member = &self.parts.member;
        let front = match record.state {
            NodeState::Storeless(roles) => Some(roles),
            // What it has does not matter any more.
            NodeState::Removed { .. } => member.front,
            NodeState::Active | NodeState::Draining => None,
        };
        front == member.front
            && record.name.eq_ignore_ascii_case(&member.name)
            && record.address == member.address
            && record.zone == member.zone
            && record.levels == member.levels
    }

    /// One look, and the next few steps.
    async fn round(&mut self, node: &Arc<Node>) -> Result<(), StoreError> {
        while self.steps.try_join_next().is_some() {}
        let parts = &self.parts;
        let view = gather(&*parts.directory, node, &parts.network).await?;
        self.absent
            .retain(|node, _| !view.reports.contains_key(node));
        for record in &view.nodes {
            if !view.reports.contains_key(&record.id) {
                self.absent.entry(record.id).or_insert_with(Instant::now);
            }
        }
        // First: a plan counts with what can be used.
        self.mend(&view);
        let absent = |node| {
            let since = self.absent.get(&node);
            since.map_or(Duration::ZERO, Instant::elapsed)
        };
        let steps = plan(&view.for_plan(absent));
        self.told
            .retain(|reason| steps.iter().any(|step| step.reason == *reason));
        for step in steps {
            self.begin(&view, step);
        }
        self.tidy(&view);
        self.announce(&view).await?;
        self.even_out_slots(&view);
        self.move_accounts(&view).await?;
        self.raise_level(&view).await?;
        self.rotate(&view, node).await
    }

    /// Raises the feature level once all have known the next one for a while.
    async fn raise_level(&mut self, view: &ClusterView) -> Result<(), StoreError> {
        let Some(to) = self.upgrade.due(view) else {
            return Ok(());
        };
        tracing::info!(level = to, "all nodes know this feature level: raising it");
        let raised = self.command(MetaCommand::RaiseFeatureLevel { to }).await;
        raised.map(drop)
    }

    /// Has a rotation of the CA go on, if everybody has followed its last step.
    async fn rotate(&mut self, view: &ClusterView, node: &Arc<Node>) -> Result<(), StoreError> {
        let looked = self.rotation_looked;
        if looked.is_some_and(|looked| looked.elapsed() < ROTATION_EVERY) {
            return Ok(());
        }
        self.rotation_looked = Some(Instant::now());
        let parts = &self.parts;
        let trust = rotation::trust(&*parts.directory).await?;
        let Some(trust) = trust.filter(|trust| trust.is_rotating()) else {
            return Ok(());
        };
        let papers = rotation::papers(view, node.node_id(), &parts.keeper, &parts.network).await;
        if !rotation::missing(&trust, &papers).is_empty() {
            return Ok(());
        }
        tracing::info!(
            epoch = trust.epoch,
            signs = trust.successor.is_some(),
            "the CA's rotation goes on"
        );
        let epoch_before = trust.epoch;
        let advanced = self.command(MetaCommand::AdvanceCaRotation { epoch_before });
        advanced.await.map(drop)
    }

    /// Begins a step, unless one is under way in that group.
    fn begin(&mut self, view: &ClusterView, step: Planned) {
        let shard = step.action.shard();
        if let Action::AddLearner { shard, node } = step.action
            && view.has_stray_copy(shard, node)
        {
            // It is dropped first: what it holds may be of the time before the group was brought back from another copy.
            return;
        }
        if !self.busy.lock().insert(shard) {
            return;
        }
        if self.told.insert(step.reason.clone()) {
            tracing::info!(%shard, action = ?step.action, reason = step.reason, "changing the cluster");
        }
        let hands = self.hands(view, shard);
        self.spawn(
            shard,
            Box::pin(async move { hands.step(step.action).await }),
        );
    }

    fn hands(&self, view: &ClusterView, shard: ShardId) -> Hands {
        let group = view.groups.iter().find(|group| group.shard == shard);
        Hands {
            own: self.parts.network.node(),
            directory: Arc::clone(&self.parts.directory),
            network: Arc::clone(&self.parts.network),
            desk: Arc::clone(&self.parts.desk),
            group: group.cloned(),
            removes: view.settings.feature_level >= LEVEL_COPY_REMOVAL,
        }
    }

    fn spawn(&mut self, shard: ShardId, step: BoxFuture<'static, Result<(), String>>) {
        let busy = Arc::clone(&self.busy);
        self.steps.spawn(async move {
            match tokio::time::timeout(STEP_MAX, step).await {
                Ok(Ok(())) => {}
                Ok(Err(cause)) => {
                    tracing::warn!(%shard, cause, "a step failed; it is planned anew")
                }
                Err(_) => tracing::warn!(%shard, "a step takes too long; it is planned anew"),
            }
            busy.lock().remove(&shard);
        });
    }

    /// Has copies dropped that no record names any more: their nodes were away when it was decided.
    fn tidy(&mut self, view: &ClusterView) {
        for (id, report) in &view.reports {
            for status in &report.groups {
                let record = view
                    .records
                    .iter()
                    .find(|record| record.shard == status.shard);
                let Some(record) = record.filter(|record| record.epoch > 0) else {
                    continue;
                };
                if record.replicas.contains(id) || !self.busy.lock().insert(status.shard) {
                    continue;
                }
                let hands = self.hands(view, status.shard);
                let (shard, id) = (status.shard, *id);
                tracing::info!(%shard, node = %id, "dropping a copy that is not needed any more");
                let dropped = Box::pin(async move { hands.drop_copy(shard, id).await });
                self.spawn(shard, dropped);
            }
        }
    }

    /// Has copies leave their groups that are damaged, or that nodes do not have. Then they are missing, and are made anew.
    fn mend(&mut self, view: &ClusterView) {
        let bare = mend::bare(view);
        // One look may fall between two steps.
        let twice = bare.intersection(&self.bare).copied();
        let twice = twice.map(|(shard, id)| (shard, id, "the node has no copy".to_owned()));
        let hurt: Vec<_> = mend::stopped(view).chain(twice).collect();
        for (shard, id, cause) in hurt {
            let group = view.groups.iter().find(|group| group.shard == shard);
            let Some(action) = group.and_then(|group| leaving(group, id)) else {
                continue;
            };
            if !self.busy.lock().insert(shard) {
                continue;
            }
            tracing::warn!(%shard, node = %id, cause, ?action, "a copy that is no good leaves its group, to be made anew");
            let hands = self.hands(view, shard);
            self.spawn(shard, Box::pin(async move { hands.step(action).await }));
        }
        for (shard, id) in mend::not_begun(view) {
            if !self.bare.contains(&(shard, id)) || !self.busy.lock().insert(shard) {
                continue;
            }
            tracing::warn!(%shard, node = %id, "the group was placed and not begun");
            let hands = self.hands(view, shard);
            let begun = Box::pin(async move { hands.ask(id, Ask::FoundGroup(shard)).await });
            self.spawn(shard, begun);
        }
        self.bare = bare.into_iter().chain(mend::not_begun(view)).collect();
    }

    /// Accounts are put on shards that were added, once their groups have all their copies.
    async fn announce(&self, view: &ClusterView) -> Result<(), StoreError> {
        let usable = view.nodes.iter().filter(|node| node.has_store()).count();
        let want = usize::from(view.settings.copies).min(usable.max(1));
        let is_ready = |group: &&gather::GroupState| {
            group.shard != ShardId::META
                && group.leader.is_some()
                && !view.announced.contains(&group.shard)
                && (group.status.as_ref())
                    .is_some_and(|status| status.voters.len() + status.learners.len() >= want)
        };
        let ready: Vec<ShardId> = view
            .groups
            .iter()
            .filter(is_ready)
            .map(|group| group.shard)
            .collect();
        if ready.is_empty() {
            return Ok(());
        }
        tracing::info!(?ready, "accounts are put on new shards");
        self.command(MetaCommand::SetShards(ready)).await.map(drop)
    }

    /// Has slots of the tables move to shards that have too few, for a while and beside this.
    fn even_out_slots(&mut self, view: &ClusterView) {
        while self.moving.try_join_next().is_some() {}
        if !self.moving.is_empty() || view.settings.feature_level < LEVEL_SLOT_MOVES {
            return;
        }
        let mover = SlotMover {
            directory: Arc::clone(&self.parts.directory),
            shards: Arc::clone(&self.parts.shards),
            slots_at_once: SLOTS_AT_ONCE,
        };
        let led = view.groups.iter().filter(|group| group.leader.is_some());
        let able: BTreeSet<ShardId> = led.map(|group| group.shard).collect();
        let (all, node) = (view.announced.clone(), Weak::clone(&self.parts.node));
        let goes_on = move || node.upgrade().is_some_and(|node| leads_meta(&node));
        self.moving
            .spawn(async move { mover.run(&all, &able, goes_on).await });
    }

    /// Has accounts go on that move, a few at a time and beside this.
    async fn move_accounts(&mut self, view: &ClusterView) -> Result<(), StoreError> {
        while let Some(ended) = self.movers.try_join_next() {
            match ended {
                Ok((id, got_on)) => {
                    self.moved.remove(&id);
                    if !got_on {
                        self.rested.insert(id, Instant::now() + MOVE_RESTS_FOR);
                    }
                }
                Err(error) => tracing::error!(%error, "a mover of accounts ended in the middle"),
            }
        }
        if self.movers.is_empty() {
            self.moved.clear();
        }
        self.rested.retain(|_, until| *until > Instant::now());
        if view.settings.feature_level < LEVEL_MOVES {
            return Ok(());
        }
        self.set_pace().await?;
        let mover = Arc::new(AccountMover {
            directory: Arc::clone(&self.parts.directory),
            shards: Arc::clone(&self.parts.shards),
            kept_for: KEPT_FOR,
            pace: Arc::clone(&self.pace),
        });
        let free = MOVES_UNDER_WAY.saturating_sub(self.moved.len());
        let resting: BTreeSet<u64> = self.rested.keys().copied().collect();
        for of in mover.due(&self.moved, &resting, free).await? {
            self.moved.insert(of.id);
            let mover = Arc::clone(&mover);
            let figures = Arc::clone(&self.parts.moves);
            self.movers.spawn(async move {
                let _under_way = figures.carry_on();
                let now = mover.carry_on(&of).await;
                match &now {
                    Ok(now) => figures.note(&of, now),
                    Err(error) => {
                        tracing::warn!(id = of.id, %error, "a move of an account is carried on later");
                    }
                }
                (
                    of.id,
                    now.is_ok_and(|now| now.state != of.state || now.note.opened),
                )
            });
        }
        Ok(())
    }

    /// Looks how fast accounts are to move.
    async fn set_pace(&self) -> Result<(), StoreError> {
        let rate = self.setting(SETTING_MOVE_RATE).await?;
        self.pace.set_rate(rate);
        let paused = self.setting(SETTING_MOVES_PAUSED).await?;
        self.pace.set_paused(paused.is_some());
        Ok(())
    }

    /// A setting that is a number.
    async fn setting(&self, name: &str) -> Result<Option<u64>, StoreError> {
        let query = MetaQuery::Setting(name.to_owned());
        match self.parts.directory.query(query).await? {
            MetaAnswer::Setting(value) => {
                let text = value.and_then(|value| String::from_utf8(value).ok());
                Ok(text.and_then(|text| text.parse().ok()))
            }
            other => Err(misfit(&other)),
        }
    }

    async fn command(&self, command: MetaCommand) -> Result<MetaReply, StoreError> {
        self.parts.directory.command(command).await
    }

    async fn records(
        &self,
        shard: Option<ShardId>,
    ) -> Result<Vec<mailrook_meta::ShardRecord>, StoreError> {
        match self
            .parts
            .directory
            .query(MetaQuery::Placement { shard })
            .await?
        {
            MetaAnswer::Placement(records) => Ok(records),
            other => Err(misfit(&other)),
        }
    }

    async fn place(
        &self,
        shard: ShardId,
        epoch_before: u64,
        replicas: Vec<NodeId>,
    ) -> Result<(), StoreError> {
        let command = MetaCommand::PlaceShard {
            shard,
            epoch_before,
            replicas,
        };
        match self.command(command).await? {
            MetaReply::Shard(_) => Ok(()),
            MetaReply::Refused(refusal) => Err(StoreError::Unacceptable(refusal.to_string())),
            other => Err(misfit(&other)),
        }
    }
}

/// Waits until this node does not lead the meta group any more.
async fn deposed(node: &Weak<Node>) {
    while node.upgrade().is_some_and(|node| leads_meta(&node)) {
        tokio::time::sleep(DEPOSED_EVERY).await;
    }
}

fn leads_meta(node: &Node) -> bool {
    let meta = node.group(ShardId::META);
    meta.is_some_and(|meta| meta.status().role == GroupRole::Leader)
}
