//! One client of the kill -9 loop: a kind of load on accounts of its own, with its ledger.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

use crate::client::{Imap, Pop3, Smtp, dot_stuffed, fetches, wire_error};
use crate::corpus::{Corpus, Message};
use crate::harness::{Account, Ports};
use crate::ledger::{FlagSet, Ledger, SeenMailbox, SeenMessage, Violation, copy_name, ledger_id};

/// What a worker does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Job {
    /// Delivers by SMTP.
    Smtp,
    /// Delivers by LMTP.
    Lmtp,
    /// Appends, one and several at once.
    Append,
    /// Appends several at once, which are all there afterwards, or none (RFC 3502).
    MultiAppend,
    /// COPY of one and several, which are all there afterwards, or none (RFC 9051 §6.4.7); deletes originals and copies.
    Copy,
    /// STORE, MOVE, EXPUNGE.
    Change,
    /// DELE and QUIT.
    Pop3,
}

/// The mailboxes every account has here.
const MAILBOXES: [&str; 3] = ["INBOX", "Work", COPIES];
/// Where copies go, and nothing else.
const COPIES: &str = "Copies";
/// Of these, messages come.
const ARRIVALS: [&str; 2] = ["INBOX", "Work"];
/// Messages in one MULTIAPPEND or COPY.
const TOGETHER_MAX: usize = 7;
/// Messages a worker sends in one round at most, so that reading everything afterwards stays short.
const SENT_PER_ROUND_MAX: usize = 400;
/// A mailbox above this is emptied after the check.
const MAILBOX_MESSAGES_MAX: usize = 600;
/// Large enough for a body in several chunks, small enough for many a second.
const BYTES_MAX: usize = 400_000;
/// What the changing workers keep in stock.
const STOCK: usize = 40;
const SENDER: &str = "sender@client.example";

/// A delivery whose answer the kill cut off.
struct Pending {
    recipients: Vec<usize>,
    message: Message,
}

/// The client.
pub struct Worker {
    job: Job,
    accounts: Vec<Account>,
    ledgers: Vec<Ledger>,
    corpus: Corpus,
    random: StdRng,
    pending: BTreeMap<String, Pending>,
    acknowledged: usize,
    /// What one command adds must be there whole, or not at all.
    whole: bool,
}

impl Worker {
    /// A client of these accounts. `whole`: the server promises that a command is done as a whole.
    pub fn new(job: Job, accounts: Vec<Account>, seed: u64, whole: bool) -> Self {
        let ledgers = accounts.iter().map(|a| Ledger::new(&a.user)).collect();
        let (corpus, random) = (Corpus::new(seed), StdRng::seed_from_u64(seed));
        Self {
            job,
            accounts,
            ledgers,
            corpus,
            random,
            pending: BTreeMap::new(),
            acknowledged: 0,
            whole,
        }
    }

    /// Makes the mailboxes.
    pub fn prepare(&mut self, ports: Ports) -> io::Result<()> {
        for index in 0..self.accounts.len() {
            let mut imap = self.imap(ports, index)?;
            let there = imap.list()?;
            for mailbox in MAILBOXES.iter().filter(|m| !there.iter().any(|t| t == *m)) {
                imap.ok(&format!("CREATE {mailbox}"))?;
            }
        }
        Ok(())
    }

    /// Works until the server dies or the round's share is done. The error is the death.
    pub fn load(&mut self, ports: Ports, stop: &AtomicBool) -> io::Result<()> {
        match self.job {
            Job::Smtp | Job::Lmtp => self.deliver(ports, stop),
            Job::Append | Job::MultiAppend => self.append(ports, stop),
            Job::Copy => self.copy(ports, stop),
            Job::Change => self.change(ports, stop),
            Job::Pop3 => self.fetch_and_delete(ports, stop),
        }
    }

