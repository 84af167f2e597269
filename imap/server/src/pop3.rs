//! POP3 sessions (RFC 1939, RFC 2449, RFC 2595, RFC 5034, RFC 6856).
//!
//! A session takes the maildrop for itself, lists INBOX once, and removes what was deleted in one step at QUIT:
//! `maildrop` is that list, `lock` keeps others from it, `authorization` what comes before it, `transaction` what is done with it, `retrieve` sends
//! messages.

mod authorization;
mod lock;
mod maildrop;
mod retrieve;
mod transaction;

use std::{io, net::IpAddr, sync::Arc, time::Duration};

use mailrook_auth::Attempts;
use mailrook_imap_proto::pop3::{Command, Event, Framer, ParseError, ResponseCode, State, Writer};
use mailrook_net::{Admission, Farewell, Leave, Registration, TlsAcceptor};
use mailrook_store_api::{StallObserver, StoreError, observed};
use tokio::time::{Instant, timeout_at};

#[cfg(test)]
pub(crate) use self::lock::WAIT_MAX as LOCK_WAIT_MAX;
use self::maildrop::Maildrop;
use crate::{
    Client, SessionContext,
    account::Account,
    connection::Wire,
    outcome::{goodbye, log_overdue},
};

/// After so many bad commands in a row the client is taken for no mail client; as many as in IMAP.
const BAD_COMMANDS_MAX: u32 = 20;

/// One POP3 session.
struct Session {
    context: Arc<SessionContext>,
    wire: Wire,
    framer: Framer,
    /// The name of USER, until PASS.
    user: Option<String>,
    /// Once the client has logged in: the account, and its maildrop. On the heap, as many sessions never get so far.
    open: Option<Box<Open>>,
    client: ClientPlace,
    login_attempts: Attempts,
    login_deadline: Instant,
}

/// What a session has in the transaction state.
struct Open {
    account: Account,
    maildrop: Maildrop,
}

/// What is known of the client beside its bytes.
struct ClientPlace {
    ip: Option<IpAddr>,
    starttls: Option<TlsAcceptor>,
    plaintext_login: bool,
    registration: Registration,
    admission: Admission,
    leave: Leave,
}

/// Why a session ends.
#[derive(Debug)]
enum End {
    /// QUIT was answered.
    Quit,
    /// There is nobody to answer.
    Connection(io::Error),
    /// The client is told, and nothing is removed.
    Refused(ResponseCode, &'static str),
    /// The client is told that it is to go, and nothing is removed.
    Leave(Farewell),
    /// A message broke off: what would follow would be taken for the rest of it.
    BrokenOff(StoreError),
}

impl From<io::Error> for End {
    fn from(error: io::Error) -> End {
        End::Connection(error)
    }
}

/// A refusal: a code, if there is one that fits, and words.
struct Refused {
    code: Option<ResponseCode>,
    text: &'static str,
}

impl Refused {
    fn new(text: &'static str) -> Refused {
        Refused { code: None, text }
    }

    fn with(code: ResponseCode, text: &'static str) -> Refused {
        let code = Some(code);
        Refused { code, text }
    }

    /// For a store that does not answer (RFC 3206 §4).
    fn by_store(error: &StoreError) -> Refused {
        tracing::warn!(%error, "the store failed a command");
        match error {
            StoreError::Internal(_) => {
                Refused::with(ResponseCode::SysPerm, "internal error, see the log")
            }
            _ => Refused::with(
                ResponseCode::SysTemp,
                "the mail store cannot be reached now, try again later",
            ),
        }
    }
}

/// Runs one POP3 session to its end.
pub async fn serve_pop3(client: Client, context: Arc<SessionContext>) {
    let mut session = Session::new(client, context);
    session.writer().ok("Mailrook ready");
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
    match end {
        End::Quit => {}
        End::Connection(error) => tracing::debug!(%error, "the connection broke"),
        End::Refused(code, text) => session.writer().err(Some(code), text),
        End::Leave(farewell) => {
            let text = goodbye(&farewell);
            session.writer().err(Some(ResponseCode::SysTemp), text);
        }
        End::BrokenOff(error) => {
            tracing::warn!(%error, "a message broke off, and with it the connection");
        }
    }
    // Free for the next session before the client hears that this one is over.
    if let Some(open) = session.open.take() {
        open.maildrop.close().await;
    }
    session.wire.close().await;
}

impl Session {
    fn new(client: Client, context: Arc<SessionContext>) -> Session {
        let connection = client.connection;
        Session {
            wire: Wire::new(connection.stream, context.settings.write_timeout),
            framer: Framer::new(),
            user: None,
            open: None,
            client: ClientPlace {
                ip: connection.peer.ip(),
                starttls: client.starttls,
                plaintext_login: client.plaintext_login,
                leave: client.registration.leave(connection.shutdown),
                registration: client.registration,
                admission: connection.admission,
            },
            login_attempts: Attempts::default(),
            login_deadline: Instant::now() + context.settings.login_timeout,
            context,
        }
    }

