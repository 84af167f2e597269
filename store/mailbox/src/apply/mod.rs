//! Carrying out commands: one file for each.
//!
//! Each first checks all that may be refused and then writes, so that a refusal leaves nothing behind.

mod account;
mod append;
mod confirm;
mod copy;
mod create_mailbox;
mod delete_mailbox;
mod deliver;
mod expunge;
mod maildrop;
mod moving;
mod queue;
mod rename_mailbox;
mod skip_numbers;
mod slots;
mod store_flags;
mod table;

use mailrook_kv::KvError;

use crate::{
    AccountChange, AccountCommand, Change, ChangeReply, Refusal, ShardCommand, ShardReply,
    SlotStep, body,
    lane::{self, Begin},
    limits::{REAP_MESSAGES, REAP_MESSAGES_TICK, SWEEP_UNITS},
    name, reap,
    record::{Kept, Standing},
    sweep,
    tx::{Account, Outcome, Tx, Writable, settle},
};

/// Carries out one command and some of what is overdue. Gives its reply and the accounts that changed.
pub(crate) fn apply(
    view: &mut dyn Writable,
    now: i64,
    command: &ShardCommand,
) -> Result<(ShardReply, Vec<(u64, u64)>), KvError> {
    let mut tx = Tx::begin(view, now)?;
    let mut reap_messages = REAP_MESSAGES;
    // A command works off twice what it can bring in, so that the queue of what expires cannot grow for ever.
    let mut sweep_units = SWEEP_UNITS;
    let reply = match command {
        ShardCommand::Account(command) => ShardReply::Account(account_command(&mut tx, command)?),
        ShardCommand::Deliver(command) => {
            sweep_units += 4 * command.recipients.len() as u32;
            let elsewhere = confirm::apply(&mut tx, &command.confirmed)?;
            let outcomes = deliver::apply(&mut tx, command)?;
            match elsewhere.is_empty() {
                true => ShardReply::Deliver(outcomes),
                false => ShardReply::DeliverAndElsewhere(outcomes, elsewhere),
            }
        }
        ShardCommand::Upload(chunk) => {
            ShardReply::Uploaded(settle(body::upload(tx.view, now, chunk))?)
        }
        ShardCommand::Confirm(confirmations) => match confirm::apply(&mut tx, confirmations)? {
            elsewhere if elsewhere.is_empty() => ShardReply::Done,
            elsewhere => ShardReply::Elsewhere(elsewhere),
        },
        ShardCommand::Table(command) => {
            // Each entry, and the lane.
            sweep_units += 2 * (command.ops.len() as u32).saturating_add(1);
            ShardReply::Table(table::apply(&mut tx, command)?)
        }
        ShardCommand::Tick => {
            reap_messages = REAP_MESSAGES_TICK;
            ShardReply::Done
        }
        ShardCommand::Slots(command) => {
            if let SlotStep::Install(entries) = &command.step {
                sweep_units += 2 * entries.len() as u32;
            }
            ShardReply::Slots(settle(slots::apply(&mut tx, command))?)
        }
        ShardCommand::SkipNumbers => {
            skip_numbers::apply(&mut tx);
            ShardReply::Done
        }
        ShardCommand::Move(command) => ShardReply::Move(settle(moving::apply(&mut tx, command))?),
        ShardCommand::Maildrop(command) => {
            ShardReply::Maildrop(settle(maildrop::apply(&mut tx, command))?)
        }
        ShardCommand::Queue(command) => {
            sweep_units += 2 * queue::expiring(command);
            ShardReply::Queue(settle(queue::apply(&mut tx, command))?)
        }
    };
    sweep::run(&mut tx, sweep_units)?;
    reap::run(&mut tx, reap_messages)?;
    Ok((reply, tx.finish()))
}

