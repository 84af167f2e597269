//! Mixed commands in the proportions of imaptest's default: mostly looking, some changing, some appending.
//!
//! Thirty sessions work on fifteen mailboxes in pairs, so that each sees the other's changes; all addressing is by UID.
//! The sequence of commands comes from a seed and is the same on every server.

use std::io;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::{amount, append_all};
use crate::bench::sample::{Better, Meter, Metric, Sample, in_parallel};
use crate::bench::system::System;
use crate::client::{Imap, wire_error};
use crate::corpus::{Corpus, Message};

const SESSIONS: usize = 30;
const MAILBOXES: usize = 15;
/// Messages in each mailbox at the beginning.
const MESSAGES: usize = 100;
/// Larger messages would measure APPEND, which has a load of its own.
const BYTES_MAX: usize = 100_000;
const RATE: Metric = Metric {
    name: "mixed IMAP commands, 30 sessions",
    unit: "commands/s",
    better: Better::Higher,
    target: Some(3.0),
};

/// Of `run` in [`super::ALL`].
pub fn run(system: &mut System, quick: bool, round: u64) -> io::Result<Vec<Sample>> {
    let commands = amount(400, quick);
    let mut corpus = Corpus::new(round);
    let messages: Vec<Message> = (0..MESSAGES * 4)
        .map(|_| corpus.message_up_to(BYTES_MAX))
        .collect();
    in_parallel(MAILBOXES, |mailbox| {
        let mut imap = system.imap(mailbox)?;
        imap.ok("CREATE Mixed")?;
        let begin = mailbox * 20 % (messages.len() - MESSAGES);
        append_all(&mut imap, "INBOX", &messages[begin..begin + MESSAGES])
    })?;
    let sessions: Vec<_> = (0..SESSIONS)
        .map(|n| {
            let mut imap = system.imap(n % MAILBOXES)?;
            imap.ok("SELECT INBOX")?;
            Ok(std::sync::Mutex::new(imap))
        })
        .collect::<io::Result<_>>()?;
    let meter = Meter::start(system);
    in_parallel(SESSIONS, |session| {
        let mut imap = sessions[session]
            .lock()
            .map_err(|_| io::Error::other("poisoned"))?;
        let mut random = StdRng::seed_from_u64(round * 1_000 + session as u64);
        for _ in 0..commands {
            one_command(&mut imap, &mut random, &messages)?;
        }
        Ok(())
    })?;
    Ok(vec![meter.stop().rate(RATE, SESSIONS * commands)])
}

fn one_command(imap: &mut Imap, random: &mut StdRng, messages: &[Message]) -> io::Result<()> {
    // UIDs begin at 1 and grow with the appends; one that is gone is a legal argument of every UID command.
    let uid = random.random_range(1..=MESSAGES as u32 + 20);
    let some = format!("{uid}:{}", uid + 9);
    let command = match random.random_range(0..100) {
        0..=5 => "NOOP".to_owned(),
        6..=15 => "STATUS Mixed (MESSAGES UIDNEXT UNSEEN)".to_owned(),
        16..=20 => "LIST \"\" *".to_owned(),
        21..=30 => "SELECT INBOX".to_owned(),
        31..=45 => format!("UID FETCH {some} (UID FLAGS)"),
        46..=55 => format!("UID FETCH {some} (UID FLAGS INTERNALDATE RFC822.SIZE ENVELOPE)"),
        56..=60 => {
            format!("UID FETCH {some} (UID BODY.PEEK[HEADER.FIELDS (FROM TO SUBJECT DATE)])")
        }
        61..=65 => format!("UID FETCH {uid} (UID BODY.PEEK[])"),
        66..=72 => format!("UID STORE {uid} +FLAGS (\\Seen)"),
        73..=78 => format!("UID STORE {uid} -FLAGS (\\Seen)"),
        79..=80 => format!("UID STORE {uid} +FLAGS (\\Deleted)"),
        81..=84 => "EXPUNGE".to_owned(),
        85..=88 => format!("UID COPY {uid} Mixed"),
        89..=92 => "UID SEARCH UNSEEN".to_owned(),
        93..=94 => "UID SEARCH SUBJECT meeting".to_owned(),
        _ => {
            let message = &messages[random.random_range(0..messages.len())];
            imap.append("INBOX", "", &message.bytes)?;
            return Ok(());
        }
    };
    let reply = imap.command(&command)?;
    // Dovecot says NO when another session expunged what a command named; that is an answer, BAD is not.
    if reply.status() == "BAD" {
        Err(wire_error(format!("{command}: {}", reply.text())))
    } else {
        Ok(())
    }
}
