//! Runs on every node: it trusts whom the cluster trusts, and asks for another certificate before its own expires or when
//! another CA signs.

use std::{
    sync::{Arc, Weak},
    time::{Duration, SystemTime},
};

use mailrook_cluster::Node;
use mailrook_meta::ClusterTrust;
use mailrook_store_api::Directory;
use mailrook_store_client::Peers;
use mailrook_transport::{Certificate, Class, Network, NodeKey};
use tokio::{task::JoinHandle, time::Instant};

use crate::{
    book::Book,
    desk::Desk,
    keeper::{Keeper, fingerprint},
    rotation,
    wire::{self, Ask},
};

/// How often it is looked whom the cluster trusts. A rotation has two rounds of it.
const LOOK_EVERY: Duration = Duration::from_secs(3);

/// How long another node may take to sign.
const SIGN_MAX: Duration = Duration::from_secs(10);

/// What it works with.
pub struct Renewal {
    /// The node, as long as it is open.
    pub node: Weak<Node>,
    /// The cluster's directory.
    pub directory: Arc<dyn Directory>,
    /// The way to other nodes.
    pub network: Arc<dyn Network>,
    /// Who they are.
    pub book: Arc<Book>,
    /// This node's own, for when it is alone.
    pub desk: Arc<Desk>,
    /// This node's papers.
    pub keeper: Arc<Keeper>,
}

impl Renewal {
    /// Starts; it ends with the node.
    pub fn start(self) -> JoinHandle<()> {
        tokio::spawn(async move {
            while self.node.strong_count() > 0 {
                match rotation::trust(&*self.directory).await {
                    Ok(Some(trust)) => self.follow(&trust).await,
                    Ok(None) => {}
                    Err(error) => {
                        tracing::debug!(%error, "whom the cluster trusts is asked again");
                    }
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
        })
    }

    async fn follow(&self, trust: &ClusterTrust) {
        match self.keeper.trust(&trust.trusted) {
            Ok(false) => {}
            Ok(true) => tracing::info!(
                cas = trust.trusted.len(),
                "the certificates that other nodes are believed by have changed"
            ),
            Err(error) => {
                tracing::warn!(%error, "whom the cluster trusts cannot be taken over");
                return;
            }
        }
        let Ok(signer) = fingerprint(&trust.signer) else {
            return;
        };
        if !self.keeper.in_use().is_due(signer, SystemTime::now()) {
            return;
        }
        match self.renew().await {
            Ok(()) => tracing::info!("this node has a new certificate"),
            Err(cause) => tracing::warn!(cause, "no new certificate yet; it is tried again"),
        }
    }

    /// Gets a certificate for a new key, and shows it from now on.
    async fn renew(&self) -> Result<(), String> {
        let text = |error: &dyn std::fmt::Display| error.to_string();
        let key = NodeKey::generate().map_err(|error| text(&error))?;
        let signed = self.ask(key.public_key_der()).await?;
        let certificate = Certificate::from_pem(&signed).map_err(|error| text(&error))?;
        let renewed = self.keeper.renew(&key, &certificate);
        renewed.map_err(|error| text(&error))
    }

    /// Any member can have it signed; this one's present certificate says who asks.
    async fn ask(&self, public_key: Vec<u8>) -> Result<String, String> {
        let others = self.book.nodes();
        if others.is_empty() {
            return self.desk.renew(self.network.node(), &public_key).await;
        }
        let mut failures = Vec::new();
        for node in others {
            let ask = wire::write(&Ask::Renew(public_key.clone()));
            let deadline = Instant::now() + SIGN_MAX;
            match self.network.call(node, Class::Control, ask, deadline).await {
                Ok(reply) => return wire::read(&reply),
                Err(error) => failures.push(error.to_string()),
            }
        }
        Err(failures.join("; "))
    }
}
