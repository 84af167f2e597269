//! What 1,000 IMAP sessions over TLS see at the surviving nodes when the node that leads their accounts dies, or hands them
//! over in good order.
//!
//! A third of them idles, and is told of a message five times a second; a third reads bodies, a third stores flags, each
//! twice a second. A stall is the longest time that a session waited for an answer, or for news beyond their pace, from
//! the event on. All of them are on accounts that the struck node leads, and when it is killed all of them ask at that
//! moment: every session is struck. What it costs that all ask at once, and what the machine does to sessions by itself, is
//! measured in the same rounds.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::{self, Write};
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustls::ClientConfig;

use super::sample::in_parallel;
use crate::client::{Imap, Smtp, dot_stuffed, tls_config, wire_error};
use crate::cluster::{Cluster, ClusterOptions, PORTS, View};
use crate::harness::Account;

/// The plan's number.
const SESSIONS: usize = 1_000;
/// As many as three nodes and their clients together can serve at this pace on two cores without anybody waiting; what a
/// hand-over itself costs is seen among these, since among all it is less than what the machine makes them wait anyway.
const FEW: usize = 150;
/// Among the shards' leaders: so that a third of them is enough accounts for the sessions not to trip over each other.
const ACCOUNTS: usize = 90;
const SHARDS: u32 = 8;
/// Who open the sessions; more logins at once from one address are put off.
const OPENERS: usize = 8;
/// Messages of 4 KiB in each mailbox.
const MESSAGES: usize = 20;
const MESSAGE_BYTES: usize = 4096;
/// Between two commands of a session.
const THINKS: Duration = Duration::from_millis(500);
/// Between two messages that an idle session is told of.
const PACE: Duration = Duration::from_millis(200);
/// Undisturbed work, also measured: what the machine itself makes sessions wait.
const BEFORE: Duration = Duration::from_secs(4);
/// Work from the event on.
const AFTER: Duration = Duration::from_secs(6);
/// Rounds that leaders may spoil, by moving, before one counts.
const TRIES: usize = 5;
/// A session that hears nothing for so long looks whether it is to end.
const LOOKS_UP: Duration = Duration::from_millis(250);

/// What happens to the node that leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blow {
    /// Nothing.
    None,
    /// Nothing, and all sessions ask at the same moment.
    NoneAtOnce,
    /// kill -9.
    Kill,
    /// It is stopped in good order, and hands over first.
    HandOver,
    /// Nothing, to a few sessions.
    NoneFew,
    /// It hands over a few sessions.
    HandOverFew,
}

/// What a session does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// IDLE.
    Idles,
    /// FETCH of bodies.
    Fetches,
    /// STORE of flags.
    Stores,
}

const WORKS: [Work; 3] = [Work::Idles, Work::Fetches, Work::Stores];

/// The sessions of one kind in all rounds of one event.
#[derive(Debug, Clone)]
pub struct Stalls {
    /// What happened.
    pub blow: Blow,
    /// What they did.
    pub work: Work,
    /// Each session's longest stall, in ms.
    pub stalls_ms: Vec<f64>,
    /// Sessions that ended, or were told an error.
    pub dropped: usize,
    /// What one of them saw.
    pub example: Option<String>,
}

/// How it goes on for one session.
struct Seen {
    work: Work,
    /// When it asked, or was last told, and when it was answered or told again.
    waits: Vec<(Instant, Instant)>,
    failed: Option<String>,
}

impl Seen {
    /// The longest wait that had not ended when the event came, or began later; less what it would have waited anyway.
    fn stall(&self, since: Instant, until: Instant) -> Duration {
        let pace = if self.work == Work::Idles {
            PACE
        } else {
            Duration::ZERO
        };
        let waits = self.waits.iter();
        let of_event = waits.filter(|(begun, ended)| *ended > since && *begun < until);
        let longest = of_event.map(|(begun, ended)| *ended - (*begun).max(since));
        longest.max().unwrap_or_default().saturating_sub(pace)
    }
}

