//! The reference: an account as maps, every rule written down a second time and as plainly as possible.

use std::collections::{BTreeMap, BTreeSet};

use mailrook_mailbox::{
    AccountChange, AccountCommand, AppendTo, Appended, BodySource, Change, ChangeReply,
    Confirmation, Copied, Deliver, Delivered, DeliveryKey, DeliveryOutcome, FlagsStored,
    MailboxRef, NewBody, NewMailbox, NewMessage, QuotaLimit, Refusal, ShardCommand, ShardReply,
    TableCommand, TableOp, TableReply, UploadChunk,
};
use mailrook_types::{
    AccountId, BlobHash, FlagUpdate, Flags, Keyword, MailboxId, MailboxName, ModSeq, OpId,
    SpecialUse, SystemFlags, Uid, UidSet, UidValidity, UploadId,
};

const HOUR: i64 = 3_600_000;
const DAY: i64 = 24 * HOUR;

#[derive(Clone, Debug)]
pub struct Message {
    pub modseq: u64,
    pub system: SystemFlags,
    pub keywords: Vec<Keyword>,
    pub internal: i64,
    pub saved: i64,
    pub size: u32,
    pub id: u64,
    pub body: NewBody,
    pub prefix: Vec<u8>,
}

#[derive(Clone, Debug)]
pub struct Mailbox {
    pub uid_validity: u32,
    pub uid_next: u32,
    pub highest: u64,
    pub special_use: Option<SpecialUse>,
    pub keywords: Vec<Keyword>,
    pub messages: BTreeMap<u32, Message>,
    pub expunged: Vec<(u64, u32)>,
}

#[derive(Clone, Debug)]
pub enum Kept {
    Change(Result<ChangeReply, Refusal>),
    Delivery(Vec<DeliveryOutcome>),
}

#[derive(Clone, Debug, Default)]
pub struct Lane {
    lowest: u64,
    used: i64,
    kept: BTreeMap<u64, Kept>,
}

#[derive(Clone, Debug, Default)]
pub struct Account {
    pub live: bool,
    pub modseq: u64,
    pub next_mailbox: u64,
    pub next_message: u64,
    pub last_uid_validity: u32,
    pub limit: QuotaLimit,
    pub names: BTreeMap<MailboxName, u64>,
    pub boxes: BTreeMap<u64, Mailbox>,
    pub subscriptions: BTreeSet<MailboxName>,
    lanes: BTreeMap<(u64, u64), Lane>,
    deliveries: BTreeMap<(u64, [u8; 32]), (u32, i64)>,
    pub ever: bool,
    now_modseq: Option<u64>,
}

#[derive(Default)]
pub struct Reference {
    pub accounts: BTreeMap<u64, Account>,
    pub tables: BTreeMap<(u16, Vec<u8>), (Vec<u8>, Option<i64>)>,
    uploads: BTreeMap<u128, (BTreeMap<u32, [u8; 32]>, i64)>,
    stored: BTreeSet<BlobHash>,
    now: i64,
    /// Whether the real one says that a body is missing: believed where only its clean-up decides.
    real_misses: bool,
}

type Outcome<T> = Result<T, Refusal>;

