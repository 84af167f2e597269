//! What copies ask of each other in another's name.

use bytes::Bytes;
use mailrook_kv::encode;
use openraft::{
    raft::{AppendEntriesRequest, VoteRequest},
    vote::leader_id_adv::LeaderId,
};

use super::cluster::{Cluster, ONE};
use crate::group::raft::{
    Vote,
    wire::{self, Ask},
};

#[tokio::test(flavor = "multi_thread")]
async fn nobody_speaks_for_another() {
    let cluster = Cluster::of_three(|_| {}).await;
    cluster.put(ONE, 1, b"before").await;
    let leader = cluster.leader(ONE).await;
    let followers: Vec<_> = (cluster.ids().into_iter())
        .filter(|id| *id != leader)
        .collect();
    let (asked, from) = (followers[0], followers[1]);
    let group = cluster.nodes[&asked].inner.group(ONE).unwrap();
    let term = cluster.group(asked, ONE).status().term;
    let vote = |term, node: mailrook_types::NodeId, committed| Vote {
        leader_id: LeaderId {
            term,
            node_id: node.0,
        },
        committed,
    };
    let mut candidate = VoteRequest::new(vote(term + 1, leader, false), group.last_entry());
    // The lease does not stand against it.
    candidate.leadership_transfer = true;
    let entries = |vote| {
        let request = AppendEntriesRequest {
            vote,
            prev_log_id: None,
            entries: Vec::new(),
            leader_commit: None,
        };
        let (_, body) = wire::split(wire::append(ONE, &request)).unwrap();
        body
    };
    let ask = |ask: &Ask| Bytes::from(encode(ask));
    for body in [
        ask(&Ask::Vote(wire::of_vote(&candidate))),
        ask(&Ask::PreVote(wire::of_vote(&candidate))),
        entries(vote(term + 1, leader, true)),
        entries(vote(term + 1, from, false)),
        ask(&Ask::Transfer {
            from: (&vote(term, leader, true)).into(),
            to: asked.0,
            last: None,
        }),
    ] {
        let refused = group.answer(from, body).await.unwrap_err();
        assert!(refused.contains("speaks for another"), "{refused}");
    }
    assert_eq!(cluster.group(asked, ONE).status().term, term);
    assert_eq!(cluster.leader(ONE).await, leader);
}
