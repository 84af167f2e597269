//! Disk used per GB of mail: real mail delivered by LMTP, each message to one mailbox; allocated blocks are counted.

use std::io;

use super::{amount, mail_of};
use crate::bench::sample::{Better, Metric, Sample, in_parallel};
use crate::bench::system::{System, disk_bytes};
use crate::client::{Smtp, dot_stuffed};

const OCTETS: usize = 300_000_000;
const SESSIONS: usize = 8;
const RUNNING: Metric = Metric {
    name: "disk per GB of mail, while running",
    unit: "GB",
    better: Better::Lower,
    target: None,
};
const STOPPED: Metric = Metric {
    name: "disk per GB of mail, after a restart",
    unit: "GB",
    better: Better::Lower,
    target: None,
};

/// Of `run` in [`super::ALL`].
pub fn run(system: &mut System, quick: bool, round: u64) -> io::Result<Vec<Sample>> {
    let each = amount(OCTETS, quick) / SESSIONS;
    let before = disk_bytes(&system.mail_folder());
    let octets = in_parallel(SESSIONS, |session| {
        let mut lmtp = Smtp::connect_lmtp(system.ports().lmtp)?;
        let mut octets = 0;
        let seed = round * 100 + session as u64;
        for (index, message) in mail_of(seed, each, 4_000_000).into_iter().enumerate() {
            let user = &system.account(index * SESSIONS + session).user;
            for reply in lmtp.lmtp_stuffed(
                "sender@client.example",
                &[user],
                &dot_stuffed(&message.bytes),
            )? {
                reply.expect(250)?;
            }
            octets += message.bytes.len();
        }
        Ok(octets)
    })?;
    let octets: usize = octets.iter().sum();
    let share = |now: u64| now.saturating_sub(before) as f64 / octets as f64;
    let running = share(disk_bytes(&system.mail_folder()));
    system.restart()?;
    let stopped = share(disk_bytes(&system.mail_folder()));
    Ok(vec![
        Sample::plain(RUNNING, running),
        Sample::plain(STOPPED, stopped),
    ])
}
