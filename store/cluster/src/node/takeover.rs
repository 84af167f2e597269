//! Taking over from a leader that is gone, without waiting for its heartbeat to time out.
//!
//! A process that dies closes its connections, and then nobody listens where it did: both are known at once. A node that
//! sees this of a leader tells the other voters, with how far its own log goes. Once a majority of the voters say so, the
//! one among them with the longest log asks for votes, as if the leader had handed over to it: the others need not wait
//! for its lease to end. One broken connection deposes nobody. Should several ask at once, or the leader live after all,
//! Raft's own rules hold: it is only sooner that the question is put.
//!
//! A leader that was restarted before anybody took over says so itself, as one does whose copy of a group has stopped:
//! the others take its word, and do the same.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Weak, atomic::Ordering},
    time::Duration,
};

use bytes::Bytes;
use futures::future::join_all;
use mailrook_kv::{decode, encode};
use mailrook_transport::{Class, Link, Network};
use mailrook_types::{NodeId, ShardId};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::{
    sync::broadcast::error::RecvError,
    task::JoinHandle,
    time::{Instant, MissedTickBehavior},
};

use super::Inner;
use crate::group::raft::{
    RaftGroup, Vote,
    wire::{self, WireLogId, WireVote},
};

/// Reports are about the node, not one of its groups: they carry a shard that there is none of.
const NO_SHARD: ShardId = ShardId(u32::MAX);

/// How long a report counts: who stands by it repeats it at each [`TICK`].
const REPORT_HOLDS: Duration = Duration::from_secs(1);

/// How long a report may be on its way.
const REPORT_MAX: Duration = Duration::from_secs(1);

/// How often what is not settled is looked at again: an election takes some tens of milliseconds.
const TICK: Duration = Duration::from_millis(250);

/// A node that cannot be reached for so long is gone, whatever the reason: its machine is off, say.
const DOWN_MAX: Duration = Duration::from_secs(2);

/// A disk that takes longer for one write is no disk to lead with. An ordinary one takes 3 ms when busy.
const STALL_MAX: Duration = Duration::from_millis(1500);

/// How long others are waited for before a node leads alone what it can: as long as one try to reach one of them may take, from
/// looking its name up to its hello.
const HEAR_MAX: Duration = Duration::from_secs(5);

/// How often a node that should not lead tries to hand over.
const HAND_OVER_EVERY: Duration = Duration::from_secs(2);

#[derive(Serialize, Deserialize)]
enum Report {
    /// `node` is gone; it led these groups.
    Gone { node: u64, groups: Vec<Led> },
}

/// A group that lost its leader.
#[derive(Clone, Copy, Serialize, Deserialize)]
struct Led {
    shard: ShardId,
    /// The leader's.
    vote: WireVote,
    /// The end of the reporter's log; none if it should not lead.
    last: Option<WireLogId>,
}

/// How far the logs of nodes go; none for one that should not lead.
type Ends = BTreeMap<NodeId, Option<WireLogId>>;

/// What was said of one group's leader.
struct OfLeader {
    /// The leader's.
    vote: WireVote,
    /// Who said so, how far its log goes, and when.
    by: BTreeMap<NodeId, (Option<WireLogId>, Instant)>,
}

/// Who says of a leader that it is gone.
#[derive(Default)]
pub(super) struct Reports {
    /// Of groups that this node has a copy of, and by their voters or the leader itself: others are not taken up.
    groups: Mutex<BTreeMap<ShardId, OfLeader>>,
}

impl Reports {
    /// Takes a report up.
    fn add(&self, from: NodeId, led: &Led) {
        let mut groups = self.groups.lock();
        let new = || OfLeader {
            vote: led.vote,
            by: BTreeMap::new(),
        };
        let known = groups.entry(led.shard).or_insert_with(new);
        known.by.retain(|_, (_, at)| at.elapsed() <= REPORT_HOLDS);
        let is_later = (known.vote.term, known.vote.node) < (led.vote.term, led.vote.node);
        if is_later || known.by.is_empty() {
            *known = new();
        }
        if known.vote == led.vote {
            known.by.insert(from, (led.last, Instant::now()));
        }
    }

