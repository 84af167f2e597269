//! Logins: connect, AUTHENTICATE PLAIN, LOGOUT, again and again. No TLS, loopback.

use std::io;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use crate::bench::sample::{Better, Meter, Metric, Sample, in_parallel};
use crate::bench::system::System;
use crate::client::Imap;

const CLIENTS: usize = 20;
const RATE: Metric = Metric {
    name: "logins, 20 clients",
    unit: "logins/s",
    better: Better::Higher,
    target: Some(3.0),
};

/// Of `run` in [`super::ALL`].
pub fn run(system: &mut System, quick: bool, _round: u64) -> io::Result<Vec<Sample>> {
    let duration = Duration::from_secs(if quick { 1 } else { 5 });
    // Every account once before: the measured logins are those of clients that come again and again, as clients do.
    for index in 0..system.account_count() {
        system.imap(index)?.logout()?;
    }
    let port = system.ports().imap;
    let meter = Meter::start(system);
    let end = Instant::now() + duration;
    let counts = in_parallel(CLIENTS, |client| {
        // An address for each client: closed connections keep their ports for a minute.
        let source = Ipv4Addr::new(
            127,
            0,
            1,
            u8::try_from(client + 1).map_err(io::Error::other)?,
        );
        let mut count = 0;
        while Instant::now() < end {
            let account = system.account(client + count * CLIENTS);
            Imap::login_from(source, port, &account.user, &account.password)?.logout()?;
            count += 1;
        }
        Ok(count)
    })?;
    let reading = meter.stop();
    Ok(vec![reading.rate(RATE, counts.iter().sum())])
}
