//! Which sessions each service runs.

use std::{convert::Infallible, sync::Arc, time::Duration};

use futures::future::join_all;
use mailrook_auth::Logins;
use mailrook_imap_server::SessionContext;
use mailrook_net::{
    BlockingPool, Limiter, Limits, Listener, Network, Refusal, ServeSettings, SessionRegistry,
    Shutdown, TlsAcceptor,
};
use mailrook_smtp_server::{
    BareNewlines, Endpoint as SmtpEndpoint, FrontEnd, Service, Services, Settings,
};
use mailrook_store_api::{Directory, Mailstore};
use murder_proxy::{Endpoint, FrontDoor, LocalSessions, MailProtocol};
use parking_lot::RwLock;
use tokio::{task::JoinSet, time::sleep};
use tracing::{error, info};

use super::{WAITING_MAX, host::Running, listen::Socket, shell::Listening};
use crate::{
    config::{self, Config},
    http,
};

/// The service of probes.
const HTTP: &str = "http";
/// They come from a few monitors.
const HTTP_CONNECTIONS_MAX: usize = 256;

/// A store that waits for nobody opens in less. Clients that come meanwhile wait in the port: to be told to come again, as
/// after each restart, would cost them minutes.
const OPENS_WITHIN: Duration = Duration::from_secs(2);

/// What runs sessions, by protocol.
pub struct Acceptors {
    /// What new SMTP sessions run on. One that a reload replaced lives as long as its sessions; its figures and its bounds
    /// are those of this one.
    front: RwLock<FrontEnd>,
    /// Where mail clients come in. Its registry has the sessions of SMTP too.
    pub door: FrontDoor,
    tls: Option<TlsAcceptor>,
    plaintext: bool,
    proxies: Vec<Network>,
    drain_timeout: Duration,
}

impl Acceptors {
    /// With these settings.
    pub fn new(
        config: &Config,
        tls: Option<TlsAcceptor>,
        logins: Logins,
        mailstore: Arc<dyn Mailstore>,
        directory: Arc<dyn Directory>,
    ) -> Acceptors {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let preparing = BlockingPool::new(cores, WAITING_MAX);
        let services = Services {
            mailstore,
            directory,
            logins,
            preparing,
            sessions: SessionRegistry::new(),
        };
        let sessions = mail_sessions(config, &services);
        let listed = Arc::clone(&services.sessions);
        Acceptors {
            front: RwLock::new(FrontEnd::new(smtp_settings(config), services)),
            door: FrontDoor::new(sessions, listed),
            tls,
            plaintext: config.login.plaintext,
            proxies: networks(&config.connections.proxies),
            drain_timeout: config.connections.drain_timeout.0,
        }
    }

    /// New SMTP sessions have these settings, but for what bounds the process.
    pub fn change_smtp(&self, config: &Config) {
        let mut front = self.front.write();
        let changed = front.with_settings(smtp_settings(config));
        *front = changed;
    }

    /// What new SMTP sessions run on.
    pub fn front(&self) -> FrontEnd {
        self.front.read().clone()
    }
}

fn networks(list: &[config::NetworkText]) -> Vec<Network> {
    list.iter().map(|network| network.0).collect()
}

/// What counts a service's connections.
fn limiter(config: &Config, service: &str) -> Arc<Limiter> {
    let connections = &config.connections;
    let count = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
    let limits = Limits {
        connections_max: count(connections.max),
        connections_per_address_max: count(connections.per_address_max),
        pending_max: count(connections.pending_max),
        pending_per_address_max: count(connections.pending_per_address_max),
        login_deadline: Some(connections.login_timeout.0),
        exempt: networks(&connections.exempt),
    };
    Limiter::new(match service {
        // Nobody logs in there, so that all connections count as pending.
        "smtp" | "lmtp" => Limits {
            pending_max: limits.connections_max,
            pending_per_address_max: limits.connections_per_address_max,
            login_deadline: None,
            ..limits
        },
        HTTP => Limits {
            connections_max: HTTP_CONNECTIONS_MAX,
            pending_max: HTTP_CONNECTIONS_MAX,
            login_deadline: None,
            ..limits
        },
        _ => limits,
    })
}

fn smtp_settings(config: &Config) -> Settings {
    let smtp = &config.smtp;
    let count = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
    Settings {
        size_max: smtp.message_size_max.0,
        rcpt_max: count(smtp.recipients_max),
        mail_max: count(smtp.messages_per_connection_max),
        bare_newlines: match smtp.bare_newlines {
            config::BareNewlines::Refuse => BareNewlines::Refuse,
            config::BareNewlines::Normalise => BareNewlines::Normalise,
        },
        memory_max: smtp.memory_max.0,
        ..Settings::new(config.hostname.clone())
    }
}

/// An open port, and what counts its connections.
pub struct Port {
    service: &'static str,
    listener: Listener,
    limiter: Arc<Limiter>,
}

/// The ports of mail, and those of probes.
pub struct Ports {
    /// Served once the store is open.
    pub mail: Vec<Port>,
    /// Served from the start on.
    pub http: Vec<Port>,
}

/// Has all ports counted; says where each listens.
pub fn count_all(config: &Config, sockets: Vec<Socket>) -> (Ports, Vec<Listening>) {
    let (mut ports, mut listening) = (Vec::new(), Vec::<Listening>::new());
    for socket in sockets {
        let service = socket.service;
        // The sockets of one service follow one another, and share its bounds.
        let limiter = match listening.last() {
            Some(last) if last.service == service => Arc::clone(&last.limiter),
            _ => limiter(config, service),
        };
        let bound = socket.listener.local_addr();
        let address = bound.map_or(socket.configured, |address| address.to_string());
        info!(service, address, "listening");
        listening.push(Listening {
            service,
            address,
            bound,
            limiter: Arc::clone(&limiter),
        });
        ports.push(Port {
            service,
            listener: socket.listener,
            limiter,
        });
    }
    let (http, mail) = ports.into_iter().partition(|port| port.service == HTTP);
    (Ports { mail, http }, listening)
}

