//! SELECT and FETCH 1:* (UID FLAGS) on a mailbox of 100,000 messages.
//!
//! Cold is the first time after the server was started anew; warm the median of what follows.

use std::io;
use std::time::Instant;

use super::{amount, append_all};
use crate::bench::sample::{Better, Meter, Metric, Sample, in_parallel, median};
use crate::bench::system::System;
use crate::client::{Imap, wire_error};
use crate::corpus::Corpus;

const MESSAGES: usize = 100_000;
const WRITERS: usize = 4;
const REPEATS: usize = 7;
const SELECT_COLD: Metric = Metric {
    name: "SELECT, 100,000 messages, cold",
    unit: "ms",
    better: Better::Lower,
    target: None,
};
const SELECT_WARM: Metric = Metric {
    name: "SELECT, 100,000 messages, warm",
    unit: "ms",
    better: Better::Lower,
    target: None,
};
const FETCH_COLD: Metric = Metric {
    name: "FETCH 1:* (UID FLAGS), 100,000, cold",
    unit: "ms",
    better: Better::Lower,
    target: None,
};
const FETCH_WARM: Metric = Metric {
    name: "FETCH 1:* (UID FLAGS), 100,000",
    unit: "ms",
    better: Better::Lower,
    target: Some(3.0),
};
const ENVELOPES: Metric = Metric {
    name: "FETCH 1:10000 (UID FLAGS ENVELOPE)",
    unit: "ms",
    better: Better::Lower,
    target: None,
};

/// Of `prepare` in [`super::ALL`].
pub fn prepare(system: &mut System, quick: bool) -> io::Result<()> {
    let each = amount(MESSAGES, quick) / WRITERS;
    in_parallel(WRITERS, |writer| {
        let mut corpus = Corpus::new(writer as u64);
        let messages: Vec<_> = (0..each).map(|_| corpus.tiny()).collect();
        append_all(&mut system.imap(0)?, "INBOX", &messages)
    })?;
    // Once, so that caches that the server builds on first use are built.
    let mut imap = system.imap(0)?;
    imap.ok("SELECT INBOX")?;
    imap.ok("FETCH 1:* (UID FLAGS ENVELOPE)")?;
    imap.ok("STORE 1:1000 +FLAGS (\\Seen)")?;
    imap.logout()
}

/// Of `run` in [`super::ALL`].
pub fn run(system: &mut System, quick: bool, _round: u64) -> io::Result<Vec<Sample>> {
    let count = amount(MESSAGES, quick) / WRITERS * WRITERS;
    system.restart()?;
    let mut imap = system.imap(0)?;
    let select_cold = timed(&mut imap, "SELECT INBOX", None)?;
    let fetch_cold = timed(&mut imap, "FETCH 1:* (UID FLAGS)", Some(count))?;
    let mut select = Vec::new();
    let mut fetch = Vec::new();
    let meter = Meter::start(system);
    for _ in 0..REPEATS {
        imap.ok("CLOSE")?;
        select.push(timed(&mut imap, "SELECT INBOX", None)?);
        fetch.push(timed(&mut imap, "FETCH 1:* (UID FLAGS)", Some(count))?);
    }
    let reading = meter.stop();
    let envelopes = timed(&mut imap, "FETCH 1:10000 (UID FLAGS ENVELOPE)", None)?;
    Ok(vec![
        Sample::plain(SELECT_COLD, select_cold),
        Sample::plain(SELECT_WARM, median(&select).0),
        Sample::plain(FETCH_COLD, fetch_cold),
        reading.sample(FETCH_WARM, median(&fetch).0, REPEATS),
        Sample::plain(ENVELOPES, envelopes),
    ])
}

/// How long a command takes, in ms, its answer counted as it comes.
fn timed(imap: &mut Imap, command: &str, lines: Option<usize>) -> io::Result<f64> {
    let begin = Instant::now();
    let reply = imap.ok(command)?;
    let elapsed = begin.elapsed().as_secs_f64() * 1e3;
    let fetched = reply
        .untagged
        .iter()
        .filter(|l| l.windows(7).take(16).any(|w| w == b" FETCH "))
        .count();
    match lines {
        Some(expected) if fetched != expected => Err(wire_error(format!(
            "{command}: {fetched} of {expected} lines"
        ))),
        _ => Ok(elapsed),
    }
}
