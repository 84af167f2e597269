//! Accounts that move: see [`AccountMove`].

use std::collections::BTreeMap;

use mailrook_types::{AccountId, ShardId};

use super::{Machine, Outcome, Stop, invalid, limit};
use crate::{
    AccountMove, LEVEL_FORGOTTEN_MOVES, MOVES_AT_ONCE_MAX, MOVES_KEPT, MOVES_MAX, MetaRefusal,
    MetaReply, MoveNote, MoveState, key,
    tables::{LastMove, delete, put},
};

impl Machine<'_, '_> {
    pub(super) fn move_accounts(&mut self, accounts: &[AccountId], to: ShardId) -> Outcome {
        if accounts.is_empty() || accounts.len() > MOVES_AT_ONCE_MAX {
            return Err(limit(format!("1 to {MOVES_AT_ONCE_MAX} accounts at once")));
        }
        let shards = self.tables().shards()?;
        if !shards.iter().any(|(shard, _)| *shard == to) {
            return Err(MetaRefusal::NoSuchShard(to).into());
        }
        let pending = self.tables().counter(key::MOVES_PENDING)?;
        if pending + accounts.len() as u64 > MOVES_MAX {
            return Err(limit(format!("{MOVES_MAX} moves at a time")));
        }
        let (mut asked, mut under_way) = (BTreeMap::new(), BTreeMap::new());
        for account in accounts {
            let Some(record) = self.tables().account(*account)? else {
                return Err(invalid(format!("there is no account {}", account.0)));
            };
            let pending = self.tables().pending_move(*account)?;
            match pending {
                Some(pending) if !pending.state.is_decided() => {
                    under_way.insert(pending.id, pending);
                }
                // It goes back, or on.
                pending if record.shard != to => {
                    asked.insert(*account, (record.shard, pending));
                }
                _ => {}
            }
        }
        let new = asked.len() as u64;
        let mut moves: Vec<_> = under_way.into_values().collect();
        for (account, (from, before)) in asked {
            moves.push(self.begin_move(account, from, to, before)?);
        }
        put(
            self.view,
            key::counter(key::MOVES_PENDING),
            &(pending + new),
        );
        Ok(MetaReply::AccountMoves(moves))
    }

    fn begin_move(
        &mut self,
        account: AccountId,
        from: ShardId,
        to: ShardId,
        before: Option<AccountMove>,
    ) -> Result<AccountMove, Stop> {
        let begun = AccountMove {
            id: self.count_up(key::NEXT_ACCOUNT_MOVE)?,
            account,
            from,
            to,
            turn: 0,
            state: MoveState::Waiting,
            asked: self.now,
            changed: self.now,
            note: MoveNote::default(),
            follows: before.as_ref().map(|before| before.id),
            hurried: false,
            paused: false,
            doubtful: false,
        };
        put(self.view, key::account_move(begun.id), &begun);
        if let Some(before) = before {
            let hurried = AccountMove {
                hurried: true,
                ..before
            };
            put(self.view, key::account_move(hurried.id), &hurried);
        }
        let known = self.tables().last_move(account)?;
        let last = LastMove {
            id: begun.id,
            flipped: known.is_some_and(|last| last.flipped),
        };
        put(self.view, key::last_move(account), &last);
        Ok(begun)
    }

    pub(super) fn take_move(&mut self, id: u64, turn_before: u32) -> Outcome {
        let mut taken = self.known_move(id)?;
        let waits = match taken.follows {
            Some(before) => {
                let before = self.tables().account_move(before)?;
                before.is_some_and(|before| !before.state.is_over())
            }
            None => false,
        };
        if taken.state.is_over() || taken.turn != turn_before || waits {
            return Err(MetaRefusal::MoveTaken {
                id,
                turn: taken.turn,
            }
            .into());
        }
        taken.turn += 1;
        if taken.state == MoveState::Waiting {
            // Since it was asked for the one that it follows has come to its end.
            if let Some(record) = self.tables().account(taken.account)? {
                taken.from = record.shard;
            }
            if taken.from == taken.to {
                self.set_state(&mut taken, MoveState::Failed("it is there".to_owned()));
                self.count_over()?;
                return Ok(self.put_move(taken));
            }
            self.set_state(&mut taken, MoveState::Copying);
        }
        Ok(self.put_move(taken))
    }