/// Lets all sessions ask at the same moment.
#[derive(Default)]
struct Gate {
    opened: Mutex<usize>,
    told: Condvar,
}

impl Gate {
    fn open(&self) {
        *self.opened.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.told.notify_all();
    }

    /// Until it opens once more, or for so long.
    fn wait(&self, most: Duration) {
        let opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        let before = *opened;
        let waited = self
            .told
            .wait_timeout_while(opened, most, |now| *now == before);
        drop(waited);
    }
}

/// Measures each event so many times; what the machine does by itself is measured in the same rounds.
pub fn measure_survival(times: usize, progress: &mut dyn Write) -> io::Result<Vec<Stalls>> {
    let mut cluster = Cluster::start(ClusterOptions {
        accounts: ACCOUNTS,
        shards: SHARDS,
        ..ClusterOptions::default()
    })?;
    fill(&cluster)?;
    let mut measured: Vec<Stalls> = Vec::new();
    for time in 1..=times {
        for blow in [Blow::Kill, Blow::HandOver, Blow::HandOverFew] {
            let mut seen = None;
            for _ in 0..TRIES {
                seen = once(&mut cluster, blow)?;
                if seen.is_some() {
                    break;
                }
                writeln!(progress, "leaders moved by themselves; once more")?;
            }
            let moved = || io::Error::other("leaders do not stay where they are");
            let seen = seen.ok_or_else(moved)?;
            let nothing = match blow {
                Blow::Kill => Blow::NoneAtOnce,
                Blow::HandOverFew => Blow::NoneFew,
                _ => Blow::None,
            };
            for (blow, since, until) in [
                (nothing, seen.begun, seen.struck),
                (blow, seen.struck, seen.ended),
            ] {
                for work in WORKS {
                    collect(&mut measured, &seen.sessions, blow, work, (since, until));
                }
            }
            let kinds = measured.iter().filter(|stalls| stalls.blow == blow);
            let worst = kinds.map(|stalls| stalls.percentile_ms(100));
            let worst = worst.fold(0.0, f64::max);
            writeln!(
                progress,
                "{blow:?}, {time} of {times}: up to {worst:.0} ms so far"
            )?;
        }
    }
    Ok(measured)
}

struct Round {
    sessions: Vec<Seen>,
    begun: Instant,
    struck: Instant,
    ended: Instant,
}

