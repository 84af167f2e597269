//! How a machine becomes a member: it makes a key, shows the token's secret to a member that proves to be of the token's
//! cluster, and gets a certificate.
//!
//! The node's id follows from its key, and the key is written down first. So a join whose answer was lost is asked for
//! again by the same node, which the cluster knows by then.

use std::path::Path;

use bytes::Bytes;
use mailrook_cluster::{Node, OpenError};
use mailrook_kv::{decode, encode};
use mailrook_meta::{FrontRoles, NewNode, NodeRecord};
use mailrook_transport::{Certificate, JoinError, JoinToken, NodeKey, ask_to_join};
use mailrook_types::NodeId;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{
    book::Book,
    files::{self, FileError},
    papers::Papers,
    settings::Member,
    wire,
};

/// A request to join.
#[derive(Serialize, Deserialize)]
pub(crate) struct JoinRequest {
    pub(crate) secret: [u8; 16],
    /// SubjectPublicKeyInfo, DER.
    pub(crate) public_key: Vec<u8>,
    pub(crate) node: NewNode,
    /// What the node does, if it has no store.
    #[serde(skip)]
    pub(crate) front: Option<FrontRoles>,
}

/// A request as it is sent. In bytes only ever appended to.
#[derive(Serialize, Deserialize)]
enum Sent<T> {
    /// Of a node with a store.
    V1(T),
    /// Of one without. An older program cannot read it, and says so: nobody takes it for the other one.
    V2(T, FrontRoles),
}

impl JoinRequest {
    fn write(&self) -> Bytes {
        let sent = match self.front {
            None => Sent::V1(self),
            Some(roles) => Sent::V2(self, roles),
        };
        encode(&sent).into()
    }

    pub(crate) fn read(bytes: &[u8]) -> Result<JoinRequest, String> {
        match decode(bytes).map_err(|error| error.to_string())? {
            Sent::V1(request) => Ok(request),
            Sent::V2(request, roles) => {
                let request: JoinRequest = request;
                let front = Some(roles);
                Ok(JoinRequest { front, ..request })
            }
        }
    }
}

/// What a new member is given.
#[derive(Debug, Serialize, Deserialize)]
pub struct Joined {
    /// The cluster.
    pub cluster: u128,
    /// The node's certificate, PEM.
    pub certificate: String,
    /// Those of the cluster's CAs, PEM.
    pub trusted: Vec<String>,
    /// The nodes, the new one among them.
    pub nodes: Vec<NodeRecord>,
}