    /// What broke off its work while the server lived.
    pub fn broken_off(&self, error: &io::Error) -> Violation {
        Violation {
            account: self.accounts[0].user.clone(),
            what: format!("{:?} broke off before the kill: {error}", self.job),
        }
    }

    /// Commands without an answer so far.
    pub fn unanswered(&self) -> usize {
        self.ledgers.iter().map(|l| l.unanswered().len()).sum()
    }

    /// The job, and how often the server acknowledged a piece of it.
    pub fn work(&self) -> (Job, usize) {
        (self.job, self.acknowledged)
    }

    /// Messages sent, and messages kept where they were told to be.
    pub fn counts(&self) -> (usize, usize) {
        self.ledgers
            .iter()
            .map(Ledger::counts)
            .fold((0, 0), |(a, b), (c, d)| (a + c, b + d))
    }

    fn imap(&self, ports: Ports, index: usize) -> io::Result<Imap> {
        Imap::login(
            ports.imap,
            &self.accounts[index].user,
            &self.accounts[index].password,
        )
    }

    /// Most are of ordinary size; every message is new.
    fn mail(&mut self) -> Message {
        if self.random.random_ratio(1, 40) {
            self.corpus.message_up_to(BYTES_MAX)
        } else {
            self.corpus.message_up_to(12_000)
        }
    }

    // --- delivery ---

    fn deliver(&mut self, ports: Ports, stop: &AtomicBool) -> io::Result<()> {
        let mut session = self.session(ports)?;
        for _ in 0..SENT_PER_ROUND_MAX {
            if stop.load(Ordering::Relaxed) {
                return Ok(());
            }
            let message = self.mail();
            let recipients = if self.random.random_ratio(1, 3) {
                (0..self.accounts.len()).collect()
            } else {
                vec![self.random.random_range(0..self.accounts.len())]
            };
            for &recipient in &recipients {
                self.ledgers[recipient].sending(&message.id, &message.bytes, "INBOX", Vec::new());
            }
            let id = message.id.clone();
            self.pending.insert(
                id.clone(),
                Pending {
                    recipients,
                    message,
                },
            );
            self.send_pending(&mut session, &id)?;
        }
        // The kill may come while nothing is under way, too.
        wait(stop);
        Ok(())
    }

    fn session(&self, ports: Ports) -> io::Result<Smtp> {
        if self.job == Job::Smtp {
            Smtp::connect(ports.smtp)
        } else {
            Smtp::connect_lmtp(ports.lmtp)
        }
    }

    /// Sends a pending message to its recipients; those that are confirmed leave the list.
    fn send_pending(&mut self, session: &mut Smtp, id: &str) -> io::Result<()> {
        let Some(pending) = self.pending.get_mut(id) else {
            return Ok(());
        };
        let names: Vec<&str> = pending
            .recipients
            .iter()
            .map(|r| self.accounts[*r].user.as_str())
            .collect();
        let stuffed = dot_stuffed(&pending.message.bytes);
        if self.job == Job::Smtp {
            session.send_stuffed(SENDER, &names, &stuffed)?;
            for recipient in std::mem::take(&mut pending.recipients) {
                self.ledgers[recipient].arrived(id, None);
            }
        } else {
            session.lmtp_begin(SENDER, &names, &stuffed)?;
            // One answer at a time: the kill may fall between two recipients' answers.
            while let Some(&recipient) = pending.recipients.first() {
                session.reply()?.expect(250)?;
                pending.recipients.remove(0);
                self.ledgers[recipient].arrived(id, None);
            }
        }
        self.pending.remove(id);
        self.acknowledged += 1;
        Ok(())
    }

    /// Sends what was not answered again, the same bytes. True if there was anything.
    pub fn resend(&mut self, ports: Ports) -> io::Result<bool> {
        let ids: Vec<String> = self.pending.keys().cloned().collect();
        if ids.is_empty() {
            return Ok(false);
        }
        let mut session = self.session(ports)?;
        for id in &ids {
            for &recipient in &self.pending[id].recipients {
                self.ledgers[recipient].moving(id, Some("INBOX".to_owned()));
            }
            self.send_pending(&mut session, id)?;
        }
        session.quit()?;
        Ok(true)
    }