/// None: leaders moved before the event, as they do until they are even.
fn once(cluster: &mut Cluster, blow: Blow) -> io::Result<Option<Round>> {
    let Victim {
        node: victim,
        accounts,
        shards,
    } = victim(cluster)?;
    let survivors: Vec<usize> = cluster
        .numbers()
        .into_iter()
        .filter(|n| *n != victim)
        .collect();
    let config = tls_config(cluster.certificate())?;
    let sessions = open(cluster, &survivors, &accounts, &config, blow.sessions())?;
    let (stop, idle_accounts) = (AtomicBool::new(false), of_work(&accounts, 0));
    let gate = Gate::default();
    let round = thread::scope(|scope| {
        let (stop, gate, mut working) = (&stop, &gate, Vec::new());
        for (work, imap, account) in sessions {
            let small = thread::Builder::new().stack_size(256 << 10);
            working
                .push(small.spawn_scoped(scope, move || run(work, imap, account, (stop, gate)))?);
        }
        for (at, account) in idle_accounts.iter().enumerate() {
            let space = Arc::clone(cluster.member(survivors[at % survivors.len()]).space());
            scope.spawn(move || deliver(&space, account, stop));
        }
        // Until all have begun.
        thread::sleep(BEFORE / 2);
        let begun = Instant::now();
        if blow == Blow::Kill {
            gate.open();
        }
        thread::sleep(BEFORE);
        let view = cluster.view()?;
        for shard in &shards {
            if cluster.leader_of_shard(&view, *shard)? != victim {
                stop.store(true, Ordering::Relaxed);
                return Ok(None);
            }
        }
        let struck = Instant::now();
        let done = match blow {
            Blow::Kill => {
                gate.open();
                cluster.kill9(victim)
            }
            Blow::HandOver | Blow::HandOverFew => cluster.stop(victim),
            Blow::None | Blow::NoneAtOnce | Blow::NoneFew => Ok(()),
        };
        thread::sleep(AFTER);
        let ended = Instant::now();
        stop.store(true, Ordering::Relaxed);
        let seen = working.into_iter().map(|worker| match worker.join() {
            Ok(seen) => seen,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        let sessions = seen.collect();
        done.map(|()| {
            Some(Round {
                sessions,
                begun,
                struck,
                ended,
            })
        })
    })?;
    cluster.heal()?;
    cluster.wait_until_whole()?;
    Ok(round)
}

/// Who is struck.
#[derive(Default)]
struct Victim {
    node: usize,
    /// What it leads.
    shards: BTreeSet<u32>,
    accounts: Vec<Account>,
}

/// The node that leads most of the accounts.
fn victim(cluster: &Cluster) -> io::Result<Victim> {
    let view: View = cluster.view()?;
    let mut nodes: BTreeMap<usize, Victim> = BTreeMap::new();
    for (number, account) in cluster.accounts().iter().enumerate() {
        let shard = cluster.shard_of_account(number)?;
        let node = cluster.leader_of_shard(&view, shard)?;
        let victim = nodes.entry(node).or_default();
        victim.node = node;
        victim.shards.insert(shard);
        victim.accounts.push(account.clone());
    }
    let most = nodes
        .into_values()
        .max_by_key(|victim| victim.accounts.len());
    most.filter(|victim| victim.accounts.len() >= WORKS.len())
        .ok_or_else(|| io::Error::other("no node leads enough accounts"))
}

/// The accounts on which sessions do the same.
fn of_work(accounts: &[Account], work: usize) -> Vec<Account> {
    accounts
        .iter()
        .skip(work)
        .step_by(WORKS.len())
        .cloned()
        .collect()
}

type Opened = (Work, Imap, usize);

fn open(
    cluster: &Cluster,
    survivors: &[usize],
    accounts: &[Account],
    config: &Arc<ClientConfig>,
    count: usize,
) -> io::Result<Vec<Opened>> {
    let opened = in_parallel(OPENERS, |opener| {
        let node = survivors[opener % survivors.len()];
        let space = cluster.member(node).space();
        space.within(|| {
            let mut opened = Vec::new();
            for number in (opener..count).step_by(OPENERS) {
                let which = number % WORKS.len();
                let of_work = of_work(accounts, which);
                let Account { user, password } = &of_work[number / WORKS.len() % of_work.len()];
                let (source, port) = (Ipv4Addr::LOCALHOST, PORTS.imaps);
                let mut imap = Imap::login_tls_from(source, port, config, user, password)?;
                imap.ok("SELECT INBOX")?;
                opened.push((WORKS[which], imap, number));
            }
            Ok::<_, io::Error>(opened)
        })?
    })?;
    Ok(opened.into_iter().flatten().collect())
}

fn run(work: Work, imap: Imap, number: usize, (stop, gate): (&AtomicBool, &Gate)) -> Seen {
    let mut seen = Seen {
        work,
        waits: Vec::new(),
        failed: None,
    };
    let ended = match work {
        Work::Idles => idle(imap, stop, &mut seen.waits),
        Work::Fetches | Work::Stores => ask(work, imap, number, (stop, gate), &mut seen.waits),
    };
    seen.failed = ended.err().map(|error| error.to_string());
    seen
}

fn idle(mut imap: Imap, stop: &AtomicBool, waits: &mut Vec<(Instant, Instant)>) -> io::Result<()> {
    let tag = imap.idle()?;
    imap.conn.set_read_timeout(LOOKS_UP)?;
    let mut last = Instant::now();
    loop {
        match imap.response() {
            Ok(line) if line.ends_with(b" EXISTS") => {
                let now = Instant::now();
                waits.push((last, now));
                last = now;
            }
            Ok(line) if line.starts_with(b"* BYE") => {
                return Err(wire_error(String::from_utf8_lossy(&line)));
            }
            Ok(_) => {}
            Err(e)
                if matches!(
                    e.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
                ) => {}
            Err(error) => return Err(error),
        }
        if stop.load(Ordering::Relaxed) {
            // Who hears nothing to the end was not told again.
            waits.push((last, Instant::now()));
            imap.idle_done(&tag)?;
            return imap.logout();
        }
    }
}

fn ask(
    work: Work,
    mut imap: Imap,
    number: usize,
    (stop, gate): (&AtomicBool, &Gate),
    waits: &mut Vec<(Instant, Instant)>,
) -> io::Result<()> {
    // Not all at the same time.
    thread::sleep(THINKS * (number % 100) as u32 / 100);
    for turn in number.. {
        if stop.load(Ordering::Relaxed) {
            return imap.logout();
        }
        let message = turn % MESSAGES + 1;
        let sign = if turn % 2 == 0 { '+' } else { '-' };
        let begun = Instant::now();
        match work {
            Work::Fetches => {
                imap.fetch_discarding(&format!("UID FETCH {message} BODY.PEEK[]"))?;
            }
            _ => {
                imap.ok(&format!("UID STORE {message} {sign}FLAGS (\\Flagged)"))?;
            }
        }
        waits.push((begun, Instant::now()));
        gate.wait(THINKS);
    }
    Ok(())
}

/// Keeps an account's idle sessions awake. What fails here shows as a stall there.
fn deliver(space: &crate::cluster::Space, account: &Account, stop: &AtomicBool) {
    if space.enter().is_err() {
        return;
    }
    let message = dot_stuffed(b"Subject: news\r\n\r\nnews\r\n");
    while !stop.load(Ordering::Relaxed) {
        let Ok(mut smtp) = Smtp::connect(PORTS.smtp) else {
            continue;
        };
        while !stop.load(Ordering::Relaxed) {
            let begun = Instant::now();
            let sent = smtp.send_stuffed("bench@client.example", &[&account.user], &message);
            if sent.is_err() {
                break;
            }
            thread::sleep(PACE.saturating_sub(begun.elapsed()));
        }
    }
}

fn fill(cluster: &Cluster) -> io::Result<()> {
    let text = "a line of a message of ordinary length, which is read again and again\r\n";
    let body = text.repeat(MESSAGE_BYTES / text.len());
    let message = format!("Subject: message\r\n\r\n{body}");
    let messages = vec![("", message.as_bytes()); MESSAGES];
    for number in 0..cluster.accounts().len() {
        let mut imap = cluster.imap(0, number)?;
        imap.append_many("INBOX", &messages)?;
        imap.logout()?;
    }
    Ok(())
}

fn collect(
    measured: &mut Vec<Stalls>,
    sessions: &[Seen],
    blow: Blow,
    work: Work,
    (since, until): (Instant, Instant),
) {
    let known = measured
        .iter()
        .position(|s| s.blow == blow && s.work == work);
    let at = known.unwrap_or_else(|| {
        measured.push(Stalls::new(blow, work));
        measured.len() - 1
    });
    let stalls = &mut measured[at];
    for seen in sessions.iter().filter(|seen| seen.work == work) {
        let stall = seen.stall(since, until);
        stalls.stalls_ms.push(stall.as_secs_f64() * 1_000.0);
        if let (Some(said), true) = (&seen.failed, blow.is_event()) {
            stalls.dropped += 1;
            stalls.example.get_or_insert_with(|| said.clone());
        }
    }
}

impl Stalls {
    fn new(blow: Blow, work: Work) -> Self {
        Self {
            blow,
            work,
            stalls_ms: Vec::new(),
            dropped: 0,
            example: None,
        }
    }

    /// The stall that so many of 100 sessions are not above.
    pub fn percentile_ms(&self, percent: usize) -> f64 {
        let mut stalls_ms = self.stalls_ms.clone();
        stalls_ms.sort_by(f64::total_cmp);
        let at = (stalls_ms.len() * percent).div_ceil(100);
        let stall = stalls_ms.get(at.saturating_sub(1));
        stall.copied().unwrap_or(f64::NAN)
    }
}

impl Blow {
    fn sessions(self) -> usize {
        match self {
            Self::NoneFew | Self::HandOverFew => FEW,
            _ => SESSIONS,
        }
    }

    fn is_event(self) -> bool {
        matches!(self, Self::Kill | Self::HandOver | Self::HandOverFew)
    }

    fn name(self) -> &'static str {
        match self {
            Self::None => "nothing",
            Self::NoneAtOnce => "nothing, all ask at once",
            Self::Kill => "back end killed (kill -9), all ask at once",
            Self::HandOver => "back end stopped in good order",
            Self::NoneFew => "nothing, a few sessions",
            Self::HandOverFew => "back end stopped in good order, a few sessions",
        }
    }

    fn target(self) -> &'static str {
        match self {
            Self::None | Self::NoneAtOnce | Self::NoneFew => "",
            Self::Kill => "0 dropped, p50 ≤ 300 ms, p99 ≤ 1,000 ms",
            Self::HandOver | Self::HandOverFew => "0 dropped, max ≤ 100 ms",
        }
    }
}

