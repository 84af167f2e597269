//! What a server is before its store is open as well as after: its name, its ports, and how it is asked to stop.

use std::{net::SocketAddr, sync::Arc, time::Instant};

use mailrook_cluster::NodeStatus;
use mailrook_net::{Limiter, Shutdown, ShutdownTrigger};
use mailrook_types::Domain;

use crate::{
    admin::protocol::{ListenerInfo, Status},
    metrics::{Kind, Page},
    process,
};

/// An open port.
pub struct Listening {
    /// `imaps`
    pub service: &'static str,
    /// Where, in words.
    pub address: String,
    /// Where; none for a unix socket.
    pub bound: Option<SocketAddr>,
    /// Counts its connections; a service's ports share one.
    pub limiter: Arc<Limiter>,
}

/// The process around the store.
pub struct Shell {
    hostname: Domain,
    started: Instant,
    listeners: Vec<Listening>,
    stop: ShutdownTrigger,
}

impl Shell {
    /// Of a process that has just opened these ports; and what says that it is asked to stop.
    pub fn new(hostname: Domain, listeners: Vec<Listening>) -> (Arc<Shell>, Shutdown) {
        let (stop, asked) = ShutdownTrigger::new();
        let shell = Shell {
            hostname,
            started: Instant::now(),
            listeners,
            stop,
        };
        (Arc::new(shell), asked)
    }

    /// Asks it to stop.
    pub fn stop(&self) {
        self.stop.shut_down();
    }

    /// Where each service listens; `None` for a unix socket.
    pub fn addresses(&self) -> Vec<(&'static str, Option<SocketAddr>)> {
        let listeners = self.listeners.iter();
        listeners
            .map(|listening| (listening.service, listening.bound))
            .collect()
    }

    /// How it fares, but for the cluster.
    pub fn status(&self, not_ready_because: Vec<String>, node: Option<&NodeStatus>) -> Status {
        let listener = |listening: &Listening| ListenerInfo {
            service: listening.service.to_owned(),
            address: listening.address.clone(),
            connections: listening.limiter.counts().total as u64,
        };
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            hostname: self.hostname.clone(),
            uptime_seconds: self.started.elapsed().as_secs(),
            ready: not_ready_because.is_empty(),
            not_ready_because,
            listeners: self.listeners.iter().map(listener).collect(),
            node: serde_json::to_value(node).unwrap_or_default(),
            cluster: None,
            cluster_unreached: None,
        }
    }

    /// The figures of the process and its ports.
    pub fn add_figures(&self, page: &mut Page, ready: bool) {
        let version = (vec![("version", env!("CARGO_PKG_VERSION").to_owned())], 1);
        page.add(
            Kind::Gauge,
            "build_info",
            "The version that runs.",
            [version],
        );
        page.one(
            Kind::Gauge,
            "ready",
            "Whether it takes what it is there for.",
            u8::from(ready),
        );
        page.one(
            Kind::Gauge,
            "uptime_seconds",
            "Since the start.",
            self.started.elapsed().as_secs(),
        );
        if let Some(bytes) = process::resident_bytes() {
            page.one(
                Kind::Gauge,
                "resident_memory_bytes",
                "Memory in use.",
                bytes,
            );
        }
        if let Some(open) = process::descriptors() {
            page.one(Kind::Gauge, "open_files", "Open file descriptors.", open);
        }
        self.add_connections(page);
    }

    fn add_connections(&self, page: &mut Page) {
        let mut services: Vec<&Listening> = self.listeners.iter().collect();
        services.dedup_by_key(|listening| listening.service);
        let by_service = |count: fn(&Limiter) -> usize| {
            let counted = services.iter().map(move |listening| {
                let label = ("service", listening.service.to_owned());
                (vec![label], count(&listening.limiter))
            });
            counted.collect::<Vec<_>>()
        };
        page.add(
            Kind::Gauge,
            "connections",
            "Open connections.",
            by_service(|limiter| limiter.counts().total),
        );
        page.add(
            Kind::Gauge,
            "connections_pending",
            "Open connections that have not logged in.",
            by_service(|limiter| limiter.counts().pending),
        );
    }
}