    /// Who says so now.
    fn of(&self, shard: ShardId, vote: WireVote) -> Ends {
        let groups = self.groups.lock();
        let Some(known) = groups.get(&shard).filter(|known| known.vote == vote) else {
            return Ends::new();
        };
        let hold = known.by.iter();
        let hold = hold.filter(|(_, (_, at))| at.elapsed() <= REPORT_HOLDS);
        hold.map(|(node, (last, _))| (*node, *last)).collect()
    }

    /// What `node` said of `leader` holds no more.
    fn withdraw(&self, node: NodeId, leader: NodeId) {
        for known in self.groups.lock().values_mut() {
            if known.vote.node == leader.0 {
                known.by.remove(&node);
            }
        }
    }

    /// There is no copy of the group here any more.
    pub(super) fn forget(&self, shard: ShardId) {
        self.groups.lock().remove(&shard);
    }
}

/// An election takes some tens of milliseconds; one that is open for so long came to nothing.
const STUCK_MAX: Duration = Duration::from_millis(1000);

/// By so much nodes differ in their patience, at most.
const STUCK_SPREAD_MS: u64 = 997;

/// Groups whose last vote led to no leader: the vote, and since when.
#[derive(Default)]
struct Stuck(BTreeMap<ShardId, (WireVote, Instant)>);

/// Since when leaders cannot be reached.
#[derive(Default)]
struct Down(BTreeMap<NodeId, Instant>);

/// Tells the other voters that this node leads a group no more, if it led it last.
pub(crate) fn tell_gone(group: &RaftGroup, network: &Arc<dyn Network>) {
    let own = network.node();
    let Some(vote) = group
        .last_vote()
        .filter(|vote| vote.leader_id.node_id == own.0)
    else {
        return;
    };
    let led = Led {
        shard: group.shard(),
        vote: (&vote).into(),
        last: None,
    };
    let report = Report::Gone {
        node: own.0,
        groups: vec![led],
    };
    let request = wire::with_body(NO_SHARD, &encode(&report));
    for voter in group.voters().into_iter().filter(|voter| *voter != own) {
        let deadline = Instant::now() + REPORT_MAX;
        let call = network.call(voter, Class::Consensus, request.clone(), deadline);
        tokio::spawn(async move {
            if let Err(error) = call.await {
                tracing::debug!(%voter, %error, "a report did not arrive");
            }
        });
    }
}

/// Whether a request is a report.
pub(super) fn is_report(request: &Bytes) -> bool {
    wire::split(request.clone()).is_ok_and(|(shard, _)| shard == NO_SHARD)
}

/// Follows the links to other nodes, until the node is closed.
pub(super) fn start(inner: &Arc<Inner>) -> JoinHandle<()> {
    let mut links = inner.network.links();
    let weak = Arc::downgrade(inner);
    inner.runtime.spawn(async move {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let started = Instant::now();
        let mut handed_over = started;
        let mut giving_way: Option<JoinHandle<()>> = None;
        let mut down = Down::default();
        let mut stuck = Stuck::default();
        loop {
            let event = tokio::select! {
                biased;
                event = links.recv() => Some(event),
                _ = tick.tick() => None,
            };
            let Some(inner) = weak.upgrade() else { return };
            inner.hear_others(started);
            match event {
                Some(Ok((node, link))) => inner.link_changed(node, link),
                // Some were missed: the tick looks at all.
                Some(Err(RecvError::Lagged(_))) => {}
                // A network without others.
                Some(Err(RecvError::Closed)) => return,
                None => {
                    inner.look_again(&mut down);
                    inner.disclaim();
                    inner.try_again(&mut stuck);
                    inner.end_changes();
                    // Who has reached its floor holds elections from now on.
                    for group in inner.groups() {
                        group.may_lead();
                    }
                    // It may take longer: what is under way is not begun again.
                    if handed_over.elapsed() >= HAND_OVER_EVERY
                        && giving_way.as_ref().is_none_or(JoinHandle::is_finished)
                    {
                        handed_over = Instant::now();
                        giving_way = inner.give_way_if_unfit(&weak);
                    }
                }
            }
        }
    })
}

