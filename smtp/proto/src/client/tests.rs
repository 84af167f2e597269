//! Tests of the client as conversations.
//!
//! A script has lines `S: …` (the remote says this and `<CR><LF>`), `s: …` (the remote says this alone), `C: …` (the client
//! says just this line), `c: …` (it says this alone) and `X` (the connection is lost); in `s:` and `c:`, `\r` and `\n` are
//! escapes. Each script runs several times, what both sides say cut in pieces of every size, and must go the same way.
//!
//! The caller here sends the envelopes that it was given, each with the same text, and quits; at every `AboutToCommit` it
//! commits, or gives up if it was told to. What it was told comes out as lines.

mod cuts;
mod opening;
mod own_server;
mod transactions;

use std::time::Duration;

use mailrook_types::{Address, Domain, ReversePath};

use super::*;
use crate::ForwardPath;

/// What the caller does at AboutToCommit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Commit {
    Always,
    /// It gives up.
    Never,
}

/// A caller with what it is to send.
#[derive(Clone)]
struct Plan {
    config: ClientConfig,
    envelopes: Vec<Envelope>,
    text: Vec<u8>,
    commit: Commit,
    /// It quits when all is sent, and leaves the connection open otherwise.
    quits: bool,
    verified: bool,
}

/// A client, and what was seen of it.
struct Rig {
    client: Client,
    plan: Plan,
    /// How much of the text was given.
    given: usize,
    written: Vec<u8>,
    told: Vec<String>,
    outcomes: Vec<Vec<Outcome>>,
    /// AboutToCommit was told, and the end given out.
    committed: usize,
    now: Duration,
    size: usize,
    sent: usize,
}

fn smtp() -> Plan {
    Plan {
        config: ClientConfig::new(Protocol::Smtp, Domain::parse("out.test").unwrap()),
        envelopes: vec![envelope(&["c@d.test"])],
        text: b"hi\r\n.\r\n".to_vec(),
        commit: Commit::Always,
        quits: true,
        verified: true,
    }
}

fn lmtp() -> Plan {
    let config = ClientConfig {
        protocol: Protocol::Lmtp,
        ..smtp().config
    };
    Plan { config, ..smtp() }
}

fn envelope(to: &[&str]) -> Envelope {
    let address = |text: &str| Address::parse(text).unwrap();
    let to = to
        .iter()
        .map(|to| Recipient::new(ForwardPath::Address(address(to))));
    Envelope::new(ReversePath::Address(address("a@b.test")), to.collect(), 7)
}

/// An outcome as a line.
fn line(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Delivered { reply, dsn } => {
            format!("delivered{}: {reply}", if *dsn { " with dsn" } else { "" })
        }
        Outcome::Refused(reply) => format!("refused at {}: {reply}", reply.command),
        Outcome::Deferred(reply) => format!("deferred at {}: {reply}", reply.command),
        Outcome::Impossible(lacking) => format!("impossible: {lacking:?}"),
        Outcome::NextTransaction => "next transaction".into(),
        Outcome::NotSent(ended) => format!("not sent: {ended}"),
        Outcome::Unknown(ended) => format!("unknown: {ended}"),
    }
}

impl Rig {
    fn new(plan: Plan, size: usize) -> Rig {
        let now = Duration::from_secs(1000);
        let client = Client::new(plan.config.clone(), now);
        Rig {
            client,
            plan,
            given: 0,
            written: Vec::new(),
            told: Vec::new(),
            outcomes: Vec::new(),
            committed: 0,
            now,
            size,
            sent: 0,
        }
    }

