//! FETCH BODY.PEEK[] of a whole mailbox of real mail, 98 MB, by one client and by eight at once.

use std::io;

use super::{amount, append_all, mail_of};
use crate::bench::sample::{Better, Meter, Metric, Sample, in_parallel};
use crate::bench::system::System;
use crate::client::wire_error;

/// What the figures that the plan compares with were taken on.
const OCTETS: usize = 98_000_000;
/// Once takes a seventh of a second.
const REPEATS: usize = 4;
const ONE: Metric = Metric {
    name: "FETCH BODY.PEEK[], 98 MB, one client",
    unit: "MB/s",
    better: Better::Higher,
    target: Some(1.0),
};
const EIGHT: Metric = Metric {
    name: "FETCH BODY.PEEK[], 98 MB, eight clients",
    unit: "MB/s",
    better: Better::Higher,
    target: Some(1.0),
};

/// Of `prepare` in [`super::ALL`].
pub fn prepare(system: &mut System, quick: bool) -> io::Result<()> {
    append_all(
        &mut system.imap(0)?,
        "INBOX",
        &mail_of(98, amount(OCTETS, quick), 4_000_000),
    )
}

/// Of `run` in [`super::ALL`].
pub fn run(system: &mut System, quick: bool, _round: u64) -> io::Result<Vec<Sample>> {
    let least = (amount(OCTETS, quick) * REPEATS) as u64;
    let mut samples = Vec::new();
    for (clients, metric) in [(1, ONE), (8, EIGHT)] {
        let sessions: Vec<_> = (0..clients)
            .map(|_| {
                let mut imap = system.imap(0)?;
                imap.ok("EXAMINE INBOX")?;
                Ok(std::sync::Mutex::new(imap))
            })
            .collect::<io::Result<_>>()?;
        let meter = Meter::start(system);
        let octets = in_parallel(clients, |client| {
            let mut imap = sessions[client]
                .lock()
                .map_err(|_| io::Error::other("poisoned"))?;
            let mut octets = 0;
            for _ in 0..REPEATS {
                octets += imap.fetch_discarding("UID FETCH 1:* (UID BODY.PEEK[])")?.1;
            }
            if octets < least {
                Err(wire_error(format!("{octets} of {least} octets")))
            } else {
                Ok(octets)
            }
        })?;
        let reading = meter.stop();
        let megabytes = octets.iter().sum::<u64>() as f64 / 1e6;
        samples.push(reading.sample(
            metric,
            megabytes / reading.elapsed.as_secs_f64(),
            megabytes as usize,
        ));
    }
    Ok(samples)
}
