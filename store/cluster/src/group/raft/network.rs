//! The way to the other copies of a group. There is none yet: a node is the only voter of its groups.

use std::{future::Future, io};

use openraft::{
    OptionalSend, RaftNetworkFactory, RaftNetworkV2,
    error::{RPCError, ReplicationClosed, StreamingError, Unreachable},
    impls::EmptyNode,
    network::RPCOption,
    raft::{
        AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse,
    },
};

use super::{
    snapshot::SnapshotSource,
    types::{Snapshot, Types, Vote},
};

/// Reaches nobody.
pub(super) struct NoNetwork;

fn unreachable() -> Unreachable<Types> {
    Unreachable::new(&io::Error::other(
        "this version of Mailrook has no way to other nodes yet",
    ))
}

impl RaftNetworkFactory<Types> for NoNetwork {
    type Network = NoNetwork;

    async fn new_client(&mut self, _target: u64, _node: &EmptyNode) -> NoNetwork {
        NoNetwork
    }
}

impl RaftNetworkV2<Types> for NoNetwork {
    type SnapshotData = SnapshotSource;

    async fn append_entries(
        &mut self,
        _request: AppendEntriesRequest<Types>,
        _option: RPCOption,
    ) -> Result<AppendEntriesResponse<Types>, RPCError<Types>> {
        Err(RPCError::Unreachable(unreachable()))
    }

    async fn vote(
        &mut self,
        _request: VoteRequest<Types>,
        _option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        Err(RPCError::Unreachable(unreachable()))
    }

    /// The default grants everything.
    async fn pre_vote(
        &mut self,
        _request: VoteRequest<Types>,
        _option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        Err(RPCError::Unreachable(unreachable()))
    }

    async fn full_snapshot(
        &mut self,
        _vote: Vote,
        _snapshot: Snapshot,
        _cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        Err(StreamingError::Unreachable(unreachable()))
    }
}
