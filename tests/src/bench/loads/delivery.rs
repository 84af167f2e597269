//! Delivery by SMTP and LMTP: twenty sessions, each with one connection for all its messages.
//!
//! SMTP is not done at acceptance: the clock stops when the last message can be read over IMAP.

use std::io;
use std::thread;
use std::time::{Duration, Instant};

use super::amount;
use crate::bench::sample::{Better, Meter, Metric, Sample, in_parallel};
use crate::bench::system::System;
use crate::client::{Imap, Smtp, dot_stuffed, wire_error};
use crate::corpus::Corpus;

const SESSIONS: usize = 20;
/// Different texts, so that neither compression nor a page cache sees one message only.
const TEMPLATES: usize = 64;
/// The place of the serial number: as long as it, unique in the text.
const PLACE: &[u8] = b"serial-00000000";
/// Longer than any queue of the loads takes to drain.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(300);

const SMTP_4K: Metric = Metric {
    name: "SMTP in until readable, 4 KiB",
    unit: "messages/s",
    better: Better::Higher,
    target: Some(10.0),
};
const SMTP_4K_THREE: Metric = Metric {
    name: "SMTP in until readable, 4 KiB, three nodes",
    unit: "messages/s",
    better: Better::Higher,
    target: Some(2.0),
};
const SMTP_4K_THREE_ACCEPTED: Metric = Metric {
    name: "SMTP accepted, 4 KiB, three nodes",
    unit: "messages/s",
    better: Better::Higher,
    target: None,
};
const SMTP_4K_ACCEPTED: Metric = Metric {
    name: "SMTP accepted, 4 KiB",
    unit: "messages/s",
    better: Better::Higher,
    target: None,
};
const SMTP_64K: Metric = Metric {
    name: "SMTP in until readable, 64 KiB",
    unit: "messages/s",
    better: Better::Higher,
    target: None,
};
const SMTP_64K_ACCEPTED: Metric = Metric {
    name: "SMTP accepted, 64 KiB",
    unit: "messages/s",
    better: Better::Higher,
    target: None,
};
const LMTP_4K: Metric = Metric {
    name: "LMTP delivery, 4 KiB",
    unit: "messages/s",
    better: Better::Higher,
    target: Some(5.0),
};
const LMTP_64K: Metric = Metric {
    name: "LMTP delivery, 64 KiB",
    unit: "messages/s",
    better: Better::Higher,
    target: None,
};
const LMTP_HOT: Metric = Metric {
    name: "LMTP delivery, 4 KiB, one mailbox",
    unit: "messages/s",
    better: Better::Higher,
    target: None,
};

/// Messages of one size, ready for DATA but for their serial number.
struct Templates {
    texts: Vec<(Vec<u8>, usize)>,
}

impl Templates {
    fn new(seed: u64, octets: usize) -> Self {
        let mut corpus = Corpus::new(seed);
        let head = [b"X-Serial: ".as_slice(), PLACE, b"\r\n"].concat();
        let texts = (0..TEMPLATES).map(|_| {
            let message = [head.as_slice(), &corpus.fixed(octets - head.len()).bytes].concat();
            let stuffed = dot_stuffed(&message);
            (stuffed, b"X-Serial: ".len())
        });
        Self {
            texts: texts.collect(),
        }
    }

    fn fill(&self, serial: usize, out: &mut Vec<u8>) {
        let (text, place) = &self.texts[serial % TEMPLATES];
        out.clear();
        out.extend_from_slice(text);
        out[*place..place + PLACE.len()].copy_from_slice(format!("serial-{serial:08}").as_bytes());
    }
}

/// Of `run` in [`super::ALL`].
pub fn smtp_4k(system: &mut System, quick: bool, round: u64) -> io::Result<Vec<Sample>> {
    smtp(
        system,
        4096,
        amount(4_000, quick),
        round,
        SMTP_4K,
        SMTP_4K_ACCEPTED,
    )
}

/// Of `run` in [`super::ALL`].
pub fn smtp_4k_three(system: &mut System, quick: bool, round: u64) -> io::Result<Vec<Sample>> {
    smtp(
        system,
        4096,
        amount(6_000, quick),
        round,
        SMTP_4K_THREE,
        SMTP_4K_THREE_ACCEPTED,
    )
}

/// Of `run` in [`super::ALL`].
pub fn smtp_64k(system: &mut System, quick: bool, round: u64) -> io::Result<Vec<Sample>> {
    smtp(
        system,
        65_536,
        amount(2_000, quick),
        round,
        SMTP_64K,
        SMTP_64K_ACCEPTED,
    )
}

