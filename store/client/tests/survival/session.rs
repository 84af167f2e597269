//! An IMAP client.

use std::time::Duration;

use mailrook_mailbox::IndexEntry;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
    time::{sleep, timeout},
};

use crate::{
    acts::{Command, Effect},
    front::{AGAIN_AFTER, Front, PASSWORD, USER},
    view::{Known, View},
};

/// How long a server may say nothing, in virtual time: much more than it may be patient with its store.
const PATIENCE: Duration = Duration::from_secs(600);
/// How often a client asks again before it is said that it never gets an answer.
const TRIES_MAX: usize = 40;
/// Until when a client that asks for it must have been told all that happened.
const NEWS_WITHIN: Duration = Duration::from_secs(120);
/// Between its questions.
const NEWS_EVERY: Duration = Duration::from_millis(200);

/// A logged-in client.
pub struct Session {
    stream: DuplexStream,
    read: Vec<u8>,
    tags: u32,
    idle: Option<String>,
    pub view: View,
    pub selected: Option<String>,
    pub qresync: bool,
    /// UIDVALIDITY and HIGHESTMODSEQ, as told when it selected last: what a client resynchronises from.
    pub synced_at: Option<(String, u64, u64)>,
}

/// What came of a command.
#[derive(Clone, Debug)]
pub struct Exchange {
    /// The responses, the last one without its tag.
    pub lines: Vec<Vec<u8>>,
    /// Whether it was sent more than once.
    pub again: bool,
}

impl Exchange {
    /// What it ended with.
    pub fn end(&self) -> String {
        let last = self.lines.last().map(|line| String::from_utf8_lossy(line));
        last.unwrap_or_default().into_owned()
    }
}

impl Session {
    /// Connects and logs in.
    pub async fn open(front: &Front) -> Result<Session, String> {
        let mut session = Session {
            stream: front.connect(false),
            read: Vec::new(),
            tags: 0,
            idle: None,
            view: View::default(),
            selected: None,
            qresync: false,
            synced_at: None,
        };
        session.line().await?;
        let login = Command::reads(format!("LOGIN {USER} {PASSWORD}"));
        let answered = session.carry_out(&login).await?;
        match answered.end().starts_with("OK") {
            true => Ok(session),
            false => Err(answered.end()),
        }
    }

    /// Whether it waits.
    pub fn is_idle(&self) -> bool {
        self.idle.is_some()
    }

    /// Sends a command, and sends it again while it is told to come back later.
    pub async fn carry_out(&mut self, command: &Command) -> Result<Exchange, String> {
        for attempt in 0..TRIES_MAX {
            if matches!(command.effect, Effect::Selects { .. }) {
                self.view = View::default();
            }
            let lines = self.once(command).await?;
            let exchange = Exchange {
                lines,
                again: attempt > 0,
            };
            if !exchange.end().starts_with("NO [UNAVAILABLE]") {
                self.note(command, &exchange);
                return Ok(exchange);
            }
            sleep(AGAIN_AFTER).await;
        }
        Err(format!("never answered: {command:?}"))
    }

    async fn once(&mut self, command: &Command) -> Result<Vec<Vec<u8>>, String> {
        self.tags += 1;
        let tag = format!("t{}", self.tags);
        self.send(format!("{tag} ").as_bytes()).await;
        let mut lines = Vec::new();
        for (at, part) in command.parts.iter().enumerate() {
            if at > 0 && !self.until_asked_for(&tag, &mut lines).await? {
                return Ok(lines);
            }
            self.send(part).await;
        }
        self.send(b"\r\n").await;
        self.until_tagged(&tag, &mut lines).await?;
        Ok(lines)
    }

    /// True once the server wants the next literal; false if it has ended the command instead.
    async fn until_asked_for(
        &mut self,
        tag: &str,
        lines: &mut Vec<Vec<u8>>,
    ) -> Result<bool, String> {
        loop {
            let line = self.line().await?;
            let is_continuation = line.starts_with(b"+");
            if self.take(tag, line, lines)? {
                return Ok(false);
            }
            if is_continuation {
                return Ok(true);
            }
        }
    }

    async fn until_tagged(&mut self, tag: &str, lines: &mut Vec<Vec<u8>>) -> Result<(), String> {
        loop {
            let line = self.line().await?;
            if self.take(tag, line, lines)? {
                return Ok(());
            }
        }
    }

    /// Says whether this line ends the command.
    fn take(&mut self, tag: &str, line: Vec<u8>, lines: &mut Vec<Vec<u8>>) -> Result<bool, String> {
        if let Some(end) = line.strip_prefix(format!("{tag} ").as_bytes()) {
            lines.push(end.to_vec());
            return Ok(true);
        }
        if line.starts_with(b"* BYE") {
            return Err(String::from_utf8_lossy(&line).into_owned());
        }
        self.view.hear(&line)?;
        // A sign of life.
        if line != b"* OK still here" {
            lines.push(without_tag(line, tag));
        }
        Ok(false)
    }

