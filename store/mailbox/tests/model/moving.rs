//! Two shards between which accounts move while they are used, against the reference, which knows one: whatever is interrupted, taken
//! over, given up or comes late, every command is carried out once, and every account is what it would be had it stayed.

use std::collections::BTreeMap;

use mailrook_kv::{MemoryStore, Store};
use mailrook_mailbox::{
    AccountChange, Answer, BodySource, Change, DeliveryOutcome, MoveCommand, MoveReply, MoveStage,
    MoveStanding, MoveStep, MovedPair, Mover, Query, Refusal, ShardCommand, ShardReply, answer,
    check,
};
use mailrook_types::AccountId;
use proptest::prelude::*;

use crate::{
    Entry, START_MS, apply, cases, compare,
    generate::{ACCOUNTS, Clients, chunks, number_of},
    reference::Reference,
    step_ms,
};

/// Two shards, and who moves what between them.
struct Cluster {
    shards: [MemoryStore; 2],
    now: i64,
    /// Where the directory says that an account is, by its number.
    homes: BTreeMap<u64, usize>,
    moves: BTreeMap<u64, Move>,
    last_move: u64,
    /// Steps of moves that were sent before: any of them may come late.
    sent: Vec<(usize, MoveCommand)>,
}

/// A move under way.
struct Move {
    by: Mover,
    from: usize,
    to: usize,
    next: Next,
    /// Whether something came between: then it may come to nothing.
    is_disturbed: bool,
}

/// What the mover does next.
#[derive(Clone)]
enum Next {
    Begin,
    Leave(u32),
    /// Copies all, or a round, from after a key; the last round is this one.
    Copy {
        round: Option<u32>,
        after: Option<Vec<u8>>,
        last: u32,
    },
    /// What there was is copied, and this round is the last one. Or it is not known what is copied.
    Copied {
        last: u32,
        is_known: bool,
    },
    Complete(Vec<u8>),
    /// The directory has decided for the move.
    Open,
    Drop,
    /// The directory has decided against it.
    Discard,
    Return,
}

impl Cluster {
    fn new() -> Cluster {
        Cluster {
            shards: [MemoryStore::new(), MemoryStore::new()],
            now: START_MS,
            homes: (1..=ACCOUNTS).map(|account| (account, 0)).collect(),
            moves: BTreeMap::new(),
            last_move: 0,
            sent: Vec::new(),
        }
    }

    fn apply(&self, shard: usize, command: &ShardCommand) -> ShardReply {
        let entry = Entry {
            time_ms: self.now,
            bytes: command.encode(),
        };
        let reply = apply(&self.shards[shard], &[entry]).remove(0);
        let violations = check(&self.shards[shard].snapshot()).unwrap();
        assert!(
            violations.is_empty(),
            "shard {shard} after {command:?}: {violations:#?}"
        );
        ShardReply::decode(&reply).unwrap()
    }

    fn ask(&self, shard: usize, query: &Query) -> Answer {
        answer(&self.shards[shard].snapshot(), self.now, query).unwrap()
    }

    fn home(&self, account: AccountId) -> usize {
        self.homes[&account.0]
    }

    /// Sends a part of a command to where the account is, which it may have left or not reached yet.
    fn send(
        &mut self,
        account: AccountId,
        command: &ShardCommand,
        is_elsewhere: impl Fn(&ShardReply) -> bool,
    ) -> ShardReply {
        loop {
            let reply = self.apply(self.home(account), command);
            if !is_elsewhere(&reply) {
                return reply;
            }
            assert!(self.moves.contains_key(&account.0), "nobody opens it");
            self.step(account.0);
        }
    }

