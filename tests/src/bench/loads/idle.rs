//! Memory of idle IMAP connections: proportional set size of all server processes before, and with so many connections
//! that have said SELECT and IDLE.

use std::io;
use std::net::Ipv4Addr;
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use crate::bench::sample::{Better, Metric, Sample, in_parallel};
use crate::bench::system::System;
use crate::client::Imap;

const OPENERS: usize = 10;
/// One in twenty of the peer's: the plan's word.
const TARGET: f64 = 20.0;
const THOUSAND: Metric = Metric {
    name: "memory per idle connection, 1,000",
    unit: "KiB",
    better: Better::Lower,
    target: Some(TARGET),
};
const TEN_THOUSAND: Metric = Metric {
    name: "memory per idle connection, 10,000",
    unit: "KiB",
    better: Better::Lower,
    target: Some(TARGET),
};
const BEFORE: Metric = Metric {
    name: "memory before",
    unit: "KiB",
    better: Better::Lower,
    target: None,
};

/// Of `run` in [`super::ALL`].
pub fn run(system: &mut System, quick: bool, _round: u64) -> io::Result<Vec<Sample>> {
    // One login before, so that what every server does at the first one is not counted as a connection's.
    system.imap(0)?.logout()?;
    thread::sleep(Duration::from_secs(1));
    let before = system.processes().pss_kib();
    let mut samples = Vec::new();
    let open = Mutex::new(Vec::new());
    let mut there = 0;
    let stages: &[(usize, Metric)] = if quick {
        &[(300, THOUSAND)]
    } else {
        &[(1_000, THOUSAND), (10_000, TEN_THOUSAND)]
    };
    for &(wanted, metric) in stages {
        in_parallel(OPENERS, |opener| {
            let source = Ipv4Addr::new(
                127,
                0,
                2,
                u8::try_from(opener + 1).map_err(io::Error::other)?,
            );
            for index in (there + opener..wanted).step_by(OPENERS) {
                let account = system.account(index);
                let mut imap = Imap::login_from(
                    source,
                    system.ports().imap,
                    &account.user,
                    &account.password,
                )?;
                imap.ok("SELECT INBOX")?;
                imap.idle()?;
                open.lock()
                    .map_err(|_| io::Error::other("poisoned"))?
                    .push(imap);
            }
            Ok(())
        })?;
        there = wanted;
        thread::sleep(Duration::from_secs(2));
        let during = system.processes().pss_kib();
        samples.push(Sample::plain(
            metric,
            during.saturating_sub(before) as f64 / wanted as f64,
        ));
    }
    samples.push(Sample::plain(BEFORE, before as f64));
    Ok(samples)
}
