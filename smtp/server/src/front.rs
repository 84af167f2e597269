//! What all sessions share, and how an endpoint's listener is run.

use std::{future::Future, sync::Arc, time::Duration};

use mailrook_auth::Logins;
use mailrook_net::{
    BlockingPool, Connection, Limiter, Listener, Network, Refusal, ServeSettings, SessionRegistry,
    Shutdown, TlsAcceptor,
};
use mailrook_smtp_proto::{Service, SessionConfig};
use mailrook_store_api::{Directory, Mailstore};

use crate::{Metrics, Settings, driver::Driver, memory::Memory, policy::rate::RateLimiter};

/// The front end: sessions of any number of endpoints over one store. Clones share everything.
#[derive(Clone)]
pub struct FrontEnd(Arc<Shared>);

/// What the front end stands on.
#[derive(Clone)]
pub struct Services {
    /// Where mail goes.
    pub mailstore: Arc<dyn Mailstore>,
    /// Who gets it.
    pub directory: Arc<dyn Directory>,
    /// What a login needs; shared with the other protocols.
    pub logins: Logins,
    /// Prepares large messages: hashing, parsing, compression.
    pub preparing: BlockingPool,
    /// Where the sessions are listed; shared with the other protocols.
    pub sessions: Arc<SessionRegistry>,
}

/// One port or socket.
#[derive(Clone)]
pub struct Endpoint {
    /// In logs: `submission`.
    pub name: &'static str,
    /// What it speaks.
    pub service: Service,
    /// TLS, from the first byte or by STARTTLS.
    pub tls: Option<TlsAcceptor>,
    /// TLS from the first byte (port 465).
    pub implicit_tls: bool,
    /// Submission only: AUTH is offered without TLS to clients on this machine's loopback addresses.
    pub plaintext_auth: bool,
    /// Balancers whose PROXY header is believed.
    pub proxies: Vec<Network>,
    /// Counts connections. Where nobody logs in, give one without a login deadline.
    pub limiter: Arc<Limiter>,
    /// How long sessions may go on after a shutdown is asked for.
    pub drain_timeout: Duration,
}

pub(crate) struct Shared {
    pub(crate) settings: Settings,
    pub(crate) services: Services,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) memory: Arc<Memory>,
    pub(crate) rate: Arc<RateLimiter>,
}

impl FrontEnd {
    /// A front end.
    pub fn new(settings: Settings, services: Services) -> FrontEnd {
        let memory = Arc::new(Memory::new(settings.memory_max));
        let rate = Arc::new(RateLimiter::new(settings.rate.clone()));
        FrontEnd(Arc::new(Shared {
            settings,
            services,
            metrics: Arc::default(),
            memory,
            rate,
        }))
    }

    /// A front end of other settings for the sessions from now on; those under way keep theirs. Both share the counters,
    /// the memory and the addresses' rates, which bound the process: [`Settings::memory_max`] and [`Settings::rate`]
    /// are what the first one was made with.
    pub fn with_settings(&self, settings: Settings) -> FrontEnd {
        let Shared {
            settings: first,
            services,
            metrics,
            memory,
            rate,
        } = &*self.0;
        let settings = Settings {
            memory_max: first.memory_max,
            rate: first.rate.clone(),
            ..settings
        };
        FrontEnd(Arc::new(Shared {
            settings,
            services: services.clone(),
            metrics: Arc::clone(metrics),
            memory: Arc::clone(memory),
            rate: Arc::clone(rate),
        }))
    }

    /// What it has done.
    pub fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    /// Serves a listener until shutdown, and drains it.
    pub async fn serve(&self, listener: Listener, endpoint: Endpoint, shutdown: Shutdown) {
        let settings = ServeSettings {
            name: endpoint.name,
            implicit_tls: endpoint.tls.clone().filter(|_| endpoint.implicit_tls),
            proxies: endpoint.proxies.clone(),
            limiter: Arc::clone(&endpoint.limiter),
            refusal,
            drain_timeout: endpoint.drain_timeout,
        };
        let front = self.clone();
        let endpoint = Arc::new(endpoint);
        mailrook_net::serve(listener, settings, shutdown, move |connection| {
            front.session(Arc::clone(&endpoint), connection)
        })
        .await;
    }

    /// Runs one session to its end.
    pub fn session(
        &self,
        endpoint: Arc<Endpoint>,
        connection: Connection,
    ) -> impl Future<Output = ()> + Send + use<> {
        let config = Arc::new(self.config(&endpoint));
        let driver = Driver::new(Arc::clone(&self.0), endpoint, config, connection);
        driver.run()
    }

    fn config(&self, endpoint: &Endpoint) -> SessionConfig {
        let settings = &self.0.settings;
        let submission = endpoint.service == Service::Submission;
        SessionConfig {
            size_max: settings.size_max,
            rcpt_max: settings.rcpt_max,
            mail_max: settings.mail_max,
            starttls: endpoint.tls.is_some() && !endpoint.implicit_tls,
            auth_required: submission,
            // Only to tell "needs encryption" from "not offered": what is offered, the connection decides.
            mechanisms_tls: if submission {
                let mechanisms = self.0.services.logins.mechanisms();
                mechanisms.map(str::to_owned).collect()
            } else {
                Vec::new()
            },
            // Where the sender is a user of ours, every report that it may ask for can be delivered.
            dsn: submission,
            bare_newlines: settings.bare_newlines,
            ..SessionConfig::new(endpoint.service, settings.hostname.clone())
        }
    }
}

/// What a client hears that is not let in (RFC 5321 §3.1).
pub fn refusal(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::TooManyConnections => "421 4.3.2 too many connections, try again later\r\n",
        Refusal::TooManyFromAddress => {
            "421 4.7.0 too many connections from your address, try again later\r\n"
        }
        Refusal::NotYet => "421 4.3.2 this server is starting, try again later\r\n",
    }
}
