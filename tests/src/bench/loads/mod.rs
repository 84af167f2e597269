//! The loads, one file each kind.

mod append;
mod bodies;
mod delivery;
mod disk;
mod idle;
mod listing;
mod logins;
mod mixed;
mod pop3;
mod search;

use std::io;

use super::sample::Sample;
use super::system::{Kind, System};
use crate::client::Imap;
use crate::corpus::{Corpus, Message};

/// Whether each round begins with empty mailboxes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fresh {
    /// Started anew: the load fills mailboxes.
    EachRound,
    /// Prepared once, then read: filling it each time would take longer than the load.
    Once,
}

/// A load.
pub struct Load {
    /// For `--only`.
    pub name: &'static str,
    /// For `--list`.
    pub what: &'static str,
    /// The manners of the peer that are tried; the better counts.
    pub peers: &'static [Kind],
    /// The manner of Mailrook that is measured.
    pub own: Kind,
    /// When mailboxes are made new.
    pub fresh: Fresh,
    /// Fills the mailboxes of a load that is prepared once; the flag asks for a tenth.
    pub prepare: fn(&mut System, bool) -> io::Result<()>,
    /// One round; the number is the round's, for seeds.
    pub run: fn(&mut System, bool, u64) -> io::Result<Vec<Sample>>,
}

/// Both formats in the default manner.
const FORMATS: &[Kind] = &[Kind::Maildir, Kind::Mdbox];
/// Both formats, with processes reused: the peer at its fastest.
const FASTEST: &[Kind] = &[
    Kind::Maildir,
    Kind::Mdbox,
    Kind::MaildirReused,
    Kind::MdboxReused,
];

