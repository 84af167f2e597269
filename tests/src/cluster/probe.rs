//! One client at one node that does one small thing after the other, and the times at which it worked.
//!
//! What it sees while another node fails is what a user sees: the longest time without a success, and every error.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::member::PORTS;
use super::space::Space;
use crate::client::{Imap, Smtp, dot_stuffed, wire_error};
use crate::harness::{Account, wait_until};

/// Between two attempts: a gap is measured this finely.
const PAUSE: Duration = Duration::from_millis(2);
/// Between a lost session and the next.
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(20);
/// A login, on a machine that is busy.
const BEGINS_WITHIN: Duration = Duration::from_secs(30);
/// No two in a row are the same; a mailbox can have a few hundred.
const FLAGS: u32 = 100;
const MAILBOX: &str = "Probe";

/// What it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Service {
    /// Delivers messages of 4 KiB over one connection.
    Smtp,
    /// Changes a flag and reads it back, in one session.
    Imap,
}

/// The running client.
pub struct Probe {
    stop: Arc<AtomicBool>,
    works: Arc<AtomicBool>,
    thread: JoinHandle<Seen>,
}

/// What it saw.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// When something worked.
    pub worked: Vec<Instant>,
    /// What did not, and when.
    pub errors: Vec<(Instant, String)>,
    /// Reads that did not show what had been acknowledged.
    pub stale: Vec<String>,
    ended: Option<Instant>,
}

impl Seen {
    /// The longest time without a success since then, up to the end.
    pub fn longest_gap_since(&self, since: Instant) -> Duration {
        let worked = self.worked.iter().copied().filter(|at| *at > since);
        let mut last = since;
        let mut longest = Duration::ZERO;
        for at in worked.chain(self.ended) {
            longest = longest.max(at.saturating_duration_since(last));
            last = at;
        }
        longest
    }

    /// The errors since then.
    pub fn errors_since(&self, since: Instant) -> Vec<&str> {
        let late = self.errors.iter().filter(|(at, _)| *at > since);
        late.map(|(_, said)| said.as_str()).collect()
    }
}

impl Probe {
    /// Starts it at this node.
    pub fn start(service: Service, space: &Arc<Space>, account: &Account) -> Self {
        let (stop, works) = (Arc::new(AtomicBool::new(false)), Arc::default());
        let (stopped, space, account) = (Arc::clone(&stop), Arc::clone(space), account.clone());
        let begun = Arc::clone(&works);
        let thread = thread::spawn(move || {
            let mut seen = Seen::default();
            if let Err(error) = space.enter() {
                seen.errors.push((Instant::now(), error.to_string()));
            }
            while !stopped.load(Ordering::Relaxed) {
                let ended = match service {
                    Service::Smtp => deliver(&account, &stopped, &begun, &mut seen),
                    Service::Imap => change_and_read(&account, &stopped, &begun, &mut seen),
                };
                if let Err(error) = ended {
                    seen.errors.push((Instant::now(), error.to_string()));
                    thread::sleep(PAUSE_AFTER_ERROR);
                }
            }
            seen.ended = Some(Instant::now());
            seen
        });
        Self {
            stop,
            works,
            thread,
        }
    }

    /// Waits until something has worked: a fault that strikes before shows nothing.
    pub fn wait_until_it_works(&self) -> io::Result<()> {
        wait_until(BEGINS_WITHIN, "the probe to begin", || {
            self.works.load(Ordering::Relaxed)
        })
    }

    /// Ends it.
    pub fn stop(self) -> Seen {
        self.stop.store(true, Ordering::Relaxed);
        match self.thread.join() {
            Ok(seen) => seen,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

fn deliver(
    account: &Account,
    stop: &AtomicBool,
    works: &AtomicBool,
    seen: &mut Seen,
) -> io::Result<()> {
    let mut smtp = Smtp::connect(PORTS.smtp)?;
    while !stop.load(Ordering::Relaxed) {
        let line = format!("{:032x} ", rand::random::<u128>()).repeat(2) + "\r\n";
        let message = format!("Subject: probe\r\n\r\n{}", line.repeat(4096 / line.len()));
        smtp.send_stuffed(
            "probe@client.example",
            &[&account.user],
            &dot_stuffed(message.as_bytes()),
        )?;
        seen.worked.push(Instant::now());
        works.store(true, Ordering::Relaxed);
        thread::sleep(PAUSE);
    }
    smtp.quit()
}

fn change_and_read(
    account: &Account,
    stop: &AtomicBool,
    works: &AtomicBool,
    seen: &mut Seen,
) -> io::Result<()> {
    let mut imap = Imap::login(PORTS.imap, &account.user, &account.password)?;
    if !imap.list()?.iter().any(|name| name == MAILBOX) {
        imap.ok(&format!("CREATE {MAILBOX}"))?;
    }
    if imap.ok(&format!("SELECT {MAILBOX}"))?.exists() == Some(0) {
        imap.append(MAILBOX, "", b"Subject: probe\r\n\r\nprobe\r\n")?;
        imap.ok("NOOP")?;
    }
    let mut number = rand::random::<u32>() % FLAGS;
    while !stop.load(Ordering::Relaxed) {
        number = (number + 1) % FLAGS;
        let flag = format!("probe{number}");
        imap.ok(&format!("UID STORE 1:* FLAGS.SILENT ({flag})"))?;
        seen.worked.push(Instant::now());
        let fetched = imap.uid_fetch("1:*", "UID FLAGS")?;
        seen.worked.push(Instant::now());
        works.store(true, Ordering::Relaxed);
        let flags = fetched
            .first()
            .and_then(|fetch| fetch.flags())
            .ok_or_else(|| wire_error("a FETCH without flags"))?;
        if flags != [flag.clone()] {
            seen.stale
                .push(format!("{flags:?} after {flag} was acknowledged"));
        }
        thread::sleep(PAUSE);
    }
    imap.logout()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_gap_counts_from_the_fault_and_up_to_the_end() {
        let begin = Instant::now();
        let at = |ms: u64| begin + Duration::from_millis(ms);
        let seen = Seen {
            worked: [0, 900, 1_000, 1_400, 1_500].map(at).into(),
            ended: Some(at(1_600)),
            ..Seen::default()
        };
        let gap = |since: u64| seen.longest_gap_since(at(since)).as_millis();
        assert_eq!(
            (gap(0), gap(950), gap(1_300), gap(1_550)),
            (900, 400, 100, 50)
        );
        let dead = Seen {
            ended: Some(at(3_000)),
            ..Seen::default()
        };
        assert_eq!(dead.longest_gap_since(begin).as_millis(), 3_000);
    }
}
