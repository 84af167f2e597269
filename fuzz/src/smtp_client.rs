//! The SMTP and LMTP client, against whatever a remote says: the same however it is cut, and never wrong about what the
//! remote can have.

use std::time::Duration;

use mailrook_smtp_proto::{
    BodyType, ForwardPath,
    client::{
        Client, ClientConfig, Envelope, Login, Outcome, Protocol, Recipient, StartTls, Step, Tls,
    },
    limits,
};
use mailrook_types::{Address, Domain, ReversePath};

use crate::{
    Target,
    choices::{Choices, pieces},
};

pub(crate) const SMTP_CLIENT: Target = Target {
    name: "smtp_client",
    run: smtp_client,
    seeds: || {
        let hello = "220 x\r\n250-x\r\n250-PIPELINING\r\n250-SIZE 1000\r\n250 DSN\r\n";
        let text = "354 go\r\n250 2.0.0 stored\r\n";
        let mail = "250 ok\r\n250 ok\r\n550 5.1.1 nobody\r\n452 4.5.3 too many\r\n";
        let chunks = "220 x\r\n250-x\r\n250-CHUNKING\r\n250-BINARYMIME\r\n250 LIMITS RCPTMAX=1\r\n250 ok\r\n250 ok\r\n250 ok\r\n";
        let tls = "220 x\r\n250-x\r\n250 STARTTLS\r\n220 go\r\n250-x\r\n250 AUTH LOGIN SCRAM-SHA-256\r\n334 QQ==\r\n334 QQ==\r\n235 ok\r\n";
        let old = "220 x\r\n500 what\r\n250 x\r\n250 ok\r\n250 ok\r\n354 go\r\n421 4.3.2 bye\r\n";
        vec![
            [
                &[0, 5, 3],
                format!("{hello}{mail}{text}{mail}554 no\r\n").as_bytes(),
            ]
            .concat(),
            [
                &[1, 5, 2],
                format!("{hello}250 a\r\n250 b\r\n250 c\r\n354 go\r\n250 x\r\n450 y\r\n")
                    .as_bytes(),
            ]
            .concat(),
            [&[4, 5, 0], chunks.as_bytes()].concat(),
            [&[8, 5, 0], tls.as_bytes()].concat(),
            [&[0, 5, 0], old.as_bytes()].concat(),
        ]
    },
    dictionary: &[
        b"\r\n",
        b"\n",
        b"220 x\r\n",
        b"250 x\r\n",
        b"250-x\r\n",
        b"250 PIPELINING\r\n",
        b"250 CHUNKING\r\n",
        b"250-BINARYMIME\r\n",
        b"250-STARTTLS\r\n",
        b"250-AUTH PLAIN LOGIN SCRAM-SHA-256\r\n",
        b"250-8BITMIME\r\n",
        b"250-SMTPUTF8\r\n",
        b"250-LIMITS MAILMAX=1 RCPTMAX=1\r\n",
        b"250-SIZE 9\r\n",
        b"334 \r\n",
        b"235 x\r\n",
        b"354 x\r\n",
        b"421 x\r\n",
        b"450 x\r\n",
        b"452 4.5.3 x\r\n",
        b"550 5.1.1 x\r\n",
        b"552 x\r\n",
        b"5.7.1",
        b"-",
        b"\0",
        b"\xff",
    ],
    len_max: 3_000,
    rounds: 60_000,
};

/// What only the caller may know.
const PASSWORD: &str = "dark";

/// Text with what other hosts may take for an end.
const TEXT: &[u8] = b"Subject: x\r\n\r\n.\r\n\n.\n\r.\r..\r\nlast\xc3\xa9";

/// A client, set up as the first bytes choose, hears the rest line by line, each when it wants to read; then the connection
/// is lost.
///
/// # Panics
/// If the cuts of the input change anything, or an outcome says what cannot be.
pub fn smtp_client(input: &[u8]) {
    let mut choices = Choices::new(input);
    let (switches, seed, recipients) = (choices.byte(), choices.byte(), choices.below(5));
    let bytes = choices.rest();
    let whole = hold(switches, recipients, bytes, None);
    let cut = hold(switches, recipients, bytes, Some(seed));
    // A login's nonce is random, so that what was written is not the same.
    assert_eq!(cut, whole, "the cuts matter");
}

/// What became of a conversation.
#[derive(Debug, Default, PartialEq, Eq)]
struct Held {
    outcomes: Vec<Vec<Outcome>>,
    ended: String,
    written: usize,
    commits: usize,
}

fn config(switches: u8) -> ClientConfig {
    let protocol = [Protocol::Smtp, Protocol::Lmtp][usize::from(switches & 1)];
    let hostname = Domain::parse("out.example.test").expect("a domain's name");
    ClientConfig {
        starttls: [StartTls::Opportunistic, StartTls::Required][usize::from(switches >> 1 & 1)],
        login: (switches & 8 != 0).then(|| Login {
            user: "ann".into(),
            password: PASSWORD.to_owned().into(),
        }),
        tls: [Tls::Off, Tls::Verified][usize::from(switches >> 4 & 1)],
        ..ClientConfig::new(protocol, hostname)
    }
}

