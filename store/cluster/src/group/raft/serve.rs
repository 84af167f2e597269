//! What other copies ask of this one.

use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, stream};
use mailrook_transport::Duplex;
use mailrook_types::NodeId;
use openraft::{
    async_runtime::watch::WatchReceiver,
    raft::{AppendEntriesRequest, TransferLeaderRequest},
};
use thiserror::Error;
use tokio::sync::mpsc;

use super::{
    admission::NotAdmitted,
    handle::RaftGroup,
    types::{LogId, Types, Vote},
    wire::{self, Ask, Told, WireAppended, WireError},
};
use crate::GroupError;

impl RaftGroup {
    /// Answers a request of another copy. The error goes to who asked.
    pub(crate) async fn answer(&self, from: NodeId, body: Bytes) -> Result<Bytes, String> {
        self.standing
            .check_running()
            .map_err(|error| error.to_string())?;
        let (ask, rest) = wire::read_ask(&body).map_err(|error| error.to_string())?;
        let admitted = match &ask {
            Ask::Append { vote, .. } | Ask::Transfer { from: vote, .. } => {
                self.admit(from, *vote, true)
            }
            Ask::Vote(request) | Ask::PreVote(request) => self.admit(from, request.vote, false),
            Ask::WouldLead => Ok(()),
        };
        let told = match admitted {
            Ok(()) => self.told(ask, rest).await?,
            Err(NotAdmitted::Outdated { recoveries }) => Told::Outdated { recoveries },
            Err(refused) => return Err(refused.to_string()),
        };
        Ok(wire::reply(&told))
    }

    async fn told(&self, ask: Ask, rest: Bytes) -> Result<Told, String> {
        let stopped = |error: &dyn std::fmt::Display| error.to_string();
        match ask {
            append @ Ask::Append { .. } => {
                let request = self.read_append(append, rest);
                let request = request.map_err(|error| stopped(&error))?;
                let response = self.raft.append_entries(request).await;
                Ok(wire::of_appended(
                    &response.map_err(|error| stopped(&error))?,
                ))
            }
            Ask::Vote(request) => {
                let response = self.raft.vote(wire::to_vote(request)).await;
                Ok(wire::of_vote_response(
                    &response.map_err(|error| stopped(&error))?,
                ))
            }
            Ask::PreVote(request) => {
                let response = self.raft.pre_vote(wire::to_vote(request)).await;
                Ok(wire::of_vote_response(
                    &response.map_err(|error| stopped(&error))?,
                ))
            }
            Ask::WouldLead => Err("the node answers that".to_owned()),
            Ask::Transfer { to, .. } if to == self.network.node().0 && !self.may_lead() => {
                Err("this copy is still to be filled".to_owned())
            }
            Ask::Transfer { from, to, last } => {
                let request = TransferLeaderRequest::new(from.into(), to, last.map(LogId::from));
                let response = self.raft.handle_transfer_leader(request).await;
                match response.map_err(|error| stopped(&error))? {
                    Ok(()) => Ok(Told::Transferred),
                    Err(refused) => Err(stopped(&refused)),
                }
            }
        }
    }

    /// Reads an admitted leader's request, which the consensus engine gets next.
    fn read_append(
        &self,
        ask: Ask,
        rest: Bytes,
    ) -> Result<AppendEntriesRequest<Types>, EntriesError> {
        let request = wire::read_append(ask, rest)?;
        self.standing.heard_of_leader(&request.vote);
        if !request.entries.is_empty() {
            self.reserve.check_last()?;
        }
        Ok(request)
    }

