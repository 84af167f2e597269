//! POP3: a login and RETR of every message, by one client and by four, each of its own maildrop.

use std::io;

use super::{amount, append_all, mail_of};
use crate::bench::sample::{Better, Meter, Metric, Sample, in_parallel};
use crate::bench::system::System;
use crate::client::{Pop3, wire_error};

const OCTETS: usize = 50_000_000;
const ONE: Metric = Metric {
    name: "POP3 RETR, one client",
    unit: "MB/s",
    better: Better::Higher,
    target: Some(1.0),
};
const FOUR: Metric = Metric {
    name: "POP3 RETR, four clients",
    unit: "MB/s",
    better: Better::Higher,
    target: Some(1.0),
};

/// Of `prepare` in [`super::ALL`].
pub fn prepare(system: &mut System, quick: bool) -> io::Result<()> {
    in_parallel(4, |client| {
        append_all(
            &mut system.imap(client)?,
            "INBOX",
            &mail_of(client as u64, amount(OCTETS, quick), 4_000_000),
        )
    })?;
    Ok(())
}

/// Of `run` in [`super::ALL`].
pub fn run(system: &mut System, quick: bool, _round: u64) -> io::Result<Vec<Sample>> {
    let mut samples = Vec::new();
    for (clients, metric) in [(1, ONE), (4, FOUR)] {
        let meter = Meter::start(system);
        let octets = in_parallel(clients, |client| retrieve_all(system, client))?;
        let reading = meter.stop();
        if octets.iter().any(|o| *o < amount(OCTETS, quick) as u64) {
            return Err(wire_error("less came than was stored"));
        }
        let megabytes = octets.iter().sum::<u64>() as f64 / 1e6;
        samples.push(reading.sample(
            metric,
            megabytes / reading.elapsed.as_secs_f64(),
            megabytes as usize,
        ));
    }
    Ok(samples)
}

fn retrieve_all(system: &System, client: usize) -> io::Result<u64> {
    let account = system.account(client);
    let mut pop3 = Pop3::login(system.ports().pop3, &account.user, &account.password)?;
    let (count, _) = pop3.stat()?;
    let mut octets = 0;
    for number in 1..=count {
        pop3.conn.send(format!("RETR {number}\r\n").as_bytes())?;
        pop3.status()?;
        octets += pop3.conn.skip_to_dot()?;
    }
    pop3.quit()?;
    Ok(octets)
}