    // --- APPEND ---

    fn append(&mut self, ports: Ports, stop: &AtomicBool) -> io::Result<()> {
        let mut imap = self.imap(ports, 0)?;
        for _ in 0..SENT_PER_ROUND_MAX / 2 {
            if stop.load(Ordering::Relaxed) {
                return Ok(());
            }
            let count = match self.job {
                Job::MultiAppend => self.random.random_range(2..=TOGETHER_MAX),
                _ if self.random.random_ratio(1, 6) => 3,
                _ => 1,
            };
            let mailbox = ARRIVALS[self.random.random_range(0..ARRIVALS.len())];
            self.append_some(&mut imap, mailbox, count)?;
        }
        wait(stop);
        Ok(())
    }

    fn append_some(&mut self, imap: &mut Imap, mailbox: &str, count: usize) -> io::Result<()> {
        let messages: Vec<Message> = (0..count).map(|_| self.mail()).collect();
        let flags: Vec<FlagSet> = (0..count).map(|_| self.flags()).collect();
        let joined: Vec<String> = flags.iter().map(|f| f.join(" ")).collect();
        for (message, flags) in messages.iter().zip(&flags) {
            self.ledgers[0].sending(&message.id, &message.bytes, mailbox, flags.clone());
        }
        let arguments: Vec<(&str, &[u8])> = messages
            .iter()
            .zip(&joined)
            .map(|(m, f)| (f.as_str(), m.bytes.as_slice()))
            .collect();
        self.together(messages.iter().map(|m| m.id.clone()).collect());
        let reply = imap.append_many(mailbox, &arguments)?;
        self.answered();
        // RFC 4315 §3: UIDVALIDITY and the UIDs, in the order of the messages.
        let code = reply.code("APPENDUID").unwrap_or_default();
        let uids = code.get(1).map(|set| expand(set)).unwrap_or_default();
        self.told_uids("APPENDUID", &code, mailbox, count, &uids);
        for (at, message) in messages.iter().enumerate() {
            self.ledgers[0].arrived(&message.id, uids.get(at).copied());
        }
        // What the others append is their stock, not their work.
        self.acknowledged += usize::from(matches!(self.job, Job::Append | Job::MultiAppend));
        Ok(())
    }

    /// What one command is about to add.
    fn together(&mut self, names: Vec<String>) {
        if self.whole {
            self.ledgers[0].together(names);
        }
    }

    fn answered(&mut self) {
        if self.whole {
            self.ledgers[0].answered();
        }
    }

    /// Looks at an answer by itself: the mailbox's UIDVALIDITY, and as many ascending UIDs as there are messages.
    fn told_uids(
        &mut self,
        what: &str,
        code: &[String],
        mailbox: &str,
        count: usize,
        uids: &[u32],
    ) {
        let ledger = &mut self.ledgers[0];
        match code.first().and_then(|text| text.parse().ok()) {
            Some(told) => ledger.told_uid_validity(mailbox, told),
            None => ledger.note(format!("{mailbox}: {what} tells no UIDVALIDITY: {code:?}")),
        }
        if uids.len() != count || !uids.is_sorted_by(|a, b| a < b) {
            ledger.note(format!(
                "{mailbox}: {what} for {count} messages is {code:?}"
            ));
        }
    }

    fn flags(&mut self) -> FlagSet {
        let all = ["$Later", "\\Answered", "\\Flagged", "\\Seen", "label1"];
        let mut flags: FlagSet = all
            .choose_multiple(&mut self.random, 2)
            .map(|f| (*f).to_owned())
            .collect();
        flags.truncate(self.random.random_range(0..=2));
        flags.sort();
        flags
    }

    // --- COPY ---