fn limit(text: &str) -> Refusal {
    Refusal::Limit(text.to_owned())
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
        }
    }

    fn account_command(&mut self, command: &AccountCommand) -> Result<ChangeReply, Refusal> {
        let creates = matches!(
            command.change,
            Change::Account(AccountChange::Create { .. })
        );
        let account = self.accounts.entry(command.account.0).or_default();
        if !account.ever && !creates {
            return Err(Refusal::NoSuchAccount);
        }
        match account.begin(self.now, &command.op)? {
            Some(Kept::Change(reply)) => return reply,
            Some(Kept::Delivery(_)) => return Err(Refusal::StaleOperation),
            None => {}
        }
        if !account.live && !creates {
            return Err(Refusal::NoSuchAccount);
        }
        let reply = self.change(command.account, &command.change);
        let account = self.accounts.get_mut(&command.account.0).unwrap();
        if reply != Err(Refusal::BodyMissing) && (reply.is_ok() || account.live) {
            account.keep(self.now, &command.op, Kept::Change(reply.clone()));
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
            Change::Append(_) => unreachable!(),
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
        let repeated = accounts.iter().any(|id| {
            let account = self.accounts.entry(*id).or_default();
            account.ever && !matches!(account.begin(self.now, &command.op), Ok(None))
        });
        if !repeated {
            self.confirm(&command.confirmed);
        }
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
        let account = self.accounts.entry(id).or_default();
        if !account.ever {
            return all(Refusal::NoSuchAccount);
        }
        match account.begin(self.now, &command.op) {
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
            let account = self.accounts.entry(confirmation.account.0).or_default();
            account
                .deliveries
                .remove(&(confirmation.mailbox.0, confirmation.key.0));
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

    fn table(&mut self, command: &TableCommand) -> Vec<TableReply> {
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

impl Account {
    fn begin(&self, now: i64, op: &OpId) -> Outcome<Option<Kept>> {
        let lane = self
            .lanes
            .get(&(op.client.0, op.lane))
            .filter(|lane| lane.used + DAY > now);
        let lane = lane.cloned().unwrap_or_default();
        if op.n < op.lowest_unanswered || op.n < lane.lowest {
            return Err(Refusal::StaleOperation);
        }
        if let Some(kept) = lane.kept.get(&op.n) {
            return Ok(Some(kept.clone()));
        }
        let lowest = lane.lowest.max(op.lowest_unanswered);
        if lane.kept.range(lowest..).count() >= 64 {
            return Err(limit("64 unanswered operations in a lane"));
        }
        Ok(None)
    }

    fn keep(&mut self, now: i64, op: &OpId, reply: Kept) {
        let lane = self.lanes.entry((op.client.0, op.lane)).or_default();
        if lane.used + DAY <= now {
            *lane = Lane::default();
        }
        lane.used = now;
        lane.lowest = lane.lowest.max(op.lowest_unanswered);
        lane.kept = lane.kept.split_off(&lane.lowest);
        lane.kept.insert(op.n, reply);
    }

    fn take_modseq(&mut self) -> u64 {
        if self.now_modseq.is_none() {
            self.modseq += 1;
            self.now_modseq = Some(self.modseq);
        }
        self.modseq
    }

    fn id_of(&self, name: &MailboxName) -> Outcome<u64> {
        self.names.get(name).copied().ok_or(Refusal::NoSuchMailbox)
    }

    fn resolve(&self, to: &MailboxRef) -> Outcome<u64> {
        let id = match to {
            MailboxRef::Id(id) => id.0,
            MailboxRef::Name(name) => self.id_of(name)?,
        };
        if self.boxes.contains_key(&id) {
            Ok(id)
        } else {
            Err(Refusal::NoSuchMailbox)
        }
    }

    pub fn usage(&self) -> (u64, u64) {
        let all = self
            .boxes
            .values()
            .flat_map(|mailbox| mailbox.messages.values());
        all.fold((0, 0), |(count, bytes), message| {
            (count + 1, bytes + u64::from(message.size))
        })
    }

    fn check_quota(&self, messages: u64, bytes: u64) -> Outcome<()> {
        let (count, used) = self.usage();
        let too_many = messages > 0
            && self
                .limit
                .messages
                .is_some_and(|limit| count + messages > limit);
        let too_much = bytes > 0
            && self
                .limit
                .storage_bytes
                .is_some_and(|limit| used + bytes > limit);
        if too_many || too_much {
            Err(Refusal::OverQuota)
        } else {
            Ok(())
        }
    }

    fn make(&mut self, now: i64, name: &MailboxName, special_use: Option<SpecialUse>) -> u64 {
        let highest = self.take_modseq();
        self.next_mailbox += 1;
        self.last_uid_validity = (self.last_uid_validity + 1).max((now / 1000) as u32);
        self.names.insert(name.clone(), self.next_mailbox);
        let mailbox = Mailbox {
            uid_validity: self.last_uid_validity,
            uid_next: 1,
            highest,
            special_use,
            keywords: Vec::new(),
            messages: BTreeMap::new(),
            expunged: Vec::new(),
        };
        self.boxes.insert(self.next_mailbox, mailbox);
        self.next_mailbox
    }

    fn missing_above(&self, name: &MailboxName) -> Vec<MailboxName> {
        let levels = std::iter::successors(name.parent(), MailboxName::parent);
        let mut missing: Vec<_> = levels
            .filter(|name| !self.names.contains_key(name))
            .collect();
        missing.reverse();
        missing
    }

    fn make_with_parents(
        &mut self,
        now: i64,
        name: &MailboxName,
        special_use: Option<SpecialUse>,
    ) -> u64 {
        for parent in self.missing_above(name) {
            self.make(now, &parent, None);
        }
        self.make(now, name, special_use)
    }

    fn create_account(
        &mut self,
        now: i64,
        mailboxes: &[NewMailbox],
        quota: QuotaLimit,
    ) -> Outcome<ChangeReply> {
        if self.live {
            return Ok(ChangeReply::Done);
        }
        for (at, new) in mailboxes.iter().enumerate() {
            if mailboxes[..at].iter().any(|other| other.name == new.name) {
                return Err(Refusal::MailboxExists);
            }
            if new.special_use.is_some()
                && mailboxes[..at]
                    .iter()
                    .any(|other| other.special_use == new.special_use)
            {
                return Err(Refusal::SpecialUseTaken);
            }
        }
        self.live = true;
        self.limit = quota;
        let mut all: BTreeMap<MailboxName, Option<SpecialUse>> = BTreeMap::new();
        for new in mailboxes {
            all.insert(new.name.clone(), new.special_use);
        }
        let inbox = MailboxName::inbox();
        let inbox_use = all.remove(&inbox).flatten();
        self.make(now, &inbox, inbox_use);
        for (name, special_use) in &all {
            self.make_with_parents(now, name, *special_use);
        }
        self.subscriptions = mailboxes
            .iter()
            .filter(|new| new.subscribed)
            .map(|new| new.name.clone())
            .collect();
        Ok(ChangeReply::Done)
    }

    fn create_mailbox(&mut self, now: i64, new: &NewMailbox) -> Outcome<u64> {
        if self.names.contains_key(&new.name) {
            return Err(Refusal::MailboxExists);
        }
        if new.special_use.is_some()
            && self
                .boxes
                .values()
                .any(|mailbox| mailbox.special_use == new.special_use)
        {
            return Err(Refusal::SpecialUseTaken);
        }
        if new.subscribed {
            self.subscriptions.insert(new.name.clone());
        }
        Ok(self.make_with_parents(now, &new.name, new.special_use))
    }

    fn delete(&mut self, name: &MailboxName) {
        if let Some(id) = self.names.remove(name) {
            self.boxes.remove(&id);
            self.deliveries.retain(|(mailbox, _), _| *mailbox != id);
        }
    }

    fn rename(&mut self, now: i64, from: &MailboxName, to: &MailboxName) -> Outcome<ChangeReply> {
        if to.is_inbox() {
            return Err(Refusal::InboxIsFixed);
        }
        let id = self.id_of(from)?;
        if self.names.contains_key(to) {
            return Err(Refusal::MailboxExists);
        }
        if from.is_inbox() {
            let target = self.make_with_parents(now, to, None);
            self.copy(now, id, |_| true, target, true)?;
            return Ok(ChangeReply::Done);
        }
        if to.is_below(from) {
            return Err(Refusal::BelowItself);
        }
        let moved = |name: &MailboxName| {
            let rest = name.as_str().strip_prefix(from.as_str())?;
            (rest.is_empty() || rest.starts_with('/'))
                .then(|| MailboxName::parse(&format!("{to}{rest}")).unwrap())
        };
        let mut names = BTreeMap::new();
        for (name, id) in &self.names {
            if names
                .insert(moved(name).unwrap_or(name.clone()), *id)
                .is_some()
            {
                return Err(Refusal::MailboxExists);
            }
        }
        let missing = self.missing_above(to);
        self.names = names;
        for parent in missing {
            self.make(now, &parent, None);
        }
        self.take_modseq();
        Ok(ChangeReply::Done)
    }

    fn add_new(&mut self, now: i64, to: u64, new: &NewMessage) -> Uid {
        self.next_message += 1;
        let message = Message {
            modseq: 0,
            system: new.flags.system,
            keywords: new.flags.keywords.clone(),
            internal: new.internal_date.0,
            saved: now,
            size: new.body.size + new.prefix.len() as u32,
            id: self.next_message,
            body: new.body.clone(),
            prefix: new.prefix.clone(),
        };
        self.add(to, message)
    }

    fn add(&mut self, to: u64, mut message: Message) -> Uid {
        message.modseq = self.take_modseq();
        let mailbox = self.boxes.get_mut(&to).unwrap();
        mailbox.highest = message.modseq;
        mailbox.learn(&message.keywords);
        let uid = mailbox.uid_next;
        mailbox.uid_next += 1;
        mailbox.messages.insert(uid, message);
        Uid::new(uid).unwrap()
    }

    fn store(
        &mut self,
        id: u64,
        uids: &UidSet,
        unchanged_since: Option<ModSeq>,
        update: FlagUpdate,
        flags: &Flags,
    ) -> Outcome<ChangeReply> {
        let mut mailbox = self.boxes.get(&id).cloned().ok_or(Refusal::NoSuchMailbox)?;
        let (mut changed, mut modified) = (UidSet::new(), UidSet::new());
        for (uid, message) in &mut mailbox.messages {
            let uid = Uid::new(*uid).unwrap();
            if !uids.contains(uid) {
                continue;
            }
            if unchanged_since.is_some_and(|since| message.modseq > since.0) {
                modified.insert(uid);
                continue;
            }
            let mut keywords = message.keywords.clone();
            let system = match update {
                FlagUpdate::Replace => {
                    keywords.clear();
                    keywords.extend(flags.keywords.iter().cloned());
                    flags.system
                }
                FlagUpdate::Add => {
                    keywords.extend(
                        flags
                            .keywords
                            .iter()
                            .filter(|new| !message.keywords.contains(new))
                            .cloned(),
                    );
                    message.system | flags.system
                }
                FlagUpdate::Remove => {
                    keywords.retain(|old| !flags.keywords.contains(old));
                    message.system - flags.system
                }
            };
            let same = keywords.len() == message.keywords.len()
                && keywords.iter().all(|k| message.keywords.contains(k));
            if update != FlagUpdate::Remove {
                for keyword in &flags.keywords {
                    if !mailbox.keywords.contains(keyword) {
                        mailbox.keywords.push(keyword.clone());
                    }
                }
            }
            if !same || system != message.system {
                changed.insert(uid);
                message.system = system;
                message.keywords = keywords;
            }
        }
        if !changed.is_empty() {
            mailbox.highest = self.take_modseq();
            for uid in changed.iter() {
                mailbox.messages.get_mut(&uid.get()).unwrap().modseq = mailbox.highest;
            }
        }
        let modseq = ModSeq(mailbox.highest);
        self.boxes.insert(id, mailbox);
        Ok(ChangeReply::FlagsStored(FlagsStored {
            changed,
            modified,
            modseq,
        }))
    }

    fn copy(
        &mut self,
        now: i64,
        from: u64,
        wanted: impl Fn(Uid) -> bool,
        to: u64,
        remove: bool,
    ) -> Outcome<Copied> {
        let originals: BTreeMap<u32, Message> = self.boxes[&from]
            .messages
            .clone()
            .into_iter()
            .filter(|(uid, _)| wanted(Uid::new(*uid).unwrap()))
            .collect();
        if !remove {
            let bytes = originals
                .values()
                .map(|message| u64::from(message.size))
                .sum();
            self.check_quota(originals.len() as u64, bytes)?;
        }
        let mut copied = Copied {
            mailbox: MailboxId(to),
            uid_validity: UidValidity::new(self.boxes[&to].uid_validity).unwrap(),
            from: UidSet::new(),
            to: UidSet::new(),
            modseq: ModSeq(0),
        };
        for (uid, original) in originals {
            copied.from.insert(Uid::new(uid).unwrap());
            let spelling = self.boxes[&from].keywords.clone();
            let keywords = spelling
                .into_iter()
                .filter(|known| original.keywords.contains(known))
                .collect();
            let uid = self.add(
                to,
                Message {
                    saved: now,
                    keywords,
                    ..original
                },
            );
            copied.to.insert(uid);
        }
        if remove {
            self.remove(from, &copied.from);
        }
        copied.modseq = ModSeq(self.boxes[&to].highest);
        Ok(copied)
    }

    fn remove(&mut self, from: u64, gone: &UidSet) {
        if gone.is_empty() {
            return;
        }
        let modseq = self.take_modseq();
        let mailbox = self.boxes.get_mut(&from).unwrap();
        mailbox.highest = modseq;
        for uid in gone.iter() {
            mailbox.messages.remove(&uid.get());
            mailbox.expunged.push((modseq, uid.get()));
        }
    }

    fn expunge(&mut self, id: u64, goes: impl Fn(Uid, &Message) -> bool) -> Outcome<ChangeReply> {
        let mailbox = self.boxes.get(&id).ok_or(Refusal::NoSuchMailbox)?;
        let with_uid = mailbox
            .messages
            .iter()
            .map(|(uid, message)| (Uid::new(*uid).unwrap(), message));
        let uids: UidSet = with_uid
            .filter(|(uid, message)| goes(*uid, message))
            .map(|(uid, _)| uid)
            .collect();
        self.remove(id, &uids);
        Ok(ChangeReply::Expunged {
            uids,
            modseq: ModSeq(self.boxes[&id].highest),
        })
    }
}

impl Mailbox {
    fn learn(&mut self, keywords: &[Keyword]) {
        for keyword in keywords {
            if !self.keywords.contains(keyword) {
                self.keywords.push(keyword.clone());
            }
        }
    }
}
