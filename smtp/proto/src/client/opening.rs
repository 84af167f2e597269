//! From the connection to the first message: greeting, hello, STARTTLS, AUTH.

use std::time::Duration;

use base64::{Engine, engine::general_purpose::STANDARD};
use mailrook_sasl::{ChannelBindings, Mechanism};
use zeroize::Zeroizing;

use super::{
    Capabilities, Client, Command, Ended, Protocol, RemoteReply, StartTls, State, Tls,
    reply::{RawReply, ReplyReader},
};

/// In order of preference: the first does not show the password.
const MECHANISMS: [(Mechanism, &str); 3] = [
    (Mechanism::ScramSha256, "SCRAM-SHA-256"),
    (Mechanism::Plain, "PLAIN"),
    (Mechanism::Login, "LOGIN"),
];

impl Client {
    /// The handshake after [`Step::StartTls`](super::Step::StartTls) is done; `verified` says whether the remote has proved
    /// who it is. What was known of the remote is forgotten (RFC 3207 §4.2).
    ///
    /// # Panics
    /// If no handshake was due.
    pub fn tls_started(&mut self, verified: bool, now: Duration) {
        if self.state == State::Closed {
            return;
        }
        assert_eq!(
            self.state,
            State::ExpectHandshake,
            "STARTTLS was not agreed upon"
        );
        self.tls = if verified {
            Tls::Verified
        } else {
            Tls::Unverified
        };
        self.capabilities = Capabilities::default();
        self.reader = ReplyReader::default();
        self.state = State::ExpectOpening;
        self.say_hello();
        self.arm(now);
    }

    /// An answer before the first message.
    pub(super) fn on_opening(&mut self, raw: &RawReply, reply: RemoteReply) {
        match (reply.command, reply.code) {
            (Command::Connect, 220) => self.say_hello(),
            (Command::Ehlo, 250) => {
                self.capabilities = Capabilities::parse(raw);
                self.after_hello();
            }
            (Command::Helo, 250) => self.after_hello(),
            // RFC 5321 §3.2: a host of before 1995. LMTP knows LHLO alone, and HELO leads neither to TLS nor to AUTH.
            (Command::Ehlo, 500..) if self.may_say_helo() => {
                self.say(
                    Command::Helo,
                    format!("HELO {}\r\n", self.config.hostname).as_bytes(),
                );
            }
            (Command::Connect | Command::Ehlo | Command::Helo, 400..) => {
                self.fail(Ended::Refused(reply));
            }
            (Command::StartTls, 220) => self.state = State::ExpectHandshake,
            (Command::StartTls, 400..) => match self.config.starttls {
                StartTls::Required => self.fail(Ended::NoTls(Some(reply))),
                _ => self.after_tls(),
            },
            (Command::Auth, 235) => match self.login.take() {
                Some(login) if login.is_finished() => self.state = State::ExpectEnvelope,
                _ => self.fail(Ended::LoginBroken),
            },
            (Command::Auth, 334) => self.respond(raw),
            (Command::Auth, 400..) => self.fail(Ended::LoginRefused(reply)),
            _ => self.fail(Ended::UnexpectedReply(reply)),
        }
    }

    fn may_say_helo(&self) -> bool {
        let needs_ehlo = self.config.login.is_some() || self.config.starttls == StartTls::Required;
        self.config.protocol == Protocol::Smtp && !(needs_ehlo && self.tls == Tls::Off)
    }

    fn say_hello(&mut self) {
        let verb = match self.config.protocol {
            Protocol::Smtp => "EHLO",
            Protocol::Lmtp => "LHLO",
        };
        self.say(
            Command::Ehlo,
            format!("{verb} {}\r\n", self.config.hostname).as_bytes(),
        );
    }

    fn after_hello(&mut self) {
        let offered = self.capabilities.starttls;
        match self.config.starttls {
            StartTls::Opportunistic | StartTls::Required if self.tls == Tls::Off && offered => {
                self.say(Command::StartTls, b"STARTTLS\r\n");
            }
            StartTls::Required if self.tls == Tls::Off => self.fail(Ended::NoTls(None)),
            _ => self.after_tls(),
        }
    }

    fn after_tls(&mut self) {
        let Some(login) = &self.config.login else {
            self.state = State::ExpectEnvelope;
            return;
        };
        let offers = |name: &str| {
            self.capabilities
                .mechanisms
                .iter()
                .any(|offered| offered == name)
        };
        let mechanism = MECHANISMS.iter().find(|(_, name)| offers(name));
        let Some((mechanism, name)) = mechanism.filter(|_| self.tls != Tls::Off) else {
            return self.fail(Ended::NoLogin);
        };
        let bindings = ChannelBindings::default();
        let mut exchange =
            mailrook_sasl::Client::new(*mechanism, &login.user, &login.password, &bindings);
        let initial = exchange.initial().map(Zeroizing::new);
        self.login = Some(exchange);
        self.output.push(format!("AUTH {name}").as_bytes());
        if let Some(initial) = initial {
            self.output.push(b" ");
            self.output
                .push_secret(Zeroizing::new(STANDARD.encode(&*initial)).as_bytes());
        }
        self.output.push(b"\r\n");
        self.await_answer(Command::Auth);
    }

    /// RFC 4954 §4: a challenge.
    fn respond(&mut self, raw: &RawReply) {
        let challenge = match raw.lines.as_slice() {
            [line] => STANDARD.decode(line.trim_ascii()).ok(),
            _ => None,
        };
        let login = self.login.as_mut();
        let response = challenge
            .zip(login)
            .map(|(challenge, login)| login.respond(&challenge));
        let Some(Ok(response)) = response else {
            // `*` would cancel; the connection is of no use without a login.
            return self.fail(Ended::LoginBroken);
        };
        let response = Zeroizing::new(response);
        self.output
            .push_secret(Zeroizing::new(STANDARD.encode(&*response)).as_bytes());
        self.output.push(b"\r\n");
        self.await_answer(Command::Auth);
    }
}