    /// Does what the client says until it wants to read, or is over.
    fn pump(&mut self) {
        let now = self.now;
        for _ in 0..1_000_000 {
            match self.client.next_step() {
                Step::Write => {
                    let count = self.client.output().len().min(self.size);
                    self.written
                        .extend_from_slice(&self.client.output()[..count]);
                    self.client.output_sent(count, now);
                }
                Step::Read => return,
                Step::StartTls => {
                    self.written.extend_from_slice(b"(TLS)\r\n");
                    self.client.tls_started(self.plan.verified, now);
                }
                Step::Ready if self.sent < self.plan.envelopes.len() => {
                    self.given = 0;
                    self.client
                        .send(self.plan.envelopes[self.sent].clone(), now);
                    self.sent += 1;
                }
                Step::Ready if self.plan.quits => self.client.quit(now),
                Step::Ready => return,
                Step::NeedBody if self.given == self.plan.text.len() => self.client.end_body(now),
                Step::NeedBody => {
                    let rest = &self.plan.text[self.given..];
                    let count = rest.len().min(self.size);
                    self.client.body(&rest[..count], now);
                    self.given += count;
                }
                Step::AboutToCommit => {
                    assert!(
                        self.client.output().is_empty(),
                        "all but the end is written"
                    );
                    match self.plan.commit {
                        Commit::Always => {
                            self.committed += 1;
                            self.client.commit(now);
                        }
                        Commit::Never => self.client.abandon(now),
                    }
                }
                Step::Finished(outcomes) => {
                    self.told.extend(outcomes.iter().map(line));
                    self.outcomes.push(outcomes);
                }
                Step::Closed(ended) => {
                    if self
                        .told
                        .last()
                        .is_none_or(|last| !last.starts_with("closed: "))
                    {
                        self.told.push(format!("closed: {ended}"));
                    }
                    return;
                }
            }
        }
        panic!("the client never wants to read");
    }

    fn receive(&mut self, bytes: &[u8]) {
        for piece in bytes.chunks(self.size) {
            self.client.receive(piece, self.now);
            self.pump();
        }
    }

    fn expect(&mut self, expected: &[u8], script: &str) {
        let count = expected.len().min(self.written.len());
        let written: Vec<u8> = self.written.drain(..count).collect();
        assert_eq!(
            written.escape_ascii().to_string(),
            expected.escape_ascii().to_string(),
            "in {script}"
        );
    }
}

fn unescape(text: &str) -> Vec<u8> {
    text.replace("\\r", "\r").replace("\\n", "\n").into_bytes()
}

fn hold(rig: &mut Rig, script: &str) {
    rig.pump();
    for line in script
        .lines()
        .map(str::trim_start)
        .filter(|line| !line.is_empty())
    {
        let text = line.get(3..).unwrap_or("");
        match line.get(..2).unwrap_or(line) {
            "S:" => rig.receive(format!("{text}\r\n").as_bytes()),
            "s:" => rig.receive(&unescape(text)),
            "C:" => rig.expect(format!("{text}\r\n").as_bytes(), script),
            "c:" => rig.expect(&unescape(text), script),
            "X" => {
                rig.client.connection_lost();
                rig.pump();
            }
            _ => panic!("not a line of a conversation: {line}"),
        }
    }
    assert_eq!(
        rig.written.escape_ascii().to_string(),
        "",
        "said more in {script}"
    );
}

/// Holds the conversation in pieces of several sizes. Returns what the caller was told.
fn converse(plan: &Plan, script: &str) -> Vec<String> {
    let run = |size| {
        let mut rig = Rig::new(plan.clone(), size);
        hold(&mut rig, script);
        rig.told
    };
    let whole = run(usize::MAX);
    for size in [1, 2, 3, 5, 16, 61] {
        assert_eq!(run(size), whole, "in pieces of {size}");
    }
    whole
}

/// The conversation up to the first message, with a remote that offers `extensions`.
fn hello(extensions: &[&str]) -> String {
    let mut script = "S: 220 mx.test ESMTP\nC: EHLO out.test\n".to_owned();
    for extension in extensions {
        script.push_str(&format!("S: 250-{extension}\n"));
    }
    script + "S: 250 HELP\n"
}
