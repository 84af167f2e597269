//! Answers those who ask to join, and the controllers of other nodes.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
    sync::{Arc, OnceLock, Weak},
};

use bytes::Bytes;
use futures::{FutureExt, future::BoxFuture};
use mailrook_cluster::{GroupError, Node};
use mailrook_meta::{MetaAnswer, MetaCommand, MetaQuery, MetaRefusal, MetaReply};
use mailrook_store_api::Directory;
use mailrook_transport::{ClusterCa, Duplex, Handler, JoinHandler, JoinToken, NODE_VALIDITY};
use mailrook_types::{NodeId, ShardId};

use crate::{
    digest,
    fellow::Fellow,
    gather,
    join::{JoinRequest, Joined, certificate_request},
    keeper::Keeper,
    recovered::Recovered,
    report::NodeReport,
    tries::Tries,
    wire::{self, Ask},
};

/// What a desk works with.
pub struct DeskParts {
    /// The node, as long as it is open.
    pub node: Weak<Node>,
    /// The cluster's directory.
    pub directory: Arc<dyn Directory>,
    /// This node's papers.
    pub keeper: Arc<Keeper>,
    /// Groups that this node brought back alone.
    pub recovered: Arc<Recovered>,
    /// Whether copies can be made here.
    pub has_store: bool,
}

/// Answers, once it is [`Desk::open`].
#[derive(Default)]
pub struct Desk {
    parts: OnceLock<DeskParts>,
    /// Held from the look at a record until what it says is done: one that was overtaken does not get its way.
    copies: tokio::sync::Mutex<()>,
    tries: Tries,
    /// Answers the programs of other nodes.
    fellow: OnceLock<Arc<dyn Fellow>>,
}

const NOT_OPEN: &str = "this node is just starting; try again";

impl Desk {
    /// From now on it answers.
    pub fn open(&self, parts: DeskParts) {
        // A second call changes nothing.
        let _ = self.parts.set(parts);
    }

    /// From now on the programs of other nodes are answered, too. Only the first call counts.
    pub fn set_fellow(&self, fellow: Arc<dyn Fellow>) {
        let _ = self.fellow.set(fellow);
    }

    async fn answer_fellow(&self, request: Vec<u8>) -> Result<Vec<u8>, String> {
        let fellow = self.fellow.get().ok_or_else(|| NOT_OPEN.to_owned())?;
        fellow.answer(request.into()).await
    }

    fn parts(&self) -> Result<&DeskParts, String> {
        self.parts.get().ok_or_else(|| NOT_OPEN.to_owned())
    }

    fn node(&self) -> Result<Arc<Node>, String> {
        let node = self.parts()?.node.upgrade();
        node.ok_or_else(|| "this node is stopping".to_owned())
    }

    async fn answer(&self, from: NodeId, request: Bytes) -> Result<Bytes, String> {
        let node = self.node()?;
        match wire::read(&request)? {
            Ask::Papers => Ok(wire::write(&self.parts()?.keeper.in_use())),
            Ask::Renew(key) => Ok(wire::write(&self.renew(from, &key).await?)),
            Ask::Report => Ok(wire::write(&NodeReport::of(&node))),
            Ask::Fellow(request) => Ok(wire::write(&self.answer_fellow(request).await)),
            Ask::Digest(..) => Err("a digest is asked for by a stream".to_owned()),
            change => self.change(change).await.map(|()| wire::write(&())),
        }
    }

