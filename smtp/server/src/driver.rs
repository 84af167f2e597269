//! One session's I/O: bytes to the session, its events to the policy and the store, replies to the client.
//!
//! Replies are sent when all input is taken, so that a pipelined group has one write (RFC 2920). Each wait has its time
//! (RFC 5321 §4.5.3.2), and ends when the process is to stop.

use std::{io, net::IpAddr, sync::Arc, time::Duration};

use mailrook_auth::{Login, LoginFailure, LoginPlace, LoginStep};
use mailrook_net::{Admission, Connection, Farewell, Leave, Peer, Reason, Registration, Stream};
use mailrook_smtp_proto::{
    AuthBytes, Awaiting, CloseReason, EnhancedCode, Event, HelloName, MailCommand, RcptCommand,
    Reply, ReplyCode, Service, Session, SessionConfig, Step,
};
use mailrook_store_api::{
    Lane, StallObserver,
    meta::{CredentialScope, LoginAccount},
    observed,
};
use mailrook_types::Timestamp;
use tokio::{
    io::AsyncWriteExt,
    time::{Instant, timeout, timeout_at},
};
use tracing::{debug, info};

use crate::{
    auth,
    body::Body,
    confirm::Confirmations,
    delivery::{self, Context},
    front::{Endpoint, Shared},
    input::Input,
    metrics::count,
    policy::{self, recipient::Found},
    trace::Arrival,
    transaction::{Recipient, Transaction},
};

/// Accounts of one message, behind all its recipients: ten times RCPTMAX, for aliases.
const TARGETS_MAX: usize = 10_000;

/// A last word is not waited for as long as others.
const FAREWELL_TIMEOUT: Duration = Duration::from_secs(5);

/// Why a session ends.
#[derive(Debug, thiserror::Error)]
enum End {
    /// The connection was closed by the client, or is to be closed by us, all said.
    #[error("closed")]
    Closed,
    /// The client took too long.
    #[error("the client took too long")]
    Timeout,
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Broken(io::Error),
    /// The TLS handshake failed: nothing can be said any more.
    #[error("no TLS")]
    NoTls,
    /// The process stops, and the client is told.
    #[error("the server stops")]
    Stopping,
    /// An admin ended it, and the client is told.
    #[error("ended by an admin: {0}")]
    Ended(Reason),
    /// An admin ended it, and it did not come to its end.
    #[error("ended by an admin, and dropped as what it was at did not end")]
    Overdue,
}

pub(crate) struct Driver {
    shared: Arc<Shared>,
    endpoint: Arc<Endpoint>,
    /// Away only during a handshake.
    stream: Option<Stream>,
    peer: Peer,
    /// Its place in the list of sessions.
    registration: Registration,
    admission: Admission,
    leave: Leave,
    /// It is to end, for this reason, as soon as no message is under way.
    draining: Option<Farewell>,
    session: Session,
    input: Input,
    hello: Option<HelloName>,
    login: Option<Login>,
    user: Option<Box<LoginAccount>>,
    transaction: Option<Transaction>,
    messages: u64,
    lane: Option<Lane>,
    confirmations: Confirmations,
    /// When the command that is awaited must be complete.
    deadline: Instant,
    /// The same for the message under way.
    message_deadline: Option<Instant>,
    lines: u64,
}

impl Driver {
    pub(crate) fn new(
        shared: Arc<Shared>,
        endpoint: Arc<Endpoint>,
        config: Arc<SessionConfig>,
        connection: Connection,
    ) -> Driver {
        let session = Session::new(config, connection.stream.is_tls());
        let registration = shared.services.sessions.enter(endpoint.name, &connection);
        let deadline = Instant::now() + shared.settings.timeouts.command;
        Driver {
            shared,
            endpoint,
            stream: Some(connection.stream),
            peer: connection.peer,
            leave: registration.leave(connection.shutdown),
            registration,
            admission: connection.admission,
            draining: None,
            session,
            input: Input::default(),
            hello: None,
            login: None,
            user: None,
            transaction: None,
            messages: 0,
            lane: None,
            confirmations: Confirmations::default(),
            deadline,
            message_deadline: None,
            lines: 0,
        }
    }

