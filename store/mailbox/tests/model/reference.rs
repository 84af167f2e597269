//! The reference: a shard as maps, every rule written down a second time and as plainly as possible.

use std::collections::{BTreeMap, BTreeSet};

use mailrook_mailbox::{
    AccountChange, AccountCommand, AppendTo, Appended, BodySource, Change, ChangeReply,
    Confirmation, Deliver, Delivered, DeliveryKey, DeliveryOutcome, NewBody, NewMessage,
    QuotaLimit, Refusal, ShardCommand, ShardReply, TableCommand, TableOp, TableReply, UploadChunk,
    table_slot,
};
use mailrook_types::{
    AccountId, BlobHash, MailboxId, MailboxName, ModSeq, SystemFlags, Uid, UidSet, UidValidity,
    UploadId,
};

use crate::{
    account::{Account, Kept, Lanes, Outcome},
    slots::State,
};

const DAY: i64 = 86_400_000;

/// Value, and when it expires.
type Entry = (Vec<u8>, Option<i64>);

#[derive(Default)]
pub struct Reference {
    pub accounts: BTreeMap<u64, Account>,
    pub tables: BTreeMap<(u16, Vec<u8>), Entry>,
    /// The last move of each slot that ever moved, and what that has made of it.
    pub slots: BTreeMap<u16, (u64, State)>,
    table_lanes: Lanes,
    uploads: BTreeMap<u128, (BTreeMap<u32, [u8; 32]>, i64)>,
    stored: BTreeSet<BlobHash>,
    pub now: i64,
    /// How often numbers were left out.
    skips: u64,
    /// Whether the real one says that a body is missing: believed where only its clean-up decides.
    real_misses: bool,
}

impl Reference {
    pub fn apply(&mut self, now: i64, command: &ShardCommand, real: &ShardReply) -> ShardReply {
        self.now = now;
        let missing = DeliveryOutcome::Refused(Refusal::BodyMissing);
        self.real_misses = match real {
            ShardReply::Account(reply) => *reply == Err(Refusal::BodyMissing),
            ShardReply::Deliver(outcomes) => outcomes.contains(&missing),
            _ => false,
        };
        match command {
            ShardCommand::Account(command) => ShardReply::Account(self.account_command(command)),
            ShardCommand::Deliver(command) => ShardReply::Deliver(self.deliver(command)),
            ShardCommand::Upload(chunk) => {
                self.upload(chunk);
                ShardReply::Uploaded(Ok(()))
            }
            ShardCommand::Confirm(confirmations) => {
                self.confirm(confirmations);
                ShardReply::Done
            }
            ShardCommand::Table(command) => ShardReply::Table(self.table(command)),
            ShardCommand::Tick => ShardReply::Done,
            ShardCommand::Slots(command) => ShardReply::Slots(self.step(command)),
            ShardCommand::Maildrop(command) => {
                let account = self.accounts.get_mut(&command.account.0);
                ShardReply::Maildrop(match account.filter(|account| account.live) {
                    Some(account) => account.step_maildrop(now, command.holder, command.step),
                    None => Err(Refusal::NoSuchAccount),
                })
            }
            ShardCommand::Move(_) => panic!("the reference has one shard"),
            ShardCommand::Queue(_) => panic!("the queue has a model of its own"),
            ShardCommand::SkipNumbers => {
                self.skips += 1;
                self.accounts.values_mut().for_each(Account::skip_numbers);
                ShardReply::Done
            }
        }
    }

    fn account(&mut self, id: u64) -> &mut Account {
        let skips = self.skips;
        self.accounts.entry(id).or_insert_with(|| {
            let mut account = Account::default();
            (0..skips).for_each(|_| account.skip_numbers());
            account
        })
    }

    fn account_command(&mut self, command: &AccountCommand) -> Result<ChangeReply, Refusal> {
        let creates = matches!(
            command.change,
            Change::Account(AccountChange::Create { .. })
        );
        let deletes = command.change == Change::Account(AccountChange::Delete);
        let now = self.now;
        let account = self.account(command.account.0);
        if !account.ever && !creates && !deletes {
            return Err(Refusal::NoSuchAccount);
        }
        match account.lanes.begin(now, &command.op)? {
            Some(Kept::Change(reply)) => return reply,
            Some(_) => return Err(Refusal::StaleOperation),
            None => {}
        }
        if !account.live && deletes {
            account.ever = true;
            return Ok(ChangeReply::Done);
        }
        if !account.live && (account.ever || !creates) {
            return Err(Refusal::NoSuchAccount);
        }
        let reply = self.change(command.account, &command.change);
        let account = self.accounts.get_mut(&command.account.0).unwrap();
        if reply != Err(Refusal::BodyMissing) && (reply.is_ok() || account.live) {
            account
                .lanes
                .keep(self.now, &command.op, Kept::Change(reply.clone()));
            account.ever = true;
        }
        reply
    }

