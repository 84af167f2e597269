//! The front end: the real sessions over the real client of the store.

use std::{
    net::SocketAddr,
    sync::{Arc, LazyLock},
    time::Duration,
};

use bytes::Bytes;
use mailrook_auth::Logins;
use mailrook_imap_server::{Client as Visitor, SessionContext, Settings, serve_imap, serve_pop3};
use mailrook_mailbox::DeliveryKey;
use mailrook_meta::{Credential, MetaCommand, MetaReply, NewAccount};
use mailrook_net::{
    BlockingPool, Connection, Limiter, Limits, LoginThrottle, Network, Peer, SessionId,
    SessionRegistry, Shutdown, ShutdownTrigger, Stream, ThrottleSettings,
};
use mailrook_sasl::{FakeSaltKey, Password, PasswordCache, Salt, Verifier};
use mailrook_store_api::{
    Delivery, DeliveryRecipient, Directory, Mailstore, PreparedMessage, StoreError,
};
use mailrook_store_client::Client;
use mailrook_types::{AccountId, Address, Domain, Flags, Timestamp};
use tokio::io::DuplexStream;

use crate::cluster::{Cluster, FRONT, SHARDS};

pub const USER: &str = "user@example.test";
pub const PASSWORD: &str = "secret";

/// What the account may hold: more than any test puts there.
const WIRE_BYTES: usize = 1 << 20;

/// Hashed once for all seeds, and right once for all: a hash costs more than a whole session.
static VERIFIER: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let password = Password::prepare(PASSWORD.as_bytes()).unwrap();
    Verifier::new(&password, Salt::from_bytes([3; 16])).to_bytes()
});
static CACHE: LazyLock<Arc<PasswordCache>> = LazyLock::new(|| {
    let lifetime = Duration::from_secs(24 * 3600);
    Arc::new(PasswordCache::new(1000, lifetime).unwrap())
});

/// The front end with one account.
pub struct Front {
    pub cluster: Arc<Cluster>,
    pub account: AccountId,
    store: Client,
    context: Arc<SessionContext>,
    limiter: Arc<Limiter>,
    registry: Arc<SessionRegistry>,
    shutdown: Shutdown,
    _trigger: ShutdownTrigger,
}

impl Front {
    /// `has_copies`: the front end is a member of the groups, too, and never leads.
    pub async fn new(cluster: Arc<Cluster>, has_copies: bool) -> Front {
        let store = cluster.client(FRONT, has_copies);
        store.announce_shards(SHARDS.to_vec()).await.unwrap();
        let account = add_account(&store).await;
        let logins = Logins {
            cache: Arc::clone(&CACHE),
            fake_salts: FakeSaltKey::new([7; 32]),
            throttle: Arc::new(LoginThrottle::new(ThrottleSettings {
                exempt: vec!["0.0.0.0/0".parse::<Network>().unwrap()],
                ..ThrottleSettings::default()
            })),
            hashing: BlockingPool::new(2, 100),
            tokens: None,
        };
        let (trigger, shutdown) = ShutdownTrigger::new();
        let context = SessionContext::new(
            Arc::new(store.clone()),
            Arc::new(store.clone()),
            logins,
            BlockingPool::new(2, 1000),
            Settings::default(),
        );
        Front {
            cluster,
            account,
            store,
            context,
            limiter: Limiter::new(Limits::default()),
            registry: SessionRegistry::new(),
            shutdown,
            _trigger: trigger,
        }
    }

    /// The client's end of a new connection.
    pub fn connect(&self, is_pop3: bool) -> DuplexStream {
        let (ours, theirs) = tokio::io::duplex(WIRE_BYTES);
        let address: SocketAddr = "192.0.2.7:1234".parse().unwrap();
        let connection = Connection {
            stream: Stream::from(theirs),
            peer: Peer::Tcp {
                address,
                local: address,
            },
            id: SessionId::next(),
            admission: self.limiter.admit(Some(address.ip())).unwrap(),
            shutdown: self.shutdown.clone(),
        };
        let registration = self.registry.enter("test", &connection);
        let visitor = Visitor {
            connection,
            starttls: None,
            plaintext_login: true,
            registration,
        };
        let context = Arc::clone(&self.context);
        match is_pop3 {
            true => drop(tokio::spawn(serve_pop3(visitor, context))),
            false => drop(tokio::spawn(serve_imap(visitor, context))),
        }
        ours
    }

    /// Delivers a message, as often as it takes: its sender repeats it under the same key.
    pub async fn deliver(&self, text: &str) {
        let message = Arc::new(PreparedMessage::new(text.as_bytes()).unwrap());
        loop {
            match self.deliver_once(&message).await {
                Ok(()) => return,
                Err(StoreError::Unavailable(_)) => tokio::time::sleep(AGAIN_AFTER).await,
                Err(error) => panic!("{error}"),
            }
        }
    }

    async fn deliver_once(&self, message: &Arc<PreparedMessage>) -> Result<(), StoreError> {
        let mut lane = self.store.open_lane().await?;
        let delivery = Delivery {
            message: Arc::clone(message),
            received: Timestamp(1_000_000_000_000),
            key: Some(DeliveryKey(message.hash().0)),
            recipients: vec![DeliveryRecipient {
                account: self.account,
                mailbox: None,
                prefix: Bytes::from_static(b"Return-Path: <>\r\n"),
                flags: Flags::default(),
            }],
            confirmed: Vec::new(),
        };
        for outcome in self.store.deliver(&mut lane, delivery).await? {
            outcome?;
        }
        Ok(())
    }
}

/// A client that was told to try again later does so.
pub const AGAIN_AFTER: Duration = Duration::from_secs(2);

async fn add_account(store: &Client) -> AccountId {
    let domain = Domain::parse("example.test").unwrap();
    store.command(MetaCommand::AddDomain(domain)).await.unwrap();
    let account = NewAccount {
        address: Address::parse(USER).unwrap(),
        credential: Some(Credential {
            name: "main".to_owned(),
            scopes: Vec::new(),
            verifier: VERIFIER.clone(),
            version: 0,
            created: Timestamp::default(),
        }),
        quota_storage_bytes: None,
        quota_messages: None,
    };
    match store.command(MetaCommand::AddAccount(account)).await {
        Ok(MetaReply::Account(record)) => record.id,
        other => panic!("{other:?}"),
    }
}