    pub(super) fn note_move(&mut self, id: u64, turn: u32, note: MoveNote) -> Outcome {
        let mut noted = self.taken_move(id, turn)?;
        noted.note = note;
        Ok(self.put_move(noted))
    }

    /// The account is on the other shard from here on, unless it was decided that it stays.
    pub(super) fn flip_move(&mut self, id: u64, turn: u32, found_open: bool) -> Outcome {
        let mut flipped = self.taken_move(id, turn)?;
        match flipped.state {
            MoveState::Copying => {}
            MoveState::Abandoned(_) if found_open => {}
            MoveState::Moved => return Ok(MetaReply::AccountMove(Box::new(flipped))),
            _ => return Err(decided(&flipped)),
        }
        // An account that was removed has its move abandoned.
        let Some(mut record) = self.tables().account(flipped.account)? else {
            return Err(decided(&flipped));
        };
        record.shard = flipped.to;
        self.put_account(&record);
        // A later one may have been asked for.
        let last = self.tables().last_move(flipped.account)?;
        let last = LastMove {
            id: last.map_or(id, |last| last.id.max(id)),
            flipped: true,
        };
        put(self.view, key::last_move(flipped.account), &last);
        self.count_on_shard(flipped.from, false)?;
        self.count_on_shard(flipped.to, true)?;
        self.set_state(&mut flipped, MoveState::Moved);
        Ok(self.put_move(flipped))
    }

    /// The account stays, unless it was decided that it is on the other shard.
    pub(super) fn abandon_move(&mut self, id: u64, cause: &str) -> Outcome {
        let mut abandoned = self.known_move(id)?;
        match abandoned.state {
            MoveState::Waiting | MoveState::Copying => {}
            MoveState::Abandoned(_) | MoveState::Failed(_) => {
                return Ok(MetaReply::AccountMove(Box::new(abandoned)));
            }
            MoveState::Moved | MoveState::Done => return Err(decided(&abandoned)),
        }
        self.give_up_move(&mut abandoned, cause)?;
        Ok(self.put_move(abandoned))
    }

    pub(super) fn pause_move(&mut self, id: u64, paused: bool) -> Outcome {
        let of = self.known_move(id)?;
        if of.state.is_decided() {
            return Err(decided(&of));
        }
        Ok(self.put_move(AccountMove { paused, ..of }))
    }

    fn give_up_move(&mut self, abandoned: &mut AccountMove, cause: &str) -> Result<(), Stop> {
        let cause = cause.chars().take(CAUSE_CHARS_MAX).collect();
        // Nobody has begun it: there is nothing to be removed.
        if abandoned.state == MoveState::Waiting {
            self.set_state(abandoned, MoveState::Failed(cause));
            return self.count_over();
        }
        self.set_state(abandoned, MoveState::Abandoned(cause));
        Ok(())
    }

    pub(super) fn end_move(&mut self, id: u64, turn: u32) -> Outcome {
        let mut ended = self.taken_move(id, turn)?;
        let state = match &ended.state {
            MoveState::Moved => MoveState::Done,
            MoveState::Abandoned(cause) => MoveState::Failed(cause.clone()),
            _ => return Err(invalid(format!("move {id} is not decided yet"))),
        };
        self.set_state(&mut ended, state);
        self.count_over()?;
        Ok(self.put_move(ended))
    }

    /// An account that is removed does not go on.
    pub(super) fn end_move_of(&mut self, account: AccountId) -> Result<(), Stop> {
        if let Some(mut pending) = self.tables().pending_move(account)?
            && !pending.state.is_decided()
        {
            self.give_up_move(&mut pending, "the account was removed")?;
            self.put_move(pending);
        }
        Ok(())
    }

