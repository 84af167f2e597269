//! What clients may do next, by what they know.

use crate::{
    acts::{Act, Command, Effect},
    dice::Chance,
    play::SESSIONS,
    session::Session,
};

/// Opened by sessions, and there for good.
const OPENED: [&str; 4] = ["INBOX", "INBOX", "Archive", "Drafts"];
/// Made, renamed, removed, copied and appended to; never opened, as who has a mailbox open that another removes is thrown out.
const CHURNED: [&str; 4] = ["Work", "Work/Later", "Old", "Größe"];

const ITEMS: [&str; 14] = [
    "FLAGS",
    "(UID FLAGS INTERNALDATE RFC822.SIZE)",
    "ALL",
    "FULL",
    "(UID ENVELOPE)",
    "BODYSTRUCTURE",
    "BODY.PEEK[]",
    "(FLAGS BODY.PEEK[HEADER.FIELDS (SUBJECT FROM)])",
    "BODY.PEEK[TEXT]<2.9>",
    "(EMAILID SAVEDATE)",
    "BINARY.PEEK[1]",
    "BINARY.SIZE[1]",
    "(MODSEQ FLAGS)",
    "(UID BODY.PEEK[1.MIME] PREVIEW)",
];
const SEARCHES: [&str; 10] = [
    "ALL",
    "FLAGGED",
    "UNSEEN SUBJECT 1",
    "OR DELETED ANSWERED",
    "TEXT body",
    "NOT KEYWORD $Work LARGER 20",
    "RETURN (MIN MAX COUNT ALL) UNDELETED",
    "RETURN (COUNT) MODSEQ 3",
    "RETURN (SAVE) NOT DELETED",
    "BODY \"a line\"",
];
const FLAGS: [&str; 7] = [
    "\\Seen",
    "\\Flagged",
    "\\Deleted",
    "\\Deleted",
    "\\Answered \\Draft",
    "$Work",
    "colour-1",
];
/// A body that takes an upload of its own beside the command: more than 128 KiB.
const LARGE_LINES: u64 = 12_000;

/// Makes acts.
pub struct Generator {
    chance: Chance,
    /// A client that asks again by sequence numbers, after some of what it asked for was done, asks for something else; so
    /// does one that copies up to `*` into the mailbox it has open, once it was told that the first copies exist.
    by_uid: bool,
    made: u64,
}

impl Generator {
    pub fn new(chance: Chance, by_uid: bool) -> Generator {
        Generator {
            chance,
            by_uid,
            made: 0,
        }
    }

    /// The next thing that is done.
    pub fn next(&mut self, sessions: &[Session]) -> Act {
        self.made += 1;
        let at = self.chance.range(0, SESSIONS as u64) as usize;
        let session = &sessions[at];
        if self.chance.percent(5) {
            return Act::Deliver {
                text: self.message(false),
            };
        }
        if self.chance.percent(4) {
            let mut places = |count| {
                (0..count)
                    .map(|_| self.chance.range(0, 8) as usize)
                    .collect()
            };
            return Act::Pop3 {
                take: places(2),
                remove: places(1),
            };
        }
        if session.is_idle() {
            return Act::IdleEnd { session: at };
        }
        if session.selected.is_some() && self.chance.percent(7) {
            return Act::IdleBegin { session: at };
        }
        let command = match &session.selected {
            None if self.chance.percent(60) => self.select(session),
            None => self.elsewhere(session),
            Some(_) => match self.chance.range(0, 100) {
                0..8 => self.select(session),
                8..30 => self.fetch(session),
                30..36 => self.fetch_parts(session),
                36..54 => self.store(session),
                54..64 => self.transfer(session),
                64..70 => self.expunge(session),
                70..80 => self.search(),
                80..83 => self.close(),
                _ => self.elsewhere(session),
            },
        };
        Act::Command {
            session: at,
            command,
        }
    }

