//! The sessions of all nodes, gathered by the one that is asked.
//!
//! Nothing is asked of the directory here, so that an admin sees who is connected while shards stand still. What is gathered is bounded
//! by the page, and the time by [`GATHER_MAX`]; a node that does not answer is named.

mod fellows;
mod here;

use std::{sync::Arc, time::Duration};

use futures::future::{BoxFuture, FutureExt, join_all};
use mailrook_control::NoAnswer;
use mailrook_net::{Reason, SessionId};
use mailrook_types::{AccountId, NodeId};
use tokio::time::Instant;

use crate::admin::{
    AccountLoads, Failure, SESSION_PAGE, SessionFilter, SessionHost, Whom,
    protocol::{SessionDetail, SessionPage, SessionsEnded, UnreachedNode},
};
use fellows::{Answer, Ask};
pub use fellows::{Answering, Fellows, HeardHere, Wired};
pub use here::{Heard, Here, outcome};

/// A page is there by then, however many nodes do not answer. An admin waits no longer.
const GATHER_MAX: Duration = Duration::from_secs(10);

/// The sessions of all nodes.
pub struct Sessions {
    /// Of this one.
    pub here: Arc<Here>,
    /// The others, where there are some.
    pub fellows: Option<Arc<dyn Fellows>>,
}

/// A node that can be asked.
struct Member {
    /// None: this one.
    id: Option<NodeId>,
    name: String,
}

impl Member {
    fn is_called(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name)
    }

    fn unreached(&self, why: &NoAnswer) -> UnreachedNode {
        UnreachedNode {
            node: self.name.clone(),
            why: why.to_string(),
        }
    }
}

impl Sessions {
    /// All nodes, by name.
    fn members(&self) -> Vec<Member> {
        let others = self.fellows.as_ref().map(|fellows| fellows.others());
        let others = others
            .into_iter()
            .flatten()
            .map(|(id, name)| Member { id: Some(id), name });
        let own = Member {
            id: None,
            name: self.here.node.clone(),
        };
        let mut members: Vec<Member> = others.chain([own]).collect();
        members.sort_by(|a, b| a.name.cmp(&b.name));
        members
    }

    fn member(&self, name: &str) -> Result<Member, Failure> {
        let mut members = self.members().into_iter();
        members
            .find(|member| member.is_called(name))
            .ok_or_else(|| {
                let text = format!("there is no node {name:?}; `mailrook node list` shows them");
                Failure::Refused(text)
            })
    }

    async fn ask(&self, member: &Member, ask: &Ask) -> Result<Answer, NoAnswer> {
        match (member.id, &self.fellows) {
            (Some(id), Some(fellows)) => fellows.ask(id, ask).await,
            _ => self.here.answer(ask.clone()).map_err(NoAnswer::Refused),
        }
    }

    async fn gather(
        &self,
        filter: SessionFilter,
        node: Option<String>,
        after: Option<String>,
    ) -> Result<SessionPage, Failure> {
        let after = after.as_deref().map(split).transpose()?;
        let mut members = match node {
            Some(name) => vec![self.member(&name)?],
            None => self.members(),
        };
        // Behind the last one that was told; nodes are asked in the order of their names.
        if let Some((last, _)) = after {
            members.retain(|member| member.name.as_str() >= last);
        }
        let end = Instant::now() + GATHER_MAX;
        let mut page = SessionPage::default();
        for member in &members {
            let room = SESSION_PAGE - page.sessions.len();
            if room == 0 {
                break;
            }
            let behind = after.filter(|(last, _)| member.is_called(last));
            let ask = Ask::List {
                filter: filter.clone(),
                behind: behind.map(|(_, id)| id.to_owned()),
                limit: room,
            };
            let answer = tokio::time::timeout_at(end, self.ask(member, &ask)).await;
            match answer {
                Ok(Ok(Answer::List(mut sessions))) => {
                    sessions.truncate(room);
                    page.sessions.extend(sessions);
                }
                Ok(Ok(other)) => page.unreached.push(member.unreached(&misfit(&other))),
                Ok(Err(why)) => page.unreached.push(member.unreached(&why)),
                Err(_elapsed) => {
                    let why = NoAnswer::Away("others took all the time".to_owned());
                    page.unreached.push(member.unreached(&why));
                }
            }
        }
        if page.sessions.len() >= SESSION_PAGE {
            page.next = page.sessions.last().map(|last| last.id.clone());
        }
        Ok(page)
    }

    async fn show_one(&self, id: &str) -> Result<SessionDetail, Failure> {
        let (members, id) = self.owners(id)?;
        let ask = Ask::Show { id };
        let mut unreached = Vec::new();
        for (member, answer) in self.ask_all(&members, &ask).await {
            match answer {
                Ok(Answer::Show(Some(detail))) => return Ok(*detail),
                Ok(Answer::Show(None)) => {}
                Ok(other) => unreached.push(member.unreached(&misfit(&other))),
                Err(why) => unreached.push(member.unreached(&why)),
            }
        }
        Err(no_such_session(&unreached))
    }