    fn client(&mut self, command: &ShardCommand) -> ShardReply {
        match command {
            ShardCommand::Account(of) => {
                if let Change::Account(AccountChange::Delete) = of.change {
                    self.disturb();
                }
                self.send(of.account, command, |reply| {
                    *reply == ShardReply::Account(Err(Refusal::Elsewhere))
                })
            }
            ShardCommand::Deliver(deliver) => {
                for confirmation in &deliver.confirmed {
                    self.client(&ShardCommand::Confirm(vec![*confirmation]));
                }
                let mut all = vec![None; deliver.recipients.len()];
                for account in 1..=ACCOUNTS {
                    let account = AccountId(account);
                    let places = 0..deliver.recipients.len();
                    let places: Vec<usize> = places
                        .filter(|at| deliver.recipients[*at].account == account)
                        .collect();
                    if places.is_empty() {
                        continue;
                    }
                    let mut part = deliver.clone();
                    part.recipients.retain(|to| to.account == account);
                    part.confirmed = Vec::new();
                    let elsewhere = DeliveryOutcome::Refused(Refusal::Elsewhere);
                    let reply = self.send(
                        account,
                        &ShardCommand::Deliver(part),
                        |reply| matches!(reply, ShardReply::Deliver(of) if of.contains(&elsewhere)),
                    );
                    let ShardReply::Deliver(outcomes) = reply else {
                        panic!("not a delivery's reply: {reply:?}");
                    };
                    for (at, outcome) in places.into_iter().zip(outcomes) {
                        all[at] = Some(outcome);
                    }
                }
                ShardReply::Deliver(all.into_iter().map(Option::unwrap).collect())
            }
            ShardCommand::Confirm(confirmations) => {
                let account = confirmations[0].account;
                self.send(account, command, |reply| *reply != ShardReply::Done)
            }
            ShardCommand::Maildrop(of) => self.send(of.account, command, |reply| {
                *reply == ShardReply::Maildrop(Err(Refusal::Elsewhere))
            }),
            ShardCommand::Tick => {
                self.apply(0, command);
                self.apply(1, command)
            }
            other => panic!("not in this test: {other:?}"),
        }
    }

    fn moving(&mut self, shard: usize, account: u64, by: Mover, step: MoveStep) -> Moved {
        let command = MoveCommand {
            account: AccountId(account),
            by,
            step,
            cursor: Vec::new(),
        };
        self.sent.push((shard, command.clone()));
        match self.apply(shard, &ShardCommand::Move(command)) {
            ShardReply::Move(reply) => reply,
            other => panic!("not a move's reply: {other:?}"),
        }
    }

    fn begin(&mut self, account: u64) {
        if self.moves.contains_key(&account) {
            return;
        }
        self.last_move += 1;
        let from = self.homes[&account];
        let by = Mover {
            move_id: self.last_move,
            turn: 0,
        };
        let of = Move {
            by,
            from,
            to: 1 - from,
            next: Next::Begin,
            is_disturbed: self.ask(from, &quota_of(account)) == Answer::NoSuchAccount,
        };
        self.moves.insert(account, of);
    }

    /// Another mover takes over, who knows nothing but what the directory and the shards say.
    fn take_over(&mut self, account: u64) {
        let Some(of) = self.moves.get_mut(&account) else {
            return;
        };
        of.by.turn += 1;
        if !matches!(
            of.next,
            Next::Open | Next::Drop | Next::Discard | Next::Return
        ) {
            of.next = Next::Begin;
        }
    }

    /// The directory decides against a move, unless it has decided.
    fn give_up(&mut self, account: u64) {
        if let Some(of) = self.moves.get_mut(&account)
            && !matches!(of.next, Next::Open | Next::Drop)
        {
            of.next = Next::Discard;
            of.is_disturbed = true;
        }
    }

    /// What was sent before comes again, from whoever sent it.
    fn echo(&mut self, back: usize) {
        if self.sent.is_empty() {
            return;
        }
        let at = self.sent.len() - 1 - back % self.sent.len();
        let (shard, command) = self.sent[at].clone();
        self.disturb();
        self.apply(shard, &ShardCommand::Move(command));
    }

    fn disturb(&mut self) {
        let moves = self.moves.values_mut();
        moves.for_each(|of| of.is_disturbed = true);
    }

    /// The mover of an account takes a step.
    fn step(&mut self, account: u64) {
        let Some(mut of) = self.moves.remove(&account) else {
            return;
        };
        let decided = matches!(of.next, Next::Discard | Next::Return);
        let then = self.next(account, of.by, of.from, of.to, of.next);
        let fails = !decided && matches!(then, Some(Next::Discard));
        assert!(of.is_disturbed || !fails, "a move of {account} fails");
        if let Some(next) = then {
            of.next = next;
            self.moves.insert(account, of);
        }
    }