    /// Changes what this node has of a group, for a controller: another node's, or its own.
    pub(crate) async fn change(&self, ask: Ask) -> Result<(), String> {
        let node = self.node()?;
        self.parts()?
            .recovered
            .check(&ask)
            .map_err(|error| error.to_string())?;
        // The directory may not have heard of it yet.
        if !self.parts()?.has_store && matches!(ask, Ask::FoundGroup(_) | Ask::AddCopy(..)) {
            return Err("this node is configured without the role of a store".to_owned());
        }
        let changed = match ask {
            Ask::FoundGroup(shard) => {
                let _one = self.copies.lock().await;
                self.check_record(shard, true).await?;
                node.found_group(shard).await
            }
            Ask::AddCopy(shard, reached) => {
                let _one = self.copies.lock().await;
                self.check_record(shard, true).await?;
                node.add_copy(shard, reached).await
            }
            Ask::DropCopy(shard) => {
                let _one = self.copies.lock().await;
                self.check_record(shard, false).await?;
                node.drop_copy(shard).await
            }
            Ask::RemoveCopy(shard, reached) => {
                let _one = self.copies.lock().await;
                self.check_record(shard, false).await?;
                node.remove_copy(shard, reached).await
            }
            Ask::AddLearner(shard, learner) => node.add_learner(shard, learner).await,
            Ask::ChangeVoters(shard, voters) => {
                let voters: BTreeSet<NodeId> = voters.into_iter().collect();
                node.change_voters(shard, voters).await
            }
            Ask::RemoveLearner(shard, learner) => node.remove_learner(shard, learner).await,
            Ask::TransferLeader(shard, to) => node.transfer_leader(shard, to).await,
            Ask::Papers | Ask::Renew(_) | Ask::Report | Ask::Digest(..) | Ask::Fellow(_) => Ok(()),
        };
        changed.map_err(|error: GroupError| error.to_string())
    }

    async fn check_record(&self, shard: ShardId, named: bool) -> Result<(), String> {
        let own = self.node()?.node_id();
        check_record(&*self.parts()?.directory, own, shard, named).await
    }

    /// Takes a node in, if its token is good.
    async fn take_in(&self, peer: IpAddr, request: JoinRequest) -> Result<Joined, String> {
        self.tries.check(peer)?;
        certificate_request(&request)?;
        // Anybody may ask: until the token is known to be good, nothing is signed, and nothing written to the log.
        let secret_hash = JoinToken::hash_secret(&request.secret);
        if !self.lets_in(secret_hash, request.node.id).await? {
            self.tries.failed(peer);
            return Err(MetaRefusal::NoSuchJoinToken.to_string());
        }
        let parts = self.parts()?;
        let text = |error: mailrook_store_api::StoreError| error.to_string();
        if request.front.is_some() {
            // Older programs could not apply it.
            let settings = gather::settings(&*parts.directory).await.map_err(text)?;
            settings
                .check_front_nodes()
                .map_err(|refusal| refusal.to_string())?;
        }
        let cluster = self.node()?.cluster_id();
        let ca = self.ca().await?;
        let id = request.node.id;
        // Before the token is used up.
        let signed = sign(&ca, id, &request.public_key)?;
        let (public_key, node) = (request.public_key, request.node);
        let command = match request.front {
            None => MetaCommand::JoinNode { secret_hash, node },
            Some(roles) => MetaCommand::JoinFront {
                secret_hash,
                node,
                roles,
            },
        };
        match parts.directory.command(command).await.map_err(text)? {
            MetaReply::Node(record) => {
                tracing::info!(node = %id, name = record.name, address = record.address, "a node joined");
            }
            MetaReply::Refused(refusal) => return Err(refusal.to_string()),
            other => return Err(gather::misfit(&other).to_string()),
        }
        // A rotation waits for those who are members when it begins: who became one since must know of it.
        let now = self.ca().await?;
        let signed = match now.epoch == ca.epoch {
            true => signed,
            false => sign(&now, id, &public_key)?,
        };
        let nodes = gather::nodes(&*parts.directory).await.map_err(text)?;
        Ok(Joined {
            cluster,
            certificate: signed,
            trusted: now.trusted,
            nodes,
        })
    }

    async fn lets_in(&self, secret_hash: [u8; 32], node: NodeId) -> Result<bool, String> {
        let query = MetaQuery::LetsIn { secret_hash, node };
        let answer = self.parts()?.directory.query(query).await;
        match answer.map_err(|error| error.to_string())? {
            MetaAnswer::LetsIn(lets_in) => Ok(lets_in),
            other => Err(gather::misfit(&other).to_string()),
        }
    }

