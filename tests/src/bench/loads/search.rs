//! SEARCH TEXT and BODY over 10,000 messages of real mail, for a word that none has and for one that ten have.

use std::io;
use std::time::Instant;

use super::{amount, append_all};
use crate::bench::sample::{Better, Metric, Sample};
use crate::bench::system::System;
use crate::client::wire_error;
use crate::corpus::Corpus;

const MESSAGES: usize = 10_000;
/// A few of a megabyte would decide the figure alone.
const BYTES_MAX: usize = 200_000;
const PRESENT: usize = 10;
const TEXT_ABSENT: Metric = Metric {
    name: "SEARCH TEXT, absent word, 10,000 messages",
    unit: "s",
    better: Better::Lower,
    target: None,
};
const TEXT_PRESENT: Metric = Metric {
    name: "SEARCH TEXT, present word, 10,000 messages",
    unit: "s",
    better: Better::Lower,
    target: None,
};
const BODY_ABSENT: Metric = Metric {
    name: "SEARCH BODY, absent word, 10,000 messages",
    unit: "s",
    better: Better::Lower,
    target: None,
};
const BODY_PRESENT: Metric = Metric {
    name: "SEARCH BODY, present word, 10,000 messages",
    unit: "s",
    better: Better::Lower,
    target: None,
};

/// Of `prepare` in [`super::ALL`].
pub fn prepare(system: &mut System, quick: bool) -> io::Result<()> {
    let count = amount(MESSAGES, quick);
    let mut corpus = Corpus::new(10);
    let mut imap = system.imap(0)?;
    for batch in 0..PRESENT {
        let mut messages: Vec<_> = (0..count / PRESENT)
            .map(|_| corpus.message_up_to(BYTES_MAX))
            .collect();
        let mut special = corpus.fixed(4_000);
        special
            .bytes
            .extend_from_slice(b"Zwetschgenkuchen, sagte sie.\r\n");
        messages[batch] = special;
        append_all(&mut imap, "INBOX", &messages)?;
    }
    Ok(())
}

/// Of `run` in [`super::ALL`].
pub fn run(system: &mut System, _quick: bool, round: u64) -> io::Result<Vec<Sample>> {
    let mut imap = system.imap(0)?;
    imap.ok("EXAMINE INBOX")?;
    // Another word each round: an answer kept from the round before would be no search.
    let absent = format!("quixotry{round}zyzzyva");
    let searches = [
        (TEXT_ABSENT, format!("TEXT {absent}"), 0),
        (TEXT_PRESENT, "TEXT wetschgenkuche".to_owned(), PRESENT),
        (BODY_ABSENT, format!("BODY {absent}"), 0),
        (BODY_PRESENT, "BODY wetschgenkuche".to_owned(), PRESENT),
    ];
    let mut samples = Vec::new();
    for (metric, key, expected) in searches {
        let begin = Instant::now();
        let found = imap.ok(&format!("UID SEARCH {key}"))?.search().len();
        if found != expected {
            return Err(wire_error(format!(
                "SEARCH {key} found {found}, not {expected}"
            )));
        }
        samples.push(Sample::plain(metric, begin.elapsed().as_secs_f64()));
    }
    Ok(samples)
}
