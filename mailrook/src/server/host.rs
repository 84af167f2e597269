//! The running server, as its admins, its probes and the meters see it.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use futures::future::{BoxFuture, FutureExt};
use mailrook_cluster::{GroupRole, GroupStatus, NodeStatus};
use mailrook_control::{MoveFigures, PAUSE_BOUNDS_MS};
use mailrook_net::{ShutdownTrigger, TlsAcceptor};
use mailrook_store_client::Client;
use mailrook_types::ShardId;
use murder_proxy::MailProtocol;
use parking_lot::RwLock;
use tracing::info;

use super::{
    accept::Acceptors,
    cluster::{ClusterDoor, group_name},
    leaderless::Leaderless,
    sessions::Sessions,
    shell::Shell,
    store::Store,
    stories::Stories,
};
use crate::{
    admin::{ClusterHost, Host, SessionHost, protocol::Status},
    config::Config,
    http::Health,
    logging::LogHandle,
    metrics::{Histogram, Kind, Page},
    process,
};

/// What ending sessions and flushing may take beyond the pause: what the unit file gives a stop as a whole.
const CLOSE_MAX: Duration = Duration::from_secs(120);

/// The running server.
pub struct Running {
    pub(super) config: RwLock<Config>,
    pub(super) config_path: PathBuf,
    pub(super) shell: Arc<Shell>,
    pub(super) log: LogHandle,
    pub(super) tls: Option<TlsAcceptor>,
    /// Taken when the server stops.
    pub(super) store: RwLock<Option<Arc<Store>>>,
    pub(super) acceptors: Acceptors,
    /// Who is connected.
    pub(super) sessions: Arc<Sessions>,
    /// What became of those that were held up.
    pub(super) stories: Arc<Stories>,
    pub(super) stopping: AtomicBool,
    /// Since when groups have been without a leader.
    pub(super) leaderless: Leaderless,
    /// Closes the ports.
    pub(super) close: ShutdownTrigger,
}

impl Running {
    /// Says that it is about to stop.
    pub(super) fn say_stopping(&self) {
        self.stopping.store(true, Ordering::Release);
    }

    /// Closes the ports. Balancers are given the time to send nobody any more: they look at `/readyz` now and then.
    pub(super) async fn close_after(&self, pause: Duration) {
        if !pause.is_zero() {
            info!(?pause, "serving until balancers have noticed");
            let us = (pause + CLOSE_MAX).as_micros();
            process::notify_systemd(&format!("EXTEND_TIMEOUT_USEC={us}"));
            tokio::time::sleep(pause).await;
        }
        self.close.shut_down();
    }

    fn node_status(&self) -> Option<NodeStatus> {
        let store = self.store.read().clone()?;
        Some(store.node.status())
    }

    /// Only of those that this node's controller carried out.
    fn add_moves(page: &mut Page, moves: &MoveFigures) {
        let outcomes = [("moved", moves.moved()), ("abandoned", moves.abandoned())];
        page.add(
            Kind::Counter,
            "moves_total",
            "Moves of accounts that this node brought to an end.",
            outcomes.map(|(outcome, count)| (vec![("outcome", outcome.to_owned())], count)),
        );
        page.one(
            Kind::Gauge,
            "moves_under_way",
            "Moves of accounts that this node carries on.",
            moves.under_way(),
        );
        let seconds = |ms: f64| ms / 1_000.0;
        let bounds = PAUSE_BOUNDS_MS.map(|ms| seconds(f64::from(ms))).to_vec();
        // Of milliseconds, exact for as long as the process can live.
        let sum = seconds(moves.pause_sum_ms() as f64);
        let pauses = Histogram::counted(bounds, moves.pauses(), sum);
        page.histogram(
            "move_pause_seconds",
            "For how long accounts were not served while they moved.",
            &pauses,
        );
    }

    fn add_store(page: &mut Page, status: &NodeStatus) {
        page.one(
            Kind::Gauge,
            "disk_free_bytes",
            "Free space where the data lies.",
            status.disk_free_bytes,
        );
        page.one(
            Kind::Gauge,
            "disk_full",
            "Whether nothing new is taken for want of space.",
            u8::from(status.disk_full),
        );
        page.one(
            Kind::Gauge,
            "log_bytes",
            "What the log occupies.",
            status.log_bytes,
        );
        let by_shard = |value: fn(&GroupStatus) -> u64| {
            let groups = status.groups.iter();
            groups
                .map(move |group| (vec![("shard", group.shard.to_string())], value(group)))
                .collect::<Vec<_>>()
        };
        let leads = by_shard(|group| u64::from(matches!(group.role, GroupRole::Leader)));
        page.add(
            Kind::Gauge,
            "shard_leader",
            "Whether this node leads the shard.",
            leads,
        );
        page.add(
            Kind::Gauge,
            "shard_term",
            "The shard's term.",
            by_shard(|group| group.term),
        );
        let applied = by_shard(|group| group.applied_index);
        page.add(
            Kind::Counter,
            "shard_applied_index",
            "The last applied entry of the shard's log.",
            applied,
        );
        let committed = by_shard(|group| group.committed_index);
        page.add(
            Kind::Counter,
            "shard_committed_index",
            "The last committed entry of the shard's log.",
            committed,
        );
        let flushed = by_shard(|group| group.flushed_index);
        page.add(
            Kind::Counter,
            "shard_flushed_index",
            "The last entry whose changes are in synced tables.",
            flushed,
        );
        let in_flight = by_shard(|group| group.in_flight_bytes as u64);
        page.add(
            Kind::Gauge,
            "shard_in_flight_bytes",
            "Commands that wait for their reply.",
            in_flight,
        );
    }
}