/// Carries out a change of an account, once.
fn account_command(
    tx: &mut Tx<'_>,
    command: &AccountCommand,
) -> Result<Result<ChangeReply, Refusal>, KvError> {
    let founds = matches!(
        &command.change,
        Change::Account(AccountChange::Create { .. } | AccountChange::Delete)
    );
    let mut account = if founds {
        tx.account_or_new(command.account)?
    } else {
        match tx.account(command.account)? {
            Some(account) => account,
            None => return Ok(Err(Refusal::NoSuchAccount)),
        }
    };
    let lane = match lane::begin(&account, &command.op)? {
        Begin::New(lane) => lane,
        Begin::Refused(refusal) => return Ok(Err(refusal)),
        Begin::Repeat(kept) => return repeated(kept),
    };
    if account.record.is_elsewhere() {
        return Ok(Err(Refusal::Elsewhere));
    }
    match (account.record.standing, &command.change) {
        (Standing::Live, _) | (Standing::Absent, Change::Account(AccountChange::Create { .. })) => {
        }
        (standing, Change::Account(AccountChange::Delete)) => {
            // It is as asked, and stays so: whoever makes up for a missing account may come later.
            if standing == Standing::Absent {
                account.record.standing = Standing::Removed;
                account.close();
            }
            return Ok(Ok(ChangeReply::Done));
        }
        _ => return Ok(Err(Refusal::NoSuchAccount)),
    }
    let outcome = settle(change(&mut account, &command.change))?;
    // A body that is missing is sent again, and then the same operation must run. And where no account is, nothing is kept.
    let forget = match &outcome {
        Err(Refusal::BodyMissing) => true,
        Err(_) => account.record.standing != Standing::Live,
        Ok(_) => false,
    };
    if !forget {
        let reply = ShardReply::Account(outcome.clone()).encode();
        lane.keep(&mut account, &command.op, Kept::Reply(reply));
        account.close();
    }
    Ok(outcome)
}

/// The reply of the first time.
fn repeated(kept: Kept) -> Result<Result<ChangeReply, Refusal>, KvError> {
    match kept {
        Kept::Reply(bytes) => match ShardReply::decode(&bytes)? {
            ShardReply::Account(outcome) => Ok(outcome),
            _ => Err(KvError::Damaged(
                "a kept reply is of another kind".to_owned(),
            )),
        },
        // The client used a number twice for different things.
        Kept::Delivery(_) => Ok(Err(Refusal::StaleOperation)),
    }
}

fn change(account: &mut Account<'_>, change: &Change) -> Outcome<ChangeReply> {
    match change {
        Change::Account(change) => account::apply(account, change),
        Change::CreateMailbox(new) => create_mailbox::apply(account, new),
        Change::DeleteMailbox(name) => delete_mailbox::apply(account, name),
        Change::RenameMailbox { from, to } => rename_mailbox::apply(account, from, to),
        Change::Subscribe { name, subscribed } => {
            if *subscribed {
                name::subscribe(account, name)?;
            } else {
                name::unsubscribe(account, name)?;
            }
            Ok(ChangeReply::Done)
        }
        Change::Append(append) => append::apply(account, append),
        Change::AppendUploaded { upload, digests } => append::uploaded(account, *upload, digests),
        Change::StoreFlags {
            mailbox,
            uids,
            unchanged_since,
            update,
            flags,
        } => {
            let wanted = store_flags::Wanted {
                unchanged_since: *unchanged_since,
                update: *update,
                flags,
            };
            store_flags::apply(account, *mailbox, uids, &wanted)
        }
        Change::Copy {
            mailbox,
            uids,
            to,
            remove_originals,
        } => copy::apply(account, *mailbox, uids, to, *remove_originals),
        Change::Expunge { mailbox, uids } => expunge::deleted(account, *mailbox, uids.as_ref()),
        Change::Remove { mailbox, uids } => expunge::any(account, *mailbox, uids),
        Change::CloseMaildrop {
            holder,
            mailbox,
            uids,
        } => maildrop::close(account, *holder, *mailbox, uids),
    }
}
