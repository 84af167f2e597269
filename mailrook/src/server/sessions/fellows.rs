//! What nodes ask each other about sessions, as JSON: a field that an older program does not know is not read there, and a
//! question that it does not know is refused. Only ever added to.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use bytes::Bytes;
use futures::future::{BoxFuture, FutureExt};
use mailrook_control::{Fellow, NoAnswer, ask_fellow};
use mailrook_store_client::Client;
use mailrook_transport::{Link, Network};
use mailrook_types::{AccountId, NodeId, ShardId};
use serde::{Deserialize, Serialize};

use super::here::{Heard, Here};
use crate::{
    admin::{
        SessionFilter, Whom,
        protocol::{SessionDetail, SessionInfo},
    },
    server::neighbours::Neighbours,
};

/// A node that lives answers sooner: what it is asked for is in its memory.
pub const ANSWER_MAX: Duration = Duration::from_secs(2);

/// A question.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "kebab-case")]
pub enum Ask {
    /// Some of its sessions.
    List {
        filter: SessionFilter,
        /// The last one that was told.
        behind: Option<String>,
        limit: usize,
    },
    /// One of its sessions.
    Show { id: String },
    /// Some are to end.
    End {
        whom: Whom,
        /// A user's account, where it is known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        account: Option<AccountId>,
        reason: String,
    },
    /// What the accounts ask for through it.
    Load,
}

/// Its answer.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "answer", content = "value", rename_all = "kebab-case")]
pub enum Answer {
    /// In the order of their age.
    List(Vec<SessionInfo>),
    /// None if it has no such session.
    Show(Option<Box<SessionDetail>>),
    /// Those that were told.
    Ended { count: u64, ids: Vec<String> },
    /// Accounts and their requests an hour; a bounded number of them.
    Load(Vec<(u64, u64)>),
}

impl Answer {
    /// Which of the questions it fits, in a word.
    pub fn name(&self) -> &'static str {
        match self {
            Answer::List(_) => "list",
            Answer::Show(_) => "show",
            Answer::Ended { .. } => "ended",
            Answer::Load(_) => "load",
        }
    }
}

/// The other nodes.
pub trait Fellows: Send + Sync + 'static {
    /// Which there are, and what they are called.
    fn others(&self) -> Vec<(NodeId, String)>;
    /// Asks one of them, for [`ANSWER_MAX`] at most.
    fn ask(&self, node: NodeId, ask: &Ask) -> BoxFuture<'static, Result<Answer, NoAnswer>>;
}

/// The others, over the network.
pub struct Wired {
    /// The way to them.
    pub network: Arc<dyn Network>,
    /// Who they are.
    pub neighbours: Arc<Neighbours>,
}

impl Fellows for Wired {
    fn others(&self) -> Vec<(NodeId, String)> {
        self.neighbours.members()
    }

    fn ask(&self, node: NodeId, ask: &Ask) -> BoxFuture<'static, Result<Answer, NoAnswer>> {
        let network = Arc::clone(&self.network);
        let request = serde_json::to_vec(ask);
        async move {
            let refused = |error: serde_json::Error| NoAnswer::Refused(error.to_string());
            if network.link(node) == Link::Silent {
                return Err(NoAnswer::Away("nothing is heard of it".to_owned()));
            }
            let answer = ask_fellow(&network, node, request.map_err(refused)?, ANSWER_MAX).await;
            let answer = answer.map_err(older_if_unknown)?;
            serde_json::from_slice(&answer).map_err(refused)
        }
        .boxed()
    }
}

/// A program that answers others, and does not know this question, says so in its parser's words.
fn older_if_unknown(why: NoAnswer) -> NoAnswer {
    match why {
        NoAnswer::Refused(text) if text.starts_with("unknown variant") => NoAnswer::Older,
        why => why,
    }
}

/// Answers them, as long as this process serves.
pub struct Answering(pub Weak<Here>);

impl Fellow for Answering {
    fn answer(&self, request: Bytes) -> BoxFuture<'static, Result<Vec<u8>, String>> {
        let here = self.0.upgrade();
        async move {
            let here = here.ok_or("this node is stopping")?;
            let text = |error: serde_json::Error| error.to_string();
            let ask = serde_json::from_slice(&request).map_err(text)?;
            serde_json::to_vec(&here.answer(ask)?).map_err(text)
        }
        .boxed()
    }
}

/// What the store's client and the node's book have heard.
pub struct HeardHere {
    /// This node, and what it is called.
    pub own: (NodeId, String),
    /// The store's client.
    pub client: Client,
    /// The others, where there are some.
    pub neighbours: Option<Arc<Neighbours>>,
}

impl Heard for HeardHere {
    fn name(&self, node: NodeId) -> String {
        match &self.neighbours {
            _ if node == self.own.0 => self.own.1.clone(),
            Some(neighbours) => neighbours.name(node.0),
            None => node.to_string(),
        }
    }

    fn place(&self, account: AccountId) -> Option<(ShardId, Option<NodeId>)> {
        let shard = self.client.shard_heard_of(account)?;
        Some((shard, self.client.leader_heard_of(shard)))
    }

    fn loads(&self) -> Vec<(AccountId, u64)> {
        let loads = self.client.account_loads().into_iter();
        loads.map(|of| (of.account, of.requests_per_hour)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// [`Ask`] as it was before anybody asked for load.
    #[derive(Debug, Deserialize)]
    #[serde(tag = "ask", rename_all = "kebab-case")]
    enum Before {
        #[allow(dead_code)]
        List { limit: usize },
    }

    #[test]
    fn a_program_that_counts_no_load_is_an_older_one() {
        let asked = serde_json::to_vec(&Ask::Load).unwrap();
        let words = serde_json::from_slice::<Before>(&asked).unwrap_err();
        let refused = NoAnswer::Refused(words.to_string());
        assert_eq!(older_if_unknown(refused), NoAnswer::Older);
        let refused = NoAnswer::Refused("this node is stopping".to_owned());
        assert_eq!(older_if_unknown(refused.clone()), refused);
    }
}
