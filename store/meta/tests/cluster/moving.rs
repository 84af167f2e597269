//! Accounts that move from shard to shard.

use mailrook_meta::{
    AccountMove, AccountRecord, LEVEL_FORGOTTEN_MOVES, LEVEL_MOVES, MOVES_KEPT, MetaAnswer,
    MetaCommand, MetaQuery, MetaReply, MoveNote, MoveState, NewAccount,
};
use mailrook_types::{AccountId, Address, Domain, ShardId};

use crate::rig::Group;

fn address(local: &str) -> Address {
    Address::parse(&format!("{local}@example.test")).unwrap()
}

/// With two shards, and an account on the first of them.
fn with_account() -> (Group, AccountRecord) {
    let mut group = Group::with_one_node();
    let domain = Domain::parse("example.test").unwrap();
    group.done(MetaCommand::AddDomain(domain));
    let record = add(&mut group, "one");
    (group, record)
}

fn add(group: &mut Group, local: &str) -> AccountRecord {
    let new = NewAccount {
        address: address(local),
        credential: None,
        quota_storage_bytes: None,
        quota_messages: None,
    };
    match group.apply(MetaCommand::AddAccount(new)) {
        MetaReply::Account(record) => *record,
        other => panic!("{other:?}"),
    }
}

fn ask_for(group: &mut Group, accounts: &[AccountId], to: u32) -> Vec<AccountMove> {
    let (accounts, to) = (accounts.to_vec(), ShardId(to));
    match group.apply(MetaCommand::MoveAccounts { accounts, to }) {
        MetaReply::AccountMoves(moves) => moves,
        other => panic!("{other:?}"),
    }
}

fn flip(id: u64, turn: u32) -> MetaCommand {
    MetaCommand::FlipMove {
        id,
        turn,
        found_open: false,
    }
}

fn moved(group: &mut Group, command: MetaCommand) -> AccountMove {
    match group.apply(command) {
        MetaReply::AccountMove(of) => *of,
        other => panic!("{other:?}"),
    }
}

fn take(id: u64, turn_before: u32) -> MetaCommand {
    MetaCommand::TakeMove { id, turn_before }
}

fn abandon(id: u64) -> MetaCommand {
    let cause = "as if".to_owned();
    MetaCommand::AbandonMove { id, cause }
}

fn pending(group: &Group) -> Vec<AccountMove> {
    let query = MetaQuery::AccountMoves {
        pending: true,
        after: 0,
        limit: 9,
    };
    match group.ask(query) {
        MetaAnswer::AccountMoves(moves) => moves,
        other => panic!("{other:?}"),
    }
}

fn shard_of(group: &Group, account: AccountId) -> u32 {
    match group.ask(MetaQuery::AccountById(account)) {
        MetaAnswer::Account(Some(record)) => record.shard.0,
        other => panic!("{other:?}"),
    }
}

fn counts(group: &Group) -> Vec<u64> {
    match group.ask(MetaQuery::Shards) {
        MetaAnswer::Shards(shards) => shards.into_iter().map(|(_, count)| count).collect(),
        other => panic!("{other:?}"),
    }
}

