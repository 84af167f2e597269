//! What connects a node with others.

use std::{path::Path, sync::Arc};

use mailrook_cluster::Node;
use mailrook_control::{
    Book, Controller, Desk, DeskParts, Introductions, Keeper, Member, MoveFigures, Papers,
    Recovered, Renewal,
};
use mailrook_store_api::{Directory, meta::FeatureLevels};
use mailrook_store_client::Client;
use mailrook_transport::{Handlers, TlsNetwork, TlsNetworkOptions, WIRE_VERSIONS};
use tokio::{net::TcpListener, task::JoinHandle};
use tracing::info;

use super::{cluster_dir, neighbours::Neighbours};
use crate::config::{Address, Config};

/// The wires, before the node's groups are there.
pub struct Wires {
    /// The network.
    pub tls: Arc<TlsNetwork>,
    /// Ports for others, where nobody is answered yet.
    pub listeners: Vec<TcpListener>,
    /// What is known of the others.
    pub book: Arc<Book>,
    /// The same, and whether they are reached.
    pub neighbours: Arc<Neighbours>,
    /// What this node proves itself with.
    pub keeper: Arc<Keeper>,
    /// What this node says of itself.
    pub introductions: Arc<Introductions>,
    /// Answers the controllers and the programs of others.
    pub desk: Arc<Desk>,
    /// Counts the accounts that this node moves.
    pub moves: Arc<MoveFigures>,
    recovered: Arc<Recovered>,
}

impl Wires {
    /// Reads who this node is and opens the port for others, without answering there yet.
    ///
    /// # Errors
    /// What is wrong and what to do about it.
    pub async fn open(config: &Config, dir: &Path, levels: FeatureLevels) -> Result<Wires, String> {
        let identity = Node::identity(dir).map_err(|error| error.to_string())?;
        let Some((cluster, node)) = identity else {
            return Err(format!(
                "{} is empty, and with [cluster] listen nothing is made by itself: an empty disk must not pass for a new \
                 cluster. Say `mailrook cluster init` on the first node, or `mailrook node join TOKEN` on a further one; \
                 a member says `mailrook node token`",
                dir.display()
            ));
        };
        let folder = cluster_dir(config);
        let papers = Papers::at(&folder);
        let text = |error: mailrook_control::FileError| error.to_string();
        if !papers.exist() {
            // A node that was alone until now.
            info!("making the cluster's certificates");
            papers.found(cluster, node).map_err(text)?;
        }
        let book = Arc::new(Book::open(folder.join("nodes"), node).map_err(text)?);
        book.check_level(levels.highest)?;
        let recovered = Arc::new(Recovered::open(&folder).map_err(text)?);
        let introductions = Arc::new(Introductions::new(Arc::clone(&book)));
        let desk = Arc::new(Desk::default());
        let options = TlsNetworkOptions {
            cluster,
            node,
            credentials: papers.load().map_err(text)?,
            advertise: config.cluster.advertise.clone(),
            wire: WIRE_VERSIONS,
            feature_level: levels.highest,
            introduce: Arc::clone(&introductions) as _,
            join: Some(desk.join_handler()),
        };
        let tls = Arc::new(TlsNetwork::new(options).map_err(|error| error.to_string())?);
        let keeper = Keeper::new(papers, Arc::clone(&tls) as _).map_err(text)?;
        let name = &config.cluster.name;
        let neighbours = Neighbours::new(node, name, Arc::clone(&book), Arc::clone(&tls));
        Ok(Wires {
            tls,
            listeners: listeners(&config.cluster.listen).await?,
            book,
            neighbours: Arc::new(neighbours),
            keeper: Arc::new(keeper),
            introductions,
            recovered,
            desk,
            moves: Arc::default(),
        })
    }

    /// Answers other nodes and dials them. The controller works with `directory`.
    pub fn connect(
        self,
        node: &Arc<Node>,
        client: &Client,
        directory: Arc<dyn Directory>,
        member: Member,
    ) -> JoinHandle<()> {
        self.introductions.opened(node);
        self.desk.open(DeskParts {
            node: Arc::downgrade(node),
            directory: Arc::new(client.clone()),
            keeper: Arc::clone(&self.keeper),
            recovered: Arc::clone(&self.recovered),
            has_store: member.front.is_none(),
        });
        let handlers = Handlers {
            consensus: node.consensus_handler(),
            store: client.handler(),
            control: self.desk.handler(),
            bulk: node.bulk_handler(),
        };
        for listener in self.listeners {
            if let Ok(address) = listener.local_addr() {
                info!(%address, "other nodes are answered");
            }
            self.tls.listen(listener, handlers.clone());
        }
        let renewal = Renewal {
            node: Arc::downgrade(node),
            directory: Arc::new(client.clone()),
            network: Arc::clone(&self.tls) as _,
            book: Arc::clone(&self.book),
            desk: Arc::clone(&self.desk),
            keeper: Arc::clone(&self.keeper),
        };
        // It ends with the node.
        drop(renewal.start());
        let controller = Controller {
            node: Arc::downgrade(node),
            directory,
            shards: Arc::new(client.clone()),
            network: Arc::clone(&self.tls) as _,
            addresses: Arc::clone(&self.tls) as _,
            book: self.book,
            keeper: self.keeper,
            recovered: self.recovered,
            desk: self.desk,
            member,
            moves: self.moves,
        };
        controller.start()
    }
}

async fn listeners(addresses: &[Address]) -> Result<Vec<TcpListener>, String> {
    let mut listeners = Vec::new();
    for address in addresses {
        let bound = match address {
            Address::Tcp(address) => TcpListener::bind(address).await,
            Address::Any(port) => TcpListener::bind(("::", *port)).await,
            // Refused by the configuration.
            Address::Unix(_) | Address::Systemd(_) => continue,
        };
        let at_fault = |error| format!("cluster.listen: cannot listen on {address}: {error}");
        listeners.push(bound.map_err(at_fault)?);
    }
    Ok(listeners)
}