    fn set_state(&mut self, of: &mut AccountMove, state: MoveState) {
        of.state = state;
        of.changed = self.now;
    }

    fn put_move(&mut self, of: AccountMove) -> MetaReply {
        put(self.view, key::account_move(of.id), &of);
        MetaReply::AccountMove(Box::new(of))
    }

    /// What was decided of moves may be lost.
    pub(super) fn doubt_moves(&mut self) -> Result<(), Stop> {
        for of in self.tables().pending_moves(0, MOVES_MAX as usize)? {
            let doubtful = AccountMove {
                doubtful: true,
                ..of
            };
            put(self.view, key::account_move(doubtful.id), &doubtful);
        }
        Ok(())
    }

    /// One more is over. Of those that are, the oldest are forgotten; which accounts ever moved is not.
    fn count_over(&mut self) -> Result<(), Stop> {
        let pending = self.tables().counter(key::MOVES_PENDING)?.saturating_sub(1);
        put(self.view, key::counter(key::MOVES_PENDING), &pending);
        let all = self.tables().counter(key::NEXT_ACCOUNT_MOVE)?;
        let is_old = |of: &AccountMove| of.id + MOVES_KEPT <= all;
        let (looked_at, kept_ms) = self.some_moves(is_old)?;
        let now = self.now;
        let is_forgotten = |of: &&AccountMove| {
            let known_ms = now.0.saturating_sub(of.changed.0);
            of.state.is_over() && is_old(of) && known_ms >= kept_ms
        };
        for forgotten in looked_at.iter().filter(is_forgotten) {
            delete(self.view, key::account_move(forgotten.id));
        }
        Ok(())
    }

    /// Moves that may be old, and how long after its end one is remembered at least.
    ///
    /// Some are looked at each time, from where it ended the last time, and from the first one again behind the last old one: one that
    /// stays pending is passed, and has its turn once it is over.
    fn some_moves(
        &mut self,
        is_old: impl Fn(&AccountMove) -> bool,
    ) -> Result<(Vec<AccountMove>, i64), Stop> {
        if self.tables().cluster_settings()?.feature_level < LEVEL_FORGOTTEN_MOVES {
            // As older programs do, whose copies are to be the same.
            return Ok((self.tables().account_moves(0, 2)?, i64::MIN));
        }
        let looked = self.tables().counter(key::MOVES_LOOKED_AT)?;
        let some = self.tables().account_moves(looked, LOOKED_AT_ONCE)?;
        let then = match some.last() {
            Some(last) if some.len() == LOOKED_AT_ONCE && is_old(last) => last.id,
            _ => 0,
        };
        put(self.view, key::counter(key::MOVES_LOOKED_AT), &then);
        Ok((some, MOVES_KEPT_MS))
    }

    fn known_move(&self, id: u64) -> Result<AccountMove, Stop> {
        let known = self.tables().account_move(id)?;
        known.ok_or_else(|| MetaRefusal::NoSuchMove(id).into())
    }

    /// The move, if nobody took it over since, and it is not over.
    fn taken_move(&self, id: u64, turn: u32) -> Result<AccountMove, Stop> {
        let known = self.known_move(id)?;
        if known.turn != turn || known.state.is_over() {
            let turn = known.turn;
            return Err(MetaRefusal::MoveTaken { id, turn }.into());
        }
        Ok(known)
    }
}

/// Moves that are looked at when one is over, to forget those that are old: several, so that the old ones are caught up with however
/// many that are pending lie between them.
const LOOKED_AT_ONCE: usize = 8;

/// However many came after it, a move is remembered for ten minutes after its end: who waits for many looks more often.
const MOVES_KEPT_MS: i64 = 600_000;

/// More of a cause is not kept.
const CAUSE_CHARS_MAX: usize = 500;

fn decided(of: &AccountMove) -> Stop {
    MetaRefusal::MoveDecided {
        id: of.id,
        moved: matches!(of.state, MoveState::Moved | MoveState::Done),
    }
    .into()
}