    async fn end_some(
        &self,
        whom: Whom,
        account: Option<AccountId>,
        reason: &Reason,
    ) -> Result<SessionsEnded, Failure> {
        let (members, whom) = match whom {
            Whom::Session(id) => {
                let (members, id) = self.owners(&id)?;
                (members, Whom::Session(id))
            }
            whom @ Whom::User(_) => (self.members(), whom),
        };
        let is_one = matches!(whom, Whom::Session(_));
        let ask = Ask::End {
            whom,
            account,
            reason: reason.as_str().to_owned(),
        };
        let mut all = SessionsEnded::default();
        for (member, answer) in self.ask_all(&members, &ask).await {
            match answer {
                Ok(Answer::Ended { count, ids }) => {
                    all.ended += count;
                    let room = SESSION_PAGE - all.ids.len();
                    all.ids.extend(ids.into_iter().take(room));
                }
                Ok(other) => all.unreached.push(member.unreached(&misfit(&other))),
                Err(why) => all.unreached.push(member.unreached(&why)),
            }
        }
        if is_one {
            if all.ended == 0 {
                return Err(no_such_session(&all.unreached));
            }
            all.unreached.clear();
        }
        Ok(all)
    }

    /// What all nodes together tell of what the accounts ask for.
    async fn gather_loads(&self) -> AccountLoads {
        let mut all = AccountLoads::default();
        for (member, answer) in self.ask_all(&self.members(), &Ask::Load).await {
            match answer {
                Ok(Answer::Load(loads)) => {
                    for (account, load) in loads {
                        let sum = all.by_account.entry(AccountId(account)).or_insert(0_u64);
                        *sum = sum.saturating_add(load);
                    }
                }
                Ok(other) => all.unreached.push(member.unreached(&misfit(&other))),
                Err(why) => all.unreached.push(member.unreached(&why)),
            }
        }
        all
    }

    /// Which nodes may have a session, and what they call it.
    fn owners(&self, id: &str) -> Result<(Vec<Member>, String), Failure> {
        let (node, own) = match id.rsplit_once('-') {
            Some((node, own)) => (Some(node), own),
            None => (None, id),
        };
        if own.parse::<SessionId>().is_err() {
            return Err(no_id(id));
        }
        let members = match node {
            Some(node) => vec![self.member(node)?],
            None => self.members(),
        };
        Ok((members, own.to_owned()))
    }

    /// Asks several at once: each has the same time.
    async fn ask_all<'m>(
        &self,
        members: &'m [Member],
        ask: &Ask,
    ) -> Vec<(&'m Member, Result<Answer, NoAnswer>)> {
        let asked = members
            .iter()
            .map(|member| async move { (member, self.ask(member, ask).await) });
        join_all(asked).await
    }
}

/// A node's name, which may have hyphens, and what it calls a session, which has none.
fn split(id: &str) -> Result<(&str, &str), Failure> {
    id.rsplit_once('-').ok_or_else(|| no_id(id))
}

fn no_id(text: &str) -> Failure {
    let text = format!("{text:?} is no session's id; `mailrook session list` shows them");
    Failure::Invalid(text)
}

fn misfit(answer: &Answer) -> NoAnswer {
    // Not the answer itself: it may be a page of sessions.
    let name = answer.name();
    NoAnswer::Refused(format!("its answer, {name:?}, does not fit the question"))
}

/// Nobody has it; or somebody who did not answer.
fn no_such_session(unreached: &[UnreachedNode]) -> Failure {
    if unreached.is_empty() {
        return Failure::Refused("there is no such session (any more)".to_owned());
    }
    let why = |node: &UnreachedNode| format!("\n  {}: {}", node.node, node.why);
    let whys: String = unreached.iter().map(why).collect();
    Failure::Unavailable(format!(
        "none of the nodes that answered has the session; these did not:{whys}"
    ))
}

impl SessionHost for Sessions {
    fn list(
        &self,
        filter: SessionFilter,
        node: Option<String>,
        after: Option<String>,
    ) -> BoxFuture<'_, Result<SessionPage, Failure>> {
        self.gather(filter, node, after).boxed()
    }

    fn show(&self, id: String) -> BoxFuture<'_, Result<SessionDetail, Failure>> {
        async move { self.show_one(&id).await }.boxed()
    }

    fn loads(&self) -> BoxFuture<'_, AccountLoads> {
        self.gather_loads().boxed()
    }

    fn end(
        &self,
        whom: Whom,
        account: Option<AccountId>,
        reason: Reason,
    ) -> BoxFuture<'_, Result<SessionsEnded, Failure>> {
        async move { self.end_some(whom, account, &reason).await }.boxed()
    }
}

#[cfg(test)]
mod tests;
