//! A running server: the configured roles, put together.
//!
//! Started in this order, so that a fault stops it before anything is half done: the configuration and certificates are
//! checked, all ports are opened, root is given up, the store is opened, and only then the first session begins. It stops
//! in the reverse order. As the store may have to wait for other nodes, nobody is kept waiting meanwhile: probes and admins
//! are told why ([`starting`]), and mail clients soon that they are to try later.

mod accept;
mod cluster;
mod host;
mod housekeeping;
mod leaderless;
mod listen;
mod neighbours;
mod reached;
mod reload;
mod sessions;
mod shell;
mod starting;
mod store;
mod stories;
mod wires;

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, atomic::AtomicBool},
};

use mailrook_auth::Logins;
use mailrook_cluster::Plant;
use mailrook_net::{
    BlockingPool, LoginThrottle, SessionRegistry, Shutdown, ShutdownTrigger, ThrottleSettings,
    TlsAcceptor,
};
use mailrook_oauth::TokenVerifier;
use mailrook_sasl::{FakeSaltKey, PasswordCache};
use mailrook_store_api::{
    Directory, Mailstore, StoreError,
    meta::{FeatureLevels, MetaAnswer, MetaCommand, MetaQuery, MetaReply},
};
use parking_lot::RwLock;
use tokio::task::JoinSet;
use tracing::{info, warn};

use crate::{
    admin::{Admin, AdminDoor, Desk},
    config::Config,
    http::Health,
    logging::LogHandle,
    privileges::{self, Identity},
    tls,
};
use accept::Acceptors;
pub use host::Running;
pub use listen::SERVICES;
use listen::Socket;
use sessions::{Answering, Fellows, Heard, HeardHere, Here, Sessions, Wired};
use shell::Shell;
use starting::{Probed, Starting};
use store::Store;
pub use store::{cluster_dir, member, store_dir};
use stories::Stories;

// The configuration permits what the store can open.
const _: () = assert!(mailrook_config::SHARDS_MAX == mailrook_cluster::SHARDS_MAX);

/// Hashes and preparations that may wait for a core. At 20 ms each the last one waits 10 s with two cores, which a mail
/// client bears.
const WAITING_MAX: usize = 1_000;
/// The setting that holds the key of [`FakeSaltKey`]: one for all nodes, for ever.
const SETTING_SCRAM_KEY: &str = "scram-fake-salt-key";

/// What a server is started with.
pub struct Start {
    /// Checked.
    pub config: Config,
    /// Where it came from, for reloading.
    pub config_path: PathBuf,
    /// The running log.
    pub log: LogHandle,
    /// Whether root may stay root: for a throwaway server alone.
    pub keep_root: bool,
    /// A planted fault, for tests.
    pub plant: Option<Plant>,
    /// What this program knows, or pretends to.
    pub levels: FeatureLevels,
}

/// A server that runs.
pub struct Server {
    running: Arc<Running>,
    admin: Admin,
    tasks: JoinSet<()>,
    stop_asked: Shutdown,
}

