//! Reads: what is asked of a snapshot of a shard.

mod mailboxes;
mod messages;
mod moving;
mod queue;
mod slots;
mod tables;

use std::collections::BTreeSet;

use mailrook_kv::{KvError, Read, Room, Space};
use mailrook_types::{AccountId, MailboxId, ModSeq};

use crate::{
    Answer, Changes, Query, QuotaUsage, body,
    index::{ChangesFrom, Source},
    key::{self, part, table_slot},
    record::{AccountRecord, MailboxRecord, ShardRecord, Skips},
    slot,
};

/// Answers `query` from `view`. `time_ms` is the log's time, by which what has expired counts as absent.
pub fn answer(view: &dyn Read, time_ms: i64, query: &Query) -> Result<Answer, KvError> {
    match answer_or_absence(view, time_ms, query) {
        Ok(answer) => Ok(answer),
        Err(Absence::Account) => Ok(Answer::NoSuchAccount),
        Err(Absence::Mailbox) => Ok(Answer::NoSuchMailbox),
        Err(Absence::Body) => Ok(Answer::NoSuchBody),
        Err(Absence::Elsewhere) => Ok(Answer::Elsewhere),
        Err(Absence::Engine(error)) => Err(error),
    }
}

/// Why there is nothing to answer with.
enum Absence {
    Account,
    Mailbox,
    Body,
    /// The account is on another shard, or on its way.
    Elsewhere,
    /// The engine failed.
    Engine(KvError),
}

impl<E: Into<KvError>> From<E> for Absence {
    fn from(error: E) -> Absence {
        Absence::Engine(error.into())
    }
}

