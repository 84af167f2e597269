//! One account of the reference.

use std::collections::{BTreeMap, BTreeSet};

use mailrook_mailbox::{
    ChangeReply, Copied, DeliveryOutcome, FlagsStored, MailboxRef, MaildropHolder, MaildropReply,
    MaildropStep, NewBody, NewMailbox, NewMessage, QuotaLimit, Refusal, TableReply,
    limits::{SKIPPED_IDS, SKIPPED_MODSEQS, SKIPPED_UID_VALIDITIES, SKIPPED_UIDS},
};
use mailrook_types::{
    FlagUpdate, Flags, Keyword, MailboxId, MailboxName, ModSeq, OpId, SpecialUse, SystemFlags, Uid,
    UidSet, UidValidity,
};

const DAY: i64 = 86_400_000;
const HOUR: i64 = 3_600_000;

pub type Outcome<T> = Result<T, Refusal>;

fn limit(text: &str) -> Refusal {
    Refusal::Limit(text.to_owned())
}

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
    pub floor: u64,
    pub special_use: Option<SpecialUse>,
    pub keywords: Vec<Keyword>,
    pub messages: BTreeMap<u32, Message>,
    pub expunged: Vec<(u64, u32)>,
}

#[derive(Clone, Debug)]
pub enum Kept {
    Change(Result<ChangeReply, Refusal>),
    Delivery(Vec<DeliveryOutcome>),
    Table(Result<Vec<TableReply>, Refusal>),
}

#[derive(Clone, Debug, Default)]
pub struct Lane {
    lowest: u64,
    used: i64,
    kept: BTreeMap<u64, Kept>,
}

/// The lanes of an account, or of the tables.
#[derive(Clone, Debug, Default)]
pub struct Lanes(BTreeMap<(u64, u64), Lane>);

impl Lanes {
    pub fn begin(&self, now: i64, op: &OpId) -> Outcome<Option<Kept>> {
        let lane = self
            .0
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

    pub fn keep(&mut self, now: i64, op: &OpId, reply: Kept) {
        let lane = self.0.entry((op.client.0, op.lane)).or_default();
        if lane.used + DAY <= now {
            *lane = Lane::default();
        }
        lane.used = now;
        lane.lowest = lane.lowest.max(op.lowest_unanswered);
        lane.kept = lane.kept.split_off(&lane.lowest);
        lane.kept.insert(op.n, reply);
    }
}

/// Who has the maildrop, until when by the lease, and since when somebody else waits for it after that.
#[derive(Clone, Copy, Debug)]
pub struct Maildrop {
    holder: MaildropHolder,
    until: i64,
    waiting: Option<i64>,
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
    pub lanes: Lanes,
    pub deliveries: BTreeMap<(u64, [u8; 32]), (u32, i64)>,
    pub ever: bool,
    pub maildrop: Option<Maildrop>,
    pub now_modseq: Option<u64>,
}

impl Account {
    pub fn skip_numbers(&mut self) {
        self.modseq += SKIPPED_MODSEQS;
        self.next_mailbox += SKIPPED_IDS;
        self.next_message += SKIPPED_IDS;
        self.last_uid_validity += SKIPPED_UID_VALIDITIES as u32;
        for mailbox in self.boxes.values_mut() {
            mailbox.uid_next = mailbox.uid_next.saturating_add(SKIPPED_UIDS);
            mailbox.highest += SKIPPED_MODSEQS;
            mailbox.floor = mailbox.highest;
        }
    }

    /// Whether a session has the maildrop, its lease being over or not.
    pub fn has_maildrop(&self, now: i64, holder: MaildropHolder) -> bool {
        self.maildrop
            .is_some_and(|lock| lock.holder == holder && now < lock.until + HOUR)
    }

