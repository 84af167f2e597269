//! What the way through another node costs: FETCH of bodies and short commands, at the node that leads the account and at one
//! that does not; and what 20,000 idle TLS connections on one process take, or as many as the machine permits.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::net::Ipv4Addr;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use super::sample::{in_parallel, median};
use crate::client::{Imap, tls_config};
use crate::cluster::{Cluster, ClusterOptions, PORTS};
use crate::corpus::Corpus;
use crate::harness::{ProcessTree, cpu_of_self_ms, pss_kib, raise_file_limit};

/// Of real mail in the mailbox that is read.
const OCTETS: usize = 40_000_000;
/// A message has at most so many.
const MESSAGE_OCTETS_MAX: usize = 2_000_000;
/// How often the mailbox is read in a round.
const REPEATS: usize = 3;
/// Clients that send short commands.
const CLIENTS: usize = 8;
/// Commands of each in a round.
const COMMANDS: usize = 1_500;
/// Connections that do nothing.
const IDLE: usize = 20_000;
/// Of these.
const IDLE_ACCOUNTS: usize = 20;
const OPENERS: usize = 10;
/// Descriptors of a process that are no idle connections.
const OTHER_FILES: usize = 1_500;
/// How often a round is measured before it is said that leaders do not stay: new ones are spread evenly by and by.
const ROUND_TRIES: usize = 5;
/// Until memory that was needed for logins only is given back.
const SETTLES: Duration = Duration::from_secs(10);

/// Where the client is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// At the node that leads the account.
    AtTheLeader,
    /// At another one.
    Elsewhere,
}

const PLACES: [Place; 2] = [Place::AtTheLeader, Place::Elsewhere];

/// One round's figure.
#[derive(Debug, Clone, Copy)]
struct Figure {
    place: Place,
    what: What,
    /// Megabytes or commands in a second.
    rate: f64,
    /// Processor time of all nodes for a megabyte or a command, in ms.
    cpu_ms: f64,
    /// Of the load generator.
    own_cpu_ms: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    OneReads,
    EightRead,
    ShortCommands,
}

impl What {
    fn name(self) -> &'static str {
        match self {
            Self::OneReads => "FETCH BODY.PEEK[], one client, MB/s",
            Self::EightRead => "FETCH BODY.PEEK[], eight clients, MB/s",
            Self::ShortCommands => "UID FETCH n (FLAGS), eight clients, commands/s",
        }
    }
}

/// All figures of the way through another node.
#[derive(Debug, Clone, Default)]
pub struct Ways {
    figures: Vec<Figure>,
}

/// Measures so many rounds, in turn.
pub fn measure_ways(rounds: usize, progress: &mut dyn Write) -> io::Result<Ways> {
    let cluster = Cluster::start(ClusterOptions {
        accounts: 1,
        ..ClusterOptions::default()
    })?;
    let messages = fill(&cluster)?;
    let mut ways = Ways::default();
    for round in 1..=rounds {
        let measured = one_round(&cluster, messages)?;
        for Figure {
            place, what, rate, ..
        } in &measured
        {
            writeln!(
                progress,
                "{}, {place:?}, round {round}: {rate:.0}",
                what.name()
            )?;
        }
        ways.figures.extend(measured);
    }
    Ok(ways)
}

/// In which the leader stays.
fn one_round(cluster: &Cluster, messages: usize) -> io::Result<Vec<Figure>> {
    for _ in 0..ROUND_TRIES {
        let leader = cluster.leader_of(0)?;
        let numbers = cluster.numbers();
        let other = numbers.into_iter().find(|number| *number != leader);
        let other = other.ok_or_else(|| io::Error::other("there is one node alone"))?;
        let mut measured = Vec::new();
        for place in PLACES {
            let node = match place {
                Place::AtTheLeader => leader,
                Place::Elsewhere => other,
            };
            for what in [What::OneReads, What::EightRead, What::ShortCommands] {
                measured.push(measure(cluster, node, messages, (place, what))?);
            }
        }
        if cluster.leader_of(0)? == leader {
            return Ok(measured);
        }
    }
    Err(io::Error::other("no leader stays for a round"))
}