    fn next(
        &mut self,
        account: u64,
        by: Mover,
        from: usize,
        to: usize,
        next: Next,
    ) -> Option<Next> {
        let or_give_up = |reply: Moved, then: Next, again: Next| match reply {
            Ok(MoveReply::Done) => Some(then),
            Ok(MoveReply::More { .. }) => Some(again),
            // An echo came between; or the account was removed.
            _ => Some(Next::Discard),
        };
        let again = next.clone();
        match next {
            Next::Begin => {
                let begun = self.moving(to, account, by, MoveStep::Begin);
                let standing = Query::MoveStanding {
                    account: AccountId(account),
                };
                let then = match self.ask(from, &standing) {
                    Answer::MoveStanding(Some(MoveStanding { by: last, stage }))
                        if last.move_id == by.move_id =>
                    {
                        match stage {
                            MoveStage::Leaving(round) => Next::Leave(round + 1),
                            MoveStage::Fenced(last) => Next::Copied {
                                last,
                                is_known: false,
                            },
                            _ => Next::Discard,
                        }
                    }
                    _ => Next::Leave(1),
                };
                or_give_up(begun, then, again)
            }
            Next::Leave(round) => {
                let step = MoveStep::Leave {
                    round,
                    noted_from: 1,
                };
                let copy = Next::Copy {
                    round: None,
                    after: None,
                    last: round,
                };
                or_give_up(self.moving(from, account, by, step), copy, again)
            }
            Next::Copy { round, after, last } => {
                let query = Query::MovedPairs {
                    account: AccountId(account),
                    by,
                    round,
                    after,
                };
                let Answer::Moved { pairs, next } = self.ask(from, &query) else {
                    return Some(Next::Discard);
                };
                let step = MoveStep::Install(self.with_bodies(pairs));
                let then = match (next, round) {
                    (Some(after), round) => Next::Copy {
                        round,
                        after: Some(after),
                        last,
                    },
                    (None, round) if round.unwrap_or(0) < last => Next::Copy {
                        round: Some(round.unwrap_or(0) + 1),
                        after: None,
                        last,
                    },
                    _ => Next::Copied {
                        last,
                        is_known: true,
                    },
                };
                or_give_up(self.moving(to, account, by, step), then, again)
            }
            Next::Copied { last, is_known } => {
                match self.moving(from, account, by, MoveStep::Fence) {
                    Ok(MoveReply::Fenced { record }) => {
                        let first = if is_known { last } else { 0 };
                        for round in first..=last {
                            let round = (round > 0).then_some(round);
                            let mut copy = Next::Copy {
                                round,
                                after: None,
                                last: 0,
                            };
                            while let Next::Copy { round: of, .. } = &copy
                                && *of == round
                            {
                                copy = self.next(account, by, from, to, copy)?;
                            }
                        }
                        Some(Next::Complete(record))
                    }
                    _ => Some(Next::Discard),
                }
            }
            Next::Complete(record) => {
                let completed = self.moving(to, account, by, MoveStep::Complete { record });
                if completed == Ok(MoveReply::Done) {
                    self.homes.insert(account, to);
                    return Some(Next::Open);
                }
                Some(Next::Discard)
            }
            Next::Open => {
                assert_eq!(
                    self.moving(to, account, by, MoveStep::Open),
                    Ok(MoveReply::Done)
                );
                Some(Next::Drop)
            }
            Next::Drop => match self.moving(from, account, by, MoveStep::Drop) {
                Ok(MoveReply::Done) => None,
                Ok(MoveReply::More { .. }) => Some(Next::Drop),
                other => panic!("not dropped: {other:?}"),
            },
            Next::Discard => match self.moving(to, account, by, MoveStep::Discard) {
                Ok(MoveReply::Done) => Some(Next::Return),
                Ok(MoveReply::More { .. }) => Some(Next::Discard),
                other => panic!("not discarded: {other:?}"),
            },
            Next::Return => match self.moving(from, account, by, MoveStep::Return) {
                Ok(MoveReply::Done) => None,
                Ok(MoveReply::More { .. }) => Some(Next::Return),
                // It never began to leave.
                Err(Refusal::StaleAccountMove) => None,
                other => panic!("not returned: {other:?}"),
            },
        }
    }

