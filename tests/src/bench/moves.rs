//! Moving a mailbox: `mailrook mailbox move` between two shards of a cluster of three nodes, while a client uses it, beside
//! `doveadm backup` into a second Dovecot, which knows neither copies nor clients.

use std::fmt::Write as _;
use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde::Deserialize;

use super::peer::{Peer, PeerOptions, install};
use super::sample::median;
use crate::client::Imap;
use crate::corpus::Corpus;
use crate::harness::{Node, NodeOptions};

/// As in the promise: 100 MB in all.
const MESSAGES: usize = 10_000;
/// Octets of each.
const MESSAGE_BYTES: usize = 10_000;
/// Messages in one APPEND.
const AT_ONCE: usize = 50;
/// The same mail for both.
const SEED: u64 = 4;

/// What moving one mailbox took, once for each round.
#[derive(Debug, Clone, Default)]
pub struct Moves {
    /// Seconds, of Mailrook.
    pub ours_seconds: Vec<f64>,
    /// Processor seconds of all nodes.
    pub ours_cpu_seconds: Vec<f64>,
    /// For how long the account was not served, as the server says, in milliseconds.
    pub pause_ms: Vec<f64>,
    /// The longest command of a client that used the mailbox all the while, in milliseconds.
    pub stall_ms: Vec<f64>,
    /// Commands of that client.
    pub commands: usize,
    /// Seconds, of `doveadm backup`: the better of maildir and mdbox.
    pub peer_seconds: Vec<f64>,
}

/// What `mailbox move --json` and `mailbox where --json` say.
#[derive(Debug, Deserialize)]
struct Moved {
    messages: u64,
    bytes: u64,
    pause_ms: f64,
}

#[derive(Debug, Deserialize)]
struct Found {
    shard: u32,
}

/// Moves a mailbox of 10,000 messages so many times.
pub fn measure_moves(rounds: usize, progress: &mut dyn Write) -> io::Result<Moves> {
    install()?;
    let mut moves = Moves::default();
    for round in 1..=rounds {
        let folder = tempfile::tempdir()?;
        let ours = move_ours(folder.path(), &mut moves)?;
        drop(folder);
        let mut peers = Vec::new();
        for mdbox in [false, true] {
            peers.push(move_peer(mdbox)?);
        }
        let peer = peers.iter().copied().fold(f64::INFINITY, f64::min);
        moves.peer_seconds.push(peer);
        writeln!(progress, "round {round}: {ours:.2} s, {peers:.2?} s")?;
    }
    Ok(moves)
}

fn fill(imap: &mut Imap) -> io::Result<()> {
    let mut corpus = Corpus::new(SEED);
    for _ in 0..MESSAGES / AT_ONCE {
        let made: Vec<_> = (0..AT_ONCE).map(|_| corpus.fixed(MESSAGE_BYTES)).collect();
        let messages: Vec<(&str, &[u8])> = made.iter().map(|m| ("", &m.bytes[..])).collect();
        imap.append_many("INBOX", &messages)?;
    }
    Ok(())
}

fn answer<T: for<'a> Deserialize<'a>>(node: &Node, arguments: &[&str]) -> io::Result<T> {
    let output = node.command(arguments)?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        return Err(io::Error::other(format!("{arguments:?}: {text}")));
    }
    serde_json::from_slice(&output.stdout).map_err(io::Error::other)
}

fn move_ours(folder: &Path, moves: &mut Moves) -> io::Result<f64> {
    let node = Node::start_with(NodeOptions {
        data: Some(folder.to_owned()),
        nodes: 3,
        accounts: 1,
        ..NodeOptions::default()
    })?;
    let account = node.account(0).clone();
    let login = || Imap::login(node.ports().imap, &account.user, &account.password);
    fill(&mut login()?)?;
    let user = account.user.as_str();
    let found: Found = answer(&node, &["mailbox", "where", user, "--json"])?;
    let to = format!("shard:{}", found.shard % 8 + 1);
    let stop = AtomicBool::new(false);
    let (took, cpu, moved, stalls) = thread::scope(|scope| -> io::Result<_> {
        let client = scope.spawn(|| use_mailbox(login()?, &stop));
        let cpu_before = node.processes().usage().cpu_ms;
        let begun = Instant::now();
        let moved = answer::<Moved>(&node, &["mailbox", "move", user, "--to", &to, "--json"]);
        let took = begun.elapsed().as_secs_f64();
        let cpu = node.processes().usage().cpu_ms - cpu_before;
        stop.store(true, Ordering::SeqCst);
        let stalls = client
            .join()
            .map_err(|_panic| io::Error::other("the client ended"))??;
        Ok((took, cpu, moved?, stalls))
    })?;
    if moved.messages < MESSAGES as u64 || moved.bytes < (MESSAGES * MESSAGE_BYTES / 4) as u64 {
        return Err(io::Error::other(format!("not all of it moved: {moved:?}")));
    }
    let exists = login()?.ok("SELECT INBOX")?.exists();
    if exists != Some(MESSAGES as u32) {
        return Err(io::Error::other(format!("{exists:?} messages afterwards")));
    }
    let longest = stalls.iter().copied().max().unwrap_or_default();
    moves.commands += stalls.len();
    moves.ours_seconds.push(took);
    moves.ours_cpu_seconds.push(cpu as f64 / 1_000.0);
    moves.pause_ms.push(moved.pause_ms);
    moves.stall_ms.push(longest.as_secs_f64() * 1_000.0);
    Ok(took)
}