    async fn ca(&self) -> Result<Box<mailrook_meta::ClusterCa>, String> {
        let query = MetaQuery::ClusterCa;
        let answer = self.parts()?.directory.query(query).await;
        match answer.map_err(|error| error.to_string())? {
            MetaAnswer::ClusterCa(Some(ca)) => Ok(ca),
            MetaAnswer::ClusterCa(None) => Err(NOT_OPEN.to_owned()),
            other => Err(gather::misfit(&other).to_string()),
        }
    }

    /// A new certificate for a member, which has proven to be that with its present one.
    pub(crate) async fn renew(&self, member: NodeId, public_key: &[u8]) -> Result<String, String> {
        let query = MetaQuery::NodeById(member);
        let answer = self.parts()?.directory.query(query).await;
        match answer.map_err(|error| error.to_string())? {
            MetaAnswer::Node(Some(record)) if record.is_member() => {}
            MetaAnswer::Node(_) => return Err(format!("{member} is no member of this cluster")),
            other => return Err(gather::misfit(&other).to_string()),
        }
        let signed = sign(&*self.ca().await?, member, public_key)?;
        tracing::info!(node = %member, "a node gets a new certificate");
        Ok(signed)
    }
}

/// A copy is made and dropped on the meta group's word alone: who asks may be a controller that was deposed.
pub(crate) async fn check_record(
    directory: &dyn Directory,
    own: NodeId,
    shard: ShardId,
    named: bool,
) -> Result<(), String> {
    let query = MetaQuery::Placement { shard: Some(shard) };
    let records = match directory.query(query).await {
        Ok(MetaAnswer::Placement(records)) => records,
        Ok(other) => return Err(gather::misfit(&other).to_string()),
        Err(error) => return Err(error.to_string()),
    };
    let is_named = (records.iter()).any(|record| record.replicas.contains(&own));
    match (named, is_named) {
        (true, true) | (false, false) => Ok(()),
        (true, false) => Err(format!("group {shard} is not to have a copy on this node")),
        (false, true) => Err(format!("group {shard} is to have a copy on this node")),
    }
}

fn sign(ca: &mailrook_meta::ClusterCa, node: NodeId, public_key: &[u8]) -> Result<String, String> {
    let pem = zeroize::Zeroizing::new(format!(
        "{}{}",
        ca.signer.certificate,
        ca.signer.key.reveal()
    ));
    let ca = ClusterCa::from_pem(&pem).map_err(|error| error.to_string())?;
    let certificate = ca.sign(node, public_key, NODE_VALIDITY);
    Ok(certificate.map_err(|error| error.to_string())?.pem())
}

/// See [`Desk`].
impl Desk {
    /// What answers [`Class::Control`](mailrook_transport::Class::Control).
    pub fn handler(self: &Arc<Self>) -> Arc<dyn Handler> {
        Arc::new(Controlled(Arc::clone(self)))
    }
}

struct Controlled(Arc<Desk>);

impl Handler for Controlled {
    fn call(&self, from: NodeId, request: Bytes) -> BoxFuture<'static, Result<Bytes, String>> {
        let desk = Arc::clone(&self.0);
        async move { desk.answer(from, request).await }.boxed()
    }

    fn open(&self, _from: NodeId, request: Bytes, stream: Duplex) -> BoxFuture<'static, ()> {
        let desk = Arc::clone(&self.0);
        async move {
            // Of anything else the stream ends at once.
            if let (Ok(node), Ok(Ask::Digest(shard, index))) = (desk.node(), wire::read(&request)) {
                digest::serve(node, shard, index, stream).await;
            }
        }
        .boxed()
    }
}

/// Takes requests to join; see [`Desk`].
pub(crate) struct JoinDesk(Arc<Desk>);

impl Desk {
    /// What answers those who ask to join.
    pub fn join_handler(self: &Arc<Self>) -> Arc<dyn JoinHandler> {
        Arc::new(JoinDesk(Arc::clone(self)))
    }
}