    fn copy(&mut self, ports: Ports, stop: &AtomicBool) -> io::Result<()> {
        let mut imap = self.imap(ports, 0)?;
        imap.ok("SELECT INBOX")?;
        for _ in 0..SENT_PER_ROUND_MAX / 4 {
            if stop.load(Ordering::Relaxed) {
                return Ok(());
            }
            let fresh = self.fresh();
            if fresh.len() < STOCK {
                self.append_some(&mut imap, "INBOX", TOGETHER_MAX)?;
            }
            let count = self.random.random_range(1..=TOGETHER_MAX);
            let mut some: Vec<(String, u32)> = fresh
                .choose_multiple(&mut self.random, count)
                .cloned()
                .collect();
            if some.is_empty() {
                continue;
            }
            some.sort_by_key(|(_, uid)| *uid);
            self.copy_some(&mut imap, &some)?;
            // The body of a message is kept once: neither may go with the other.
            if let Some((id, uid)) = some.first().filter(|_| self.random.random_ratio(1, 3)) {
                self.delete(&mut imap, id, *uid)?;
            }
            if self.random.random_ratio(1, 4) {
                self.change_a_copy(&mut imap)?;
            }
        }
        wait(stop);
        Ok(())
    }

    /// What stands in the INBOX and has no copy.
    fn fresh(&self) -> Vec<(String, u32)> {
        let ledger = &self.ledgers[0];
        let here = ledger.certain("INBOX").into_iter();
        here.filter_map(|(id, uid)| Some((id, uid?)))
            .filter(|(id, _)| ledger.is_nowhere(&copy_name(id, COPIES)))
            .collect()
    }

    /// Copies messages, sorted by UID, in one command.
    fn copy_some(&mut self, imap: &mut Imap, some: &[(String, u32)]) -> io::Result<()> {
        let names = some
            .iter()
            .map(|(id, _)| self.ledgers[0].copying(id, COPIES));
        let names: Vec<String> = names.collect::<Option<_>>().unwrap_or_default();
        self.together(names.clone());
        let from: Vec<u32> = some.iter().map(|(_, uid)| *uid).collect();
        let set: Vec<String> = from.iter().map(u32::to_string).collect();
        let reply = imap.ok(&format!("UID COPY {} {COPIES}", set.join(",")))?;
        self.answered();
        // RFC 4315 §3: the UIDs of the originals and those of their copies, in the same order.
        let code = reply.code("COPYUID").unwrap_or_default();
        let uids = |at: usize| code.get(at).map(|set| expand(set)).unwrap_or_default();
        let copies = uids(2);
        self.told_uids("COPYUID", &code, COPIES, names.len(), &copies);
        if uids(1) != from {
            self.ledgers[0].note(format!("COPYUID of {from:?} is {code:?}"));
        }
        for (at, name) in names.iter().enumerate() {
            self.ledgers[0].arrived(name, copies.get(at).copied());
        }
        self.acknowledged += 1;
        Ok(())
    }

    /// Deletes a copy, or gives it flags that its original does not get.
    fn change_a_copy(&mut self, imap: &mut Imap) -> io::Result<()> {
        let here = self.ledgers[0].certain(COPIES).into_iter();
        let here: Vec<(String, u32)> = here.filter_map(|(name, uid)| Some((name, uid?))).collect();
        let Some((name, uid)) = here.choose(&mut self.random) else {
            return Ok(());
        };
        imap.ok(&format!("SELECT {COPIES}"))?;
        match self.random.random_ratio(1, 2) {
            true => self.delete(imap, name, *uid)?,
            false => {
                let flags = self.flags();
                self.ledgers[0].flagging(name, flags.clone());
                imap.ok(&format!(
                    "UID STORE {uid} FLAGS.SILENT ({})",
                    flags.join(" ")
                ))?;
                self.ledgers[0].flagged(name, flags, None);
            }
        }
        imap.ok("SELECT INBOX")?;
        Ok(())
    }

