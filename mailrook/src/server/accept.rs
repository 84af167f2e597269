//! Which sessions each service runs.

use std::{net::SocketAddr, sync::Arc};

use mailrook_auth::Logins;
use mailrook_imap_server::SessionContext;
use mailrook_net::{
    BlockingPool, Limiter, Limits, Network, Refusal, ServeSettings, SessionRegistry, Shutdown,
    TlsAcceptor,
};
use mailrook_smtp_server::{
    BareNewlines, Endpoint as SmtpEndpoint, FrontEnd, Service, Services, Settings,
};
use mailrook_store_api::{Directory, Mailstore};
use murder_proxy::{Endpoint, FrontDoor, LocalSessions, MailProtocol};
use parking_lot::RwLock;
use tokio::task::JoinSet;
use tracing::{error, info};

use super::{
    WAITING_MAX,
    host::{Listening, Running},
    listen::Socket,
};
use crate::{
    config::{self, Config},
    http,
};

/// Probes come from a few monitors.
const HTTP_CONNECTIONS_MAX: usize = 256;

/// What runs sessions, by protocol.
pub struct Acceptors {
    /// What new SMTP sessions run on. One that a reload replaced lives as long as its sessions; its figures and its bounds
    /// are those of this one.
    front: RwLock<FrontEnd>,
    /// Where mail clients come in. Its registry has the sessions of SMTP too.
    pub door: FrontDoor,
    tls: Option<TlsAcceptor>,
    plaintext: bool,
    limits: Limits,
    proxies: Vec<Network>,
    drain_timeout: std::time::Duration,
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
        let networks =
            |list: &[config::NetworkText]| list.iter().map(|network| network.0).collect();
        let count = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
        let sessions = mail_sessions(config, &services);
        let listed = Arc::clone(&services.sessions);
        let connections = &config.connections;
        Acceptors {
            front: RwLock::new(FrontEnd::new(smtp_settings(config), services)),
            door: FrontDoor::new(sessions, listed),
            tls,
            plaintext: config.login.plaintext,
            limits: Limits {
                connections_max: count(connections.max),
                connections_per_address_max: count(connections.per_address_max),
                pending_max: count(connections.pending_max),
                pending_per_address_max: count(connections.pending_per_address_max),
                login_deadline: Some(connections.login_timeout.0),
                exempt: networks(&connections.exempt),
            },
            proxies: networks(&connections.proxies),
            drain_timeout: connections.drain_timeout.0,
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

    /// What counts a service's connections.
    fn limiter(&self, service: &str) -> Arc<Limiter> {
        let limits = self.limits.clone();
        Limiter::new(match service {
            // Nobody logs in there, so that all connections count as pending.
            "smtp" | "lmtp" => Limits {
                pending_max: limits.connections_max,
                pending_per_address_max: limits.connections_per_address_max,
                login_deadline: None,
                ..limits
            },
            "http" => Limits {
                connections_max: HTTP_CONNECTIONS_MAX,
                pending_max: HTTP_CONNECTIONS_MAX,
                login_deadline: None,
                ..limits
            },
            _ => limits,
        })
    }
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

/// Runs every open port in a task of its own; says where each listens.
pub fn serve_all(
    running: &Arc<Running>,
    sockets: Vec<Socket>,
    shutdown: &Shutdown,
    tasks: &mut JoinSet<()>,
) -> Vec<(&'static str, Option<SocketAddr>)> {
    let mut addresses = Vec::new();
    let mut limiter: Option<(&str, Arc<Limiter>)> = None;
    for socket in sockets {
        let Socket {
            service,
            configured,
            listener,
        } = socket;
        // The sockets of one service follow one another, and share its bounds.
        let counts = match &limiter {
            Some((name, counts)) if *name == service => Arc::clone(counts),
            _ => running.acceptors.limiter(service),
        };
        limiter = Some((service, Arc::clone(&counts)));
        let address = listener.local_addr();
        match service {
            "http" => serve_http(running, listener, &counts, shutdown, tasks),
            "smtp" | "submission" | "submissions" | "lmtp" => {
                serve_smtp(running, service, listener, &counts, shutdown, tasks)
            }
            _ => serve_mail(running, service, listener, &counts, shutdown, tasks),
        }
        let shown = address.map_or(configured, |address| address.to_string());
        info!(service, address = shown, "listening");
        running.listeners.write().push(Listening {
            service,
            address: shown,
            limiter: counts,
        });
        addresses.push((service, address));
    }
    addresses
}

fn serve_http(
    running: &Arc<Running>,
    listener: mailrook_net::Listener,
    limiter: &Arc<Limiter>,
    shutdown: &Shutdown,
    tasks: &mut JoinSet<()>,
) {
    let settings = ServeSettings {
        name: "http",
        implicit_tls: None,
        proxies: Vec::new(),
        limiter: Arc::clone(limiter),
        refusal: http::refusal,
        drain_timeout: running.acceptors.drain_timeout,
    };
    let health: Arc<dyn http::Health> = Arc::clone(running) as Arc<dyn http::Health>;
    tasks.spawn(mailrook_net::serve(
        listener,
        settings,
        shutdown.clone(),
        move |connection| http::session(connection, Arc::clone(&health)),
    ));
}

fn serve_smtp(
    running: &Arc<Running>,
    service: &'static str,
    listener: mailrook_net::Listener,
    limiter: &Arc<Limiter>,
    shutdown: &Shutdown,
    tasks: &mut JoinSet<()>,
) {
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
        limiter: Arc::clone(limiter),
        drain_timeout: acceptors.drain_timeout,
    });
    let settings = ServeSettings {
        name: service,
        implicit_tls: acceptors.tls.clone().filter(|_| implicit_tls),
        proxies: acceptors.proxies.clone(),
        limiter: Arc::clone(limiter),
        refusal: refuse_smtp,
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

fn serve_mail(
    running: &Arc<Running>,
    service: &'static str,
    listener: mailrook_net::Listener,
    limiter: &Arc<Limiter>,
    shutdown: &Shutdown,
    tasks: &mut JoinSet<()>,
) {
    let acceptors = &running.acceptors;
    let Some(protocol) = MailProtocol::ALL
        .into_iter()
        .find(|protocol| protocol.name() == service)
    else {
        return;
    };
    let endpoint = Endpoint {
        protocol,
        tls: acceptors.tls.clone(),
        plaintext_login: acceptors.plaintext,
        proxies: acceptors.proxies.clone(),
        limiter: Arc::clone(limiter),
        drain_timeout: acceptors.drain_timeout,
    };
    let (door, shutdown) = (acceptors.door.clone(), shutdown.clone());
    tasks.spawn(async move {
        if let Err(error) = door.serve(listener, endpoint, shutdown).await {
            // The configuration's check does not let it come to this.
            error!(service, %error, "not served");
        }
    });
}

/// What a client hears that is not let in (RFC 5321 §3.1).
fn refuse_smtp(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::TooManyConnections => "421 4.3.2 too many connections, try again later\r\n",
        Refusal::TooManyFromAddress => {
            "421 4.7.0 too many connections from your address, try again later\r\n"
        }
        Refusal::ShuttingDown => "421 4.3.2 this server is stopping, try again\r\n",
    }
}