impl Server {
    /// Starts it. When this returns, connections are accepted and answered.
    ///
    /// # Errors
    /// What is wrong and what to do about it.
    pub async fn start(start: Start) -> Result<Server, String> {
        let Start {
            config,
            config_path,
            log,
            keep_root,
            plant,
            levels,
        } = start;
        let Opened { tls, sockets, door } = open_doors(&config, keep_root)?;
        let (ports, listening) = accept::count_all(&config, sockets);
        let (shell, mut stop_asked) = Shell::new(config.hostname.clone(), listening);
        let starting = Starting::new(Arc::clone(&shell));
        let desk = Desk::new(Arc::clone(&starting) as Arc<dyn crate::admin::Starting>);
        let probed = Probed::new(Arc::clone(&starting));

        let (close, shutdown) = ShutdownTrigger::new();
        let mut tasks = JoinSet::new();
        tasks.spawn(door.serve(Arc::clone(&desk), shutdown.clone()));
        let health = Arc::clone(&probed) as Arc<dyn Health>;
        accept::serve_http(&config, &health, ports.http, &shutdown, &mut tasks);
        let opening = async {
            let store = Store::open(&config, plant, levels, &starting).await?;
            let logins = logins(&config, &store.client).await?;
            Ok::<_, String>((Arc::new(store), logins))
        };
        let (store, logins) = tokio::select! {
            opened = opening => opened?,
            never = accept::turn_away(&ports.mail) => match never {},
            () = stop_asked.requested() => {
                close.shut_down();
                // Whoever asked hears that it is done.
                ended(tasks).await;
                return Err("stopped while it was starting".to_owned());
            }
        };

        let client = store.client.clone();
        let directory: Arc<dyn Directory> = Arc::new(client.clone());
        let mailstore: Arc<dyn Mailstore> = Arc::new(client.clone());
        let acceptors = Acceptors::new(
            &config,
            tls.clone(),
            logins.clone(),
            Arc::clone(&mailstore),
            Arc::clone(&directory),
        );
        let (sessions, stories) = sessions_of(&config, &store, acceptors.door.registry());
        let running = Arc::new(Running {
            sessions,
            stories,
            config: RwLock::new(config),
            config_path,
            shell,
            log,
            tls,
            store: RwLock::new(Some(store)),
            acceptors,
            stopping: AtomicBool::new(false),
            leaderless: leaderless::Leaderless::default(),
            close,
        });
        let admin = Admin {
            directory,
            mailstore,
            hashing: logins.hashing.clone(),
            host: Arc::clone(&running) as Arc<dyn crate::admin::Host>,
        };
        tasks.spawn(housekeeping::run(client, shutdown.clone()));
        accept::serve_mail(&running, ports.mail, &shutdown, &mut tasks);
        probed.runs(&running);
        desk.open(admin.clone());
        Ok(Server {
            running,
            admin,
            tasks,
            stop_asked,
        })
    }

    /// Carries out admin requests from within.
    pub fn admin(&self) -> &Admin {
        &self.admin
    }

    /// The process as its admins and probes see it.
    pub fn running(&self) -> &Arc<Running> {
        &self.running
    }

    /// Where each service listens; `None` for a unix socket.
    pub fn addresses(&self) -> Vec<(&'static str, Option<SocketAddr>)> {
        self.running.shell.addresses()
    }

    /// Waits until an admin asked for the end.
    pub async fn stop_asked(&self) {
        self.stop_asked.clone().requested().await;
    }

    /// Stops: no new connections, sessions under way end or are ended, the store is closed.
    pub async fn stop(self) {
        let Server {
            running,
            admin,
            tasks,
            ..
        } = self;
        running.say_stopping();
        let store = running.store.read().clone();
        if let Some(store) = &store {
            store.leave().await;
        }
        let pause = running.config.read().cluster.stop_pause.0;
        running.close_after(pause).await;
        ended(tasks).await;
        drop(admin);
        running.store.write().take();
        if let Some(store) = store {
            store.close().await;
        }
        info!("stopped");
    }
}

/// Has the stories of sessions be told, and other nodes' questions about them be answered.
fn sessions_of(
    config: &Config,
    store: &Store,
    registry: &Arc<SessionRegistry>,
) -> (Arc<Sessions>, Arc<Stories>) {
    let (node, others) = (config.cluster.name.clone(), store.others.as_ref());
    let neighbours = others.map(|others| Arc::clone(&others.neighbours));
    let heard: Arc<dyn Heard> = Arc::new(HeardHere {
        own: (store.node.node_id(), node.clone()),
        client: store.client.clone(),
        neighbours: neighbours.clone(),
    });
    let stories = Arc::new(Stories::new(node.clone(), Arc::clone(&heard)));
    registry.tell_to(Arc::clone(&stories) as _);
    let here = Arc::new(Here {
        node,
        registry: Arc::clone(registry),
        heard,
    });
    if let Some(others) = others {
        let answering = Answering(Arc::downgrade(&here));
        others.desk.set_fellow(Arc::new(answering));
    }
    let wired = |neighbours| {
        let network = Arc::clone(&store.network);
        Arc::new(Wired {
            network,
            neighbours,
        }) as Arc<dyn Fellows>
    };
    let fellows = neighbours.map(wired);
    (Arc::new(Sessions { here, fellows }), stories)
}

/// Waits until all listeners have ended.
async fn ended(mut tasks: JoinSet<()>) {
    while let Some(ended) = tasks.join_next().await {
        if let Err(error) = ended {
            warn!(%error, "a listener ended badly");
        }
    }
}

