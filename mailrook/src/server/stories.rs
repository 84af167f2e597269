//! What became of sessions whose store was held up: a line in the log for each, and figures.
//!
//! A dead node may hold up all sessions of a shard at once. Each counts, and after [`LINES_PER_SECOND`] the others of that second
//! share a line.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use mailrook_net::{Resumed, SessionEntry, SessionRegistry, TellStory};
use mailrook_types::{NodeId, ShardId};
use parking_lot::Mutex;
use tokio::{runtime::Handle, time::Instant};
use tracing::info;

use super::sessions::{Heard, outcome};
use crate::{
    admin::protocol::SessionProtocol,
    metrics::{Histogram, Kind, Page},
};

/// As many lines in a second are read one by one; more tell that many were held up.
const LINES_PER_SECOND: u32 = 100;

const SECOND: Duration = Duration::from_secs(1);

/// Bounds of stalls, in seconds: a take-over takes tens of milliseconds, and a call is given up after twenty seconds.
const STALL_BOUNDS_S: &[f64] = &[0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0];

/// Hears of them.
pub struct Stories {
    /// What this node is called, in front of its sessions' ids.
    node: String,
    heard: Arc<dyn Heard>,
    figures: Mutex<Figures>,
    pace: Arc<Mutex<Pace>>,
}

struct Figures {
    by_protocol: BTreeMap<&'static str, Counts>,
    stalls: Histogram,
}

#[derive(Clone, Copy, Default)]
struct Counts {
    resumed: u64,
    given_up: u64,
    replayed: u64,
}

/// The lines of the present second.
#[derive(Default)]
struct Pace {
    began: Option<Instant>,
    lines: u32,
    left_out: LeftOut,
}

/// Stories that had no line of their own.
#[derive(Clone, Copy, Default)]
struct LeftOut {
    sessions: u64,
    given_up: u64,
    replays: u64,
    stalled_max: Duration,
}

impl Stories {
    /// Of the node that is called `node`.
    pub fn new(node: String, heard: Arc<dyn Heard>) -> Stories {
        Stories {
            node,
            heard,
            figures: Mutex::new(Figures {
                by_protocol: BTreeMap::new(),
                stalls: Histogram::new(STALL_BOUNDS_S),
            }),
            pace: Arc::default(),
        }
    }

    fn count(&self, service: &'static str, resumed: &Resumed) {
        let mut figures = self.figures.lock();
        let counts = figures.by_protocol.entry(protocol(service)).or_default();
        counts.replayed += u64::from(resumed.replays);
        match resumed.done {
            true => counts.resumed += 1,
            false => counts.given_up += 1,
        }
        figures.stalls.add(resumed.stalled.as_secs_f64());
    }

    fn write(&self, session: &SessionEntry, resumed: &Resumed) {
        let name = |node: Option<NodeId>| node.map_or("-".to_owned(), |node| self.heard.name(node));
        let shard = match resumed.shard {
            ShardId::META => "meta".to_owned(),
            shard => shard.to_string(),
        };
        let text = match resumed.done {
            true => "session resumed",
            false => "session was held up in vain",
        };
        info!(
            session = format!("{}-{}", self.node, session.id),
            user = session.user.as_deref().unwrap_or("-"),
            protocol = protocol(session.protocol),
            command = resumed.command.unwrap_or("-"),
            cause = resumed.cause.name(),
            shard,
            leader_before = name(resumed.leader_before),
            leader_after = name(resumed.leader_after),
            stalled_ms = ms(resumed.stalled),
            replays = resumed.replays,
            outcome = outcome(resumed),
            "{text}"
        );
    }