    /// Holds the session to its end.
    pub(crate) async fn run(mut self) {
        count(&self.shared.metrics.sessions_started);
        if self.endpoint.service == Service::Lmtp {
            self.admission.logged_in();
        }
        self.offer_mechanisms();
        self.session.accept();
        let observer = StallObserver::new(self.registration.on_stall());
        let overdue = self.leave.clone().overdue();
        let end = tokio::select! {
            biased;
            end = observed(observer, self.talk()) => end,
            () = overdue => End::Overdue,
        };
        debug!(%end, messages = self.messages, "session ended");
        if let End::Overdue = end {
            let awaiting = self.session.awaiting();
            info!(
                ?awaiting,
                "an admin ended the session, which did not come to its end in time, and is dropped"
            );
            // Without a farewell. What the client has shown to have heard is stored all the same, if that does not take long.
            self.stream = None;
            if timeout(FAREWELL_TIMEOUT, self.store_confirmations())
                .await
                .is_err()
            {
                debug!("confirmations could not be stored in time");
            }
            count(&self.shared.metrics.sessions_ended);
            return;
        }
        if let End::Timeout = end {
            count(&self.shared.metrics.timeouts);
            let text = "too slow, closing the connection";
            self.say_farewell(&Reply::new(
                ReplyCode::ServiceNotAvailable421,
                EnhancedCode::BAD_CONNECTION,
                text,
            ))
            .await;
        }
        if let End::Stopping = end {
            let text = "this server is stopping, try again";
            self.say_farewell(&Reply::new(
                ReplyCode::ServiceNotAvailable421,
                EnhancedCode::SYSTEM_SHUTTING_DOWN,
                text,
            ))
            .await;
        }
        if let End::Ended(reason) = &end {
            let reply = Reply::new(
                ReplyCode::ServiceNotAvailable421,
                EnhancedCode::SYSTEM_SHUTTING_DOWN,
                reason.as_str().to_owned(),
            );
            self.say_farewell(&reply).await;
        }
        self.store_confirmations().await;
        if let Some(mut stream) = self.stream {
            // TLS says goodbye; the peer may be gone already.
            let _ = timeout(FAREWELL_TIMEOUT, stream.shutdown()).await;
        }
        count(&self.shared.metrics.sessions_ended);
    }

    async fn talk(&mut self) -> End {
        loop {
            let (taken, step) = self.session.step(self.input.unread());
            let event = match step {
                Step::Text(text) => {
                    if let Some(body) = self
                        .transaction
                        .as_mut()
                        .and_then(|transaction| transaction.body.as_mut())
                    {
                        body.push(text).await;
                    }
                    self.input.consume(taken);
                    continue;
                }
                Step::Event(event) => Some(event),
                Step::NeedInput | Step::Flush => None,
                Step::Closed => return End::Closed,
            };
            let more = event.is_none();
            self.input.consume(taken);
            self.note_lines();
            let done = match event {
                Some(event) => self.on_event(event).await,
                None => self.flush().await,
            };
            if let Err(end) = done {
                return end;
            }
            if more
                && self.input.unread().is_empty()
                && let Err(end) = self.read().await
            {
                return end;
            }
        }
    }

    /// A new line starts the time of the next, and shows that what was said before it was heard.
    fn note_lines(&mut self) {
        if self.session.lines_seen() != self.lines {
            self.lines = self.session.lines_seen();
            self.confirmations.lines_seen(self.lines);
            self.deadline = Instant::now() + self.shared.settings.timeouts.command;
        }
    }

    async fn on_event(&mut self, event: Event) -> Result<(), End> {
        // The text of a message is a part of DATA.
        let has_text = matches!(event, Event::Data);
        self.registration.begin(command(&event));
        self.carry_out(event).await?;
        if !has_text {
            self.registration.end();
        }
        Ok(())
    }

    async fn carry_out(&mut self, event: Event) -> Result<(), End> {
        match event {
            Event::Hello { name, .. } => self.on_hello(name),
            Event::StartTls => self.on_starttls().await?,
            Event::Auth { mechanism, initial } => self.on_auth(&mechanism, initial).await?,
            Event::AuthResponse(response) => self.on_auth_response(&response).await,
            Event::AuthCancelled => self.login = None,
            Event::Mail(mail) => self.on_mail(mail),
            Event::Rcpt(rcpt) => self.on_rcpt(rcpt).await,
            Event::Data => self.on_data(),
            Event::End { octets } => self.on_end(octets).await?,
            Event::Aborted(_) => {
                count(&self.shared.metrics.messages_refused);
                self.transaction = None;
            }
            Event::Reset => self.transaction = None,
            Event::Close(reason) => {
                if reason != CloseReason::Quit {
                    info!(?reason, "session closed");
                }
                self.transaction = None;
                self.flush().await?;
                return Err(End::Closed);
            }
        }
        Ok(())
    }