    fn note(&mut self, command: &Command, exchange: &Exchange) {
        if !exchange.end().starts_with("OK") {
            if matches!(command.effect, Effect::Selects { .. }) {
                self.selected = None;
            }
            return;
        }
        match &command.effect {
            Effect::Reads | Effect::Changes => {}
            Effect::ChangesSilently => self.view.forget_flags(),
            Effect::Selects { mailbox, .. } => {
                self.selected = Some(mailbox.clone());
                let number = |name: &str| {
                    let lines = exchange.lines.iter();
                    let texts = lines.map(|line| String::from_utf8_lossy(line).into_owned());
                    let mut of = texts.filter_map(|text| {
                        let rest = text.split_once(name)?.1;
                        rest.split(']').next()?.trim().parse::<u64>().ok()
                    });
                    of.next().unwrap_or(0)
                };
                let (validity, modseq) = (number("[UIDVALIDITY"), number("[HIGHESTMODSEQ"));
                self.synced_at = Some((mailbox.clone(), validity, modseq));
            }
            Effect::Unselects => self.selected = None,
            Effect::EnablesQresync => self.qresync = true,
        }
        if self.selected.is_none() {
            self.view = View::default();
        }
    }

    pub async fn idle_begin(&mut self) -> Result<Exchange, String> {
        self.tags += 1;
        let tag = format!("t{}", self.tags);
        self.send(format!("{tag} IDLE\r\n").as_bytes()).await;
        let mut lines = Vec::new();
        for attempt in 0..TRIES_MAX {
            if self.until_asked_for(&tag, &mut lines).await? {
                self.idle = Some(tag);
                let again = attempt > 0;
                return Ok(Exchange { lines, again });
            }
            sleep(AGAIN_AFTER).await;
            self.send(format!("{tag} IDLE\r\n").as_bytes()).await;
        }
        Err("never idles".to_owned())
    }

    pub async fn idle_end(&mut self) -> Result<Exchange, String> {
        let tag = self.idle.take().ok_or("it does not idle")?;
        self.send(b"DONE\r\n").await;
        let mut lines = Vec::new();
        self.until_tagged(&tag, &mut lines).await?;
        let again = false;
        Ok(Exchange { lines, again })
    }

    /// Asks for news until the client knows what is true.
    pub async fn sync(&mut self, front: &Front) -> Result<(), String> {
        let Some(mailbox) = self.selected.clone() else {
            return Ok(());
        };
        let begun = tokio::time::Instant::now();
        loop {
            self.carry_out(&Command::reads("NOOP")).await?;
            if self.view.is_incomplete() {
                let all = Command::reads("UID FETCH 1:* (UID FLAGS)");
                self.carry_out(&all).await?;
            }
            let truth = truth(front, &mailbox);
            if self.view.messages == truth {
                return Ok(());
            }
            if begun.elapsed() > NEWS_WITHIN {
                let known = &self.view.messages;
                return Err(format!(
                    "{mailbox} is {truth:?}, and the client knows {known:?}"
                ));
            }
            sleep(NEWS_EVERY).await;
        }
    }

    async fn send(&mut self, bytes: &[u8]) {
        // A session that has ended is found out by what is read.
        let _ = self.stream.write_all(bytes).await;
    }

    /// A response, with the literals that stand in it.
    async fn line(&mut self) -> Result<Vec<u8>, String> {
        let mut line: Vec<u8> = Vec::new();
        loop {
            let from = line.len();
            line.extend(self.up_to_line_end().await?);
            let Some(len) = announced(&line[from..]) else {
                line.truncate(line.len() - 2);
                return Ok(line);
            };
            while self.read.len() < len {
                self.fill().await?;
            }
            line.extend(self.read.drain(..len));
        }
    }

    async fn up_to_line_end(&mut self) -> Result<Vec<u8>, String> {
        loop {
            if let Some(end) = self.read.windows(2).position(|two| two == b"\r\n") {
                return Ok(self.read.drain(..end + 2).collect());
            }
            self.fill().await?;
        }
    }

    async fn fill(&mut self) -> Result<(), String> {
        match timeout(PATIENCE, self.stream.read_buf(&mut self.read)).await {
            Ok(Ok(1..)) => Ok(()),
            Ok(_) => Err("the server has closed the connection".to_owned()),
            Err(_) => Err("the server says nothing".to_owned()),
        }
    }
}

/// RFC 9051 §7.3.4: ESEARCH names its command, which has another tag when it is sent again.
fn without_tag(line: Vec<u8>, tag: &str) -> Vec<u8> {
    if !line.starts_with(b"* ESEARCH") {
        return line;
    }
    let text = String::from_utf8_lossy(&line);
    text.replace(&format!("(TAG \"{tag}\")"), "(TAG)")
        .into_bytes()
}

/// The length of the literal that a line with its end announces.
fn announced(line: &[u8]) -> Option<usize> {
    let line = line.strip_suffix(b"}\r\n")?;
    let open = line.iter().rposition(|byte| *byte == b'{')?;
    std::str::from_utf8(&line[open + 1..]).ok()?.parse().ok()
}

fn truth(front: &Front, mailbox: &str) -> Vec<Known> {
    let mail = front.cluster.mail(front.account);
    let found = mail.iter().find(|(info, _)| info.name.as_str() == mailbox);
    let entries = found.map_or(&[][..], |(_, entries)| entries);
    let known = |entry: &IndexEntry| {
        let keywords = entry.flags.keywords.iter();
        let keywords = keywords.map(|keyword| keyword.as_str().to_owned());
        let names = entry.flags.system.names().map(str::to_owned);
        let mut flags: Vec<String> = names.chain(keywords).collect();
        flags.sort();
        Known {
            uid: Some(entry.uid.get()),
            flags: Some(flags),
        }
    };
    entries.iter().map(known).collect()
}