/// Gives the number of messages.
fn fill(cluster: &Cluster) -> io::Result<usize> {
    let (mut corpus, mut imap, mut octets, mut count) = (Corpus::new(7), cluster.imap(0, 0)?, 0, 0);
    while octets < OCTETS {
        let message = corpus.message_up_to(MESSAGE_OCTETS_MAX);
        imap.append("INBOX", "", &message.bytes)?;
        octets += message.bytes.len();
        count += 1;
    }
    imap.logout()?;
    Ok(count)
}

fn measure(
    cluster: &Cluster,
    node: usize,
    messages: usize,
    (place, what): (Place, What),
) -> io::Result<Figure> {
    let clients = if what == What::OneReads { 1 } else { CLIENTS };
    let sessions: Vec<Mutex<Imap>> = (0..clients)
        .map(|_| {
            let mut imap = cluster.imap(node, 0)?;
            imap.ok("EXAMINE INBOX")?;
            Ok(Mutex::new(imap))
        })
        .collect::<io::Result<_>>()?;
    let processes = processes(cluster);
    let (cpu_ms, own_cpu_ms) = (processes.usage().cpu_ms, cpu_of_self_ms());
    let begun = Instant::now();
    let done = in_parallel(clients, |client| {
        let mut imap = sessions[client]
            .lock()
            .map_err(|_| io::Error::other("poisoned"))?;
        match what {
            What::ShortCommands => ask(&mut imap, client, messages),
            What::OneReads | What::EightRead => read(&mut imap),
        }
    })?;
    let elapsed = begun.elapsed().as_secs_f64();
    let done: f64 = done.into_iter().sum();
    let (cpu_ms, own_cpu_ms) = (
        processes.usage().cpu_ms - cpu_ms,
        cpu_of_self_ms() - own_cpu_ms,
    );
    Ok(Figure {
        place,
        what,
        rate: done / elapsed,
        cpu_ms: cpu_ms as f64 / done,
        own_cpu_ms: own_cpu_ms as f64 / done,
    })
}

/// The megabytes.
fn read(imap: &mut Imap) -> io::Result<f64> {
    let mut octets = 0;
    for _ in 0..REPEATS {
        octets += imap.fetch_discarding("UID FETCH 1:* (UID BODY.PEEK[])")?.1;
    }
    if octets < (OCTETS * REPEATS) as u64 {
        return Err(io::Error::other(format!("{octets} octets are too few")));
    }
    Ok(octets as f64 / 1e6)
}

/// The commands.
fn ask(imap: &mut Imap, client: usize, messages: usize) -> io::Result<f64> {
    for turn in 0..COMMANDS {
        let message = (client * 7 + turn) % messages + 1;
        imap.ok(&format!("FETCH {message} (FLAGS)"))?;
    }
    Ok(COMMANDS as f64)
}

fn processes(cluster: &Cluster) -> ProcessTree {
    let numbers = cluster.numbers().into_iter();
    ProcessTree::new(numbers.filter_map(|n| cluster.member(n).pid()).collect())
}

/// What connections take that do nothing.
#[derive(Debug, Clone, Copy)]
pub struct IdleConnections {
    /// How many.
    pub connections: usize,
    /// The process's memory before, in KiB (PSS).
    pub before_kib: u64,
    /// With all of them in IDLE.
    pub during_kib: u64,
}