    fn on_hello(&mut self, name: HelloName) {
        self.transaction = None;
        let settings = &self.shared.settings;
        let verdict = policy::check_hello(
            settings.hello,
            self.endpoint.service,
            &name,
            &settings.hostname,
            self.is_nearby(),
        );
        match verdict {
            Ok(()) => {
                // Nobody logs in on port 25; who has introduced itself counts as settled.
                if self.endpoint.service == Service::Mx {
                    self.admission.logged_in();
                }
                self.hello = Some(name);
                self.session.accept();
            }
            Err(reply) => self.session.reject(reply),
        }
    }

    async fn on_starttls(&mut self) -> Result<(), End> {
        self.flush().await?;
        let (Some(stream), Some(tls)) = (self.stream.take(), &self.endpoint.tls) else {
            return Err(End::NoTls);
        };
        match stream.start_tls(tls).await {
            Ok(stream) => self.stream = Some(stream),
            Err(error) => {
                debug!(%error, "STARTTLS failed");
                return Err(End::NoTls);
            }
        }
        self.hello = None;
        self.registration.set_tls();
        self.session.tls_started();
        self.offer_mechanisms();
        self.deadline = Instant::now() + self.shared.settings.timeouts.command;
        Ok(())
    }

    fn offer_mechanisms(&mut self) {
        if self.endpoint.service == Service::Submission
            && let Some(stream) = &self.stream
        {
            let plaintext = self.endpoint.plaintext_auth && self.is_nearby();
            let logins = &self.shared.services.logins;
            self.session.offer(auth::offered(logins, stream, plaintext));
        }
    }

    async fn on_auth(&mut self, mechanism: &str, initial: Option<AuthBytes>) -> Result<(), End> {
        let stream = self.stream.as_ref().ok_or(End::Closed)?;
        let initial = initial.as_ref().map(|initial| initial.0.as_slice());
        let services = &self.shared.services;
        let place = LoginPlace {
            logins: &services.logins,
            directory: &*services.directory,
            scope: CredentialScope::Smtp,
            ip: self.ip(),
            bindings: mailrook_auth::bindings(stream),
        };
        let (login, step) = Box::pin(Login::start(mechanism, initial, place)).await;
        self.login = login;
        self.on_login(step).await;
        Ok(())
    }

    async fn on_auth_response(&mut self, response: &AuthBytes) {
        let services = &self.shared.services;
        let step = match &mut self.login {
            Some(login) => {
                Box::pin(login.respond(&response.0, &services.logins, &*services.directory)).await
            }
            // The session asks for responses during an exchange alone.
            None => LoginStep::Failed(LoginFailure::Malformed),
        };
        self.on_login(step).await;
    }

    async fn on_login(&mut self, step: LoginStep) {
        let directory = &*self.shared.services.directory;
        match mailrook_auth::enter(step, &self.registration, directory).await {
            LoginStep::Challenge(challenge) => self.session.challenge(&challenge),
            LoginStep::Done(user) => {
                let address = user.record.address.to_string();
                info!(account = address, "logged in");
                count(&self.shared.metrics.logins_succeeded);
                self.admission.logged_in();
                (self.login, self.user) = (None, Some(user));
                self.session.accept();
            }
            LoginStep::Failed(failure) => {
                let reply = auth::reply(failure);
                info!(code = reply.code.number(), "login failed");
                count(&self.shared.metrics.logins_failed);
                self.login = None;
                self.session.reject(reply);
            }
        }
    }

    fn on_mail(&mut self, mail: MailCommand) {
        let verdict = match (self.endpoint.service, &self.user) {
            (Service::Mx, _) => self.shared.rate.check(self.ip()),
            (_, Some(user)) => policy::check_sender(&mail.reverse_path, &user.senders),
            (_, None) => Ok(()),
        };
        match verdict {
            Ok(()) => {
                self.message_deadline = None;
                self.transaction = Some(Transaction::new(mail));
                self.session.accept();
            }
            Err(reply) => self.session.reject(reply),
        }
    }

    async fn on_rcpt(&mut self, rcpt: RcptCommand) {
        let metrics = &self.shared.metrics;
        match Box::pin(self.find_recipient(rcpt)).await {
            Ok(recipient) => {
                count(&metrics.recipients_accepted);
                if let Some(transaction) = &mut self.transaction {
                    transaction.recipients.push(recipient);
                }
                self.session.accept();
            }
            Err(reply) => {
                debug!(%reply, "recipient refused");
                let temporary = reply.code.is_temporary();
                count(if temporary {
                    &metrics.recipients_deferred
                } else {
                    &metrics.recipients_refused
                });
                if reply.enhanced == Some(EnhancedCode::NOT_AUTHORISED) {
                    count(&metrics.relays_refused);
                }
                self.session.reject(reply);
            }
        }
    }