fn envelope(switches: u8, recipients: usize) -> Envelope {
    let address = |text: &str| Address::parse(text).expect("an address");
    let to = [
        "c@d.test",
        "e@d.test",
        "j\u{fc}@f.test",
        "\"a>b\"@g.test",
        "h@i.test",
    ];
    let to = to[..=recipients]
        .iter()
        .map(|to| Recipient::new(ForwardPath::Address(address(to))));
    Envelope {
        body: [BodyType::SevenBit, BodyType::BinaryMime][usize::from(switches >> 2 & 1)],
        smtputf8: switches & 32 != 0,
        require_tls: switches & 64 != 0,
        ..Envelope::new(ReversePath::Address(address("a@b.test")), to.collect(), 50)
    }
}

/// A client and what is known of it.
struct Caller {
    client: Client,
    envelope: Envelope,
    held: Held,
    written: Vec<u8>,
    messages: u8,
    text: &'static [u8],
    committed: bool,
    abandons: bool,
}

fn hold(switches: u8, recipients: usize, bytes: &[u8], cut: Option<u8>) -> Held {
    let now = Duration::ZERO;
    let mut caller = Caller {
        client: Client::new(config(switches), now),
        envelope: envelope(switches, recipients),
        held: Held::default(),
        written: Vec::new(),
        messages: 0,
        text: TEXT,
        committed: false,
        abandons: switches & 128 != 0,
    };
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        caller.pump();
        let parts = cut.map_or_else(|| vec![line], |seed| pieces(line, seed));
        for part in parts {
            caller.client.receive(part, now);
            assert!(
                caller
                    .client
                    .deadline()
                    .is_none_or(|deadline| deadline > now)
            );
        }
    }
    caller.pump();
    caller.client.connection_lost();
    caller.pump();
    caller.check(bytes);
    caller.held
}

impl Caller {
    /// Does what the client says until it wants to read, or is over.
    fn pump(&mut self) {
        let now = Duration::ZERO;
        // Each message has a bounded number of steps, and there are three.
        for _ in 0..1_000 {
            match self.client.next_step() {
                Step::Read => return,
                Step::Write => {
                    let out = self.client.output();
                    assert!(out.len() <= limits::PIPELINE_MAX * 2 * limits::MAIL_LINE_MAX);
                    self.written.extend_from_slice(out);
                    self.client.output_sent(out.len(), now);
                }
                Step::StartTls => self.client.tls_started(true, now),
                Step::Ready if self.messages == 3 => self.client.quit(now),
                Step::Ready => {
                    self.messages += 1;
                    (self.text, self.committed) = (TEXT, false);
                    self.client.send(self.envelope.clone(), now);
                }
                Step::NeedBody if self.text.is_empty() => self.client.end_body(now),
                Step::NeedBody => {
                    let (piece, rest) = self.text.split_at(self.text.len().min(7));
                    self.text = rest;
                    self.client.body(piece, now);
                }
                Step::AboutToCommit if self.abandons && self.messages == 2 => {
                    self.client.abandon(now);
                }
                Step::AboutToCommit => {
                    self.committed = true;
                    self.held.commits += 1;
                    self.client.commit(now);
                }
                Step::Finished(outcomes) => self.finished(outcomes),
                Step::Closed(ended) => {
                    self.held.ended = ended.to_string();
                    return;
                }
            }
        }
        panic!("the client never wants to read");
    }

    fn finished(&mut self, outcomes: Vec<Outcome>) {
        assert_eq!(outcomes.len(), self.envelope.recipients.len());
        for outcome in &outcomes {
            let (committed, reply) = match outcome {
                Outcome::Delivered { reply, .. } => (Some(true), Some((reply, 2))),
                Outcome::Refused(reply) => (None, Some((reply, 5))),
                Outcome::Deferred(reply) => (None, Some((reply, reply.code / 100))),
                Outcome::Unknown(_) => (Some(true), None),
                // Also who was put off until a next transaction, when the connection ended in this one.
                Outcome::NotSent(_) | Outcome::Impossible(_) | Outcome::NextTransaction => {
                    (None, None)
                }
            };
            assert!(
                committed.is_none_or(|committed| committed == self.committed),
                "{outcome:?}"
            );
            if let Some((reply, class)) = reply {
                assert_eq!(reply.code / 100, class);
                assert!(reply.text.len() <= limits::REMOTE_TEXT_LEN_MAX);
                assert!(!reply.to_string().contains(char::is_control));
            }
        }
        let not_sent = |outcome: &Outcome| matches!(outcome, Outcome::NotSent(_));
        assert!(
            !outcomes.iter().all(not_sent) || !self.committed,
            "it may have been"
        );
        let next = |outcome: &&Outcome| matches!(outcome, Outcome::NextTransaction);
        assert!(
            outcomes.iter().filter(next).count() < outcomes.len(),
            "no progress"
        );
        self.held.outcomes.push(outcomes);
    }

    /// What can be said of all that was written.
    fn check(&mut self, heard: &[u8]) {
        self.held.written = self.written.len();
        let count = |bytes: &[u8], word: &[u8]| {
            bytes
                .windows(word.len())
                .filter(|window| *window == word)
                .count()
        };
        if self.client.tls() == Tls::Off {
            assert_eq!(count(&self.written, b"AUTH"), 0, "credentials in the clear");
        }
        assert!(!format!("{:?}", self.client).contains(PASSWORD));
        // Each text that was asked for has one end at most.
        if count(&self.written, b"BDAT") == 0 {
            assert!(count(&self.written, b"\r\n.\r\n") <= count(heard, b"354"));
        }
        assert!(count(&self.written, b" LAST\r\n") <= self.held.commits);
        assert!(self.client.output().is_empty() && self.client.deadline().is_none());
    }
}
