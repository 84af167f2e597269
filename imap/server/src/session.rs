//! What lasts from one command of a session to the next.

use std::{io, net::IpAddr, sync::Arc, time::Duration};

use mailrook_auth::Attempts;
use mailrook_imap_proto::{
    command::{Secret, SequenceSet, Tag},
    error::ParseError,
    framing::{Event, Framer},
    response::{Code, Status},
    writer::Writer,
};
use mailrook_net::{Admission, Leave, Registration, TlsAcceptor};
use mailrook_store_api::Watch;
use mailrook_types::{MailboxId, MailboxName, ModSeq, Uid, UidSet, UidValidity};
use tokio::time::{Instant, timeout_at};

use crate::{
    Client, SessionContext,
    account::Account,
    connection::Wire,
    outcome::{Failure, Reply},
    view::View,
};

/// One IMAP session. Its state (RFC 9051 §3) is told by what it has: no account, an account, a selected mailbox.
pub(crate) struct Session {
    pub(crate) context: Arc<SessionContext>,
    pub(crate) wire: Wire,
    pub(crate) framer: Framer,
    pub(crate) account: Option<Account>,
    /// Boxed: most sessions of some clients never select.
    pub(crate) selected: Option<Box<Selected>>,
    pub(crate) enabled: Enabled,
    pub(crate) client: ClientPlace,
    /// Failed logins on this connection.
    pub(crate) login_attempts: Attempts,
    /// Commands in a row that were answered with BAD.
    pub(crate) bad_commands: u32,
    /// When a session without a login ends.
    login_deadline: Instant,
}

/// What is known of the client beside its bytes.
pub(crate) struct ClientPlace {
    pub(crate) ip: Option<IpAddr>,
    pub(crate) starttls: Option<TlsAcceptor>,
    pub(crate) plaintext_login: bool,
    pub(crate) registration: Registration,
    pub(crate) admission: Admission,
    pub(crate) leave: Leave,
}

/// What the client has shown that it understands (RFC 9051 §6.3.1).
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Enabled {
    /// Names and strings go out as UTF-8.
    pub(crate) imap4rev2: bool,
    /// FETCH responses tell MODSEQ (RFC 7162 §3.1).
    pub(crate) condstore: bool,
    /// VANISHED instead of EXPUNGE (RFC 7162 §3.2).
    pub(crate) qresync: bool,
}

/// The selected mailbox as the client knows it.
pub(crate) struct Selected {
    pub(crate) id: MailboxId,
    pub(crate) name: MailboxName,
    pub(crate) uid_validity: UidValidity,
    /// EXAMINE.
    pub(crate) read_only: bool,
    /// The messages that the client knows of, those in `expunged` included.
    pub(crate) view: View,
    /// All UIDs below this are in the view or are gone.
    pub(crate) uid_next: Uid,
    /// Messages that are gone, which the client could not be told yet.
    pub(crate) expunged: UidSet,
    /// All changes up to this are in the view.
    pub(crate) seen: ModSeq,
    /// Changes of this session, whose results the client knows already; later than `seen`, ascending.
    pub(crate) own: Vec<ModSeq>,
    /// How many keywords the client was told of.
    pub(crate) keywords_told: usize,
    /// `$` (RFC 9051 §6.4.4.1). May hold what is gone since.
    pub(crate) saved: UidSet,
    /// Tells of changes. `None` after the back end has gone.
    pub(crate) watch: Option<Watch>,
}

impl Selected {
    /// The UIDs that a command names, of those in the view. For sequence numbers beyond the mailbox an error
    /// (RFC 9051 §9, `seq-number`).
    pub(crate) fn resolve(&self, set: &SequenceSet, by_uid: bool) -> Result<UidSet, Reply> {
        if by_uid {
            let largest = self.view.last().map_or(0, |uid| uid.get());
            return Ok(match set.resolve(largest) {
                Some(uids) => self.view.known(&uids),
                None => self.view.known(&self.saved),
            });
        }
        if set.exceeds(self.view.len()) {
            return Err(Reply::bad("no message has this sequence number"));
        }
        Ok(match set.resolve(self.view.len()) {
            Some(sequences) => self.view.uids_of(&sequences),
            None => self.view.known(&self.saved),
        })
    }

