//! Links: nodes that start, end and pause, ways that are cut, and what the others notice of it.

use std::sync::Arc;

use mailrook_transport::{Handlers, Introduce, Link};
use mailrook_types::NodeId;
use tokio::runtime::Handle;

use super::{Inner, Present, SimNet, What, pair};

/// Three pings without an answer, as of the real one.
const SILENT_AFTER_MS: u64 = 1500;

/// As of the real one.
const PING_EVERY_MS: u64 = 500;

impl SimNet {
    /// From now on `handlers` answer what is asked of `node`, as tasks of `handle`.
    pub fn start(
        &self,
        node: NodeId,
        handlers: Handlers,
        introduce: Option<Arc<dyn Introduce>>,
        handle: Handle,
    ) {
        let mut inner = self.inner.lock();
        let others: Vec<NodeId> = inner
            .nodes
            .keys()
            .copied()
            .filter(|other| *other != node)
            .collect();
        let present = Present {
            handlers,
            introduce,
            handle,
        };
        inner.nodes.insert(node, present);
        for other in others {
            inner.connect(node, other);
            inner.introduce(node, other);
            inner.introduce(other, node);
            inner.send(node, other, What::Notice(Link::Up));
            inner.notice(node, other, Link::Up);
        }
    }

    /// The process of `node` has ended: its connections close, and soon the others know.
    pub fn stop(&self, node: NodeId) {
        let mut inner = self.inner.lock();
        if inner.nodes.remove(&node).is_none() {
            return;
        }
        inner.paused.remove(&node);
        let others: Vec<NodeId> = inner.nodes.keys().copied().collect();
        for other in others {
            inner.connect(node, other);
            inner.links.remove(&(node, other));
            // Where nothing gets through nobody hears of the end either.
            if !inner.cut.contains(&(node, other)) {
                inner.send(node, other, What::Notice(Link::Refused));
            }
        }
    }

    /// Nothing goes from `from` to `to` any more, and nobody is told.
    pub fn cut(&self, from: NodeId, to: NodeId) {
        self.inner.lock().cut.insert((from, to));
    }

    /// Everything goes everywhere again.
    pub fn heal(&self) {
        let mut inner = self.inner.lock();
        let cut = std::mem::take(&mut inner.cut);
        for (from, to) in cut {
            // TCP goes on, or one side had given up.
            if inner.chance.percent(50) {
                inner.reconnect(from, to);
            }
        }
        inner.release();
    }

    /// The node stands still, or goes on.
    pub fn set_paused(&self, node: NodeId, paused: bool) {
        let mut inner = self.inner.lock();
        if paused {
            inner.paused.insert(node);
        } else {
            inner.paused.remove(&node);
            inner.release();
        }
    }

    /// The connection between both breaks, and is made anew.
    pub fn break_connection(&self, one: NodeId, other: NodeId) {
        self.inner.lock().reconnect(one, other);
    }
}

impl Inner {
    /// A new connection: what was under way on the one before is lost.
    fn connect(&mut self, one: NodeId, other: NodeId) {
        *self.connections.entry(pair(one, other)).or_insert(0) += 1;
        let concerns = |a: NodeId, b: NodeId| pair(a, b) == pair(one, other);
        self.calls.retain(|_, call| !concerns(call.from, call.to));
        self.streams.retain(|_, stream| {
            let broken = concerns(stream.opener, stream.server);
            if broken {
                stream.break_off();
            }
            !broken
        });
        self.held.retain(|packet| !concerns(packet.from, packet.to));
    }

    fn reconnect(&mut self, one: NodeId, other: NodeId) {
        self.connect(one, other);
        for (node, of) in [(one, other), (other, one)] {
            if self.nodes.contains_key(&node) && self.nodes.contains_key(&of) {
                self.notice(node, of, Link::Down);
                self.send(of, node, What::Notice(Link::Up));
            }
        }
    }

    /// Each tells all others of itself, now and then.
    pub(super) fn ping(&mut self) {
        if self.now_ms < self.next_ping_ms {
            return;
        }
        self.next_ping_ms = self.now_ms + PING_EVERY_MS;
        let nodes: Vec<NodeId> = self.nodes.keys().copied().collect();
        for node in &nodes {
            if self.paused.contains(node) {
                continue;
            }
            for other in nodes.iter().filter(|other| *other != node) {
                self.introduce(*node, *other);
            }
        }
    }

    fn introduce(&mut self, node: NodeId, to: NodeId) {
        let of = |node| self.nodes.get(&node)?.introduce.clone();
        if let (Some(own), Some(_)) = (of(node), of(to)) {
            let number = self.number();
            self.send(node, to, What::Ping(number, own.introduce()));
        }
    }

    /// `node` notices how its link to `of` fares.
    pub(super) fn notice(&mut self, node: NodeId, of: NodeId, link: Link) {
        // The news may be older than what it is about.
        let runs = self.nodes.contains_key(&of);
        if !self.nodes.contains_key(&node) && node != of {
            self.links.remove(&(node, of));
            return;
        }
        if runs != (link != Link::Refused) {
            return;
        }
        if self.links.insert((node, of), link) != Some(link)
            && let Some(events) = self.events.get(&node)
        {
            // An error means that nobody listens.
            let _ = events.send((of, link));
        }
    }

    /// Finds links silent through which nothing has come for a while, and those that are up again.
    pub(super) fn look_at_links(&mut self) {
        let nodes: Vec<NodeId> = self.nodes.keys().copied().collect();
        for node in &nodes {
            for of in nodes.iter().filter(|of| *of != node) {
                self.look_at_link(*node, *of);
            }
        }
    }

    fn look_at_link(&mut self, node: NodeId, of: NodeId) {
        // A ping that does not arrive is not answered.
        let cut = self.cut.contains(&(node, of)) || self.cut.contains(&(of, node));
        let key = (node, of);
        if !cut && !self.paused.contains(&of) {
            if self.blocked.remove(&key).is_some() {
                self.send(of, node, What::Notice(Link::Up));
            }
            return;
        }
        // Who stands still itself notices nothing.
        if self.paused.contains(&node) {
            return;
        }
        let now_ms = self.now_ms;
        let since = *self.blocked.entry(key).or_insert(now_ms);
        if now_ms >= since + SILENT_AFTER_MS && self.links.get(&key) == Some(&Link::Up) {
            self.notice(node, of, Link::Silent);
        }
    }
}