impl Inner {
    /// Has what this node leads alone wait until another node has taken its hello, or none has in time.
    fn hear_others(self: &Arc<Self>, started: Instant) {
        if self.heard.is_over() {
            return;
        }
        let mut others = self.others.iter();
        let heard = others.any(|other| self.network.link(*other) == Link::Up);
        if !heard && started.elapsed() < HEAR_MAX {
            return;
        }
        if !heard {
            tracing::warn!("no other node answers: this one leads what it leads alone");
        }
        self.heard.end();
        for group in self.groups() {
            self.runtime.spawn(async move {
                if let Err(error) = group.lead_alone().await {
                    tracing::warn!(shard = %group.shard(), %error, "the group is not led");
                }
            });
        }
    }

    fn link_changed(self: &Arc<Self>, node: NodeId, link: Link) {
        let own = self.network.node();
        match link {
            Link::Up => self.reports.withdraw(own, node),
            Link::Refused | Link::Silent => self.report(node),
            // Something else than its end may be wrong, with this machine for instance.
            Link::Down => {}
        }
    }

    /// Links that are down are reported as long as those behind them are believed to lead.
    fn look_again(self: &Arc<Self>, down: &mut Down) {
        let leaders = self.groups().into_iter().filter_map(|group| {
            let vote = group.last_vote();
            Some(NodeId(vote?.leader_id.node_id))
        });
        let mut leaders: BTreeSet<NodeId> = leaders.collect();
        leaders.remove(&self.network.node());
        down.0.retain(|node, _| leaders.contains(node));
        for node in leaders {
            let link = self.network.link(node);
            if link == Link::Up {
                down.0.remove(&node);
                continue;
            }
            let since = *down.0.entry(node).or_insert_with(Instant::now);
            if link != Link::Down || since.elapsed() >= DOWN_MAX {
                self.report(node);
            }
        }
    }

    /// Says of groups that it led before it was restarted that it does so no more. Its own log's end does not matter: who
    /// takes over needs the votes of a majority.
    fn disclaim(self: &Arc<Self>) {
        let own = self.network.node();
        for group in self.groups() {
            let Some(vote) = group.last_vote() else {
                continue;
            };
            let led = vote.committed && vote.leader_id.node_id == own.0;
            if led && !group.leads() && group.is_running() && self.reaches_majority(&group) {
                tell_gone(&group, &self.network);
            }
        }
    }

    /// Asks for votes where an election came to nothing: it was split, or who was chosen had less of the log.
    fn try_again(self: &Arc<Self>, stuck: &mut Stuck) {
        let own = self.network.node();
        // Nodes differ, so that they do not meet again.
        let patience = STUCK_MAX + Duration::from_millis(own.0 % STUCK_SPREAD_MS);
        let groups = self.groups();
        let open = |group: &&Arc<RaftGroup>| {
            let vote = group.last_vote();
            vote.is_some_and(|vote| !vote.committed) && group.voters().contains(&own)
        };
        let open: Vec<_> = groups.iter().filter(open).collect();
        stuck
            .0
            .retain(|shard, _| open.iter().any(|group| group.shard() == *shard));
        for group in open {
            let Some(vote) = group.last_vote() else {
                continue;
            };
            // By the vote that is open: a new one begins anew.
            let now = (WireVote::from(&vote), Instant::now());
            let known = stuck.0.entry(group.shard()).or_insert(now);
            if known.0 != now.0 {
                *known = now;
            }
            if known.1.elapsed() >= patience && self.would_lead() && self.reaches_majority(group) {
                *known = now;
                let group = Arc::clone(group);
                tracing::info!(shard = %group.shard(), "nobody leads; asking for votes");
                self.runtime.spawn(async move { group.stand().await });
            }
        }
    }

    /// Ends changes of voters that were left half done.
    fn end_changes(&self) {
        let groups = self.groups().into_iter();
        for group in groups.filter(|group| group.is_between_voters()) {
            self.runtime.spawn(async move { group.end_change().await });
        }
    }

    fn reaches_majority(&self, group: &RaftGroup) -> bool {
        let own = self.network.node();
        let voters = group.voters();
        let reached = |voter: &&NodeId| **voter == own || self.network.link(**voter) == Link::Up;
        voters.contains(&own) && voters.iter().filter(reached).count() > voters.len() / 2
    }