/// For people.
pub fn survival_table(measured: &[Stalls]) -> String {
    let mut text = String::from(
        "| event | sessions | p50 ms | p99 ms | max ms | dropped | to reach |\n|---|---|---|---|---|---|---|\n",
    );
    let blows = [
        (Blow::NoneAtOnce, Blow::Kill),
        (Blow::None, Blow::HandOver),
        (Blow::NoneFew, Blow::HandOverFew),
    ];
    for blow in blows
        .into_iter()
        .flat_map(|(nothing, blow)| [nothing, blow])
    {
        for stalls in measured.iter().filter(|stalls| stalls.blow == blow) {
            let [p50, p99, max] = [50, 99, 100].map(|percent| stalls.percentile_ms(percent));
            let example = stalls.example.as_ref();
            let _ = writeln!(
                text,
                "| {} | {} × {:?} | {p50:.0} | {p99:.0} | {max:.0} | {}{} | {} |",
                blow.name(),
                stalls.stalls_ms.len(),
                stalls.work,
                stalls.dropped,
                example.map_or(String::new(), |said| format!(" ({said})")),
                blow.target(),
            );
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stall_is_what_is_waited_from_the_event_on() {
        let begin = Instant::now();
        let at = |ms: u64| begin + Duration::from_millis(ms);
        let waits = [(0, 900), (1_000, 1_010), (2_000, 2_350), (3_000, 3_005)];
        let mut seen = Seen {
            work: Work::Stores,
            waits: waits.map(|(from, to)| (at(from), at(to))).into(),
            failed: None,
        };
        let stall = |seen: &Seen, since, until| seen.stall(at(since), at(until)).as_millis();
        assert_eq!(stall(&seen, 950, 5_000), 350);
        assert_eq!(stall(&seen, 700, 1_500), 200);
        assert_eq!(stall(&seen, 2_100, 5_000), 250);
        assert_eq!(stall(&seen, 2_500, 5_000), 5);
        seen.work = Work::Idles;
        assert_eq!(stall(&seen, 950, 5_000), 150);
    }

    #[test]
    fn each_event_has_its_rows() {
        let mut measured = Vec::new();
        let now = Instant::now();
        let seen = |failed: Option<&str>| Seen {
            work: Work::Idles,
            waits: vec![(now, now + Duration::from_millis(300))],
            failed: failed.map(str::to_owned),
        };
        let sessions = [seen(None), seen(Some("closed"))];
        let times = (now, now + Duration::from_secs(1));
        collect(&mut measured, &sessions, Blow::None, Work::Idles, times);
        collect(&mut measured, &sessions, Blow::Kill, Work::Idles, times);
        let table = survival_table(&measured);
        assert!(
            table.contains("| 2 × Idles | 100 | 100 | 100 | 1 (closed) |"),
            "{table}"
        );
        assert!(
            table.contains("| nothing | 2 × Idles | 100 | 100 | 100 | 0 |"),
            "{table}"
        );
    }
}
