//! Many messages from several senders that each go on at another node when theirs fails.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use super::{PORTS, Space, is_excused};
use crate::client::{Imap, Smtp, dot_stuffed, set_patience, wire_error};

/// The messages, and how far they are.
pub struct Burst {
    recipient: String,
    messages: usize,
    name: String,
    next: AtomicUsize,
    acknowledged: AtomicUsize,
    again: AtomicUsize,
}

impl Burst {
    /// So many messages to one recipient.
    pub fn new(recipient: &str, messages: usize) -> Self {
        Self {
            recipient: recipient.to_owned(),
            messages,
            name: format!("{:08x}", rand::random::<u32>()),
            next: AtomicUsize::new(0),
            acknowledged: AtomicUsize::new(0),
            again: AtomicUsize::new(0),
        }
    }

    /// How many were acknowledged so far.
    pub fn acknowledged(&self) -> usize {
        self.acknowledged.load(Ordering::SeqCst)
    }

    /// How many had to be sent more than once.
    pub fn sent_again(&self) -> usize {
        self.again.load(Ordering::SeqCst)
    }

    /// One sender, until none is left to be sent.
    pub fn send(&self, sender: usize, spaces: &[Arc<Space>]) {
        set_patience(Duration::from_secs(15));
        let (mut at, mut session) = (sender, None);
        loop {
            let number = self.next.fetch_add(1, Ordering::SeqCst);
            if number >= self.messages {
                return;
            }
            let message = format!("Subject: {}-{number}\r\n\r\nburst\r\n", self.name);
            while let Err(error) = self.try_send(&message, &spaces[at % spaces.len()], &mut session)
            {
                assert!(is_excused(&error), "denied: {error}");
                self.again.fetch_add(1, Ordering::SeqCst);
                (at, session) = (at + 1, None);
                thread::sleep(Duration::from_millis(20));
            }
            self.acknowledged.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn try_send(&self, message: &str, space: &Space, session: &mut Option<Smtp>) -> io::Result<()> {
        let smtp = match session {
            Some(smtp) => smtp,
            None => {
                space.enter()?;
                session.insert(Smtp::connect(PORTS.smtp)?)
            }
        };
        let (to, bytes) = ([self.recipient.as_str()], dot_stuffed(message.as_bytes()));
        smtp.send_stuffed("burst@client.example", &to, &bytes)
            .map(drop)
    }

    /// How many of the messages are not there, and how many more than once.
    pub fn lost_and_doubled(&self, imap: &mut Imap) -> io::Result<(usize, usize)> {
        imap.ok("EXAMINE INBOX")?;
        let mut found: BTreeMap<String, usize> = BTreeMap::new();
        for fetch in imap.uid_fetch("1:*", "BODY.PEEK[HEADER.FIELDS (SUBJECT)]")? {
            let head = fetch.get("BODY[HEADER.FIELDS (SUBJECT)]");
            let head = head.map(|h| String::from_utf8_lossy(h.bytes()).into_owned());
            let head = head.ok_or_else(|| wire_error(format!("{fetch:?}")))?;
            *found.entry(head.trim().to_owned()).or_default() += 1;
        }
        let (mut lost, mut doubled) = (0, 0);
        for number in 0..self.messages {
            match found.get(&format!("Subject: {}-{number}", self.name)) {
                None => lost += 1,
                Some(1) => {}
                Some(_) => doubled += 1,
            }
        }
        Ok((lost, doubled))
    }
}