/// What this node's sessions and deliveries ask of each shard.
fn shard_loads(client: &Client) -> Vec<(Vec<(&'static str, String)>, u64)> {
    let mut sums: BTreeMap<ShardId, u64> = BTreeMap::new();
    for load in client.account_loads() {
        *sums.entry(load.shard).or_default() += load.requests_per_hour;
    }
    let labelled = |(shard, sum): (ShardId, u64)| (vec![("shard", shard.to_string())], sum);
    sums.into_iter().map(labelled).collect()
}

impl Health for Running {
    fn not_ready_because(&self) -> Vec<String> {
        if self.stopping.load(Ordering::Acquire) {
            return vec!["stopping".to_owned()];
        }
        let Some(store) = self.store.read().clone() else {
            return vec!["the store is closed".to_owned()];
        };
        let now = Instant::now();
        let waits = |group: &GroupStatus| match &group.role {
            GroupRole::Stopped { cause } => {
                Some(format!("{} is stopped: {cause}", group_name(group.shard)))
            }
            _ => (self.leaderless)
                .look(group.shard, group.leader.is_some(), now)
                .then(|| format!("{} has no leader", group_name(group.shard))),
        };
        let status = store.node.status();
        let own = status.groups.iter().filter_map(waits);
        // A node without copies, or with few, is cut off all the same.
        let others = store.others.as_ref();
        own.chain(others.and_then(|others| others.reached.trouble()))
            .collect()
    }

    fn metrics(&self) -> String {
        let mut page = Page::default();
        let ready = self.not_ready_because().is_empty();
        self.shell.add_figures(&mut page, ready);
        let door = &self.acceptors.door;
        let begun = MailProtocol::ALL.map(|protocol| {
            (
                vec![("service", protocol.name().to_owned())],
                door.started(protocol),
            )
        });
        page.add(
            Kind::Counter,
            "mail_sessions_started_total",
            "Sessions of mail clients that began.",
            begun,
        );
        for (name, total) in self.acceptors.front().metrics().snapshot() {
            let help = format!("SMTP and LMTP: {}.", name.replace('_', " "));
            page.one(Kind::Counter, &format!("smtp_{name}_total"), &help, total);
        }
        self.stories.add_figures(&mut page, door.registry());
        if let Some(store) = self.store.read().clone() {
            Running::add_store(&mut page, &store.node.status());
            let changes = store.client.leader_changes().into_iter();
            page.add(
                Kind::Counter,
                "leader_changes_total",
                "How often calls of this node's sessions met another leader than before.",
                changes.map(|(shard, count)| (vec![("shard", shard.to_string())], count)),
            );
            page.add(
                Kind::Gauge,
                "shard_load",
                "Requests an hour of a shard by this node's sessions and deliveries; of all nodes together what the shard does.",
                shard_loads(&store.client),
            );
            if let Some(others) = &store.others {
                Running::add_moves(&mut page, &others.moves);
            }
        }
        page.into_text()
    }
}

impl Host for Running {
    fn status(&self) -> BoxFuture<'_, Status> {
        let node = self.node_status();
        let status = (self.shell).status(self.not_ready_because(), node.as_ref());
        let cluster = self.cluster();
        async move {
            let mut status = status;
            if let Some(cluster) = cluster {
                match cluster.status().await {
                    Ok(cluster) => status.cluster = Some(cluster),
                    Err(unreached) => status.cluster_unreached = Some(unreached),
                }
            }
            status
        }
        .boxed()
    }

    fn sessions(&self) -> Arc<dyn SessionHost> {
        Arc::clone(&self.sessions) as _
    }

    fn reload(&self) -> Result<(Vec<String>, Vec<String>), String> {
        Running::reload(self)
    }

    fn stop(&self) {
        self.shell.stop();
    }

    fn cluster(&self) -> Option<Arc<dyn ClusterHost>> {
        let store = self.store.read().clone()?;
        let others = store.others.as_ref()?;
        let door = ClusterDoor {
            node: Arc::clone(&store.node),
            network: Arc::clone(&store.network),
            directory: Arc::new(store.client.clone()),
            looking: Arc::new(store.looking.clone()),
            keeper: Arc::clone(&others.keeper),
            neighbours: Arc::clone(&others.neighbours),
        };
        Some(Arc::new(door) as Arc<dyn ClusterHost>)
    }
}