/// Of `run` in [`super::ALL`].
pub fn lmtp_4k(system: &mut System, quick: bool, round: u64) -> io::Result<Vec<Sample>> {
    lmtp(
        system,
        4096,
        amount(6_000, quick),
        round,
        LMTP_4K,
        usize::MAX,
    )
}

/// Of `run` in [`super::ALL`].
pub fn lmtp_64k(system: &mut System, quick: bool, round: u64) -> io::Result<Vec<Sample>> {
    lmtp(
        system,
        65_536,
        amount(3_000, quick),
        round,
        LMTP_64K,
        usize::MAX,
    )
}

/// Of `run` in [`super::ALL`].
pub fn lmtp_hot(system: &mut System, quick: bool, round: u64) -> io::Result<Vec<Sample>> {
    lmtp(system, 4096, amount(4_000, quick), round, LMTP_HOT, 1)
}

fn smtp(
    system: &System,
    octets: usize,
    count: usize,
    round: u64,
    readable: Metric,
    accepted: Metric,
) -> io::Result<Vec<Sample>> {
    let templates = Templates::new(round, octets);
    let port = system.ports().smtp;
    // Logged in before the clock starts: the wait must not measure logins.
    let mut readers: Vec<Imap> = (0..system.account_count())
        .map(|n| system.imap(n))
        .collect::<io::Result<_>>()?;
    let meter = Meter::start(system);
    let begin = Instant::now();
    in_parallel(SESSIONS, |session| {
        let mut smtp = Smtp::connect(port)?;
        let mut text = Vec::new();
        for serial in (session..count).step_by(SESSIONS) {
            templates.fill(serial, &mut text);
            smtp.send_stuffed(
                "sender@client.example",
                &[&system.account(serial).user],
                &text,
            )?;
        }
        smtp.quit()
    })?;
    let accepted_in = begin.elapsed().as_secs_f64();
    for (index, reader) in readers.iter_mut().enumerate() {
        let expected = (index..count).step_by(system.account_count()).count() as u64;
        await_messages(reader, expected)?;
    }
    let reading = meter.stop();
    verify_last(
        &mut readers[(count - 1) % system.account_count()],
        count - 1,
    )?;
    Ok(vec![
        reading.rate(readable, count),
        Sample::plain(accepted, count as f64 / accepted_in),
    ])
}

fn await_messages(reader: &mut Imap, expected: u64) -> io::Result<()> {
    let begin = Instant::now();
    loop {
        let there = reader
            .ok("STATUS INBOX (MESSAGES)")?
            .status_item("MESSAGES")
            .unwrap_or(0);
        if there >= expected {
            return Ok(());
        }
        if begin.elapsed() > DRAIN_TIMEOUT {
            return Err(wire_error(format!(
                "{there} of {expected} messages after {DRAIN_TIMEOUT:?}"
            )));
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// Counted is not read: the last message must come whole.
fn verify_last(reader: &mut Imap, serial: usize) -> io::Result<()> {
    reader.ok("SELECT INBOX")?;
    let found = reader
        .ok(&format!("UID SEARCH HEADER X-Serial serial-{serial:08}"))?
        .search();
    if found.len() == 1 {
        Ok(())
    } else {
        Err(wire_error(format!(
            "message {serial} found {} times",
            found.len()
        )))
    }
}

fn lmtp(
    system: &System,
    octets: usize,
    count: usize,
    round: u64,
    metric: Metric,
    mailboxes: usize,
) -> io::Result<Vec<Sample>> {
    let templates = Templates::new(round, octets);
    let port = system.ports().lmtp;
    let meter = Meter::start(system);
    in_parallel(SESSIONS, |session| {
        let mut lmtp = Smtp::connect_lmtp(port)?;
        let mut text = Vec::new();
        for serial in (session..count).step_by(SESSIONS) {
            templates.fill(serial, &mut text);
            let user = &system.account(serial % mailboxes).user;
            for reply in lmtp.lmtp_stuffed("sender@client.example", &[user], &text)? {
                reply.expect(250)?;
            }
        }
        lmtp.quit()
    })?;
    let reading = meter.stop();
    let boxes = mailboxes.min(system.account_count());
    let mut there = 0;
    for index in 0..boxes {
        there += system
            .imap(index)?
            .ok("STATUS INBOX (MESSAGES)")?
            .status_item("MESSAGES")
            .unwrap_or(0);
    }
    if there != count as u64 {
        return Err(wire_error(format!(
            "{count} messages acknowledged, {there} there"
        )));
    }
    Ok(vec![reading.rate(metric, count)])
}