    /// The client could not be told what came of its own change, nor perhaps of what others did since: it is told with one of
    /// its next commands.
    pub(crate) fn tell_again_from(&mut self, modseq: ModSeq) {
        self.own.retain(|own| *own != modseq);
        self.seen = self.seen.min(ModSeq(modseq.0.saturating_sub(1)));
        // So that it is asked for.
        self.watch = None;
    }
}

/// A line that a command in progress has asked for.
pub(crate) enum Line {
    /// `DONE`
    Done,
    /// The answer to a SASL challenge.
    AuthResponse(Option<Secret>),
    /// Something else.
    Bad(ParseError),
}

impl Session {
    pub(crate) fn new(client: Client, context: Arc<SessionContext>) -> Session {
        let connection = client.connection;
        Session {
            wire: Wire::new(connection.stream, context.settings.write_timeout),
            framer: Framer::new(),
            account: None,
            selected: None,
            enabled: Enabled::default(),
            client: ClientPlace {
                ip: connection.peer.ip(),
                starttls: client.starttls,
                plaintext_login: client.plaintext_login,
                leave: client.registration.leave(connection.shutdown),
                registration: client.registration,
                admission: connection.admission,
            },
            login_attempts: Attempts::default(),
            bad_commands: 0,
            login_deadline: Instant::now() + context.settings.login_timeout,
            context,
        }
    }

    /// Prints responses.
    pub(crate) fn writer(&mut self) -> Writer<'_> {
        Writer::new(self.wire.output(), self.enabled.imap4rev2)
    }

    /// Prints an untagged status response.
    pub(crate) fn untagged(&mut self, status: Status, code: Option<Code>, text: &str) {
        self.writer().untagged(status, code.as_ref(), text);
    }

    /// The account, once there is one.
    pub(crate) fn account(&mut self) -> Result<&mut Account, Reply> {
        self.account
            .as_mut()
            .ok_or_else(|| Reply::bad("log in first"))
    }

    /// The selected mailbox, if there is one.
    pub(crate) fn selected(&mut self) -> Result<&mut Selected, Reply> {
        self.selected
            .as_deref_mut()
            .ok_or_else(|| Reply::bad("select a mailbox first"))
    }

    /// Has this mailbox selected from now on, or none. Says whether another one was.
    pub(crate) fn select(&mut self, selected: Option<Box<Selected>>) -> bool {
        let name = selected.as_ref().map(|selected| selected.name.as_str());
        self.client.registration.set_mailbox(name);
        std::mem::replace(&mut self.selected, selected).is_some()
    }

    /// Counts as a command that shows that the client understands MODSEQ (RFC 7162 §3.1).
    pub(crate) fn enable_condstore(&mut self) {
        self.enabled.condstore = true;
    }

    /// Sends what there is and waits for input: for `patience`, less before the login.
    pub(crate) async fn await_input(&mut self, patience: Duration) -> Result<(), Failure> {
        self.wire.flush().await?;
        let mut deadline = Instant::now() + patience;
        if self.account.is_none() {
            deadline = deadline.min(self.login_deadline);
        }
        let leave = &mut self.client.leave;
        tokio::select! {
            biased;
            farewell = leave.requested() => Err(Failure::Leave(farewell)),
            read = timeout_at(deadline, self.wire.fill()) => match read {
                Ok(Ok(true)) => Ok(()),
                Ok(Ok(false)) => Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
                Ok(Err(error)) => Err(error.into()),
                Err(_) => Err(Failure::Bye("autologout: idle for too long")),
            },
        }
    }

    /// A line that [`Framer::expect_done`] or [`Framer::expect_auth_response`] announced, if it is there.
    pub(crate) fn take_line(&mut self) -> Result<Option<Line>, Failure> {
        let (used, event) = self.framer.next(self.wire.input());
        let line = match event {
            None => None,
            Some(Event::Done) => Some(Line::Done),
            Some(Event::AuthResponse(response)) => Some(Line::AuthResponse(response)),
            Some(Event::Bad { error, .. }) => Some(Line::Bad(error)),
            Some(Event::Close(_)) => return Err(Failure::Bye("too much of what was refused")),
            // The framer gives nothing else while it awaits one of these.
            Some(_) => return Err(Failure::Bye("internal error")),
        };
        self.wire.consume(used);
        Ok(line)
    }

    /// Prints the tagged response that ends a command.
    pub(crate) fn finish(&mut self, tag: &Tag, reply: &Reply) {
        self.writer()
            .tagged(tag, reply.status, reply.code.as_ref(), &reply.text);
    }
}