    fn change(&mut self, id: AccountId, change: &Change) -> Outcome<ChangeReply> {
        let now = self.now;
        if let Change::Append(append) = change {
            return self.append(id, append);
        }
        let account = self.accounts.get_mut(&id.0).unwrap();
        account.now_modseq = None;
        match change {
            Change::Account(AccountChange::Create { mailboxes, quota }) => {
                account.create_account(now, mailboxes, *quota)
            }
            Change::Account(AccountChange::Delete) => {
                let names: Vec<_> = account.names.keys().cloned().collect();
                names.iter().for_each(|name| account.delete(name));
                account.subscriptions.clear();
                account.live = false;
                account.take_modseq();
                account.limit = QuotaLimit::default();
                Ok(ChangeReply::Done)
            }
            Change::Account(AccountChange::SetQuota(limit)) => {
                account.limit = *limit;
                Ok(ChangeReply::Done)
            }
            Change::CreateMailbox(new) => account
                .create_mailbox(now, new)
                .map(|id| ChangeReply::Created(MailboxId(id))),
            Change::DeleteMailbox(name) if name.is_inbox() => Err(Refusal::InboxIsFixed),
            Change::DeleteMailbox(name) => {
                account.id_of(name)?;
                account.take_modseq();
                account.delete(name);
                Ok(ChangeReply::Done)
            }
            Change::RenameMailbox { from, to } => account.rename(now, from, to),
            Change::Subscribe { name, subscribed } => {
                let changed = if *subscribed {
                    account.subscriptions.insert(name.clone())
                } else {
                    account.subscriptions.remove(name)
                };
                if changed {
                    account.take_modseq();
                }
                Ok(ChangeReply::Done)
            }
            Change::StoreFlags {
                mailbox,
                uids,
                unchanged_since,
                update,
                flags,
            } => account.store(mailbox.0, uids, *unchanged_since, *update, flags),
            Change::Copy {
                mailbox,
                uids,
                to,
                remove_originals,
            } => {
                if !account.boxes.contains_key(&mailbox.0) {
                    return Err(Refusal::NoSuchMailbox);
                }
                let to = account.resolve(to)?;
                account
                    .copy(
                        now,
                        mailbox.0,
                        |uid| uids.contains(uid),
                        to,
                        *remove_originals,
                    )
                    .map(ChangeReply::Copied)
            }
            Change::Expunge { mailbox, uids } => account.expunge(mailbox.0, |uid, message| {
                message.system.contains(SystemFlags::DELETED)
                    && uids.as_ref().is_none_or(|uids| uids.contains(uid))
            }),
            Change::Remove { mailbox, uids } => {
                account.expunge(mailbox.0, |uid, _| uids.contains(uid))
            }
            Change::CloseMaildrop {
                holder,
                mailbox,
                uids,
            } => {
                if !account.has_maildrop(now, *holder) {
                    return Err(Refusal::MaildropLost);
                }
                let expunged = account.expunge(mailbox.0, |uid, _| uids.contains(uid))?;
                account.maildrop = None;
                Ok(expunged)
            }
            // Not generated: a unit test holds that it is as the other.
            Change::Append(_) | Change::AppendUploaded { .. } => unreachable!(),
        }
    }

    /// Whether a body is there or comes with the command.
    fn has_body(&self, body: &NewBody) -> bool {
        let used = self
            .accounts
            .values()
            .flat_map(|account| account.boxes.values());
        let mut used = used.flat_map(|mailbox| mailbox.messages.values());
        if used.any(|message| message.body.hash == body.hash) {
            return true;
        }
        match &body.source {
            BodySource::Inline(_) => true,
            // Once it was here, the clean-up decides how long it stays.
            _ if self.stored.contains(&body.hash) => !self.real_misses,
            BodySource::Uploaded { upload, digests } => {
                let open = self
                    .uploads
                    .get(&upload.0)
                    .filter(|(_, expires)| *expires > self.now);
                digests.is_empty()
                    || open.is_some_and(|(chunks, _)| chunks.values().eq(digests.iter()))
            }
        }
    }