    fn one_of<'t>(&mut self, of: &[&'t str]) -> &'t str {
        self.chance.pick(of).copied().unwrap_or_default()
    }

    /// Some messages, and whether by UID.
    fn set(&mut self, session: &Session, changes: bool) -> (&'static str, String) {
        let by_uid = (changes && self.by_uid) || self.chance.percent(50);
        let uids = session.view.uids();
        let known: Vec<u32> = match by_uid {
            true => uids,
            false => (1..=session.view.messages.len() as u32).collect(),
        };
        let word = if by_uid { "UID " } else { "" };
        let mut one = || self.chance.pick(&known).copied().unwrap_or(1);
        let (first, second, third) = (one(), one(), one());
        let set = match self.chance.range(0, 7) {
            0 => "1:*".to_owned(),
            1 => "*".to_owned(),
            2 => "$".to_owned(),
            3 => format!("{first}:{second}"),
            4 => format!("{first},{second},{third}"),
            _ => first.to_string(),
        };
        (word, set)
    }

    fn select(&mut self, session: &Session) -> Command {
        let mailbox = self.one_of(&OPENED);
        let word = if self.chance.percent(80) {
            "SELECT"
        } else {
            "EXAMINE"
        };
        let mut text = format!("{word} {mailbox}");
        let mut qresync = false;
        match &session.synced_at {
            Some((name, validity, modseq)) if session.qresync && name == mailbox => {
                let modseq = modseq.saturating_sub(self.chance.range(0, 4)).max(1);
                text += &format!(" (QRESYNC ({validity} {modseq} 1:50))");
                qresync = true;
            }
            _ if self.chance.percent(30) => text += " (CONDSTORE)",
            _ => {}
        }
        let mailbox = mailbox.to_owned();
        Command::new(text, Effect::Selects { mailbox, qresync })
    }

    fn fetch(&mut self, session: &Session) -> Command {
        if self.chance.percent(15) {
            let (word, set) = self.set(session, true);
            return Command::changes(format!("{word}FETCH {set} (FLAGS BODY[TEXT])"));
        }
        let (word, set) = self.set(session, false);
        let items = self.one_of(&ITEMS);
        let since = match self.chance.range(0, 10) {
            0 => " (CHANGEDSINCE 3)",
            1 if session.qresync && !word.is_empty() => " (CHANGEDSINCE 2 VANISHED)",
            _ => "",
        };
        let mut command = Command::reads(format!("{word}FETCH {set} {items}{since}"));
        command.synced = self.chance.percent(60);
        command
    }

    /// A piece of a body, wherever that ends: what clients with little memory do.
    fn fetch_parts(&mut self, session: &Session) -> Command {
        let (word, set) = self.set(session, false);
        let from = self.chance.range(0, 400_000);
        let len = self.chance.range(1, 150_000);
        let section = self.one_of(&["", "TEXT", "1"]);
        Command::reads(format!(
            "{word}FETCH {set} (UID BODY.PEEK[{section}]<{from}.{len}>)"
        ))
    }

    fn store(&mut self, session: &Session) -> Command {
        let (word, set) = self.set(session, true);
        let sign = self.one_of(&["+", "+", "-", ""]);
        let silent = self.chance.percent(30);
        let flags = self.one_of(&FLAGS);
        let unchanged = match self.chance.percent(20) {
            true => format!(" (UNCHANGEDSINCE {})", self.chance.range(1, 40)),
            false => String::new(),
        };
        let effect = match silent {
            true => Effect::ChangesSilently,
            false => Effect::Changes,
        };
        let silent = if silent { ".SILENT" } else { "" };
        let text = format!("{word}STORE {set}{unchanged} {sign}FLAGS{silent} ({flags})");
        Command::new(text, effect)
    }

    fn transfer(&mut self, session: &Session) -> Command {
        let (word, mut set) = self.set(session, true);
        let verb = self.one_of(&["COPY", "COPY", "MOVE"]);
        let to = self.target();
        let open = session.selected.as_deref();
        if self.by_uid && open.is_some_and(|open| to == self.quoted(open)) {
            let last = session.view.uids().last().copied().unwrap_or(1);
            set = set.replace('*', &last.to_string());
        }
        Command::changes(format!("{word}{verb} {set} {to}"))
    }

    fn target(&mut self) -> String {
        let name = match self.chance.percent(50) {
            true => self.one_of(&OPENED),
            false => self.one_of(&CHURNED),
        };
        self.quoted(name)
    }

    /// RFC 9051 §5.1: as UTF-8 to who enables IMAP4rev2; here nobody does.
    fn quoted(&self, name: &str) -> String {
        match name {
            "Größe" => "\"Gr&APYA3w-e\"".to_owned(),
            name => format!("\"{name}\""),
        }
    }

    fn expunge(&mut self, session: &Session) -> Command {
        let uids = session.view.uids();
        match (self.chance.percent(40), self.chance.pick(&uids)) {
            (true, Some(last)) => Command::changes(format!("UID EXPUNGE 1:{last}")),
            _ => Command::changes("EXPUNGE"),
        }
    }

    fn search(&mut self) -> Command {
        let word = self.one_of(&["", "UID "]);
        let search = self.one_of(&SEARCHES);
        // RFC 7162 §3.1.5 has it count as a command that enables CONDSTORE; RFC 5182 has `$` change.
        let changes = search.contains("MODSEQ") || search.contains("SAVE");
        let mut command = Command::reads(format!("{word}SEARCH {search}"));
        command.synced = changes || self.chance.percent(60);
        command
    }

    fn close(&mut self) -> Command {
        Command::new(self.one_of(&["CLOSE", "UNSELECT"]), Effect::Unselects)
    }

    /// What is not about the mailbox that is open.
    fn elsewhere(&mut self, session: &Session) -> Command {
        let name = self.one_of(&CHURNED);
        let (name, other) = (self.quoted(name), self.one_of(&CHURNED));
        let other = self.quoted(other);
        match self.chance.range(0, 20) {
            0..2 => Command::changes(format!("CREATE {name}")),
            2 => Command::changes(format!("DELETE {name}")),
            3 => Command::changes(format!("RENAME {name} {other}")),
            4 => Command::changes(format!("SUBSCRIBE {name}")),
            5 => Command::changes(format!("UNSUBSCRIBE {name}")),
            6 => Command::reads("LIST \"\" * RETURN (SUBSCRIBED STATUS (MESSAGES UIDNEXT))"),
            7 => Command::reads("LSUB \"\" *"),
            8..10 => {
                let of = self.target();
                Command::reads(format!(
                    "STATUS {of} (MESSAGES UIDNEXT UIDVALIDITY UNSEEN DELETED SIZE HIGHESTMODSEQ)"
                ))
            }
            10 => Command::reads("GETQUOTAROOT INBOX"),
            11 if !session.qresync => Command::new("ENABLE QRESYNC", Effect::EnablesQresync),
            11 | 12 => Command::reads("NOOP"),
            _ => self.append(),
        }
    }

    fn append(&mut self) -> Command {
        let to = self.target();
        let mut command = Command::changes(format!("APPEND {to}"));
        let synchronising = self.chance.percent(30);
        for _ in 0..1 + self.chance.range(0, 6).saturating_sub(3) {
            let is_large = self.chance.percent(6);
            let flags = self.one_of(&["", " (\\Seen)", " (\\Draft colour-1)"]);
            // Dates of their own: that of the clock is not the same twice.
            command.text(&format!("{flags} \"17-Jul-1996 02:44:25 -0700\" "));
            command.literal(self.message(is_large).as_bytes(), synchronising);
        }
        command
    }

    fn message(&mut self, is_large: bool) -> String {
        let number = self.chance.range(0, 1_000_000);
        let lines = match is_large {
            true => LARGE_LINES + self.chance.range(0, 4_000),
            false => self.chance.range(1, 20),
        };
        let body: String = (0..lines)
            .map(|line| format!("a line {line} of {number}\r\n"))
            .collect();
        format!(
            "From: <{number}@example.test>\r\nSubject: {number} of {}\r\n\r\n{body}",
            self.made
        )
    }
}