/// What needs root, or fails for want of it.
struct Opened {
    tls: Option<TlsAcceptor>,
    sockets: Vec<Socket>,
    door: AdminDoor,
}

/// Reads the certificates, opens all ports, and becomes an ordinary user.
fn open_doors(config: &Config, keep_root: bool) -> Result<Opened, String> {
    let identity = if keep_root {
        None
    } else {
        Identity::find(config.user.as_deref())?
    };
    let tls = tls::acceptor(config).map_err(|error| error.to_string())?;
    let sockets = listen::bind_all(config, identity.as_ref())?;
    let at_fault = |error| {
        format!(
            "cannot make the data directory {}: {error}",
            config.data_dir.display()
        )
    };
    privileges::make_data_dir(&config.data_dir, identity.as_ref()).map_err(at_fault)?;
    if let Some(identity) = &identity {
        identity.assume()?;
        info!(user = identity.name(), "became an ordinary user");
        if tls.is_some()
            && let Err(error) = tls::load(config)
        {
            warn!(%error, "the certificate was read as root, and the user cannot read it: a reload will fail");
        }
    }
    let door = AdminDoor::open(&config.admin.socket, &config.admin.listen)
        .map_err(|error| error.to_string())?;
    for address in door.tcp_addresses() {
        info!(%address, "admin commands are taken, with the token");
    }
    Ok(Opened { tls, sockets, door })
}

async fn logins(config: &Config, directory: &dyn Directory) -> Result<Logins, String> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let entries = usize::try_from(config.login.cache_entries).unwrap_or(usize::MAX);
    let cache = PasswordCache::new(entries, config.login.cache_lifetime.0)
        .map_err(|error| error.to_string())?;
    Ok(Logins {
        cache: Arc::new(cache),
        fake_salts: FakeSaltKey::new(fake_salt_key(directory).await?),
        throttle: Arc::new(LoginThrottle::new(ThrottleSettings::default())),
        hashing: BlockingPool::new(cores, WAITING_MAX),
        tokens: tokens(config)?,
    })
}

/// Who checks tokens, if the configuration says whose are taken.
fn tokens(config: &Config) -> Result<Option<Arc<TokenVerifier>>, String> {
    let Some(oauth) = &config.oauth else {
        return Ok(None);
    };
    let verifier = TokenVerifier::new(oauth.settings()).map_err(|error| error.to_string())?;
    let verifier = Arc::new(verifier);
    // An issuer that is away holds up no start; the log says so.
    let first = Arc::clone(&verifier);
    tokio::spawn(async move { first.warm_up().await });
    Ok(Some(verifier))
}

/// The cluster's key for made-up salts, made at the first start.
async fn fake_salt_key(directory: &dyn Directory) -> Result<[u8; 32], String> {
    for _ in 0..2 {
        let query = MetaQuery::Setting(SETTING_SCRAM_KEY.to_owned());
        match directory
            .query(query)
            .await
            .map_err(|error| error.to_string())?
        {
            MetaAnswer::Setting(Some(key)) => {
                return key
                    .try_into()
                    .map_err(|_| format!("the setting {SETTING_SCRAM_KEY} is damaged"));
            }
            MetaAnswer::Setting(None) => {
                let value = Some(random::<32>()?.to_vec());
                expect_done(
                    directory,
                    MetaCommand::PutSetting {
                        name: SETTING_SCRAM_KEY.to_owned(),
                        value,
                    },
                )
                .await?;
            }
            other => return Err(format!("the directory's answer does not fit: {other:?}")),
        }
    }
    Err(format!("the setting {SETTING_SCRAM_KEY} does not stay"))
}

async fn expect_done(directory: &dyn Directory, command: MetaCommand) -> Result<(), String> {
    match directory.command(command).await {
        Ok(MetaReply::Refused(refusal)) => {
            Err(format!("the directory refuses to start: {refusal}"))
        }
        Ok(_) => Ok(()),
        Err(error @ StoreError::Full(_)) => Err(format!(
            "{error}: make room on the disk, or lower store.disk_reserve"
        )),
        Err(error) => Err(error.to_string()),
    }
}

fn random<const N: usize>() -> Result<[u8; N], String> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)
        .map_err(|error| format!("no random bytes from the system: {error}"))?;
    Ok(bytes)
}