    fn take_body(&mut self, body: &NewBody) {
        self.stored.insert(body.hash);
        if let BodySource::Uploaded { upload, .. } = &body.source {
            self.uploads.remove(&upload.0);
        }
    }

    fn append(&mut self, id: AccountId, append: &AppendTo) -> Outcome<ChangeReply> {
        let account = self.accounts.get_mut(&id.0).unwrap();
        account.now_modseq = None;
        let to = account.resolve(&append.mailbox)?;
        let sizes = append
            .messages
            .iter()
            .map(|new| u64::from(new.body.size) + new.prefix.len() as u64);
        account.check_quota(append.messages.len() as u64, sizes.sum())?;
        if !append.messages.iter().all(|new| self.has_body(&new.body)) {
            return Err(Refusal::BodyMissing);
        }
        let mut uids = UidSet::new();
        for new in &append.messages {
            self.take_body(&new.body);
            let account = self.accounts.get_mut(&id.0).unwrap();
            uids.insert(account.add_new(self.now, to, new));
        }
        let mailbox = &self.accounts[&id.0].boxes[&to];
        Ok(ChangeReply::Appended(Appended {
            mailbox: MailboxId(to),
            uid_validity: UidValidity::new(mailbox.uid_validity).unwrap(),
            uids,
            modseq: ModSeq(mailbox.highest),
        }))
    }

    fn deliver(&mut self, command: &Deliver) -> Vec<DeliveryOutcome> {
        let mut accounts: Vec<u64> = command
            .recipients
            .iter()
            .map(|recipient| recipient.account.0)
            .collect();
        accounts.sort_unstable();
        accounts.dedup();
        self.confirm(&command.confirmed);
        let mut outcomes = vec![None; command.recipients.len()];
        for id in accounts {
            let places: Vec<usize> = (0..outcomes.len())
                .filter(|at| command.recipients[*at].account.0 == id)
                .collect();
            let of_account = self.deliver_to(command, id, &places);
            for (at, outcome) in places.into_iter().zip(of_account) {
                outcomes[at] = Some(outcome);
            }
        }
        outcomes.into_iter().map(Option::unwrap).collect()
    }

    fn deliver_to(&mut self, command: &Deliver, id: u64, places: &[usize]) -> Vec<DeliveryOutcome> {
        let all = |refusal: Refusal| vec![DeliveryOutcome::Refused(refusal); places.len()];
        let now = self.now;
        let account = self.account(id);
        if !account.ever {
            return all(Refusal::NoSuchAccount);
        }
        match account.lanes.begin(now, &command.op) {
            Err(refusal) => return all(refusal),
            Ok(Some(Kept::Delivery(outcomes))) if outcomes.len() == places.len() => {
                return outcomes;
            }
            Ok(Some(_)) => return all(Refusal::StaleOperation),
            Ok(None) if !account.live => return all(Refusal::NoSuchAccount),
            Ok(None) => {}
        }
        account.now_modseq = None;
        let mut outcomes = Vec::new();
        for at in places {
            let outcome = self
                .deliver_one(command, id, *at)
                .unwrap_or_else(DeliveryOutcome::Refused);
            outcomes.push(outcome);
        }
        if !outcomes.contains(&DeliveryOutcome::Refused(Refusal::BodyMissing)) {
            let kept = Kept::Delivery(outcomes.clone());
            self.accounts
                .get_mut(&id)
                .unwrap()
                .lanes
                .keep(self.now, &command.op, kept);
        }
        outcomes
    }