    async fn find_recipient(&self, rcpt: RcptCommand) -> Result<Recipient, Reply> {
        let (services, hostname) = (&self.shared.services, &self.shared.settings.hostname);
        let found = policy::recipient::find(
            &*services.directory,
            rcpt.path,
            hostname,
            self.user.is_some(),
        )
        .await?;
        let Some(transaction) = &self.transaction else {
            return Err(Reply::new(
                ReplyCode::BadSequence503,
                EnhancedCode::INVALID_COMMAND,
                "MAIL first",
            ));
        };
        let earlier: usize = transaction
            .recipients
            .iter()
            .map(|recipient| recipient.found.targets.len())
            .sum();
        if earlier + found.targets.len() > TARGETS_MAX {
            let text = "too many mailboxes behind the recipients of one message";
            return Err(Reply::new(
                ReplyCode::InsufficientStorage452,
                EnhancedCode::TOO_MANY_RECIPIENTS,
                text,
            ));
        }
        if self.endpoint.service != Service::Lmtp {
            self.check_room(transaction, &found).await?;
        }
        Ok(Recipient {
            found,
            notify: rcpt.notify,
            original: rcpt.original,
        })
    }

    /// See [`policy::quota`].
    async fn check_room(&self, transaction: &Transaction, found: &Found) -> Result<(), Reply> {
        let mailstore = &*self.shared.services.mailstore;
        let size = transaction.mail.size.unwrap_or(1);
        if let [first] = transaction.recipients.as_slice()
            && first.found.targets.len() == 1
        {
            let full = policy::quota::check(mailstore, &first.found.targets, size).await;
            full.map_err(|_| policy::quota::alone())?;
        }
        if !transaction.recipients.is_empty() || found.targets.len() > 1 {
            policy::quota::check(mailstore, &found.targets, size).await?;
        }
        Ok(())
    }

    fn on_data(&mut self) {
        let timeouts = &self.shared.settings.timeouts;
        self.message_deadline = Some(Instant::now() + timeouts.message);
        if let Some(transaction) = &mut self.transaction {
            let site = self.endpoint.limiter.site(self.peer.ip());
            let size_max = self.shared.settings.size_max;
            let share = self.shared.memory.share(site, size_max);
            transaction.body = Some(Body::new(share, timeouts.memory));
        }
        self.session.accept();
    }

    async fn on_end(&mut self, octets: u64) -> Result<(), End> {
        self.messages += 1;
        let transaction = self.transaction.take().ok_or(End::Closed)?;
        let (from, rcpts) = (
            transaction.mail.reverse_path.clone(),
            transaction.recipients.len(),
        );
        let id = format!("{}.{}", self.registration.id(), self.messages);
        let tls = self.stream.as_ref().and_then(Stream::tls_info);
        let arrival = Arrival {
            hostname: &self.shared.settings.hostname,
            service: self.endpoint.service,
            hello: self.hello.as_ref().map_or("unknown", HelloName::as_str),
            ip: self.peer.ip(),
            tls: tls.as_ref(),
            authenticated: self.user.is_some(),
            extended: self.session.is_extended(),
            smtputf8: transaction.mail.smtputf8,
            id: &id,
            at: Timestamp::now(),
        };
        let context = Context {
            shared: &self.shared,
            user: self.user.as_deref(),
            arrival,
        };
        let confirmed = self.confirmations.seen().to_vec();
        let verdict = Box::pin(delivery::deliver(
            &context,
            &mut self.lane,
            transaction,
            confirmed,
        ))
        .await;
        if verdict.confirmed {
            self.confirmations.taken_along();
        }
        self.count_message(&verdict.replies);
        let codes: Vec<u16> = verdict
            .replies
            .iter()
            .map(|reply| reply.code.number())
            .take(10)
            .collect();
        info!(mail = id, %from, rcpts, octets, ?codes, "message");
        // What has come by now was sent before the reply could be heard.
        if let Some(stream) = &mut self.stream {
            self.input.read_ready(stream).await;
        }
        self.confirmations.told(
            verdict.acknowledged,
            self.session.lines_seen(),
            self.input.unread(),
        );
        self.session
            .finish(&verdict.replies[..self.session.replies_due().min(verdict.replies.len())]);
        self.deadline = Instant::now() + self.shared.settings.timeouts.command;
        Ok(())
    }