    /// Takes a stream of entries, and answers each request in turn.
    pub(crate) async fn take_entries(self: Arc<Self>, from: NodeId, stream: Duplex) {
        let Duplex { outgoing, incoming } = stream;
        let entries = Entries {
            group: Arc::clone(&self),
            from,
            incoming,
            answers: outgoing.clone(),
        };
        let requests = stream::unfold(entries, Entries::next);
        let mut answers = std::pin::pin!(self.raft.stream_append(requests));
        loop {
            let answer = tokio::select! {
                biased;
                answer = answers.next() => answer,
                // The leader is gone, or has begun another stream.
                () = outgoing.closed() => return,
                _ = self.standing.wait_until(|_| false) => return,
            };
            // A fatal error of the engine ends the stream: the group is stopped.
            let Some(Ok(result)) = answer else { return };
            let item = wire::reply(&wire::of_stream_result(&result));
            if outgoing.send(item).await.is_err() {
                return;
            }
        }
    }

    /// The vote that this copy gave last: for the leader, or for who asked to lead; or that of a later leader that was
    /// heard of.
    pub(crate) fn last_vote(&self) -> Option<Vote> {
        let vote = self.raft.metrics().borrow_watched().vote;
        let heard = self.standing.heard().filter(|heard| *heard > vote);
        let vote = heard.unwrap_or(vote);
        (vote.leader_id.term > 0).then_some(vote)
    }

    /// Asks for votes in the place of the leader that gave `gone`, or of a candidate.
    pub(crate) async fn take_over(&self, gone: Vote) {
        if !self.may_lead() {
            return;
        }
        let own = self.network.node().0;
        let asked = if gone.committed {
            let request = TransferLeaderRequest::new(gone, own, None);
            self.raft.handle_transfer_leader(request).await.map(drop)
        } else {
            self.raft.trigger().elect(false).await
        };
        if let Err(fatal) = asked {
            tracing::warn!(shard = %self.shard(), %fatal, "no votes were asked for");
        }
    }

    /// Asks for votes, if the others would give them: who follows a leader that this copy has not heard of says no, and no
    /// term is used up.
    pub(crate) async fn stand(&self) {
        if !self.may_lead() {
            return;
        }
        if let Err(fatal) = self.raft.trigger().elect(true).await {
            tracing::warn!(shard = %self.shard(), %fatal, "no votes were asked for");
        }
    }

    /// Who votes, as of the last membership in the log.
    pub(crate) fn voters(&self) -> Vec<NodeId> {
        self.raft.voter_ids().map(NodeId).collect()
    }

    /// The last entry of this copy's log.
    pub(crate) fn last_entry(&self) -> Option<LogId> {
        self.log.last()
    }
}

/// Why a stream of entries ends.
#[derive(Debug, Error)]
enum EntriesError {
    #[error(transparent)]
    Wire(#[from] WireError),
    #[error(transparent)]
    NotAdmitted(#[from] NotAdmitted),
    /// The leader sends them again until there is.
    #[error(transparent)]
    NoRoom(#[from] GroupError),
}

/// Requests with entries, as they arrive.
struct Entries {
    group: Arc<RaftGroup>,
    from: NodeId,
    incoming: mpsc::Receiver<Bytes>,
    answers: mpsc::Sender<Bytes>,
}

impl Entries {
    async fn next(mut self) -> Option<(AppendEntriesRequest<Types>, Entries)> {
        let item = self.incoming.recv().await?;
        let error = match self.read(item) {
            Ok(request) => return Some((request, self)),
            Err(error) => error,
        };
        match &error {
            // Said once, when the disk became full.
            EntriesError::NoRoom(_) => {}
            error => {
                tracing::warn!(shard = %self.group.shard(), from = %self.from, %error, "a stream of entries ends");
            }
        }
        if let EntriesError::NotAdmitted(NotAdmitted::Outdated { recoveries }) = error {
            let told = wire::reply(&WireAppended::Outdated { recoveries });
            // Who is gone hears it the next time.
            let _ = self.answers.send(told).await;
        }
        None
    }

    fn read(&self, item: Bytes) -> Result<AppendEntriesRequest<Types>, EntriesError> {
        let (_shard, body) = wire::split(item)?;
        let (ask, rest) = wire::read_ask(&body)?;
        if let Ask::Append { vote, .. } = &ask {
            self.group.admit(self.from, *vote, true)?;
        }
        self.group.read_append(ask, rest)
    }
}