/// Why a machine did not join.
#[derive(Debug, Error)]
pub enum JoinFailed {
    /// Its files.
    #[error(transparent)]
    File(#[from] FileError),
    /// Its data directory.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A member did not take it in.
    #[error("{0}")]
    NotTaken(String),
    /// No member could be reached.
    #[error("{0}")]
    Unreachable(String),
}

/// The id that follows from a public key: the beginning of its BLAKE3, as a positive number.
pub(crate) fn id_of(public_key: &[u8]) -> NodeId {
    let digest = blake3::hash(public_key);
    let (first, _) = digest.as_bytes().split_at(8);
    let number = first
        .iter()
        .fold(0u64, |sum, byte| sum << 8 | u64::from(*byte));
    NodeId((number >> 1).max(1))
}

/// An error if the id is not that of the key: a member that was taken over cannot be given another's name.
pub(crate) fn certificate_request(request: &JoinRequest) -> Result<(), String> {
    if request.node.id == id_of(&request.public_key) {
        Ok(())
    } else {
        Err("the node's id does not fit its key".to_owned())
    }
}

/// Has this machine join the cluster that `token` is for. `store` becomes its data directory, `folder` holds its papers.
///
/// # Errors
/// Nothing has changed but for the node's key; it may be tried again with the same token.
pub async fn join(
    token: &JoinToken,
    member: &Member,
    store: &Path,
    folder: &Path,
) -> Result<(NodeId, Joined), JoinFailed> {
    if let Some((_, node)) = Node::identity(store)? {
        let text = format!(
            "{} belongs to node {node} already; give a new data directory, or start that node with `mailrook serve`",
            store.display()
        );
        return Err(JoinFailed::NotTaken(text));
    }
    let papers = Papers::at(folder);
    let key = draft_key(folder)?;
    let public_key = key.public_key_der();
    let id = id_of(&public_key);
    let request = JoinRequest {
        secret: *token.secret(),
        public_key,
        node: member.with_id(id),
        front: member.front,
    };
    let joined = ask_each(token, &request).await?;
    let damaged = |error: mailrook_transport::CertificateError| {
        JoinFailed::NotTaken(format!("the member's answer cannot be used: {error}"))
    };
    let certificate = Certificate::from_pem(&joined.certificate).map_err(damaged)?;
    Book::open(folder.join(BOOK), id)?.learn(&joined.nodes)?;
    Node::enrol(store, joined.cluster, id)?;
    papers.put(&key, &certificate, &joined.trusted)?;
    papers.load()?;
    files::remove(&folder.join(DRAFT))?;
    Ok((id, joined))
}

/// Where a node keeps its [`Book`].
pub(crate) const BOOK: &str = "nodes";
const DRAFT: &str = "joining.key";

/// The key of an earlier try, or a new one.
fn draft_key(folder: &Path) -> Result<NodeKey, FileError> {
    let path = folder.join(DRAFT);
    let at_fault = |error: mailrook_transport::CertificateError| files::damaged(&path, error);
    if let Some(pem) = files::read_text(&path)? {
        return NodeKey::from_pem(&pem).map_err(at_fault);
    }
    let key = NodeKey::generate().map_err(at_fault)?;
    files::make_folder(folder)?;
    files::replace(&path, key.pem().as_bytes())?;
    Ok(key)
}

/// Asks one member after the other. One that refuses has the last word: the others would say the same.
async fn ask_each(token: &JoinToken, request: &JoinRequest) -> Result<Joined, JoinFailed> {
    let bytes = request.write();
    let mut failures = Vec::new();
    for address in token.addresses() {
        match ask_to_join(address, token.ca_fingerprint(), bytes.clone()).await {
            Ok(reply) => {
                let joined: Joined = wire::read(&reply).map_err(JoinFailed::NotTaken)?;
                if joined.cluster != token.cluster() {
                    let text = format!("{address} is of another cluster than the token");
                    return Err(JoinFailed::NotTaken(text));
                }
                return Ok(joined);
            }
            Err(error @ JoinError::Unreachable { .. }) => failures.push(error.to_string()),
            Err(error) => return Err(JoinFailed::NotTaken(error.to_string())),
        }
    }
    Err(JoinFailed::Unreachable(failures.join("; ")))
}

#[cfg(test)]
mod tests {
    use mailrook_meta::FeatureLevels;

    use super::*;

    fn request(front: Option<FrontRoles>) -> JoinRequest {
        JoinRequest {
            secret: [7; 16],
            public_key: vec![1, 2],
            node: NewNode {
                id: NodeId(5),
                name: "mail5".to_owned(),
                address: "192.0.2.5:7424".to_owned(),
                zone: String::new(),
                levels: FeatureLevels {
                    lowest: 1,
                    highest: 7,
                },
            },
            front,
        }
    }

    #[test]
    fn older_programs_read_requests_of_nodes_with_a_store_alone() {
        let with = request(None).write();
        // As it was sent before there were others.
        assert_eq!(with, wire::write(&request(None)));
        assert_eq!(JoinRequest::read(&with).unwrap().front, None);
        let roles = FrontRoles {
            front: true,
            proxy: false,
        };
        let without = request(Some(roles)).write();
        let read = JoinRequest::read(&without).unwrap();
        assert_eq!(read.front, Some(roles));
        assert_eq!(read.node, request(None).node);
        assert!(wire::read::<JoinRequest>(&without).is_err());
    }
}
