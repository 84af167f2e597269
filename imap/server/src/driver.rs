//! Reads a client's commands and has them carried out, one after the other.

use std::{io, sync::Arc};

use mailrook_imap_proto::{
    command::{AppendHead, AppendMessage, Command, Tag, Tagged},
    framing::Event,
    response::{Code, Status},
};
use mailrook_store_api::{StallObserver, observed};
use tokio::time::Duration;

use crate::{
    Client, SessionContext,
    command::{self, append::Appending},
    notify::Expunges,
    outcome::{Failure, Outcome, Reply, goodbye, log_overdue, store_reply},
    session::Session,
};

/// How long a client may pause within the message of an APPEND, which takes memory of all sessions: TCP's own patience with
/// a lost peer is of that order.
const MESSAGE_TIMEOUT: Duration = Duration::from_secs(300);

/// After so many bad commands in a row, none good between them, the client is taken for no mail client. Dovecot gives up
/// after 20 as well.
const BAD_COMMANDS_MAX: u32 = 20;

/// Runs one IMAP session to its end.
pub async fn serve_imap(client: Client, context: Arc<SessionContext>) {
    let mut session = Session::new(client, context);
    command::capability::greet(&mut session);
    let observer = StallObserver::new(session.client.registration.on_stall());
    let overdue = session.client.leave.clone().overdue();
    let end = tokio::select! {
        biased;
        end = observed(observer, session.run()) => end,
        // What is amid a response cannot say goodbye.
        () = overdue => {
            log_overdue(&session.wire);
            return;
        }
    };
    match &end {
        Err(Failure::Bye(reason)) => session.untagged(Status::Bye, None, reason),
        // RFC 9051 §7.1.5
        Err(Failure::Leave(farewell)) => session.untagged(Status::Bye, None, goodbye(farewell)),
        _ => {}
    }
    match end {
        Err(Failure::Connection(error)) if error.kind() != io::ErrorKind::UnexpectedEof => {
            tracing::debug!(%error, "the connection broke");
        }
        Err(failure) => tracing::debug!(?failure, "the session ends"),
        Ok(()) => {}
    }
    session.wire.close().await;
}

impl Session {
    /// Until LOGOUT, or the failure that ends the session.
    async fn run(&mut self) -> Result<(), Failure> {
        let mut appending: Option<Box<Appending>> = None;
        loop {
            let (used, event) = self.framer.next(self.wire.input());
            let Some(event) = event else {
                self.wire.consume(used);
                if used == 0 || self.wire.input().is_empty() {
                    let patience = if appending.is_some() {
                        MESSAGE_TIMEOUT
                    } else {
                        self.context.settings.imap_idle_timeout
                    };
                    self.await_input(patience).await?;
                }
                continue;
            };
            match event {
                Event::AppendBytes(bytes) => {
                    let taken = match &mut appending {
                        Some(appending) => appending.push(bytes).await,
                        None => Ok(()),
                    };
                    self.wire.consume(used);
                    if let Err(reply) = taken {
                        self.give_append_up(&mut appending, &reply);
                    }
                }
                Event::Command(Tagged {
                    tag,
                    command: Command::Idle,
                }) => {
                    self.wire.consume(used);
                    self.client.registration.begin(Command::Idle.name());
                    // Apart from the others: a session may idle for days.
                    let outcome = Box::pin(command::idle::run(self)).await;
                    Box::pin(self.conclude(&tag, outcome, Some(Expunges::Told))).await?;
                    self.client.registration.end();
                }
                Event::Command(Tagged { tag, command }) => {
                    self.wire.consume(used);
                    // On the heap, so that a session that waits is not as large as its largest command.
                    if Box::pin(self.carry_out(tag, command)).await? {
                        return Ok(());
                    }
                }
                Event::Bad { tag, error } => {
                    self.wire.consume(used);
                    appending = None;
                    self.writer().parse_error(tag.as_ref(), &error);
                    if error.status() == Status::Bad {
                        self.count_bad(true)?;
                    }
                }
                Event::Continue => {
                    self.wire.consume(used);
                    self.writer().continuation("OK");
                }
                Event::Append { head, message } => {
                    self.wire.consume(used);
                    Box::pin(self.append_begins(&mut appending, head, message)).await?;
                }
                Event::AppendNext(message) => {
                    self.wire.consume(used);
                    Box::pin(self.append_goes_on(&mut appending, message)).await?;
                }
                Event::AppendEnd { tag } => {
                    self.wire.consume(used);
                    Box::pin(self.append_ends(appending.take(), &tag)).await?;
                }
                Event::Close(_) => return Err(Failure::Bye("too much of what was refused")),
                // Only where they were asked for, by IDLE and AUTHENTICATE.
                Event::Done | Event::AuthResponse(_) => {
                    return Err(Failure::Bye("internal error"));
                }
            }
        }
    }