/// Every load, in the order of the table.
pub const ALL: &[Load] = &[
    Load {
        name: "smtp-4k",
        what: "SMTP in until the last message can be read over IMAP, 4 KiB, 20 sessions, 100 mailboxes",
        peers: FORMATS,
        own: Kind::Mailrook,
        fresh: Fresh::EachRound,
        prepare: nothing,
        run: delivery::smtp_4k,
    },
    Load {
        name: "smtp-4k-three",
        what: "the same with three nodes, replicated; the peer is one and is not",
        peers: FORMATS,
        own: Kind::MailrookCluster,
        fresh: Fresh::EachRound,
        prepare: nothing,
        run: delivery::smtp_4k_three,
    },
    Load {
        name: "smtp-64k",
        what: "SMTP in until the last message can be read over IMAP, 64 KiB",
        peers: FORMATS,
        own: Kind::Mailrook,
        fresh: Fresh::EachRound,
        prepare: nothing,
        run: delivery::smtp_64k,
    },
    Load {
        name: "lmtp-4k",
        what: "LMTP delivery, 4 KiB, 20 sessions, 100 mailboxes",
        peers: FORMATS,
        own: Kind::Mailrook,
        fresh: Fresh::EachRound,
        prepare: nothing,
        run: delivery::lmtp_4k,
    },
    Load {
        name: "lmtp-64k",
        what: "the same, 64 KiB",
        peers: FORMATS,
        own: Kind::Mailrook,
        fresh: Fresh::EachRound,
        prepare: nothing,
        run: delivery::lmtp_64k,
    },
    Load {
        name: "lmtp-hot",
        what: "LMTP delivery, 4 KiB, 20 sessions, one mailbox",
        peers: FORMATS,
        own: Kind::Mailrook,
        fresh: Fresh::EachRound,
        prepare: nothing,
        run: delivery::lmtp_hot,
    },
    Load {
        name: "append",
        what: "APPEND, 20 sessions, real sizes",
        peers: FORMATS,
        own: Kind::Mailrook,
        fresh: Fresh::EachRound,
        prepare: nothing,
        run: append::run,
    },
    Load {
        name: "logins",
        what: "AUTHENTICATE PLAIN and LOGOUT, 20 clients",
        peers: &[Kind::Maildir, Kind::MaildirReused],
        own: Kind::Mailrook,
        fresh: Fresh::Once,
        prepare: nothing,
        run: logins::run,
    },
    Load {
        name: "mixed",
        what: "mixed IMAP commands in imaptest's proportions, 30 sessions on 15 mailboxes",
        peers: FASTEST,
        own: Kind::Mailrook,
        fresh: Fresh::EachRound,
        prepare: nothing,
        run: mixed::run,
    },
    Load {
        name: "reading",
        what: "IMAP commands of sessions that stay, mostly reading, 30 sessions on 15 mailboxes",
        peers: FASTEST,
        own: Kind::Mailrook,
        fresh: Fresh::EachRound,
        prepare: nothing,
        run: mixed::reading,
    },
    Load {
        name: "listing",
        what: "SELECT and FETCH 1:* (UID FLAGS) on 100,000 messages, cold and warm",
        peers: FORMATS,
        own: Kind::Mailrook,
        fresh: Fresh::Once,
        prepare: listing::prepare,
        run: listing::run,
    },
    Load {
        name: "bodies",
        what: "FETCH BODY.PEEK[] of 98 MB, one client and eight",
        peers: FORMATS,
        own: Kind::Mailrook,
        fresh: Fresh::Once,
        prepare: bodies::prepare,
        run: bodies::run,
    },
    Load {
        name: "search",
        what: "SEARCH TEXT and BODY on 10,000 messages, absent and present word",
        peers: FORMATS,
        own: Kind::Mailrook,
        fresh: Fresh::Once,
        prepare: search::prepare,
        run: search::run,
    },
    Load {
        name: "pop3",
        what: "POP3 RETR of all mail, one client and four",
        peers: FORMATS,
        own: Kind::Mailrook,
        fresh: Fresh::Once,
        prepare: pop3::prepare,
        run: pop3::run,
    },
    Load {
        name: "idle",
        what: "memory per idle IMAP connection at 1,000 and 10,000, after SELECT and IDLE",
        peers: &[Kind::Maildir],
        own: Kind::Mailrook,
        fresh: Fresh::EachRound,
        prepare: nothing,
        run: idle::run,
    },
    Load {
        name: "disk",
        what: "disk used per GB of mail",
        peers: FORMATS,
        own: Kind::Mailrook,
        fresh: Fresh::EachRound,
        prepare: nothing,
        run: disk::run,
    },
];

fn nothing(_: &mut System, _: bool) -> io::Result<()> {
    Ok(())
}

/// The amount of work, or a tenth of it.
fn amount(full: usize, quick: bool) -> usize {
    if quick { full.div_ceil(10) } else { full }
}

/// Appends messages with as few commands as the server takes, up to 1 MiB each.
fn append_all(imap: &mut Imap, mailbox: &str, messages: &[Message]) -> io::Result<()> {
    let mut batch: Vec<(&str, &[u8])> = Vec::new();
    let mut octets = 0;
    for message in messages {
        if !batch.is_empty() && (octets + message.bytes.len() > 1 << 20 || batch.len() >= 500) {
            imap.append_many(mailbox, &batch)?;
            (batch, octets) = (Vec::new(), 0);
        }
        octets += message.bytes.len();
        batch.push(("", &message.bytes));
    }
    if batch.is_empty() {
        Ok(())
    } else {
        imap.append_many(mailbox, &batch).map(drop)
    }
}

/// Real mail until it makes up so many octets; no message larger than `bytes_max`.
fn mail_of(seed: u64, octets: usize, bytes_max: usize) -> Vec<Message> {
    let mut corpus = Corpus::new(seed);
    let (mut messages, mut made) = (Vec::new(), 0);
    while made < octets {
        let message = corpus.message_up_to(bytes_max);
        made += message.bytes.len();
        messages.push(message);
    }
    messages
}