    /// Tells the other voters of the groups that `gone` led, or asked for votes in.
    fn report(self: &Arc<Self>, gone: NodeId) {
        self.report_groups(gone, self.groups());
    }

    fn report_groups(self: &Arc<Self>, gone: NodeId, groups: Vec<Arc<RaftGroup>>) {
        let own = self.network.node();
        let unfit = !self.would_lead();
        let mut of_peers: BTreeMap<NodeId, Vec<Led>> = BTreeMap::new();
        for group in groups {
            let Some(vote) = group
                .last_vote()
                .filter(|vote| vote.leader_id.node_id == gone.0)
            else {
                continue;
            };
            let voters = group.voters();
            if !voters.contains(&own) || !group.may_lead() {
                continue;
            }
            let led = Led {
                shard: group.shard(),
                vote: (&vote).into(),
                last: (group.last_entry().as_ref().map(WireLogId::from)).filter(|_| !unfit),
            };
            self.reports.add(own, &led);
            for voter in voters
                .iter()
                .filter(|voter| **voter != own && **voter != gone)
            {
                of_peers.entry(*voter).or_default().push(led);
            }
            self.consider(&group, vote);
        }
        for (peer, groups) in of_peers {
            let report = Report::Gone {
                node: gone.0,
                groups,
            };
            let request = wire::with_body(NO_SHARD, &encode(&report));
            let deadline = Instant::now() + REPORT_MAX;
            let call = self.network.call(peer, Class::Consensus, request, deadline);
            self.runtime.spawn(async move {
                if let Err(error) = call.await {
                    tracing::debug!(%peer, %error, "a report did not arrive");
                }
            });
        }
    }

    /// Takes another node's report.
    pub(super) async fn take_report(
        self: &Arc<Self>,
        from: NodeId,
        request: &Bytes,
    ) -> Result<Bytes, String> {
        let (_, body) = wire::split(request.clone()).map_err(|error| error.to_string())?;
        let Report::Gone { node, groups } = decode(&body).map_err(|error| error.to_string())?;
        let known = groups.into_iter().filter_map(|led| {
            let group = self.group(led.shard)?;
            // Nobody else's word counts.
            let counts = from.0 == node || group.voters().contains(&from);
            counts.then_some((group, led))
        });
        if from.0 == node {
            // It says so itself.
            let led = known.map(|(group, led)| {
                self.reports.add(from, &led);
                group
            });
            self.report_groups(from, led.collect());
            return Ok(Bytes::new());
        }
        for (group, led) in known {
            self.reports.add(from, &led);
            if let Some(vote) = group
                .last_vote()
                .filter(|vote| vote.leader_id.node_id == node)
            {
                self.consider(&group, vote);
            }
        }
        Ok(Bytes::new())
    }

    /// Asks for votes, if a majority say that the leader is gone, this node among them, and its log is the longest.
    fn consider(self: &Arc<Self>, group: &Arc<RaftGroup>, vote: Vote) {
        if !group.may_lead() {
            return;
        }
        let own = self.network.node();
        let reports = self.reports.of(group.shard(), (&vote).into());
        let voters = group.voters();
        let agree = reports.keys().filter(|node| voters.contains(node)).count();
        if agree <= voters.len() / 2 {
            return;
        }
        let longest = reports.iter().max_by_key(|(node, last)| (**last, **node));
        if longest.is_some_and(|(node, last)| *node == own && last.is_some()) {
            tracing::info!(shard = %group.shard(), gone = %NodeId(vote.leader_id.node_id), "the leader is gone; asking for votes");
            let group = Arc::clone(group);
            self.runtime
                .spawn(async move { group.take_over(vote).await });
        }
    }

    /// Hands over what it leads while its disk is no good: others may have a better one.
    fn give_way_if_unfit(self: &Arc<Self>, weak: &Weak<Inner>) -> Option<JoinHandle<()>> {
        let why = match (self.reserve.is_full(), self.is_slow()) {
            (true, _) => "the disk is nearly full",
            (false, true) => "the disk does not answer",
            (false, false) => return None,
        };
        let weak = weak.clone();
        Some(self.runtime.spawn(async move {
            if let Some(inner) = weak.upgrade() {
                inner.hand_over(why).await;
            }
        }))
    }