    /// Adds the figures, with how many sessions there are.
    pub fn add_figures(&self, page: &mut Page, registry: &SessionRegistry) {
        let mut sessions: BTreeMap<&'static str, u64> = BTreeMap::new();
        for protocol in ["imap", "lmtp", "pop3", "smtp"] {
            sessions.insert(protocol, 0);
        }
        for (service, count) in registry.counts() {
            *sessions.entry(protocol(service)).or_default() += count;
        }
        let (counts, stalls) = {
            let figures = self.figures.lock();
            (figures.by_protocol.clone(), figures.stalls.clone())
        };
        let label = |protocol: &str| vec![("protocol", protocol.to_owned())];
        let by_protocol = |value: fn(&Counts) -> u64| {
            let protocols = sessions.keys();
            let values = protocols.map(|protocol| {
                let counts = counts.get(protocol).copied().unwrap_or_default();
                (label(protocol), value(&counts))
            });
            values.collect::<Vec<_>>()
        };
        page.add(
            Kind::Gauge,
            "sessions",
            "Sessions under way.",
            sessions
                .iter()
                .map(|(protocol, count)| (label(protocol), *count)),
        );
        page.add(
            Kind::Counter,
            "sessions_resumed_total",
            "Commands that were held up by a fail-over or a move, and went on.",
            by_protocol(|counts| counts.resumed),
        );
        page.add(
            Kind::Counter,
            "sessions_given_up_total",
            "Commands that were held up, and had no answer of the store.",
            by_protocol(|counts| counts.given_up),
        );
        page.add(
            Kind::Counter,
            "commands_replayed_total",
            "Calls of sessions to the store that were sent again.",
            by_protocol(|counts| counts.replayed),
        );
        page.histogram(
            "session_stall_seconds",
            "How long commands were held up by a fail-over or a move.",
            &stalls,
        );
    }
}

impl TellStory for Stories {
    fn tell(&self, session: &SessionEntry, resumed: &Resumed) {
        self.count(session.protocol, resumed);
        let now = Instant::now();
        let due = {
            let mut pace = self.pace.lock();
            match pace.permit(resumed, now) {
                Permit::Line => {
                    drop(pace);
                    return self.write(session, resumed);
                }
                Permit::LeftOut { first } => first.then_some(pace.began.unwrap_or(now) + SECOND),
            }
        };
        if let (Some(due), Ok(runtime)) = (due, Handle::try_current()) {
            let pace = Arc::clone(&self.pace);
            runtime.spawn(async move {
                tokio::time::sleep_until(due).await;
                let left_out = std::mem::take(&mut pace.lock().left_out);
                left_out.write();
            });
        }
    }
}

/// Whether a story has a line.
enum Permit {
    Line,
    /// It is summed up with others; `first` of these.
    LeftOut {
        first: bool,
    },
}

impl Pace {
    fn permit(&mut self, resumed: &Resumed, now: Instant) -> Permit {
        let is_over = |began: Instant| now.saturating_duration_since(began) >= SECOND;
        if self.began.is_none_or(is_over) {
            self.began = Some(now);
            self.lines = 0;
        }
        if self.lines < LINES_PER_SECOND {
            self.lines += 1;
            return Permit::Line;
        }
        let left_out = &mut self.left_out;
        left_out.sessions += 1;
        left_out.given_up += u64::from(!resumed.done);
        left_out.replays += u64::from(resumed.replays);
        left_out.stalled_max = left_out.stalled_max.max(resumed.stalled);
        Permit::LeftOut {
            first: left_out.sessions == 1,
        }
    }
}

impl LeftOut {
    fn write(&self) {
        info!(
            sessions = self.sessions,
            given_up = self.given_up,
            replays = self.replays,
            stalled_ms_max = ms(self.stalled_max),
            "more sessions were resumed in this second"
        );
    }
}