    fn deliver_one(&mut self, command: &Deliver, id: u64, at: usize) -> Outcome<DeliveryOutcome> {
        let recipient = &command.recipients[at];
        let account = &self.accounts[&id];
        let named = recipient
            .mailbox
            .as_ref()
            .and_then(|name| account.names.get(name));
        let to = *named.unwrap_or(&account.names[&MailboxName::inbox()]);
        let place = |uid: u32| Delivered {
            mailbox: MailboxId(to),
            uid: Uid::new(uid).unwrap(),
        };
        if let Some(DeliveryKey(key)) = command.key
            && let Some((uid, expires)) = account.deliveries.get(&(to, key))
            && *expires > self.now
        {
            return Ok(DeliveryOutcome::Duplicate(place(*uid)));
        }
        account.check_quota(
            1,
            u64::from(command.body.size) + recipient.prefix.len() as u64,
        )?;
        if !self.has_body(&command.body) {
            return Err(Refusal::BodyMissing);
        }
        self.take_body(&command.body);
        let new = NewMessage {
            body: command.body.clone(),
            prefix: recipient.prefix.clone(),
            internal_date: command.received,
            flags: recipient.flags.clone(),
        };
        let now = self.now;
        let account = self.accounts.get_mut(&id).unwrap();
        let uid = account.add_new(now, to, &new).get();
        if let Some(DeliveryKey(key)) = command.key {
            account.deliveries.insert((to, key), (uid, now + 7 * DAY));
        }
        Ok(DeliveryOutcome::Delivered(place(uid)))
    }

    fn confirm(&mut self, confirmations: &[Confirmation]) {
        for confirmation in confirmations {
            let account = self.account(confirmation.account.0);
            let at = (confirmation.mailbox.0, confirmation.key.0);
            if account.deliveries.get(&at).map(|(uid, _)| *uid) == Some(confirmation.uid.get()) {
                account.deliveries.remove(&at);
            }
        }
    }

    fn upload(&mut self, sent: &UploadChunk) {
        let UploadId(id) = sent.upload;
        let known = self.uploads.entry(id).or_insert((BTreeMap::new(), 0));
        if known.1 <= self.now {
            known.0.clear();
            known.1 = 0;
        }
        known
            .0
            .insert(sent.index, *blake3::hash(&sent.chunk.bytes).as_bytes());
        known.1 = known
            .1
            .max(sent.expires.0.clamp(self.now + 1, self.now + DAY));
    }

    fn table(&mut self, command: &TableCommand) -> Outcome<Vec<TableReply>> {
        match self.table_lanes.begin(self.now, &command.op)? {
            Some(Kept::Table(replies)) => return replies,
            Some(other) => panic!("{other:?} is kept for the tables"),
            None => {}
        }
        let ops = command.ops.iter();
        let elsewhere = ops.filter(|(table, key, _)| !self.is_here(table.0, key));
        let replies = match elsewhere
            .map(|(table, key, _)| table_slot(*table, key))
            .min()
        {
            Some(slot) => Err(Refusal::SlotNotHere(slot)),
            None => Ok(self.change_tables(command)),
        };
        let kept = Kept::Table(replies.clone());
        self.table_lanes.keep(self.now, &command.op, kept);
        replies
    }

    fn change_tables(&mut self, command: &TableCommand) -> Vec<TableReply> {
        let now = self.now;
        self.tables
            .retain(|_, (_, expires)| expires.is_none_or(|at| at > now));
        let mut replies = Vec::new();
        for (table, key, op) in &command.ops {
            let at = (table.0, key.clone());
            let present = self.tables.get(&at).map(|(value, _)| value.clone());
            let mut put = |value: &Vec<u8>, expires: &Option<mailrook_types::Timestamp>| {
                let expires = expires.map(|at| at.0);
                if expires.is_some_and(|at| at <= now) {
                    self.tables.remove(&at);
                } else {
                    self.tables.insert(at.clone(), (value.clone(), expires));
                }
            };
            replies.push(match op {
                TableOp::Put { value, expires } => {
                    put(value, expires);
                    TableReply::Done(None)
                }
                TableOp::CompareAndPut {
                    expected,
                    value,
                    expires,
                } if present == *expected => {
                    put(value, expires);
                    TableReply::Done(None)
                }
                TableOp::CompareAndPut { .. } => TableReply::Mismatch(present),
                TableOp::Add { delta, expires } => {
                    match <[u8; 8]>::try_from(present.unwrap_or(vec![0; 8])) {
                        Ok(bytes) => {
                            let sum = i64::from_le_bytes(bytes).saturating_add(*delta);
                            put(&sum.to_le_bytes().to_vec(), expires);
                            TableReply::Done(Some(sum))
                        }
                        Err(_) => TableReply::NotACounter,
                    }
                }
                TableOp::Delete => {
                    self.tables.remove(&at);
                    TableReply::Done(None)
                }
            });
        }
        replies
    }
}