impl JoinHandler for JoinDesk {
    fn join(&self, peer: SocketAddr, request: Bytes) -> BoxFuture<'static, Result<Bytes, String>> {
        let desk = Arc::clone(&self.0);
        async move {
            let request = JoinRequest::read(&request)?;
            let name = request.node.name.clone();
            let joined = desk.take_in(peer.ip(), request).await;
            if let Err(cause) = &joined {
                tracing::warn!(%peer, name, cause, "a node was not taken in");
            }
            Ok(wire::write(&joined?))
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use mailrook_meta::{FeatureLevels, FrontRoles, NewNode};
    use mailrook_store_api::{Call, memory::MemoryCluster};
    use mailrook_transport::{CertificateError, Credentials, NodeKey};
    use mailrook_types::Timestamp;

    use super::*;
    use crate::{join::id_of, keeper::Presents, papers::Papers};

    /// A directory that counts its changes.
    struct Counted {
        inner: MemoryCluster,
        commands: AtomicUsize,
    }

    impl Directory for Counted {
        fn command(&self, command: MetaCommand) -> Call<'_, MetaReply> {
            self.commands.fetch_add(1, Ordering::SeqCst);
            self.inner.command(command)
        }

        fn query(&self, query: MetaQuery) -> Call<'_, MetaAnswer> {
            self.inner.query(query)
        }
    }

    struct Shown;

    impl Presents for Shown {
        fn present(&self, _credentials: &Credentials) -> Result<(), CertificateError> {
            Ok(())
        }
    }

    fn request(secret: [u8; 16]) -> JoinRequest {
        let public_key = NodeKey::generate().unwrap().public_key_der();
        let node = NewNode {
            id: id_of(&public_key),
            name: "mail2".to_owned(),
            address: "192.0.2.2:7424".to_owned(),
            zone: String::new(),
            levels: FeatureLevels {
                lowest: 1,
                highest: 1,
            },
        };
        JoinRequest {
            secret,
            public_key,
            node,
            front: None,
        }
    }

    #[tokio::test]
    async fn a_token_that_is_not_good_costs_no_change_of_the_directory() {
        let dir = tempfile::tempdir().unwrap();
        let papers = Papers::at(dir.path().join("papers"));
        papers.found(7, NodeId(1)).unwrap();
        let directory = Arc::new(Counted {
            inner: MemoryCluster::new(),
            commands: AtomicUsize::new(0),
        });
        let desk = Desk::default();
        desk.open(DeskParts {
            node: Weak::new(),
            directory: Arc::clone(&directory) as _,
            keeper: Arc::new(Keeper::new(papers, Arc::new(Shown)).unwrap()),
            recovered: Arc::new(Recovered::open(dir.path()).unwrap()),
            has_store: true,
        });
        let good = MetaCommand::AddJoinToken {
            secret_hash: JoinToken::hash_secret(&[1; 16]),
            expires: Timestamp(Timestamp::now().0 + 3_600_000),
        };
        directory.inner.command(good).await.unwrap();
        let (one, other) = ([192, 0, 2, 1].into(), [192, 0, 2, 9].into());
        let mut refused = 0;
        while let Err(cause) = desk.take_in(one, request([2; 16])).await
            && cause == MetaRefusal::NoSuchJoinToken.to_string()
        {
            refused += 1;
            assert!(refused < 100, "as often as somebody likes");
        }
        assert!(refused > 1);
        // Not even with a good one, for a while; from elsewhere it goes on, as far as there is a node here.
        let cause = desk.take_in(one, request([1; 16])).await.unwrap_err();
        assert!(cause.contains("try again in"), "{cause}");
        let cause = desk.take_in(other, request([1; 16])).await.unwrap_err();
        assert_eq!(cause, "this node is stopping");
        // Nor is anything written that not all programs know.
        let front = Some(FrontRoles {
            front: true,
            proxy: true,
        });
        let without_store = JoinRequest {
            front,
            ..request([1; 16])
        };
        let cause = desk.take_in(other, without_store).await.unwrap_err();
        assert!(
            cause.starts_with("nodes without the store role need feature level 7"),
            "{cause}"
        );
        assert_eq!(directory.commands.load(Ordering::SeqCst), 0);
    }
}