    pub fn step_maildrop(
        &mut self,
        now: i64,
        holder: MaildropHolder,
        step: MaildropStep,
    ) -> Outcome<MaildropReply> {
        let lock = |lease_ms: u32| {
            Some(Maildrop {
                holder,
                until: now + i64::from(lease_ms).min(600_000),
                waiting: None,
            })
        };
        let is_ours = self.has_maildrop(now, holder);
        match step {
            MaildropStep::Take { lease_ms } => {
                let other = (self.maildrop.as_mut())
                    .filter(|lock| lock.holder != holder && now < lock.until + HOUR);
                if let Some(other) = other {
                    let is_later = other.holder.client == holder.client
                        && other.holder.session < holder.session;
                    // Whose time was ahead of this one is not believed.
                    other.until = other.until.min(now + i64::from(lease_ms).min(600_000));
                    other.waiting = other.waiting.filter(|since| *since <= now);
                    let is_over = now >= other.until && other.holder.client != holder.client;
                    if is_over && other.waiting.is_none() {
                        other.waiting = Some(now);
                    }
                    let waited = other.waiting.is_some_and(|since| now - since >= 8_000);
                    let may_take = is_later || (is_over && waited);
                    if !may_take {
                        return Ok(MaildropReply::InUse);
                    }
                }
                self.maildrop = lock(lease_ms);
            }
            MaildropStep::Renew { lease_ms } if is_ours => self.maildrop = lock(lease_ms),
            MaildropStep::Renew { .. } => return Err(Refusal::MaildropLost),
            MaildropStep::Release if is_ours => self.maildrop = None,
            MaildropStep::Release => {}
        }
        Ok(MaildropReply::Done)
    }

    pub fn take_modseq(&mut self) -> u64 {
        if self.now_modseq.is_none() {
            self.modseq += 1;
            self.now_modseq = Some(self.modseq);
        }
        self.modseq
    }

    pub fn id_of(&self, name: &MailboxName) -> Outcome<u64> {
        self.names.get(name).copied().ok_or(Refusal::NoSuchMailbox)
    }

    pub fn resolve(&self, to: &MailboxRef) -> Outcome<u64> {
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

    pub fn check_quota(&self, messages: u64, bytes: u64) -> Outcome<()> {
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

    pub fn make(&mut self, now: i64, name: &MailboxName, special_use: Option<SpecialUse>) -> u64 {
        let highest = self.take_modseq();
        self.next_mailbox += 1;
        self.last_uid_validity = (self.last_uid_validity + 1).max((now / 1000) as u32);
        self.names.insert(name.clone(), self.next_mailbox);
        let mailbox = Mailbox {
            uid_validity: self.last_uid_validity,
            uid_next: 1,
            highest,
            floor: 0,
            special_use,
            keywords: Vec::new(),
            messages: BTreeMap::new(),
            expunged: Vec::new(),
        };
        self.boxes.insert(self.next_mailbox, mailbox);
        self.next_mailbox
    }

    pub fn missing_above(&self, name: &MailboxName) -> Vec<MailboxName> {
        let levels = std::iter::successors(name.parent(), MailboxName::parent);
        let mut missing: Vec<_> = levels
            .filter(|name| !self.names.contains_key(name))
            .collect();
        missing.reverse();
        missing
    }

    pub fn make_with_parents(
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

    pub fn create_account(
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

    pub fn create_mailbox(&mut self, now: i64, new: &NewMailbox) -> Outcome<u64> {
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

    pub fn delete(&mut self, name: &MailboxName) {
        if let Some(id) = self.names.remove(name) {
            self.boxes.remove(&id);
            self.deliveries.retain(|(mailbox, _), _| *mailbox != id);
        }
    }

    pub fn rename(
        &mut self,
        now: i64,
        from: &MailboxName,
        to: &MailboxName,
    ) -> Outcome<ChangeReply> {
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

    pub fn add_new(&mut self, now: i64, to: u64, new: &NewMessage) -> Uid {
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

    pub fn add(&mut self, to: u64, mut message: Message) -> Uid {
        message.modseq = self.take_modseq();
        let mailbox = self.boxes.get_mut(&to).unwrap();
        mailbox.highest = message.modseq;
        mailbox.learn(&message.keywords);
        let uid = mailbox.uid_next;
        mailbox.uid_next += 1;
        mailbox.messages.insert(uid, message);
        Uid::new(uid).unwrap()
    }

    pub fn store(
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

    pub fn copy(
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

    pub fn remove(&mut self, from: u64, gone: &UidSet) {
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

    pub fn expunge(
        &mut self,
        id: u64,
        goes: impl Fn(Uid, &Message) -> bool,
    ) -> Outcome<ChangeReply> {
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
    pub fn learn(&mut self, keywords: &[Keyword]) {
        for keyword in keywords {
            if !self.keywords.contains(keyword) {
                self.keywords.push(keyword.clone());
            }
        }
    }
}