/// Reads and marks messages one after the other, and says how long each command took. None may fail.
fn use_mailbox(mut imap: Imap, stop: &AtomicBool) -> io::Result<Vec<Duration>> {
    imap.ok("SELECT INBOX")?;
    let mut stalls = Vec::new();
    while !stop.load(Ordering::SeqCst) {
        let uid = stalls.len() % MESSAGES + 1;
        let command = match stalls.len() % 2 {
            0 => format!("UID FETCH {uid} (FLAGS BODY.PEEK[])"),
            _ => format!("UID STORE {uid} +FLAGS (\\Seen)"),
        };
        let begun = Instant::now();
        imap.ok(&command)?;
        stalls.push(begun.elapsed());
        // A client that works as fast as it can would be what is measured.
        thread::sleep(Duration::from_millis(5));
    }
    Ok(stalls)
}

/// Backs a mailbox up into another Dovecot, over a pipe.
fn move_peer(mdbox: bool) -> io::Result<f64> {
    let options = PeerOptions {
        mdbox,
        reuse: false,
        tls: false,
    };
    let folder = tempfile::Builder::new()
        .prefix("mailrook-bench-")
        .tempdir()?;
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))?;
    let (from, to) = (folder.path().join("from"), folder.path().join("to"));
    fs::create_dir_all(&from)?;
    fs::create_dir_all(&to)?;
    let source = Peer::start(&from, options)?;
    let target = Peer::start(&to, options)?;
    let account = source.accounts().remove(0);
    let mut imap = Imap::login(source.ports().imap, &account.user, &account.password)?;
    fill(&mut imap)?;
    imap.logout()?;
    let config = |folder: &Path| folder.join("etc/dovecot.conf");
    let begun = Instant::now();
    let output = Command::new("/usr/bin/doveadm")
        .arg("-c")
        .arg(config(&from))
        .args(["backup", "-u", &account.user])
        // In its parent's environment it would take the parent's settings, whatever `-c` says, and wait for its own lock.
        .args(["/usr/bin/env", "-i", "/usr/bin/doveadm", "-c"])
        .arg(config(&to))
        .args(["dsync-server", "-u", &account.user])
        .stdin(Stdio::null())
        .output()?;
    let took = begun.elapsed().as_secs_f64();
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        return Err(io::Error::other(format!("doveadm backup: {text}")));
    }
    let mut imap = Imap::login(target.ports().imap, &account.user, &account.password)?;
    let exists = imap.ok("SELECT INBOX")?.exists();
    if exists != Some(MESSAGES as u32) {
        return Err(io::Error::other(format!(
            "doveadm brought {exists:?} messages"
        )));
    }
    Ok(took)
}

/// For people.
pub fn moves_table(moves: &Moves) -> String {
    let rate = |seconds: f64| MESSAGES as f64 / seconds;
    let middle = |values: &[f64]| median(values).0;
    let (ours, peer) = (middle(&moves.ours_seconds), middle(&moves.peer_seconds));
    let longest = |of: &[f64]| of.iter().copied().fold(0.0, f64::max);
    let mut text = String::from("| load | figure | to reach |\n|---|---|---|\n");
    let _ = writeln!(
        text,
        "| move of a mailbox of {MESSAGES} messages ({} MB), three copies, while it is used | {:.0} messages/s | |\n\
         | `doveadm backup` of the same, one copy, the better of maildir and mdbox | {:.0} messages/s | |\n\
         | ratio | {:.2} | ≥ 3 |\n\
         | processor time of all three nodes | {:.2} s | |\n\
         | not served, as the server says; longest of {} | {:.0} ms | |\n\
         | longest command of a client, of {} | {:.0} ms | ≤ 100 ms |",
        MESSAGES * MESSAGE_BYTES / 1_000_000,
        rate(ours),
        rate(peer),
        peer / ours,
        middle(&moves.ours_cpu_seconds),
        moves.pause_ms.len(),
        longest(&moves.pause_ms),
        moves.commands,
        longest(&moves.stall_ms),
    );
    text
}