    // --- STORE, MOVE, EXPUNGE ---

    fn change(&mut self, ports: Ports, stop: &AtomicBool) -> io::Result<()> {
        let mut imap = self.imap(ports, 0)?;
        for _ in self.ledgers[0].certain("INBOX").len()..STOCK {
            self.append_some(&mut imap, "INBOX", 1)?;
        }
        imap.ok("SELECT INBOX (CONDSTORE)")?;
        for step in 0..SENT_PER_ROUND_MAX {
            if stop.load(Ordering::Relaxed) {
                return Ok(());
            }
            if step % 10 == 9 {
                self.append_some(&mut imap, "INBOX", 1)?;
            }
            let here: Vec<(String, u32)> = self.ledgers[0]
                .certain("INBOX")
                .into_iter()
                .filter_map(|(id, uid)| Some((id, uid?)))
                .collect();
            let Some((id, uid)) = here.choose(&mut self.random).cloned() else {
                continue;
            };
            match self.random.random_range(0..10) {
                0..=6 => self.store(&mut imap, &id, uid)?,
                7..=8 => {
                    self.ledgers[0].moving(&id, Some("Work".to_owned()));
                    imap.ok(&format!("UID MOVE {uid} Work"))?;
                    self.ledgers[0].moved(&id, Some("Work".to_owned()));
                }
                _ => {
                    self.delete(&mut imap, &id, uid)?;
                }
            }
        }
        wait(stop);
        Ok(())
    }

    fn store(&mut self, imap: &mut Imap, id: &str, uid: u32) -> io::Result<()> {
        let flags = self.flags();
        self.ledgers[0].flagging(id, flags.clone());
        let reply = imap.ok(&format!("UID STORE {uid} FLAGS ({})", flags.join(" ")))?;
        let told = fetches(&reply)?
            .iter()
            .filter(|f| f.uid() == Some(uid))
            .filter_map(|f| f.modseq())
            .max();
        self.ledgers[0].flagged(id, flags, told);
        self.acknowledged += 1;
        if let Some(modseq) = told {
            self.ledgers[0].told_modseq("INBOX", modseq);
        }
        Ok(())
    }

    fn delete(&mut self, imap: &mut Imap, id: &str, uid: u32) -> io::Result<()> {
        let flags = vec!["\\Deleted".to_owned()];
        self.ledgers[0].flagging(id, flags.clone());
        imap.ok(&format!("UID STORE {uid} FLAGS.SILENT (\\Deleted)"))?;
        self.ledgers[0].flagged(id, flags, None);
        self.ledgers[0].moving(id, None);
        imap.ok(&format!("UID EXPUNGE {uid}"))?;
        self.ledgers[0].moved(id, None);
        Ok(())
    }

    // --- POP3 ---

    fn fetch_and_delete(&mut self, ports: Ports, stop: &AtomicBool) -> io::Result<()> {
        for _ in 0..SENT_PER_ROUND_MAX / 20 {
            if stop.load(Ordering::Relaxed) {
                return Ok(());
            }
            let mut imap = self.imap(ports, 0)?;
            self.append_some(&mut imap, "INBOX", 5)?;
            imap.logout()?;
            let account = &self.accounts[0];
            let mut pop3 = Pop3::login(ports.pop3, &account.user, &account.password)?;
            let (count, _) = pop3.stat()?;
            let mut chosen = Vec::new();
            for number in 1..=count {
                if self.random.random_ratio(1, 2) {
                    let message = pop3.retrieve(number)?;
                    chosen.extend(ledger_id(&message));
                    pop3.command(&format!("DELE {number}"))?;
                }
            }
            chosen
                .iter()
                .for_each(|id| self.ledgers[0].moving(id, None));
            pop3.quit()?;
            chosen.iter().for_each(|id| self.ledgers[0].moved(id, None));
            self.acknowledged += 1;
        }
        wait(stop);
        Ok(())
    }

    // --- after the kill ---

