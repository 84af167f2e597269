//! Messages: how long they take, and what happens when they arrive.

use bytes::Bytes;
use mailrook_transport::{CallError, Class};
use mailrook_types::NodeId;

use super::{Inner, Packet, Present, SimNet, What, pair};

impl Inner {
    /// A number that nothing else has.
    pub(super) fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// How long a message takes: mostly little, now and then long.
    fn delay_ms(&mut self) -> u64 {
        let more = match self.chance.range(0, 100) {
            0 => self.chance.range(20, 150),
            1..10 => self.chance.range(2, 20),
            _ => self.chance.range(0, 3),
        };
        self.latency_min_ms + more
    }

    /// Sends it; it arrives, unless the connection breaks before.
    pub(super) fn send(&mut self, from: NodeId, to: NodeId, what: What) {
        let delay = self.delay_ms();
        self.send_after(from, to, what, delay);
    }

    pub(super) fn send_after(&mut self, from: NodeId, to: NodeId, what: What, delay_ms: u64) {
        let mut at = self.now_ms + delay_ms;
        if let What::Open(stream, ..)
        | What::Item(stream, _)
        | What::End(stream)
        | What::Stop(stream) = &what
            && let Some(stream) = self.streams.get_mut(stream)
        {
            at = stream.in_order(from, at);
        }
        let connection = self.connections.get(&pair(from, to));
        let packet = Packet {
            from,
            to,
            connection: connection.copied().unwrap_or(0),
            what,
        };
        let number = self.number();
        self.queue.insert((at, number), packet);
    }

    /// What arrives up to now, and is not on a connection that broke.
    fn due(&mut self) -> Vec<Packet> {
        let later = self.queue.split_off(&(self.now_ms + 1, 0));
        let due = std::mem::replace(&mut self.queue, later);
        let mut arrived = Vec::new();
        for packet in due.into_values() {
            let connection = self.connections.get(&pair(packet.from, packet.to));
            let is_notice = matches!(packet.what, What::Notice(_));
            if packet.connection != connection.copied().unwrap_or(0) && !is_notice {
                continue;
            }
            if !is_notice && self.is_cut(packet.from, packet.to) {
                self.held.push(packet);
            } else {
                self.note(&packet);
                arrived.push(packet);
            }
        }
        arrived
    }

    fn is_cut(&self, from: NodeId, to: NodeId) -> bool {
        self.cut.contains(&(from, to)) || self.paused.contains(&to)
    }

    /// Adds it to the trace.
    fn note(&mut self, packet: &Packet) {
        let (kind, number, bytes): (u8, u64, &[u8]) = match &packet.what {
            What::Request(call, _, bytes) => (0, *call, bytes),
            What::Reply(call, Ok(bytes)) => (1, *call, bytes),
            What::Reply(call, Err(cause)) => (2, *call, cause.as_bytes()),
            What::Open(stream, _, bytes) => (3, *stream, bytes),
            What::Item(stream, bytes) => (4, *stream, bytes),
            What::End(stream) => (5, *stream, &[]),
            What::Stop(stream) => (6, *stream, &[]),
            What::Notice(_) => (7, 0, &[]),
            What::Ping(number, introduction) => (8, *number, introduction),
        };
        for number in [
            self.now_ms,
            packet.from.0,
            packet.to.0,
            u64::from(kind),
            number,
        ] {
            self.trace.update(&number.to_le_bytes());
        }
        self.trace.update(bytes);
        tracing::trace!(at_ms = self.now_ms, from = %packet.from, to = %packet.to, kind, number, digest = %blake3::hash(bytes), "arrives");
        self.arrived += 1;
    }

    /// What was held goes on its way again, in its order.
    pub(super) fn release(&mut self) {
        for packet in std::mem::take(&mut self.held) {
            if self.is_cut(packet.from, packet.to) {
                self.held.push(packet);
                continue;
            }
            let number = self.number();
            let at = self.now_ms + self.latency_min_ms;
            self.queue.insert((at, number), packet);
        }
    }
}

impl SimNet {
    /// Goes on to `now_ms`: what arrives until then is with its receivers.
    ///
    /// Gives what nodes that belong together refuse each other for.
    pub fn deliver_until(&self, now_ms: u64) -> Vec<String> {
        let due = {
            let mut inner = self.inner.lock();
            inner.now_ms = now_ms;
            inner.look_at_links();
            inner.ping();
            inner.due()
        };
        let refused = due.into_iter().filter_map(|packet| self.deliver(packet));
        refused.collect()
    }

    fn deliver(&self, packet: Packet) -> Option<String> {
        let Packet { from, to, what, .. } = packet;
        match what {
            What::Request(call, class, request) => self.ask(from, to, call, class, request),
            What::Reply(call, answer) => self.answer(call, answer),
            What::Open(stream, class, request) => self.opened(stream, (from, to), class, request),
            What::Item(stream, item) => self.item(stream, to, item),
            What::End(stream) => self.ended(stream, to),
            What::Stop(stream) => self.stopped(stream, to),
            What::Notice(link) => self.inner.lock().notice(to, from, link),
            What::Ping(number, introduction) => {
                return self.hear((from, to), number, introduction);
            }
        }
        None
    }

    fn hear(
        &self,
        (from, to): (NodeId, NodeId),
        number: u64,
        introduction: Bytes,
    ) -> Option<String> {
        let mut inner = self.inner.lock();
        // They go over one connection, which keeps their order: one that was overtaken here is as good as lost.
        let last = inner.pinged.entry((from, to)).or_default();
        if number < *last {
            return None;
        }
        *last = number;
        let hears = inner.nodes.get(&to)?.introduce.clone()?;
        drop(inner);
        let refused = hears.admit(from, introduction).err()?;
        Some(format!("{to} refuses {from}: {refused}"))
    }

    /// Has the node's handler answer, as one of its tasks.
    fn ask(&self, from: NodeId, to: NodeId, call: u64, class: Class, request: Bytes) {
        let inner = self.inner.lock();
        let Some(Present {
            handlers, handle, ..
        }) = inner.nodes.get(&to)
        else {
            return;
        };
        let (handler, net) = (handlers.of(class).clone(), self.clone());
        handle.spawn(async move {
            let answer = handler.call(from, request).await;
            let mut inner = net.inner.lock();
            inner.send(to, from, What::Reply(call, answer));
        });
    }

    fn answer(&self, call: u64, answer: Result<Bytes, String>) {
        let Some(waiting) = self.inner.lock().calls.remove(&call) else {
            return;
        };
        let to = waiting.to;
        // Who gave up is not told.
        let _ = waiting
            .told
            .send(answer.map_err(|cause| CallError::Refused { to, cause }));
    }
}