    fn with_bodies(&self, mut pairs: Vec<MovedPair>) -> Vec<MovedPair> {
        for message in pairs.iter_mut().filter_map(|pair| pair.message.as_mut()) {
            message.source = Some(BodySource::Inline(chunks(number_of(&message.hash))));
        }
        pairs
    }
}

fn quota_of(account: u64) -> Query {
    Query::Quota {
        account: AccountId(account),
    }
}

type Moved = Result<MoveReply, Refusal>;

/// The command with its bodies in it; none if it is not for accounts that move.
fn fit(mut command: ShardCommand) -> Option<ShardCommand> {
    let inline = |body: &mut mailrook_mailbox::NewBody| {
        body.source = BodySource::Inline(chunks(number_of(&body.hash)));
    };
    match &mut command {
        ShardCommand::Account(of) => match &mut of.change {
            Change::Append(append) => {
                (append.messages.iter_mut()).for_each(|message| inline(&mut message.body));
            }
            Change::AppendUploaded { .. } => return None,
            _ => {}
        },
        ShardCommand::Deliver(deliver) => inline(&mut deliver.body),
        ShardCommand::Confirm(_) | ShardCommand::Tick | ShardCommand::Maildrop(_) => {}
        _ => return None,
    }
    Some(command)
}

fn run(steps: &[[u8; 40]]) {
    let (mut cluster, mut reference) = (Cluster::new(), Reference::default());
    let mut clients = Clients::default();
    for (at, step) in steps.iter().enumerate() {
        cluster.now += step_ms(step[0]);
        let account = u64::from(step[1]) % ACCOUNTS + 1;
        match step[2] % 32 {
            0..=3 => cluster.begin(account),
            4 => cluster.take_over(account),
            5 => cluster.give_up(account),
            6 => cluster.echo(step[3].into()),
            7..=21 => cluster.step(account),
            _ => {}
        }
        let command = match at {
            0..3 => clients.create(at as u64 + 1),
            _ => clients.next(cluster.now, &step[4..]),
        };
        let Some(command) = fit(command) else {
            continue;
        };
        let real = cluster.client(&command);
        let expected = reference.apply(cluster.now, &command, &real);
        assert_eq!(real, expected, "to step {at}, {command:?}");
        clients.hear(&command, &real);
        cluster.compare(&reference);
    }
    // All that was begun is ended, and the time ends the rest.
    while let Some(account) = cluster.moves.keys().next().copied() {
        cluster.step(account);
    }
    for _ in 0..30 {
        cluster.now += 86_400_000;
        cluster.client(&ShardCommand::Tick);
    }
    reference.apply(cluster.now, &ShardCommand::Tick, &ShardReply::Done);
    cluster.compare(&reference);
}

impl Cluster {
    /// Every account that is served is what the reference says, at its shard, and is not served at the other.
    fn compare(&self, reference: &Reference) {
        for account in 1..=ACCOUNTS {
            let home = self.homes[&account];
            let query = quota_of(account);
            let elsewhere = self.ask(1 - home, &query);
            assert!(
                matches!(elsewhere, Answer::Elsewhere | Answer::NoSuchAccount),
                "{account} is at two shards: {elsewhere:?}"
            );
            if self.ask(home, &query) != Answer::Elsewhere {
                let snapshot = self.shards[home].snapshot();
                compare::account(&snapshot, self.now, reference, account);
            } else {
                assert!(self.moves.contains_key(&account), "{account} is lost");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), ..ProptestConfig::default() })]

    #[test]
    fn moved_accounts_are_as_if_they_had_stayed(
        steps in prop::collection::vec(any::<[u8; 40]>(), 3..160),
    ) {
        run(&steps);
    }
}
