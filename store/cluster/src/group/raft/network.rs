//! The way to the other copies of a group.

use std::{future::Future, io, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{
    FutureExt, Stream, StreamExt,
    future::BoxFuture,
    stream::{self, BoxStream},
};
use mailrook_transport::{CallError, Class, Network};
use mailrook_types::{NodeId, ShardId};
use openraft::{
    OptionalSend, RaftNetworkFactory, RaftNetworkV2,
    error::{NetworkError, RPCError, ReplicationClosed, StreamingError, Unreachable},
    impls::EmptyNode,
    network::{Backoff, RPCOption},
    raft::{
        AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendResult,
        TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse,
    },
};
use tokio::{sync::mpsc, time::Instant};

use super::{
    admission::stop_behind,
    send::SnapshotSender,
    snapshot::SnapshotSource,
    standing::Standing,
    types::{LogId, Snapshot, Types, Vote},
    wire::{self, Ask, Told, WireAppended},
};
use crate::Plant;

/// A copy that has entries to write answers within this time, a slow disk included; then the stream is given up and begun
/// anew.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// Between tries to reach a copy: a node that comes back is a voter that helps.
const RETRY: Duration = Duration::from_millis(100);

/// Makes a [`Way`] to each copy.
#[derive(Clone)]
pub(super) struct Ways {
    pub(super) shard: ShardId,
    pub(super) network: Arc<dyn Network>,
    pub(super) snapshots: SnapshotSender,
    pub(super) standing: Arc<Standing>,
    pub(super) plant: Option<Plant>,
}

impl RaftNetworkFactory<Types> for Ways {
    type Network = Way;

    async fn new_client(&mut self, target: u64, _node: &EmptyNode) -> Way {
        Way {
            to: NodeId(target),
            ways: self.clone(),
        }
    }
}

impl Ways {
    /// The copy at `by` says that this one is of before the group was brought back.
    fn outdated(&self, by: NodeId, recoveries: u64) -> RPCError<Types> {
        if recoveries > self.standing.recoveries() {
            stop_behind(&self.standing, by);
        }
        broken("it was brought back since")
    }
}

/// The way to one copy.
pub(super) struct Way {
    to: NodeId,
    ways: Ways,
}

/// What the consensus engine is told: back off, or try again at once.
fn rpc_error(error: CallError) -> RPCError<Types> {
    match error {
        CallError::Unreachable { .. } | CallError::Refused { .. } => {
            RPCError::Unreachable(Unreachable::new(&error))
        }
        CallError::Lost { .. } => RPCError::Network(NetworkError::new(&error)),
    }
}

fn broken(what: impl ToString) -> RPCError<Types> {
    RPCError::Network(NetworkError::new(&io::Error::other(what.to_string())))
}

/// The answers to a stream of entries, each in its turn.
type AnswerStream<'s> = BoxStream<'s, Result<StreamAppendResult<Types>, RPCError<Types>>>;

impl Way {
    async fn ask(&self, request: Bytes, option: &RPCOption) -> Result<Told, RPCError<Types>> {
        let deadline = Instant::now() + option.soft_ttl();
        let call = self
            .ways
            .network
            .call(self.to, Class::Consensus, request, deadline);
        let reply = call.await.map_err(rpc_error)?;
        match wire::read_reply(&reply).map_err(broken)? {
            Told::Outdated { recoveries } => Err(self.ways.outdated(self.to, recoveries)),
            told => Ok(told),
        }
    }

    async fn ask_for_vote(
        &self,
        ask: &Ask,
        option: &RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        match self.ask(wire::ask(self.ways.shard, ask), option).await? {
            Told::Vote {
                vote,
                granted,
                last,
            } => Ok(VoteResponse::new(
                Vote::from(vote),
                last.map(LogId::from),
                granted,
            )),
            other => Err(misfit(&other)),
        }
    }

    /// Sends what `input` gives, as it comes, and gives the answers in the same order.
    fn stream<S>(&self, input: S) -> Result<AnswerStream<'static>, RPCError<Types>>
    where
        S: Stream<Item = AppendEntriesRequest<Types>> + OptionalSend + Unpin + 'static,
    {
        let opening = wire::opening(self.ways.shard);
        let duplex = self
            .ways
            .network
            .open(self.to, Class::Consensus, opening)
            .map_err(rpc_error)?;
        // One token for each request that waits for its answer: the end of the log that it leads to.
        let (sent, waiting) = mpsc::unbounded_channel();
        tokio::spawn(send_all(self.ways.shard, input, duplex.outgoing, sent));
        let answers = Answers {
            incoming: duplex.incoming,
            waiting,
            broken: false,
            answered: 0,
            by: self.to,
            ways: self.ways.clone(),
        };
        Ok(stream::unfold(answers, Answers::next).boxed())
    }
}

fn misfit(told: &Told) -> RPCError<Types> {
    broken(format!("the answer does not fit the question: {told:?}"))
}

/// Carries requests to the stream, until either ends. What is under way is bounded by the stream.
async fn send_all<S>(
    shard: ShardId,
    mut input: S,
    outgoing: mpsc::Sender<Bytes>,
    sent: mpsc::UnboundedSender<Option<LogId>>,
) where
    S: Stream<Item = AppendEntriesRequest<Types>> + Unpin,
{
    loop {
        let request = tokio::select! {
            biased;
            request = input.next() => request,
            // Nobody waits for answers any more, or the connection is gone.
            () = sent.closed() => return,
            () = outgoing.closed() => return,
        };
        let Some(request) = request else { return };
        let last = request.entries.last().map(|entry| entry.log_id);
        let last = last.or(request.prev_log_id);
        if sent.send(last).is_err() || outgoing.send(wire::append(shard, &request)).await.is_err() {
            return;
        }
    }
}

/// The answers to a stream of entries.
struct Answers {
    incoming: mpsc::Receiver<Bytes>,
    waiting: mpsc::UnboundedReceiver<Option<LogId>>,
    broken: bool,
    answered: u64,
    by: NodeId,
    ways: Ways,
}

impl Answers {
    async fn next(
        mut self,
    ) -> Option<(Result<StreamAppendResult<Types>, RPCError<Types>>, Answers)> {
        if self.broken {
            return None;
        }
        // None once all is sent and answered.
        let last = self.waiting.recv().await?;
        // The first answer says that the other log is the same so far.
        let at_once = self.ways.plant == Some(Plant::AckBeforeQuorum) && self.answered > 0;
        let answer = if at_once && !self.incoming.is_closed() {
            // Nobody looks at it, but it has to go.
            let _ = self.incoming.try_recv();
            Ok(Ok(last))
        } else {
            self.answer().await
        };
        self.answered += 1;
        self.broken = answer.is_err();
        Some((answer, self))
    }

    async fn answer(&mut self) -> Result<StreamAppendResult<Types>, RPCError<Types>> {
        match tokio::time::timeout(ANSWER_MAX, self.incoming.recv()).await {
            Ok(Some(item)) => self.read(&item),
            Ok(None) => Err(RPCError::Unreachable(Unreachable::new(&io::Error::other(
                "the stream of entries broke",
            )))),
            Err(_) => Err(broken("no answer to entries")),
        }
    }

    fn read(&self, item: &[u8]) -> Result<StreamAppendResult<Types>, RPCError<Types>> {
        match wire::read_reply(item).map_err(broken)? {
            WireAppended::Outdated { recoveries } => Err(self.ways.outdated(self.by, recoveries)),
            appended => wire::to_stream_result(appended).map_err(broken),
        }
    }
}

impl RaftNetworkV2<Types> for Way {
    type SnapshotData = SnapshotSource;

    /// A heartbeat, or the round of a read index.
    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<Types>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<Types>, RPCError<Types>> {
        match self
            .ask(wire::append(self.ways.shard, &request), &option)
            .await?
        {
            Told::Appended(WireAppended::All) => Ok(AppendEntriesResponse::Success),
            Told::Appended(WireAppended::To(to)) => {
                Ok(AppendEntriesResponse::PartialSuccess(to.map(LogId::from)))
            }
            Told::Appended(WireAppended::Conflict(_)) => Ok(AppendEntriesResponse::Conflict),
            Told::Appended(WireAppended::HigherVote(vote)) => {
                Ok(AppendEntriesResponse::HigherVote(vote.into()))
            }
            other => Err(misfit(&other)),
        }
    }

    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        _option: RPCOption,
    ) -> BoxFuture<'s, Result<AnswerStream<'s>, RPCError<Types>>>
    where
        S: Stream<Item = AppendEntriesRequest<Types>> + OptionalSend + Unpin + 'static,
    {
        async move {
            match self.stream(input) {
                Ok(answers) => Ok(answers as AnswerStream<'s>),
                Err(error) => {
                    // The consensus engine's own wait is in `input`, which nobody took anything from.
                    tokio::time::sleep(RETRY).await;
                    Err(error)
                }
            }
        }
        .boxed()
    }

    async fn vote(
        &mut self,
        request: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        self.ask_for_vote(&Ask::Vote(wire::of_vote(&request)), &option)
            .await
    }

    async fn pre_vote(
        &mut self,
        request: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        self.ask_for_vote(&Ask::PreVote(wire::of_vote(&request)), &option)
            .await
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        let sending = self
            .ways
            .snapshots
            .send(&self.ways, self.to, vote, snapshot.snapshot);
        tokio::select! {
            biased;
            sent = sending => sent.map(SnapshotResponse::new),
            closed = cancel => Err(StreamingError::Closed(closed)),
        }
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<Types>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<Types>, RPCError<Types>> {
        let ask = wire::ask(self.ways.shard, &wire::of_transfer(&request));
        match self.ask(ask, &option).await? {
            Told::Transferred => Ok(Ok(())),
            other => Err(misfit(&other)),
        }
    }

    fn backoff(&self) -> Option<Backoff> {
        Some(Backoff::new(std::iter::repeat(RETRY)))
    }
}