    /// Reads all mailboxes and compares.
    pub fn inspect(&mut self, ports: Ports) -> io::Result<Vec<Violation>> {
        let mut violations = Vec::new();
        for index in 0..self.accounts.len() {
            let mut imap = self.imap(ports, index)?;
            let there = imap.list()?;
            let (here, gone): (Vec<&str>, Vec<&str>) = MAILBOXES
                .into_iter()
                .partition(|name| there.iter().any(|listed| listed == name));
            for name in gone {
                self.ledgers[index].note(format!("mailbox {name} is lost"));
            }
            let seen: Vec<SeenMailbox> = here
                .into_iter()
                .map(|name| look(&mut imap, name))
                .collect::<io::Result<_>>()?;
            violations.extend(self.ledgers[index].check(&seen));
            imap.logout()?;
        }
        Ok(violations)
    }

    /// Empties mailboxes that have grown large, by commands whose answers go into the ledger like all others.
    pub fn tidy(&mut self, ports: Ports) -> io::Result<()> {
        for index in 0..self.accounts.len() {
            for mailbox in MAILBOXES {
                let here = self.ledgers[index].certain(mailbox);
                if here.len() < MAILBOX_MESSAGES_MAX {
                    continue;
                }
                let mut imap = self.imap(ports, index)?;
                imap.ok(&format!("SELECT {mailbox}"))?;
                imap.ok("UID STORE 1:* +FLAGS.SILENT (\\Deleted)")?;
                imap.ok("EXPUNGE")?;
                here.iter()
                    .for_each(|(id, _)| self.ledgers[index].moved(id, None));
                imap.logout()?;
            }
        }
        Ok(())
    }
}

fn wait(stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        thread::sleep(Duration::from_millis(5));
    }
}

fn look(imap: &mut Imap, name: &str) -> io::Result<SeenMailbox> {
    let reply = imap.ok(&format!("SELECT {name} (CONDSTORE)"))?;
    let number = |code: &str| {
        reply
            .code(code)
            .and_then(|c| c.first()?.parse::<u64>().ok())
    };
    let uid = |code: &str| {
        let value = number(code).and_then(|n| u32::try_from(n).ok());
        value.ok_or_else(|| wire_error(format!("SELECT {name} told no {code}")))
    };
    let (uid_validity, uid_next) = (uid("UIDVALIDITY")?, uid("UIDNEXT")?);
    let highest_modseq = number("HIGHESTMODSEQ");
    let mut messages = Vec::new();
    if reply.exists().unwrap_or(0) > 0 {
        for fetch in imap.uid_fetch("1:*", "UID FLAGS MODSEQ BODY.PEEK[]")? {
            let (Some(uid), Some(flags), Some(body)) =
                (fetch.uid(), fetch.flags(), fetch.get("BODY[]"))
            else {
                return Err(wire_error(format!(
                    "{name}: a FETCH without what was asked for: {:?}",
                    fetch.sequence
                )));
            };
            messages.push(SeenMessage {
                uid,
                modseq: fetch.modseq(),
                flags,
                bytes: body.bytes().to_vec(),
            });
        }
    }
    if reply.exists() != u32::try_from(messages.len()).ok() {
        return Err(wire_error(format!(
            "{name}: {:?} EXISTS, {} fetched",
            reply.exists(),
            messages.len()
        )));
    }
    Ok(SeenMailbox {
        name: name.to_owned(),
        uid_validity,
        uid_next,
        highest_modseq,
        messages,
    })
}

/// `4,7:9` as numbers.
fn expand(set: &str) -> Vec<u32> {
    set.split(',')
        .flat_map(|part| {
            let (low, high) = part.split_once(':').unwrap_or((part, part));
            match (low.parse::<u32>(), high.parse::<u32>()) {
                (Ok(low), Ok(high)) => (low.min(high)..=high.max(low)).collect(),
                _ => Vec::new(),
            }
        })
        .collect()
}
