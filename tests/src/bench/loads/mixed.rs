//! Mixed commands, in two ways.
//!
//! *mixed* is a round of imaptest with its default probabilities, again and again: log in, perhaps list and ask for a
//! mailbox's numbers, select, read, perhaps copy and mark, delete, expunge, append, log out. *reading* is what clients
//! do that stay: mostly looking, some changing, some appending.
//!
//! Thirty sessions work on fifteen mailboxes in pairs, so that each sees the other's changes. The kinds of commands
//! come from a seed and are the same on every server; which messages they name depends on what the session was told.

use std::io;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::{amount, append_all};
use crate::bench::sample::{Better, Meter, Metric, Sample, in_parallel};
use crate::bench::system::System;
use crate::client::{Imap, Reply, wire_error};
use crate::corpus::{Corpus, Message};

const SESSIONS: usize = 30;
const MAILBOXES: usize = 15;
/// Messages in each mailbox at the beginning.
const MESSAGES: usize = 100;
/// Larger messages would measure APPEND, which has a load of its own.
const BYTES_MAX: usize = 100_000;
const RATE: Metric = Metric {
    name: "mixed IMAP commands as imaptest's, 30 sessions",
    unit: "commands/s",
    better: Better::Higher,
    target: Some(3.0),
};
const READING: Metric = Metric {
    name: "IMAP commands of sessions that stay, mostly reading, 30 sessions",
    unit: "commands/s",
    better: Better::Higher,
    target: None,
};

/// Of `run` in [`super::ALL`].
pub fn run(system: &mut System, quick: bool, round: u64) -> io::Result<Vec<Sample>> {
    let rounds = amount(40, quick);
    let messages = fill(system, round)?;
    let meter = Meter::start(system);
    let commands = in_parallel(SESSIONS, |session| {
        let mut random = StdRng::seed_from_u64(round * 1_000 + session as u64);
        let mut commands = 0;
        for _ in 0..rounds {
            commands += one_round(system, session, &mut random, &messages)?;
        }
        Ok(commands)
    })?;
    Ok(vec![meter.stop().rate(RATE, commands.iter().sum())])
}

/// Fifteen mailboxes with mail in them, and more mail.
fn fill(system: &System, round: u64) -> io::Result<Vec<Message>> {
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
    Ok(messages)
}

/// imaptest's states with their probabilities, and those of doing it once more. Says how many commands it were.
fn one_round(
    system: &System,
    session: usize,
    random: &mut StdRng,
    messages: &[Message],
) -> io::Result<usize> {
    let mut imap = system.imap(session % MAILBOXES)?;
    let mut commands = 1;
    // How many messages the session was told of; others expunge meanwhile.
    let there = std::cell::Cell::new(0);
    let mut say = |imap: &mut Imap, command: String| -> io::Result<()> {
        commands += 1;
        let reply = imap.command(&command)?;
        // NO when another session expunged what a command named.
        if reply.status() == "BAD" {
            return Err(wire_error(format!("{command}: {}", reply.text())));
        }
        there.set(told(there.get(), &reply));
        Ok(())
    };
    if random.random_ratio(50, 100) {
        say(&mut imap, "LIST \"\" *".to_owned())?;
    }
    if random.random_ratio(50, 100) {
        say(&mut imap, "STATUS INBOX (MESSAGES UNSEEN)".to_owned())?;
    }
    say(&mut imap, "SELECT INBOX".to_owned())?;
    let one = |random: &mut StdRng| random.random_range(1..=there.get().max(1));
    let first = one(random);
    let last = (first + 9).min(there.get().max(1));
    let items = [
        "UID FLAGS",
        "ENVELOPE",
        "INTERNALDATE RFC822.SIZE",
        "BODYSTRUCTURE",
        "BODY.PEEK[HEADER]",
        "BODY.PEEK[HEADER.FIELDS (FROM TO SUBJECT DATE)]",
    ];
    let item = items[random.random_range(0..items.len())];
    say(&mut imap, format!("FETCH {first}:{last} ({item})"))?;
    for _ in 0..1 + again(random, 30) {
        say(&mut imap, format!("FETCH {} (BODY.PEEK[])", one(random)))?;
    }
    if random.random_ratio(33, 100) {
        for _ in 0..1 + again(random, 5) {
            say(&mut imap, format!("COPY {} Mixed", one(random)))?;
        }
    }
    if random.random_ratio(50, 100) {
        let sign = ["+", "-"][random.random_range(0..2)];
        let flag = ["\\Seen", "\\Flagged", "\\Answered"][random.random_range(0..3)];
        let number = one(random);
        say(&mut imap, format!("STORE {number} {sign}FLAGS ({flag})"))?;
    }
    say(
        &mut imap,
        format!("STORE {} +FLAGS (\\Deleted)", one(random)),
    )?;
    say(&mut imap, "EXPUNGE".to_owned())?;
    let appends = 1 + again(random, 5);
    for _ in 0..appends {
        let message = &messages[random.random_range(0..messages.len())];
        imap.append("INBOX", "", &message.bytes)?;
    }
    imap.logout()?;
    Ok(commands + appends + 1)
}

/// How many messages there are for the client after a reply: its `EXISTS` and `EXPUNGE` in their order.
fn told(mut there: u32, reply: &Reply) -> u32 {
    for line in reply.lines() {
        let mut words = line.split_whitespace().skip(1);
        match (words.next().and_then(|n| n.parse().ok()), words.next()) {
            (Some(number), Some("EXISTS")) => there = number,
            (Some(_), Some("EXPUNGE")) => there = there.saturating_sub(1),
            _ => {}
        }
    }
    there
}

/// How many times more, each with this probability in a hundred.
fn again(random: &mut StdRng, probability: u32) -> usize {
    std::iter::repeat_with(|| random.random_ratio(probability, 100))
        .take_while(|again| *again)
        .count()
}

/// Of `run` in [`super::ALL`].
pub fn reading(system: &mut System, quick: bool, round: u64) -> io::Result<Vec<Sample>> {
    let commands = amount(400, quick);
    let messages = fill(system, round)?;
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
    Ok(vec![meter.stop().rate(READING, SESSIONS * commands)])
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
