//! The sessions of this node.

use std::sync::Arc;

use mailrook_net::{Reason, Resumed, SessionEntry, SessionId, SessionRegistry};
use mailrook_types::{AccountId, NodeId, ShardId, Timestamp};

use super::fellows::{Answer, Ask};
use crate::admin::{
    SESSION_PAGE, SessionFilter, Whom,
    protocol::{SessionDetail, SessionInfo, SessionStall},
    rfc3339,
};

/// What this process has heard of the cluster. Nothing is asked for: a list of sessions is to be there while nothing else is.
pub trait Heard: Send + Sync + 'static {
    /// What a node is called.
    fn name(&self, node: NodeId) -> String;
    /// The shard that an account is on, and who leads that.
    fn place(&self, account: AccountId) -> Option<(ShardId, Option<NodeId>)>;
    /// What the accounts ask for here, in requests an hour; those that ask for something.
    fn loads(&self) -> Vec<(AccountId, u64)>;
}

/// The sessions of this node.
pub struct Here {
    /// What this node is called.
    pub node: String,
    /// Who is connected.
    pub registry: Arc<SessionRegistry>,
    /// What is known beside.
    pub heard: Arc<dyn Heard>,
}

impl Here {
    /// Answers a question, of this node's admins or of another node.
    ///
    /// # Errors
    /// It makes no sense.
    pub fn answer(&self, ask: Ask) -> Result<Answer, String> {
        Ok(match ask {
            Ask::List {
                filter,
                behind,
                limit,
            } => Answer::List(self.list(&filter, behind.as_deref(), limit)?),
            Ask::Show { id } => Answer::Show(self.show(session_id(&id)?)),
            Ask::End {
                whom,
                account,
                reason,
            } => {
                let reason = Reason::parse(&reason).map_err(|error| error.to_string())?;
                let (count, ids) = self.end(&whom, account, &reason)?;
                Answer::Ended { count, ids }
            }
            Ask::Load => {
                let loads = self.heard.loads().into_iter();
                Answer::Load(loads.map(|(account, load)| (account.0, load)).collect())
            }
        })
    }

    fn list(
        &self,
        filter: &SessionFilter,
        behind: Option<&str>,
        limit: usize,
    ) -> Result<Vec<SessionInfo>, String> {
        let behind = behind.map(session_id).transpose()?;
        let wanted = |entry: &SessionEntry| takes(filter, entry);
        let limit = limit.min(SESSION_PAGE);
        let page = self.registry.page(behind, limit, wanted);
        Ok(page.into_iter().map(|entry| self.info(entry)).collect())
    }

    fn show(&self, id: SessionId) -> Option<Box<SessionDetail>> {
        let (entry, story) = self.registry.show(id)?;
        let stalls = story.iter().map(|resumed| self.stall(resumed)).collect();
        let session = self.info(entry);
        Some(Box::new(SessionDetail { session, stalls }))
    }

    fn end(
        &self,
        whom: &Whom,
        account: Option<AccountId>,
        reason: &Reason,
    ) -> Result<(u64, Vec<String>), String> {
        let ended = match whom {
            Whom::Session(id) => {
                let id = session_id(id)?;
                self.registry.end(reason, |entry| entry.id == id)
            }
            Whom::User(user) => {
                let filter = SessionFilter {
                    user: Some(user.clone()),
                    account,
                    ..SessionFilter::default()
                };
                self.registry.end(reason, |entry| takes(&filter, entry))
            }
        };
        for entry in &ended {
            self.log_end(entry, whom, reason);
        }
        let ids = ended.iter().take(SESSION_PAGE);
        let ids = ids.map(|entry| self.full_id(entry.id)).collect();
        Ok((ended.len() as u64, ids))
    }

    /// One line for each session, so that a log tells whom a command has ended.
    fn log_end(&self, entry: &SessionEntry, whom: &Whom, reason: &Reason) {
        let asked = match whom {
            Whom::Session(_) => "by its id".to_owned(),
            Whom::User(user) => format!("by its user, {user}"),
        };
        tracing::info!(
            session = self.full_id(entry.id),
            user = entry.user.as_deref().unwrap_or("-"),
            protocol = entry.protocol,
            command = "session kill",
            asked,
            %reason,
            "session ended by an admin"
        );
    }

    fn full_id(&self, id: SessionId) -> String {
        format!("{}-{id}", self.node)
    }

    fn info(&self, entry: SessionEntry) -> SessionInfo {
        let place = entry.account.and_then(|account| self.heard.place(account));
        let since = entry.since.duration_since(std::time::UNIX_EPOCH);
        let since_ms = since.unwrap_or_default().as_millis();
        SessionInfo {
            id: self.full_id(entry.id),
            node: self.node.clone(),
            service: entry.protocol.to_owned(),
            peer: entry.peer.to_string(),
            tls: entry.tls,
            user: entry.user,
            since: rfc3339(Timestamp(i64::try_from(since_ms).unwrap_or(i64::MAX))),
            mailbox: entry.mailbox,
            command: entry.command.map(str::to_owned),
            lasting_ms: u64::try_from(entry.lasting.as_millis()).unwrap_or(u64::MAX),
            shard: place.map(|(shard, _)| shard.0),
            leader: place.and_then(|(_, leader)| Some(self.heard.name(leader?))),
            received_bytes: entry.received,
            sent_bytes: entry.sent,
            resumed: entry.resumed,
            replayed: entry.replayed,
            ended: entry.ended.map(|reason| reason.as_str().to_owned()),
        }
    }

    fn stall(&self, resumed: &Resumed) -> SessionStall {
        let name = |node: NodeId| self.heard.name(node);
        SessionStall {
            at: rfc3339(resumed.at),
            command: resumed.command.map(str::to_owned),
            cause: resumed.cause.name().to_owned(),
            shard: resumed.shard.0,
            leader_before: resumed.leader_before.map(name),
            leader_after: resumed.leader_after.map(name),
            stalled_ms: u64::try_from(resumed.stalled.as_millis()).unwrap_or(u64::MAX),
            replays: resumed.replays,
            outcome: outcome(resumed).to_owned(),
        }
    }
}

fn takes(filter: &SessionFilter, entry: &SessionEntry) -> bool {
    filter.takes(entry.protocol, entry.user.as_deref(), entry.account)
}

/// How it ended, in a word.
pub fn outcome(resumed: &Resumed) -> &'static str {
    match resumed.done {
        true => "done",
        false => "given up",
    }
}

fn session_id(text: &str) -> Result<SessionId, String> {
    text.parse()
        .map_err(|()| format!("{text:?} is no session's id; `mailrook session list` shows them"))
}