fn protocol(service: &'static str) -> &'static str {
    SessionProtocol::of_service(service).map_or(service, SessionProtocol::name)
}

fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::io;

    use mailrook_net::{Connection, Limiter, Limits, Peer, SessionId, Shutdown, Stream};
    use mailrook_types::{AccountId, StallCause, Timestamp};

    use super::*;

    struct Names;

    impl Heard for Names {
        fn name(&self, node: NodeId) -> String {
            format!("node{}", node.0)
        }

        fn place(&self, _account: AccountId) -> Option<(ShardId, Option<NodeId>)> {
            None
        }

        fn loads(&self) -> Vec<(AccountId, u64)> {
            Vec::new()
        }
    }

    fn resumed(done: bool) -> Resumed {
        Resumed {
            at: Timestamp(0),
            command: Some("UID FETCH"),
            cause: StallCause::FailOver,
            shard: ShardId(3),
            leader_before: Some(NodeId(3)),
            leader_after: done.then_some(NodeId(1)),
            stalled: Duration::from_millis(143),
            replays: 2,
            done,
        }
    }

    /// What is written to the log while it lives, on this thread.
    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Log {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Log {
        fn start() -> (Log, tracing::subscriber::DefaultGuard) {
            let log = Log::default();
            let writer = log.clone();
            let subscriber = tracing_subscriber::fmt()
                .with_ansi(false)
                .without_time()
                .with_target(false)
                .with_writer(move || writer.clone())
                .finish();
            (log, tracing::subscriber::set_default(subscriber))
        }

        fn lines(&self) -> Vec<String> {
            let text = String::from_utf8(self.0.lock().clone()).unwrap();
            text.lines().map(str::to_owned).collect()
        }
    }

    /// A session of the user `a@b`.
    fn session(registry: &Arc<SessionRegistry>) -> (mailrook_net::Registration, SessionEntry) {
        let connection = Connection {
            stream: Stream::duplex(16).0,
            peer: Peer::Unix,
            id: SessionId::next(),
            admission: Limiter::new(Limits::default()).admit(None).unwrap(),
            shutdown: Shutdown::never(),
        };
        let registration = registry.enter("imaps", &connection);
        registration.set_user("a@b", None);
        let entry = registry.show(registration.id()).unwrap().0;
        (registration, entry)
    }

    #[test]
    fn a_line_tells_the_story() {
        let stories = Stories::new("node1".to_owned(), Arc::new(Names));
        let registry = SessionRegistry::new();
        let (_registration, entry) = session(&registry);
        let (log, _guard) = Log::start();
        stories.tell(&entry, &resumed(true));
        stories.tell(&entry, &resumed(false));
        let id = entry.id;
        let lines = log.lines();
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert_eq!(
            lines[0].trim(),
            format!(
                "INFO session resumed session=\"node1-{id}\" user=\"a@b\" protocol=\"imap\" command=\"UID FETCH\" \
                 cause=\"fail-over\" shard=\"3\" leader_before=\"node3\" leader_after=\"node1\" stalled_ms=143 replays=2 outcome=\"done\""
            )
        );
        assert!(lines[1].contains("held up in vain") && lines[1].contains("given up"));
        let mut page = Page::default();
        stories.add_figures(&mut page, &registry);
        let text = page.into_text();
        for line in [
            "mailrook_sessions{protocol=\"imap\"} 1",
            "mailrook_sessions{protocol=\"smtp\"} 0",
            "mailrook_sessions_resumed_total{protocol=\"imap\"} 1",
            "mailrook_sessions_given_up_total{protocol=\"imap\"} 1",
            "mailrook_commands_replayed_total{protocol=\"imap\"} 4",
            "mailrook_session_stall_seconds_bucket{le=\"0.1\"} 0",
            "mailrook_session_stall_seconds_bucket{le=\"0.25\"} 2",
            "mailrook_session_stall_seconds_count 2",
        ] {
            assert!(text.lines().any(|other| other == line), "{line}: {text}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn twenty_thousand_at_once_are_a_hundred_lines_and_one() {
        let stories = Stories::new("node1".to_owned(), Arc::new(Names));
        let registry = SessionRegistry::new();
        let (_registration, entry) = session(&registry);
        let (log, _guard) = Log::start();
        for _ in 0..20_000 {
            stories.tell(&entry, &resumed(true));
        }
        assert_eq!(log.lines().len(), 100);
        tokio::time::sleep(2 * SECOND).await;
        let lines = log.lines();
        assert_eq!(lines.len(), 101);
        let last = &lines[100];
        assert!(
            last.contains("sessions=19900") && last.contains("replays=39800"),
            "{last}"
        );
        // The next second has lines of its own.
        stories.tell(&entry, &resumed(true));
        assert_eq!(log.lines().len(), 102);
    }
}