/// Opens them over TLS at one node of three, each with INBOX selected and in IDLE.
pub fn measure_idle_connections(progress: &mut dyn Write) -> io::Result<IdleConnections> {
    let files = usize::try_from(raise_file_limit()?).unwrap_or(usize::MAX);
    let wanted = IDLE.min(files.saturating_sub(OTHER_FILES));
    let cluster = Cluster::start(ClusterOptions {
        accounts: IDLE_ACCOUNTS,
        connections_max: Some(IDLE),
        ..ClusterOptions::default()
    })?;
    let (node, config) = (0, tls_config(cluster.certificate())?);
    let member = cluster.member(node);
    let pid = member
        .pid()
        .ok_or_else(|| io::Error::other("the node is down"))?;
    let memory = || pss_kib(pid).ok_or_else(|| io::Error::other("the node has ended"));
    // What every process does at its first login is no connection's.
    for number in 0..IDLE_ACCOUNTS {
        cluster.imap(node, number)?.logout()?;
    }
    thread::sleep(SETTLES);
    let before_kib = memory()?;
    let opened = in_parallel(OPENERS, |opener| {
        member.space().within(|| {
            let mut open = Vec::new();
            // An address of its own, as one has only so many ports.
            let last = u8::try_from(opener + 1).map_err(io::Error::other)?;
            let source = Ipv4Addr::new(127, 0, 2, last);
            for number in (opener..wanted).step_by(OPENERS) {
                let account = &cluster.accounts()[number % IDLE_ACCOUNTS];
                let (user, password) = (&account.user, &account.password);
                let mut imap = Imap::login_tls_from(source, PORTS.imaps, &config, user, password)?;
                imap.ok("SELECT INBOX")?;
                imap.idle()?;
                open.push(imap);
            }
            Ok::<_, io::Error>(open)
        })?
    })?;
    writeln!(progress, "{wanted} connections are open")?;
    thread::sleep(SETTLES);
    let during_kib = memory()?;
    let connections = opened.iter().map(Vec::len).sum();
    Ok(IdleConnections {
        connections,
        before_kib,
        during_kib,
    })
}

impl Ways {
    fn median_of(&self, place: Place, what: What, of: fn(&Figure) -> f64) -> (f64, f64, f64) {
        let figures = self.figures.iter();
        let wanted = figures.filter(|figure| figure.place == place && figure.what == what);
        median(&wanted.map(of).collect::<Vec<_>>())
    }
}

/// For people.
pub fn ways_table(ways: &Ways) -> String {
    let mut text = String::from(
        "| load | at the leader | CPU ms each | at another node | CPU ms each | load generator CPU ms each | ratio | to reach |\n|---|---|---|---|---|---|---|---|\n",
    );
    for what in [What::OneReads, What::EightRead, What::ShortCommands] {
        let [here, there] = PLACES.map(|place| ways.median_of(place, what, |f| f.rate));
        let [here_cpu, there_cpu] = PLACES.map(|place| ways.median_of(place, what, |f| f.cpu_ms).0);
        let own = ways.median_of(Place::Elsewhere, what, |f| f.own_cpu_ms).0;
        let _ = writeln!(
            text,
            "| {} | {} | {here_cpu:.2} | {} | {there_cpu:.2} | {own:.2} | {:.0} % | ≥ 50 % |",
            what.name(),
            spread(here),
            spread(there),
            there.0 / here.0 * 100.0,
        );
    }
    text
}

fn spread((middle, low, high): (f64, f64, f64)) -> String {
    format!("{middle:.0} ({low:.0}–{high:.0})")
}

/// For people.
pub fn idle_connections_table(idle: &IdleConnections) -> String {
    let used_kib = idle.during_kib.saturating_sub(idle.before_kib);
    let each_kib = used_kib as f64 / idle.connections.max(1) as f64;
    format!(
        "| load | memory before, MiB | with them, MiB | KiB each | {IDLE} of them, MiB | to reach |\n|---|---|---|---|---|---|\n\
         | {} idle TLS connections on one process | {} | {} | {each_kib:.1} | {:.0} | ≤ 1,024 |\n",
        idle.connections,
        idle.before_kib >> 10,
        idle.during_kib >> 10,
        each_kib * IDLE as f64 / 1024.0,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_say_what_was_measured() {
        let figure = |place, rate| Figure {
            place,
            what: What::OneReads,
            rate,
            cpu_ms: 2.0,
            own_cpu_ms: 1.0,
        };
        let figures = vec![
            figure(Place::AtTheLeader, 400.0),
            figure(Place::Elsewhere, 300.0),
        ];
        let table = ways_table(&Ways { figures });
        let row = "| 400 (400–400) | 2.00 | 300 (300–300) | 2.00 | 1.00 | 75 % |";
        assert!(table.contains(row), "{table}");
        let idle = IdleConnections {
            connections: 100,
            before_kib: 10_240,
            during_kib: 13_240,
        };
        let table = idle_connections_table(&idle);
        assert!(table.contains("| 10 | 12 | 30.0 | 586 |"), "{table}");
    }
}
