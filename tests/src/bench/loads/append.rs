//! APPEND of real mail, twenty sessions, each into its own mailbox.

use std::io;

use super::amount;
use crate::bench::sample::{Better, Meter, Metric, Sample, in_parallel};
use crate::bench::system::System;
use crate::corpus::Corpus;

const SESSIONS: usize = 20;
const RATE: Metric = Metric {
    name: "APPEND, 20 sessions, real sizes",
    unit: "messages/s",
    better: Better::Higher,
    target: Some(3.0),
};
const OCTETS: Metric = Metric {
    name: "APPEND, the same in MB",
    unit: "MB/s",
    better: Better::Higher,
    target: None,
};

/// Of `run` in [`super::ALL`].
pub fn run(system: &mut System, quick: bool, round: u64) -> io::Result<Vec<Sample>> {
    let count = amount(4_000, quick);
    let mut corpus = Corpus::new(round);
    let messages: Vec<_> = (0..count).map(|_| corpus.message()).collect();
    let octets: usize = messages.iter().map(|m| m.bytes.len()).sum();
    let sessions: Vec<_> = (0..SESSIONS)
        .map(|n| Ok(std::sync::Mutex::new(system.imap(n)?)))
        .collect::<io::Result<_>>()?;
    let meter = Meter::start(system);
    in_parallel(SESSIONS, |session| {
        let mut imap = sessions[session]
            .lock()
            .map_err(|_| io::Error::other("poisoned"))?;
        for message in messages.iter().skip(session).step_by(SESSIONS) {
            imap.append("INBOX", "", &message.bytes)?;
        }
        Ok(())
    })?;
    let reading = meter.stop();
    let rate = reading.rate(RATE, count);
    Ok(vec![
        rate,
        Sample::plain(OCTETS, octets as f64 / 1e6 / reading.elapsed.as_secs_f64()),
    ])
}
