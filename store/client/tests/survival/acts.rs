//! What is done, one thing after the other.

/// One thing that somebody does.
#[derive(Clone, Debug)]
pub enum Act {
    /// An IMAP session sends a command and reads its answer.
    Command { session: usize, command: Command },
    /// An IMAP session begins to wait.
    IdleBegin { session: usize },
    /// It ends that.
    IdleEnd { session: usize },
    /// A message comes in.
    Deliver { text: String },
    /// A POP3 client comes, takes some messages, removes some and goes. By their places in the list.
    Pop3 {
        take: Vec<usize>,
        remove: Vec<usize>,
    },
}

/// An IMAP command.
#[derive(Clone, Debug)]
pub struct Command {
    /// Without the tag, and without the last line's end. All but the first follow when the server says so.
    pub parts: Vec<Vec<u8>>,
    pub effect: Effect,
    /// Whether the client makes sure before that it knows all that is in its mailbox. What changes something does: what a
    /// sequence number means, and which UIDs there are, depends on it.
    pub synced: bool,
}

/// What a command does to what it is about, once it is OK.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It reads.
    Reads,
    /// It changes mail or mailboxes; the client is told what becomes of what it has selected.
    Changes,
    /// The same, and of flags it is told nothing.
    ChangesSilently,
    /// It opens a mailbox.
    Selects { mailbox: String, qresync: bool },
    /// It closes what is open.
    Unselects,
    /// VANISHED in place of EXPUNGE from now on.
    EnablesQresync,
}

impl Command {
    pub fn reads(text: impl Into<String>) -> Command {
        Command::new(text, Effect::Reads)
    }

    pub fn changes(text: impl Into<String>) -> Command {
        Command::new(text, Effect::Changes)
    }

    pub fn new(text: impl Into<String>, effect: Effect) -> Command {
        Command {
            parts: vec![text.into().into_bytes()],
            effect,
            synced: true,
        }
    }

    /// Bytes that follow a literal's length: at once, or when the server says so.
    pub fn literal(&mut self, bytes: &[u8], synchronising: bool) {
        let head = match synchronising {
            true => format!("{{{}}}\r\n", bytes.len()),
            false => format!("{{{}+}}\r\n", bytes.len()),
        };
        if let Some(last) = self.parts.last_mut() {
            last.extend_from_slice(head.as_bytes());
            match synchronising {
                true => self.parts.push(bytes.to_vec()),
                false => last.extend_from_slice(bytes),
            }
        }
    }

    pub fn text(&mut self, text: &str) {
        if let Some(last) = self.parts.last_mut() {
            last.extend_from_slice(text.as_bytes());
        }
    }
}
