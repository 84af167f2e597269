//! APPEND, COPY, STORE, MOVE, EXPUNGE and POP3, each written into the ledger before it is sent and when it is answered.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

use rand::Rng;
use rand::seq::IndexedRandom;

use super::{ARRIVALS, COPIES, Job, STOCK, TOGETHER_MAX, Worker, wait};
use crate::client::{Imap, Pop3, fetches};
use crate::corpus::Message;
use crate::harness::Ports;
use crate::ledger::{FlagSet, copy_name, ledger_id};

impl Worker {
    // --- APPEND ---

    pub(super) fn append(&mut self, ports: Ports, stop: &AtomicBool) -> io::Result<()> {
        let mut imap = self.imap(ports, 0)?;
        for _ in 0..self.share / 2 {
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
        if matches!(self.job, Job::Append | Job::MultiAppend) {
            self.acknowledge();
        }
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

    pub(super) fn copy(&mut self, ports: Ports, stop: &AtomicBool) -> io::Result<()> {
        let mut imap = self.imap(ports, 0)?;
        imap.ok("SELECT INBOX")?;
        for _ in 0..self.share / 4 {
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
        let here = ledger.settled("INBOX").into_iter();
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
        self.acknowledge();
        Ok(())
    }

    /// Deletes a copy, or gives it flags that its original does not get.
    fn change_a_copy(&mut self, imap: &mut Imap) -> io::Result<()> {
        let here = self.ledgers[0].settled(COPIES).into_iter();
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

    pub(super) fn change(&mut self, ports: Ports, stop: &AtomicBool) -> io::Result<()> {
        let mut imap = self.imap(ports, 0)?;
        for _ in self.ledgers[0].certain("INBOX").len()..STOCK {
            self.append_some(&mut imap, "INBOX", 1)?;
        }
        imap.ok("SELECT INBOX (CONDSTORE)")?;
        for step in 0..self.share {
            if stop.load(Ordering::Relaxed) {
                return Ok(());
            }
            if step % 10 == 9 {
                self.append_some(&mut imap, "INBOX", 1)?;
            }
            let here: Vec<(String, u32)> = self.ledgers[0]
                .settled("INBOX")
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
        self.acknowledge();
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

    pub(super) fn fetch_and_delete(&mut self, ports: Ports, stop: &AtomicBool) -> io::Result<()> {
        for _ in 0..self.share / 20 {
            if stop.load(Ordering::Relaxed) {
                return Ok(());
            }
            let mut imap = self.imap(ports, 0)?;
            self.append_some(&mut imap, "INBOX", 5)?;
            imap.logout()?;
            let account = &self.accounts[0];
            let mut pop3 = Pop3::login(ports.pop3, &account.user, &account.password)?;
            let (count, _) = pop3.stat()?;
            let settled = self.ledgers[0].settled("INBOX");
            let mut chosen = Vec::new();
            for number in 1..=count {
                if self.random.random_ratio(1, 2) {
                    let message = pop3.retrieve(number)?;
                    let id = ledger_id(&message).unwrap_or_default();
                    // What is still unanswered may be one command's work, of which a part must not go.
                    if settled.iter().any(|(settled, _)| *settled == id) {
                        pop3.command(&format!("DELE {number}"))?;
                        chosen.push(id);
                    }
                }
            }
            chosen
                .iter()
                .for_each(|id| self.ledgers[0].moving(id, None));
            pop3.quit()?;
            chosen.iter().for_each(|id| self.ledgers[0].moved(id, None));
            self.acknowledge();
        }
        wait(stop);
        Ok(())
    }
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
