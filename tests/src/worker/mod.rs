//! One client of the kill -9 loop and of the fault loop: a kind of load on accounts of its own, with its ledger.
//!
//! What was not answered may still happen until the next look at the mailboxes, on a cluster even while the client goes
//! on at another node. So a worker leaves a message alone from then on that a command without an answer was about
//! ([`Ledger::settled`]), but for deliveries, which it sends again as an MTA does.

mod changes;
mod inspect;

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::client::{Imap, Smtp, dot_stuffed};
use crate::corpus::{Corpus, Message};
use crate::harness::{Account, Ports};
use crate::ledger::{Ledger, Violation};

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
/// Messages a worker sends in one round at most unless told otherwise, so that reading everything afterwards stays short.
const SHARE: usize = 400;
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
    acknowledged: Arc<AtomicUsize>,
    /// What one command adds must be there whole, or not at all.
    whole: bool,
    /// Messages it sends in one go at most.
    share: usize,
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
            acknowledged: Arc::default(),
            whole,
            share: SHARE,
        }
    }

    /// So many messages at most before it waits for the end of the round.
    pub fn with_share(self, share: usize) -> Self {
        Self { share, ..self }
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
        (self.job, self.acknowledged.load(Ordering::Relaxed))
    }

    /// The same count, to be watched while it works.
    pub fn counter(&self) -> Arc<AtomicUsize> {
        Arc::clone(&self.acknowledged)
    }

    fn acknowledge(&self) {
        self.acknowledged.fetch_add(1, Ordering::Relaxed);
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
        for _ in 0..self.share {
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
        self.acknowledge();
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
}

fn wait(stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        thread::sleep(Duration::from_millis(5));
    }
}