    fn writer(&mut self) -> Writer<'_> {
        Writer::new(self.wire.output())
    }

    fn state(&self) -> State {
        match self.open {
            None => State::Authorization,
            Some(_) => State::Transaction,
        }
    }

    async fn run(&mut self) -> End {
        let mut bad_commands = 0;
        loop {
            let event = match self.event(self.context.settings.pop3_idle_timeout).await {
                Ok(event) => event,
                Err(end) => return end,
            };
            let good =
                matches!(&event, Event::Command(command) if command.permitted_in(self.state()));
            bad_commands = if good { 0 } else { bad_commands + 1 };
            let done = match event {
                Event::Command(command) => {
                    self.client.registration.begin(command.name());
                    let done = Box::pin(self.carry_out(command)).await;
                    self.client.registration.end();
                    done
                }
                Event::Bad(error) => {
                    self.refuse_line(&error);
                    Ok(())
                }
                Event::Close => Err(End::Refused(
                    ResponseCode::SysPerm,
                    "this line does not end",
                )),
                // Only where it was asked for, by AUTH.
                Event::AuthResponse(_) => {
                    Err(End::Refused(ResponseCode::SysPerm, "internal error"))
                }
            };
            if let Err(end) = done {
                return end;
            }
            if bad_commands >= BAD_COMMANDS_MAX {
                return End::Refused(ResponseCode::SysPerm, "too many bad commands");
            }
            // Replies to commands sent in a row go out together (RFC 2449 §6.6), unless they are large.
            if let Err(error) = self.wire.relieve().await {
                return error.into();
            }
        }
    }

    /// The next thing that the client says. Waits for `patience`, less before the login.
    async fn event(&mut self, patience: Duration) -> Result<Event, End> {
        loop {
            let (used, event) = self.framer.next(self.wire.input());
            self.wire.consume(used);
            if let Some(event) = event {
                return Ok(event);
            }
            if self.wire.input().is_empty() {
                self.await_input(patience).await?;
            }
        }
    }

    async fn await_input(&mut self, patience: Duration) -> Result<(), End> {
        self.wire.flush().await?;
        let mut deadline = Instant::now() + patience;
        if self.open.is_none() {
            deadline = deadline.min(self.login_deadline);
        }
        let leave = &mut self.client.leave;
        tokio::select! {
            biased;
            farewell = leave.requested() => Err(End::Leave(farewell)),
            read = timeout_at(deadline, self.wire.fill()) => match read {
                Ok(Ok(true)) => Ok(()),
                Ok(Ok(false)) => Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
                Ok(Err(error)) => Err(error.into()),
                // RFC 1939 §3: without removing anything.
                Err(_) => Err(End::Refused(ResponseCode::SysTemp, "idle for too long")),
            },
        }
    }

    fn refuse_line(&mut self, error: &ParseError) {
        self.writer().err(None, &error.to_string());
    }

    fn refuse(&mut self, refused: &Refused) {
        self.writer().err(refused.code, refused.text);
    }

    async fn carry_out(&mut self, command: Command) -> Result<(), End> {
        tracing::trace!(command = command.name(), "command");
        if !command.permitted_in(self.state()) {
            let text = match self.state() {
                State::Authorization => "log in first",
                State::Transaction => "you have logged in already",
            };
            self.writer().err(None, text);
            return Ok(());
        }
        match command {
            Command::Capa => self.capa(),
            Command::User(user) => self.user(user),
            Command::Pass(password) => self.pass(&password).await?,
            Command::Auth {
                mechanism: Some(mechanism),
                initial_response,
            } => self.auth(&mechanism, initial_response).await?,
            Command::Auth {
                mechanism: None, ..
            } => self.mechanisms(),
            Command::Stls => self.stls().await?,
            Command::Apop => self.writer().err(None, "APOP is not offered"),
            Command::Utf8 => self.writer().ok("UTF-8 it is"),
            Command::Lang => self.writer().err(None, "there is one language only"),
            Command::Quit => return Err(self.quit().await),
            Command::Noop => self.writer().ok(""),
            Command::Stat => self.stat(),
            Command::List(message) => self.list(message).await?,
            Command::Uidl(message) => self.uidl(message).await?,
            Command::Retr(message) => self.retrieve(message, None).await?,
            Command::Top { message, lines } => self.retrieve(message, Some(lines)).await?,
            Command::Dele(message) => self.dele(message),
            Command::Rset => self.rset(),
        }
        Ok(())
    }
}