    /// Whether the disk keeps a write waiting for too long.
    fn is_stalled(&self) -> bool {
        self.log.stalled_for() >= STALL_MAX
    }

    /// Whether it does, or did a moment ago: then another node is the better leader, if there is one that is not slow.
    fn is_slow(&self) -> bool {
        self.log.slowest_write() >= STALL_MAX
    }

    /// Those of `candidates` who would lead, in the same order.
    pub(super) async fn willing(&self, shard: ShardId, candidates: Vec<NodeId>) -> Vec<NodeId> {
        let request = wire::ask(shard, &wire::Ask::WouldLead);
        let deadline = Instant::now() + REPORT_MAX;
        let asked = candidates.iter().map(|node| {
            let call = self
                .network
                .call(*node, Class::Consensus, request.clone(), deadline);
            async move {
                let reply = call.await.ok()?;
                match wire::read_reply(&reply) {
                    Ok(wire::Told::WouldLead(true)) => Some(*node),
                    _ => None,
                }
            }
        });
        join_all(asked).await.into_iter().flatten().collect()
    }

    /// Whether this node takes a leadership over from one that lives.
    pub(super) fn would_take_over(&self) -> bool {
        self.would_lead() && !self.is_slow()
    }

    /// Whether this node may lead.
    pub(super) fn would_lead(&self) -> bool {
        !self.leaving.load(Ordering::Acquire) && !self.reserve.is_full() && !self.is_stalled()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::tests::start;

    const ONE: ShardId = ShardId(1);
    const VOTE: WireVote = WireVote {
        term: 4,
        node: 9,
        committed: true,
    };

    fn led(shard: ShardId, vote: WireVote) -> Led {
        Led {
            shard,
            vote,
            last: None,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_report_holds_for_a_second() {
        let reports = Reports::default();
        let who = |vote| reports.of(ONE, vote).into_keys().collect::<Vec<_>>();
        reports.add(NodeId(1), &led(ONE, VOTE));
        tokio::time::advance(REPORT_HOLDS * 3 / 4).await;
        reports.add(NodeId(2), &led(ONE, VOTE));
        assert_eq!(who(VOTE), [NodeId(1), NodeId(2)]);
        // The link of one came back, and nobody told this node.
        tokio::time::advance(REPORT_HOLDS / 2).await;
        assert_eq!(who(VOTE), [NodeId(2)]);
        reports.add(NodeId(1), &led(ONE, VOTE));
        assert_eq!(who(VOTE), [NodeId(1), NodeId(2)]);
        // A word of an earlier leader does not count, until nobody speaks of the later one.
        let before = WireVote { term: 3, ..VOTE };
        reports.add(NodeId(3), &led(ONE, before));
        assert_eq!(who(before), []);
        tokio::time::advance(REPORT_HOLDS * 2).await;
        reports.add(NodeId(3), &led(ONE, before));
        assert_eq!(who(before), [NodeId(3)]);
        assert_eq!(who(VOTE), []);
    }

    #[tokio::test]
    async fn only_what_is_known_here_is_taken_up() {
        let dir = tempfile::tempdir().unwrap();
        let node = start(dir.path()).await;
        let report = |node: u64, shards: &[u32]| {
            let groups = shards.iter().map(|shard| led(ShardId(*shard), VOTE));
            let report = Report::Gone {
                node,
                groups: groups.collect(),
            };
            wire::with_body(NO_SHARD, &encode(&report))
        };
        let known = || {
            let groups = node.inner.reports.groups.lock();
            groups.keys().copied().collect::<Vec<_>>()
        };
        let strangers: Vec<u32> = (100..10_000).collect();
        for gone in [5, 9] {
            let taken = node
                .inner
                .take_report(NodeId(5), &report(gone, &strangers))
                .await;
            taken.unwrap();
        }
        assert_eq!(known(), []);
        let by_another = node.inner.take_report(NodeId(5), &report(9, &[1])).await;
        by_another.unwrap();
        assert_eq!(known(), [], "it does not vote in the group");
        let by_itself = node.inner.take_report(NodeId(9), &report(9, &[1])).await;
        by_itself.unwrap();
        assert_eq!(known(), [ONE]);
        node.inner.reports.forget(ONE);
        assert_eq!(known(), []);
        node.shutdown().await;
    }
}