fn answer_or_absence(view: &dyn Read, time_ms: i64, query: &Query) -> Result<Answer, Absence> {
    Ok(match query {
        Query::Mailboxes { account } => {
            require_account(view, *account)?;
            Answer::Mailboxes(mailboxes::list(view, *account)?)
        }
        Query::Status { account, mailbox } => {
            require_account(view, *account)?;
            Answer::Status(mailboxes::status(view, *account, mailbox)?)
        }
        Query::Uids { account, mailbox } => {
            let (source, _) = require_mailbox(view, *account, *mailbox)?;
            Answer::Uids(crate::index::uid_set(&source.existing(None)?))
        }
        Query::Index {
            account,
            mailbox,
            uids,
            limit,
        } => {
            let (source, record) = require_mailbox(view, *account, *mailbox)?;
            let selection = source.existing(Some(uids))?;
            Answer::Index(messages::index(
                &source,
                &record,
                &selection,
                *limit,
                Room::default(),
            )?)
        }
        Query::Changes {
            account,
            mailbox,
            since,
            uids,
            after,
            limit,
        } => {
            let (source, mut record) = require_mailbox(view, *account, *mailbox)?;
            record.skip_to(skips(view)?);
            // What changed since in what is lost is not known: a client that saw it is told the flags of all that there is.
            let since = match record.skips == Skips::default() || *since >= record.history_floor {
                true => *since,
                false => ModSeq::ZERO,
            };
            let from = after.map_or(ChangesFrom::Start(since), ChangesFrom::After);
            let (changed, next) = messages::changed(&source, &record, uids.as_ref(), from, *limit)?;
            Answer::Changes(Changes {
                status: mailboxes::status_of(&source, &record)?,
                changed,
                vanished: match from {
                    ChangesFrom::Start(since) => {
                        messages::vanished(&source, &record, since, uids.as_ref())?
                    }
                    ChangesFrom::After(_) => None,
                },
                next,
            })
        }
        Query::Details {
            account,
            mailbox,
            uids,
            limit,
        } => {
            let (source, _) = require_mailbox(view, *account, *mailbox)?;
            Answer::Details(messages::details(&source, uids, *limit)?)
        }
        Query::Signatures {
            account,
            mailbox,
            uids,
            limit,
        } => {
            let (source, _) = require_mailbox(view, *account, *mailbox)?;
            Answer::Signatures(messages::signatures(&source, uids, *limit)?)
        }
        Query::Flags {
            account,
            mailbox,
            uids,
            limit,
        } => {
            let (source, record) = require_mailbox(view, *account, *mailbox)?;
            Answer::Flags(messages::flags(&source, &record, uids, *limit)?)
        }
        Query::Quota { account } => {
            let record = require_account(view, *account)?;
            Answer::Quota(QuotaUsage {
                limit: record.limit,
                storage_bytes: record.storage_bytes,
                messages: record.messages,
            })
        }
        Query::Chunks { hash, first, count } => {
            let chunks = body::chunks(view, hash, *first, *count)?;
            Answer::Chunks(chunks.ok_or(Absence::Body)?)
        }
        Query::TableGet { table, key } => match slot::is_here(view, table_slot(*table, key))? {
            true => Answer::TableValue(tables::get(view, time_ms, *table, key)?),
            false => Answer::SlotNotHere,
        },
        Query::TableScan {
            table,
            prefix,
            after,
            limit,
        } => {
            // Which of the slots here the asker takes for this shard's it does not say.
            if slot::any_moved(view)? {
                return Ok(Answer::SlotNotHere);
            }
            let scan = tables::Scan {
                table: *table,
                prefix,
                slots: None,
                limit: *limit,
            };
            Answer::TableEntries(scan.run(view, time_ms, after.as_ref())?)
        }
        Query::TableScanSlots {
            table,
            prefix,
            slots,
            after,
            limit,
        } => {
            let away = slot::elsewhere(view)?;
            let (elsewhere, slots): (BTreeSet<u16>, BTreeSet<u16>) =
                slots.iter().partition(|slot| away.contains(slot));
            let scan = tables::Scan {
                table: *table,
                prefix,
                slots: Some(slots),
                limit: *limit,
            };
            Answer::SlotsScanned {
                entries: scan.run(view, time_ms, after.as_ref())?,
                elsewhere: elsewhere.into_iter().collect(),
            }
        }
        Query::SlotEntries {
            fenced_by,
            slots,
            after,
        } => slots::entries(view, time_ms, *fenced_by, slots, after.as_ref())?,
        Query::MovedPairs {
            account,
            by,
            round,
            after,
        } => moving::pairs(view, *account, *by, *round, after.as_deref())?,
        Query::MoveStanding { account } => Answer::MoveStanding(moving::standing(view, *account)?),
        Query::BodiesMissing(hashes) => Answer::BodiesMissing(moving::missing(view, hashes)?),
        Query::Bodies(hashes) => {
            Answer::Bodies(moving::bodies(view, hashes)?.ok_or(Absence::Body)?)
        }
        Query::Queue(query) => Answer::Queue(queue::answer(view, query)?),
    })
}

/// What the shard leaves out; for answers that show a mailbox's counters.
fn skips(view: &dyn Read) -> Result<Skips, KvError> {
    Ok(ShardRecord::read(view)?.skips)
}

fn require_account(view: &dyn Read, account: AccountId) -> Result<AccountRecord, Absence> {
    let stored = view
        .get(Space::Index, &key::account(account))?
        .ok_or(Absence::Account)?;
    let record = AccountRecord::decode(&stored)?;
    if record.is_elsewhere() {
        return Err(Absence::Elsewhere);
    }
    match record.lives() {
        true => Ok(record),
        false => Err(Absence::Account),
    }
}

fn require_mailbox(
    view: &dyn Read,
    account: AccountId,
    mailbox: MailboxId,
) -> Result<(Source<'_>, MailboxRecord), Absence> {
    // First: what is left of an account that has moved must not be read.
    require_account(view, account)?;
    let stored = view.get(
        Space::Index,
        &key::of_mailbox(account, part::MAILBOX, mailbox),
    )?;
    let stored = stored.ok_or(Absence::Mailbox)?;
    let source = Source {
        view,
        account,
        mailbox,
    };
    Ok((source, MailboxRecord::decode(&stored)?))
}