    async fn append_begins(
        &mut self,
        appending: &mut Option<Box<Appending>>,
        head: AppendHead,
        message: AppendMessage,
    ) -> Result<(), Failure> {
        self.client.registration.begin("APPEND");
        let begun = appending.insert(Box::new(Appending::new(head, &self.context)));
        if let Err(failure) = command::append::begin(self, begun, message).await {
            let reply = self.reply_to(failure)?;
            self.give_append_up(appending, &reply);
        }
        Ok(())
    }

    async fn append_goes_on(
        &mut self,
        appending: &mut Option<Box<Appending>>,
        message: AppendMessage,
    ) -> Result<(), Failure> {
        if let Some(begun) = appending
            && let Err(failure) = command::append::next(self, begun, message).await
        {
            let reply = self.reply_to(failure)?;
            self.give_append_up(appending, &reply);
        }
        Ok(())
    }

    async fn append_ends(
        &mut self,
        appending: Option<Box<Appending>>,
        tag: &Tag,
    ) -> Result<(), Failure> {
        let Some(appending) = appending else {
            return Ok(());
        };
        let outcome = command::append::end(self, *appending).await;
        self.conclude(tag, outcome, Some(Expunges::Told)).await?;
        self.client.registration.end();
        Ok(())
    }

    /// Answers an APPEND under way; what is left of it is skipped.
    fn give_append_up(&mut self, appending: &mut Option<Box<Appending>>, reply: &Reply) {
        if let Some(appending) = appending.take() {
            self.framer.refuse_append();
            self.finish(appending.tag(), reply);
            self.client.registration.end();
        }
    }

    /// Carries out one command and answers it. True after LOGOUT.
    async fn carry_out(&mut self, tag: Tag, command: Command) -> Result<bool, Failure> {
        let expunges = may_tell(&command);
        let is_logout = matches!(command, Command::Logout);
        tracing::trace!(command = command.name(), "command");
        self.client.registration.begin(command.name());
        let outcome = command::run(self, &tag, command).await;
        self.conclude(&tag, outcome, expunges).await?;
        self.client.registration.end();
        Ok(is_logout)
    }

    /// Tells what has changed, then how the command ended.
    async fn conclude(
        &mut self,
        tag: &Tag,
        outcome: Outcome,
        expunges: Option<Expunges>,
    ) -> Result<(), Failure> {
        let mut reply = match outcome {
            Ok(reply) => reply,
            Err(Failure::Answered) => return Ok(()),
            Err(failure) => self.reply_to(failure)?,
        };
        if let Some(expunges) = expunges {
            match self.tell_if_changed(expunges).await {
                // The command's own end stands; the client hears of the rest with its next command.
                Err(Failure::Store(error)) => {
                    tracing::warn!(%error, "changes cannot be told now");
                    // RFC 7162 §3.2.7: it would take all up to there for heard.
                    if matches!(reply.code, Some(Code::HighestModSeq(_))) {
                        reply.code = None;
                    }
                }
                told => told?,
            }
        }
        self.finish(tag, &reply);
        self.count_bad(reply.status == Status::Bad)?;
        self.wire.relieve().await?;
        Ok(())
    }

    fn count_bad(&mut self, bad: bool) -> Result<(), Failure> {
        self.bad_commands = if bad { self.bad_commands + 1 } else { 0 };
        if self.bad_commands >= BAD_COMMANDS_MAX {
            return Err(Failure::Bye("too many bad commands"));
        }
        Ok(())
    }

    /// What to answer to a failed command; or the failure that ends the session.
    pub(crate) fn reply_to(&self, failure: Failure) -> Result<Reply, Failure> {
        match failure {
            Failure::Refused(reply) => Ok(reply),
            Failure::Store(error) => {
                tracing::warn!(%error, "the store failed a command");
                Ok(store_reply(&error))
            }
            end => Err(end),
        }
    }
}

/// What may be told at a command's end; `None` for those that end the state in which it could be.
fn may_tell(command: &Command) -> Option<Expunges> {
    match command {
        // RFC 9051 §7.5.1: UID FETCH and the like are other commands, whose numbers are UIDs.
        Command::Fetch(fetch) if !fetch.by_uid => Some(Expunges::Held),
        Command::Store(store) if !store.by_uid => Some(Expunges::Held),
        Command::Search(search) if !search.by_uid => Some(Expunges::Held),
        Command::Logout
        | Command::Select(_)
        | Command::Close
        | Command::Unselect
        | Command::StartTls
        | Command::CompressDeflate => None,
        _ => Some(Expunges::Told),
    }
}