    fn count_message(&self, replies: &[Reply]) {
        let metrics = &self.shared.metrics;
        if replies.iter().any(|reply| !reply.code.is_failure()) {
            count(&metrics.messages_accepted);
        } else if replies.iter().any(|reply| reply.code.is_temporary()) {
            count(&metrics.messages_deferred);
        } else {
            count(&metrics.messages_refused);
        }
    }

    /// Sends what was said. Before that, what the client showed to have heard is made known, unless a message is under
    /// way that will take it along.
    async fn flush(&mut self) -> Result<(), End> {
        let goes_on = matches!(
            self.session.awaiting(),
            Awaiting::Command { transaction: true } | Awaiting::Text
        );
        if !goes_on && !self.confirmations.seen().is_empty() {
            self.store_confirmations().await;
        }
        self.send(self.shared.settings.timeouts.reply).await
    }

    async fn send(&mut self, patience: Duration) -> Result<(), End> {
        let output = self.session.output();
        if output.is_empty() {
            return Ok(());
        }
        let stream = self.stream.as_mut().ok_or(End::Closed)?;
        let write = async {
            stream.write_all(output).await?;
            stream.flush().await
        };
        match timeout(patience, write).await {
            Ok(Ok(())) => {
                let sent = output.len();
                self.session.output_sent(sent);
                Ok(())
            }
            Ok(Err(error)) => Err(End::Broken(error)),
            // It takes no replies, so a farewell is none of its concern.
            Err(_) => Err(End::Closed),
        }
    }

    async fn say_farewell(&mut self, reply: &Reply) {
        self.session.shut_down(reply);
        if let Err(end) = self.send(FAREWELL_TIMEOUT).await {
            debug!(%end, "the last reply was not sent");
        }
    }

    async fn store_confirmations(&mut self) {
        let seen = self.confirmations.seen().to_vec();
        let taken = self.confirmations.taken();
        if seen.is_empty() && taken.is_empty() {
            return;
        }
        let mailstore = &self.shared.services.mailstore;
        let stored = async {
            mailstore.confirm(seen).await?;
            mailstore.settle(taken).await
        };
        match stored.await {
            Ok(()) => self.confirmations.stored(),
            // They go along with the next message or the end; at worst a copy sent again on purpose within a week
            // is taken for a repetition.
            Err(error) => debug!(%error, "confirmations could not be stored"),
        }
    }

    async fn read(&mut self) -> Result<(), End> {
        let text = self.session.awaiting() == Awaiting::Text;
        self.check_draining()?;
        let until = if text {
            let deadline = self.message_deadline.unwrap_or(self.deadline);
            deadline.min(Instant::now() + self.shared.settings.timeouts.text)
        } else {
            self.deadline
        };
        let stream = self.stream.as_mut().ok_or(End::Closed)?;
        let read = tokio::select! {
            biased;
            farewell = self.leave.requested(), if self.draining.is_none() => Err(farewell),
            read = timeout_at(until, self.input.read(stream, text)) => Ok(read),
        };
        match read {
            Err(farewell) => {
                self.draining = Some(farewell);
                self.session.drain();
                self.check_draining()
            }
            Ok(Err(_)) => Err(End::Timeout),
            Ok(Ok(Ok(0))) => Err(End::Closed),
            Ok(Ok(Ok(_))) => Ok(()),
            Ok(Ok(Err(error))) => Err(End::Broken(error)),
        }
    }

    /// Ends the session if it is to end, and no message is under way.
    fn check_draining(&self) -> Result<(), End> {
        match &self.draining {
            Some(farewell) if self.is_idle() => Err(match farewell {
                Farewell::Stopping => End::Stopping,
                Farewell::Ended(reason) => End::Ended(reason.clone()),
            }),
            _ => Ok(()),
        }
    }

    /// Between messages.
    fn is_idle(&self) -> bool {
        self.session.awaiting() == Awaiting::Command { transaction: false }
    }

    fn ip(&self) -> Option<IpAddr> {
        self.peer.ip()
    }

    /// A client on this machine.
    fn is_nearby(&self) -> bool {
        self.ip().is_none_or(|ip| ip.is_loopback())
    }
}

/// What the client has said, in a word.
fn command(event: &Event) -> &'static str {
    match event {
        Event::Hello { .. } => "EHLO",
        Event::StartTls => "STARTTLS",
        Event::Auth { .. } | Event::AuthResponse(_) | Event::AuthCancelled => "AUTH",
        Event::Mail(_) => "MAIL",
        Event::Rcpt(_) => "RCPT",
        Event::Data | Event::End { .. } | Event::Aborted(_) => "DATA",
        Event::Reset => "RSET",
        Event::Close(_) => "QUIT",
    }
}