/// Tells all mail clients to try again later, once it is clear that the store does not open at once.
pub async fn turn_away(ports: &[Port]) -> Infallible {
    sleep(OPENS_WITHIN).await;
    let turned_away = ports.iter().map(|port| {
        let refusal: Option<fn(Refusal) -> &'static str> = match port.service {
            "submissions" => None,
            "smtp" | "submission" | "lmtp" => Some(mailrook_smtp_server::refusal),
            mail => protocol(mail)
                .filter(|protocol| !protocol.implicit_tls())
                .map(MailProtocol::refusal),
        };
        mailrook_net::turn_away(&port.listener, port.service, refusal)
    });
    join_all(turned_away).await;
    // There are no such ports.
    std::future::pending().await
}

/// Answers probes, each port in a task of its own.
pub fn serve_http(
    config: &Config,
    health: &Arc<dyn http::Health>,
    ports: Vec<Port>,
    shutdown: &Shutdown,
    tasks: &mut JoinSet<()>,
) {
    for port in ports {
        let settings = ServeSettings {
            name: port.service,
            implicit_tls: None,
            proxies: Vec::new(),
            limiter: port.limiter,
            refusal: http::refusal,
            drain_timeout: config.connections.drain_timeout.0,
        };
        let health = Arc::clone(health);
        tasks.spawn(mailrook_net::serve(
            port.listener,
            settings,
            shutdown.clone(),
            move |connection| http::session(connection, Arc::clone(&health)),
        ));
    }
}

/// Serves mail, each port in a task of its own.
pub fn serve_mail(
    running: &Arc<Running>,
    ports: Vec<Port>,
    shutdown: &Shutdown,
    tasks: &mut JoinSet<()>,
) {
    for port in ports {
        match port.service {
            "smtp" | "submission" | "submissions" | "lmtp" => {
                serve_smtp(running, port, shutdown, tasks)
            }
            _ => serve_clients(running, port, shutdown, tasks),
        }
    }
}

fn serve_smtp(running: &Arc<Running>, port: Port, shutdown: &Shutdown, tasks: &mut JoinSet<()>) {
    let Port {
        service,
        listener,
        limiter,
    } = port;
    let acceptors = &running.acceptors;
    let implicit_tls = service == "submissions";
    let endpoint = Arc::new(SmtpEndpoint {
        name: service,
        service: match service {
            "smtp" => Service::Mx,
            "lmtp" => Service::Lmtp,
            _ => Service::Submission,
        },
        tls: acceptors.tls.clone(),
        implicit_tls,
        plaintext_auth: acceptors.plaintext,
        proxies: acceptors.proxies.clone(),
        limiter: Arc::clone(&limiter),
        drain_timeout: acceptors.drain_timeout,
    });
    let settings = ServeSettings {
        name: service,
        implicit_tls: acceptors.tls.clone().filter(|_| implicit_tls),
        proxies: acceptors.proxies.clone(),
        limiter,
        refusal: mailrook_smtp_server::refusal,
        drain_timeout: acceptors.drain_timeout,
    };
    let running = Arc::clone(running);
    tasks.spawn(mailrook_net::serve(
        listener,
        settings,
        shutdown.clone(),
        move |connection| {
            running
                .acceptors
                .front()
                .session(Arc::clone(&endpoint), connection)
        },
    ));
}

/// The sessions of IMAP and POP3, against the store of this process.
fn mail_sessions(config: &Config, services: &Services) -> Arc<LocalSessions> {
    let Services {
        mailstore,
        directory,
        logins,
        preparing,
        sessions: _,
    } = services.clone();
    let settings = mailrook_imap_server::Settings {
        append_limit: u32::try_from(config.imap.append_size_max.0).unwrap_or(u32::MAX),
        append_memory_max: config.imap.memory_max.as_usize(),
        login_timeout: config.connections.login_timeout.0,
        imap_idle_timeout: config.imap.idle_timeout.0,
        pop3_idle_timeout: config.pop3.idle_timeout.0,
        ..mailrook_imap_server::Settings::default()
    };
    LocalSessions::new(SessionContext::new(
        mailstore, directory, logins, preparing, settings,
    ))
}

fn serve_clients(running: &Arc<Running>, port: Port, shutdown: &Shutdown, tasks: &mut JoinSet<()>) {
    let service = port.service;
    let acceptors = &running.acceptors;
    let Some(protocol) = protocol(service) else {
        return;
    };
    let endpoint = Endpoint {
        protocol,
        tls: acceptors.tls.clone(),
        plaintext_login: acceptors.plaintext,
        proxies: acceptors.proxies.clone(),
        limiter: port.limiter,
        drain_timeout: acceptors.drain_timeout,
    };
    let (door, shutdown) = (acceptors.door.clone(), shutdown.clone());
    tasks.spawn(async move {
        if let Err(error) = door.serve(port.listener, endpoint, shutdown).await {
            // The configuration's check does not let it come to this.
            error!(service, %error, "not served");
        }
    });
}

fn protocol(service: &str) -> Option<MailProtocol> {
    let mut all = MailProtocol::ALL.into_iter();
    all.find(|protocol| protocol.name() == service)
}
