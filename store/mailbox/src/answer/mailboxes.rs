//! LIST and STATUS.

use std::{collections::BTreeMap, ops::ControlFlow};

use mailrook_kv::{KvError, Read, Space, prefix_end};
use mailrook_types::{AccountId, Keyword, MailboxId, Uid};

use super::{Absence, require_mailbox, skips};
use crate::{
    MailboxInfo, MailboxList, MailboxRef, MailboxStatus,
    fields::Damage,
    index::{Source, scan},
    key::{self, part},
    name,
    record::{KeywordTable, MailboxRecord},
};

/// All mailboxes and subscriptions.
pub(super) fn list(view: &dyn Read, account: AccountId) -> Result<MailboxList, KvError> {
    let skips = skips(view)?;
    let mut records = BTreeMap::new();
    let prefix = key::part_prefix(account, part::MAILBOX);
    scan(
        view,
        Space::Index,
        &prefix,
        &prefix_end(&prefix),
        |key, value| {
            let id = key.last_chunk().ok_or(Damage("a key is cut short"))?;
            let mut record = MailboxRecord::decode(value)?;
            record.skip_to(skips);
            records.insert(MailboxId(u64::from_be_bytes(*id)), record);
            Ok(ControlFlow::Continue(()))
        },
    )?;
    let mut mailboxes = Vec::with_capacity(records.len());
    for (name, mailbox) in name::all(view, account)? {
        let record = records
            .get(&mailbox)
            .ok_or(Damage("a name stands for no mailbox"))?;
        let source = Source {
            view,
            account,
            mailbox,
        };
        mailboxes.push(MailboxInfo {
            name,
            special_use: record.special_use,
            status: counts_of(&source, record)?,
        });
    }
    Ok(MailboxList {
        mailboxes,
        subscriptions: name::subscriptions(view, account)?,
    })
}

/// One mailbox's numbers.
pub(super) fn status(
    view: &dyn Read,
    account: AccountId,
    mailbox: &MailboxRef,
) -> Result<MailboxStatus, Absence> {
    let id = match mailbox {
        MailboxRef::Id(id) => *id,
        MailboxRef::Name(name) => name::find(view, account, name)?.ok_or(Absence::Mailbox)?,
    };
    let (source, mut record) = require_mailbox(view, account, id)?;
    record.skip_to(skips(view)?);
    Ok(status_of(&source, &record)?)
}

pub(super) fn status_of(
    source: &Source<'_>,
    record: &MailboxRecord,
) -> Result<MailboxStatus, KvError> {
    Ok(MailboxStatus {
        keywords: keywords(source, record)?,
        ..counts_of(source, record)?
    })
}

/// All but the keywords.
fn counts_of(source: &Source<'_>, record: &MailboxRecord) -> Result<MailboxStatus, KvError> {
    Ok(MailboxStatus {
        id: source.mailbox,
        uid_validity: record.uid_validity,
        uid_next: Uid::new(record.uid_next).ok_or(Damage("UIDNEXT is zero"))?,
        highest_modseq: record.highest_modseq,
        history_floor: record.history_floor,
        messages: record.messages,
        unseen: record.unseen,
        deleted: record.deleted,
        size_bytes: record.size_bytes,
        first_unseen: if record.unseen == 0 {
            None
        } else {
            source.first_unseen()?
        },
        keywords: Vec::new(),
    })
}

/// The mailbox's keywords by number.
pub(super) fn keywords(
    source: &Source<'_>,
    record: &MailboxRecord,
) -> Result<Vec<Keyword>, KvError> {
    if record.keywords == 0 {
        return Ok(Vec::new());
    }
    let key = key::of_mailbox(source.account, part::KEYWORDS, source.mailbox);
    let stored = source
        .view
        .get(Space::Index, &key)?
        .ok_or(Damage("a mailbox's keywords are gone"))?;
    Ok(KeywordTable::decode(&stored)?.0)
}