fn last(group: &Group, account: AccountId) -> Option<MoveState> {
    match group.ask(MetaQuery::MoveOf(account)) {
        MetaAnswer::MoveOf { moved, last } => {
            let state = last.map(|of| of.state);
            let flipped = matches!(state, Some(MoveState::Moved | MoveState::Done));
            assert_eq!(moved, flipped);
            state
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_account_moves() {
    let (mut group, account) = with_account();
    let other = add(&mut group, "two");
    assert_eq!((account.shard.0, other.shard.0), (1, 2));
    assert_eq!(last(&group, account.id), None);
    // One that is there stays.
    let [asked] = &ask_for(&mut group, &[account.id, other.id, account.id], 2)[..] else {
        panic!("not one");
    };
    let id = asked.id;
    // It does already; who asks is told of that move.
    assert_eq!(
        ask_for(&mut group, &[account.id], 2),
        std::slice::from_ref(asked)
    );
    let taken = moved(&mut group, take(id, 0));
    assert_eq!((taken.turn, &taken.state), (1, &MoveState::Copying));
    let note = MoveNote {
        messages: 3,
        ..MoveNote::default()
    };
    let noted = moved(&mut group, MetaCommand::NoteMove { id, turn: 1, note });
    assert_eq!(noted.note.messages, 3);
    group.refused(MetaCommand::EndMove { id, turn: 1 });
    assert_eq!(shard_of(&group, account.id), 1);
    for _ in 0..2 {
        let flipped = moved(&mut group, flip(id, 1));
        assert_eq!(flipped.state, MoveState::Moved);
        assert_eq!(shard_of(&group, account.id), 2);
        assert_eq!(counts(&group), [0, 2]);
    }
    assert!(group.touched.iter().any(|(key, _)| *key == account.id.0));
    let said = group.refused(abandon(id));
    assert_eq!(said, format!("move {id} is decided: the account has moved"));
    moved(&mut group, MetaCommand::EndMove { id, turn: 1 });
    assert_eq!(last(&group, account.id), Some(MoveState::Done));
    group.refused(MetaCommand::EndMove { id, turn: 1 });
    // And back.
    assert_eq!(ask_for(&mut group, &[account.id], 1).len(), 1);
}

#[test]
fn one_decides() {
    let (mut group, account) = with_account();
    let id = ask_for(&mut group, &[account.id], 2)[0].id;
    moved(&mut group, take(id, 0));
    for _ in 0..2 {
        let abandoned = moved(&mut group, abandon(id));
        assert_eq!(abandoned.state, MoveState::Abandoned("as if".to_owned()));
    }
    let said = group.refused(flip(id, 1));
    assert_eq!(said, format!("move {id} is decided: the account stays"));
    assert_eq!(shard_of(&group, account.id), 1);
    moved(&mut group, MetaCommand::EndMove { id, turn: 1 });
    let failed = MoveState::Failed("as if".to_owned());
    assert_eq!(last(&group, account.id), Some(failed));
    assert_eq!(counts(&group), [1, 0]);
}

#[test]
fn who_was_taken_over_from_says_nothing_more() {
    let (mut group, account) = with_account();
    let id = ask_for(&mut group, &[account.id], 2)[0].id;
    moved(&mut group, take(id, 0));
    group.refused(take(id, 0));
    assert_eq!(moved(&mut group, take(id, 1)).turn, 2);
    let said = group.refused(flip(id, 1));
    assert!(said.contains("taken 2 times"), "{said}");
    let note = MoveNote::default();
    group.refused(MetaCommand::NoteMove { id, turn: 1, note });
    moved(&mut group, flip(id, 2));
}

#[test]
fn a_removed_account_does_not_go_on() {
    let (mut group, account) = with_account();
    let id = ask_for(&mut group, &[account.id], 2)[0].id;
    moved(&mut group, take(id, 0));
    group.apply(MetaCommand::RemoveAccount(address("one")));
    let cause = "the account was removed".to_owned();
    assert_eq!(last(&group, account.id), Some(MoveState::Abandoned(cause)));
    group.refused(flip(id, 1));
    moved(&mut group, MetaCommand::EndMove { id, turn: 1 });
    // One that waits has nothing to be undone.
    let second = add(&mut group, "two");
    let to = 3 - second.shard.0;
    let id = ask_for(&mut group, &[second.id], to)[0].id;
    group.apply(MetaCommand::RemoveAccount(address("two")));
    group.refused(take(id, 0));
}

#[test]
fn an_account_that_has_moved_goes_back_at_once() {
    let (mut group, account) = with_account();
    let first = ask_for(&mut group, &[account.id], 2)[0].id;
    moved(&mut group, take(first, 0));
    moved(&mut group, flip(first, 1));
    // What is left where it was is not kept any longer, and the next move waits until it has gone.
    let back = ask_for(&mut group, &[account.id], 1)[0].clone();
    assert_eq!((back.from.0, back.follows), (2, Some(first)));
    group.refused(take(back.id, 0));
    assert!(pending(&group)[0].hurried);
    moved(&mut group, MetaCommand::EndMove { id: first, turn: 1 });
    moved(&mut group, take(back.id, 0));
    moved(&mut group, flip(back.id, 1));
    assert_eq!(shard_of(&group, account.id), 1);
    assert_eq!(counts(&group), [1, 0]);
}

#[test]
fn a_move_rests_until_it_is_decided() {
    let (mut group, account) = with_account();
    let id = ask_for(&mut group, &[account.id], 2)[0].id;
    let pause = |paused| MetaCommand::PauseMove { id, paused };
    assert!(moved(&mut group, pause(true)).paused);
    assert!(!moved(&mut group, pause(false)).paused);
    moved(&mut group, take(id, 0));
    moved(&mut group, abandon(id));
    group.refused(pause(true));
}

#[test]
fn a_recovered_directory_doubts_its_moves() {
    let (mut group, account) = with_account();
    let id = ask_for(&mut group, &[account.id], 2)[0].id;
    moved(&mut group, take(id, 0));
    group.done(MetaCommand::RaiseFeatureLevel { to: LEVEL_MOVES });
    group.done(MetaCommand::SkipIds { by: 1_000 });
    assert!(pending(&group)[0].doubtful);
    moved(&mut group, abandon(id));
    // It was found to be served there: that had been decided, and what was decided since does not hold.
    let found = MetaCommand::FlipMove {
        id,
        turn: 1,
        found_open: true,
    };
    assert_eq!(moved(&mut group, found).state, MoveState::Moved);
    assert_eq!(shard_of(&group, account.id), 2);
    moved(&mut group, MetaCommand::EndMove { id, turn: 1 });
    // Ids of moves that may be lost are not given again.
    assert!(ask_for(&mut group, &[account.id], 1)[0].id > 1_000);
}

#[test]
fn what_cannot_be_is_refused() {
    let (mut group, account) = with_account();
    let ask = |accounts: &[u64], to: u32| MetaCommand::MoveAccounts {
        accounts: accounts.iter().map(|id| AccountId(*id)).collect(),
        to: ShardId(to),
    };
    assert_eq!(
        group.refused(ask(&[account.id.0], 9)),
        "there is no shard 9"
    );
    assert_eq!(group.refused(ask(&[99], 2)), "there is no account 99");
    group.refused(ask(&[], 2));
    group.refused(ask(&[1; 1001], 2));
    assert_eq!(group.refused(take(5, 0)), "there is no move 5");
}

/// The ids of all moves that are remembered.
fn remembered(group: &Group) -> Vec<u64> {
    let query = MetaQuery::AccountMoves {
        pending: false,
        after: 0,
        limit: 99,
    };
    match group.ask(query) {
        MetaAnswer::AccountMoves(moves) => moves.iter().map(|of| of.id).collect(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn moves_that_are_stuck_keep_no_others_from_being_forgotten() {
    const TEN_MINUTES_MS: i64 = 600_000;
    let (mut group, account) = with_account();
    let to = 3 - account.shard.0;
    let come_to_nothing = |group: &mut Group| {
        let id = ask_for(group, &[account.id], to)[0].id;
        moved(group, abandon(id));
        id
    };
    // More than are looked at in one go.
    let mut stuck = Vec::new();
    for name in ["a", "b", "c", "d", "e", "f", "g", "h", "i"] {
        let other = add(&mut group, name);
        let id = ask_for(&mut group, &[other.id], 3 - other.shard.0)[0].id;
        moved(&mut group, take(id, 0));
        stuck.push(id);
    }
    let over: Vec<u64> = (0..10).map(|_| come_to_nothing(&mut group)).collect();
    assert_eq!(remembered(&group), [&stuck[..], &over].concat());
    // As if as many had come after them as are remembered.
    group.done(MetaCommand::RaiseFeatureLevel {
        to: LEVEL_FORGOTTEN_MOVES,
    });
    group.done(MetaCommand::SkipIds { by: MOVES_KEPT });
    let first = come_to_nothing(&mut group);
    assert_eq!(remembered(&group).len(), 20, "too early for who waits");
    group.time_ms += TEN_MINUTES_MS;
    let later: Vec<u64> = (0..10).map(|_| come_to_nothing(&mut group)).collect();
    let expected = [&stuck[..], &[first], &later].concat();
    assert_eq!(remembered(&group), expected);
    assert_eq!(pending(&group).len(), stuck.len());
    // What was passed has its turn once it is over, and is told of for a while.
    for id in &stuck {
        moved(&mut group, abandon(*id));
        let end = MetaCommand::EndMove { id: *id, turn: 1 };
        moved(&mut group, end);
    }
    come_to_nothing(&mut group);
    assert!(stuck.iter().all(|id| remembered(&group).contains(id)));
    group.time_ms += TEN_MINUTES_MS;
    for _ in 0..10 {
        come_to_nothing(&mut group);
    }
    let left = remembered(&group);
    assert!(left.iter().all(|id| *id >= first), "{left:?}");
}
