//! CAPA, STLS, USER, PASS and AUTH (RFC 1939 §7, RFC 2449 §5, RFC 2595 §4, RFC 5034).

use std::time::Duration;

use mailrook_auth::{self as auth, Login, LoginFailure, LoginPlace, LoginStep, Reaction};
use mailrook_imap_proto::{
    command::Secret,
    pop3::{Capabilities, Event, Framer, ResponseCode, State},
};
use mailrook_store_api::meta::{CredentialScope, LoginAccount};

use super::{End, Open, Refused, Session, maildrop::Maildrop};
use crate::{SessionContext, account::Account};

/// Between the lines of an exchange. The login's own deadline holds beside it.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(60);

impl Session {
    fn password_permitted(&self) -> bool {
        self.wire.is_tls() || self.client.plaintext_login
    }

    fn may_start_tls(&self) -> bool {
        self.client.starttls.is_some()
            && !self.wire.is_tls()
            && self.state() == State::Authorization
    }

    fn offered(&self) -> Vec<&'static str> {
        let (logins, bindings) = (&self.context.logins, self.wire.bindings());
        logins
            .offered(&bindings, self.password_permitted())
            .collect()
    }

    pub(super) fn capa(&mut self) {
        let before_login = self.state() == State::Authorization;
        let mechanisms = if before_login {
            self.offered()
        } else {
            Vec::new()
        };
        let capabilities = Capabilities {
            user: before_login && self.password_permitted(),
            stls: self.may_start_tls(),
            sasl: &mechanisms,
            implementation: "Mailrook",
        };
        self.writer().capabilities(&capabilities);
    }

    /// AUTH without a mechanism asks for the list of them.
    pub(super) fn mechanisms(&mut self) {
        let mechanisms = self.offered();
        let mut writer = self.writer();
        writer.ok("these mechanisms:");
        for mechanism in mechanisms {
            writer.buffer().extend_from_slice(mechanism.as_bytes());
            writer.buffer().extend_from_slice(b"\r\n");
        }
        writer.end();
    }

    pub(super) async fn stls(&mut self) -> Result<(), End> {
        let acceptor = self.client.starttls.clone();
        let Some(acceptor) = acceptor.filter(|_| self.may_start_tls()) else {
            self.writer().err(None, "STLS is not available now");
            return Ok(());
        };
        self.writer().ok("begin TLS negotiation");
        self.wire.flush().await?;
        // What was sent behind the command in the clear is dropped, not obeyed (CVE-2011-0411), and what the client
        // said before is forgotten (RFC 2595 §4).
        self.wire.start_tls(&acceptor).await?;
        self.framer = Framer::new();
        self.user = None;
        self.client.registration.set_tls();
        Ok(())
    }

    pub(super) fn user(&mut self, user: String) {
        if let Err(refused) = self.require_permission() {
            return self.refuse(&refused);
        }
        // Whether there is such a user shows with the password.
        self.user = Some(user);
        self.writer().ok("now the password");
    }

    pub(super) async fn pass(&mut self, password: &Secret) -> Result<(), End> {
        if let Err(refused) = self.require_permission() {
            self.refuse(&refused);
            return Ok(());
        }
        let Some(user) = self.user.take() else {
            self.writer().err(None, "USER comes first");
            return Ok(());
        };
        let context = self.context.clone();
        let place = self.place(&context);
        let step = Login::with_password(user.as_bytes(), password.as_bytes(), place).await;
        self.conclude(step).await
    }

    pub(super) async fn auth(
        &mut self,
        mechanism: &str,
        initial: Option<Secret>,
    ) -> Result<(), End> {
        if let Err(refused) = self.require_permission() {
            self.refuse(&refused);
            return Ok(());
        }
        let context = self.context.clone();
        let place = self.place(&context);
        let initial = initial.as_ref().map(Secret::as_bytes);
        let (mut login, mut step) = Login::start(mechanism, initial, place).await;
        while let (Some(login), LoginStep::Challenge(challenge)) = (&mut login, &step) {
            self.writer().challenge(challenge);
            self.framer.expect_auth_response();
            step = match self.event(RESPONSE_TIMEOUT).await? {
                Event::AuthResponse(Some(response)) => {
                    context.respond(login, response.as_bytes()).await
                }
                // A token that was refused stays so, whatever is said to it.
                Event::AuthResponse(None) | Event::Bad(_) if login.has_failed() => {
                    LoginStep::Failed(LoginFailure::Credentials)
                }
                Event::AuthResponse(None) => {
                    self.writer().err(None, "authentication cancelled");
                    return Ok(());
                }
                Event::Bad(error) => {
                    self.refuse_line(&error);
                    return Ok(());
                }
                Event::Command(_) | Event::Close => {
                    return Err(End::Refused(
                        ResponseCode::SysPerm,
                        "this line does not end",
                    ));
                }
            };
        }
        self.conclude(step).await
    }

    fn require_permission(&self) -> Result<(), Refused> {
        match self.password_permitted() {
            true => Ok(()),
            false => Err(Refused::new("passwords need TLS here")),
        }
    }

    fn place<'c>(&self, context: &'c SessionContext) -> LoginPlace<'c> {
        context.place(CredentialScope::Pop3, self.client.ip, self.wire.bindings())
    }

    async fn conclude(&mut self, step: LoginStep) -> Result<(), End> {
        let registration = &self.client.registration;
        let failure = match auth::enter(step, registration, &*self.context.directory).await {
            LoginStep::Done(account) => {
                return self.enter(&account).await;
            }
            LoginStep::Failed(failure) => failure,
            // The exchange goes on until there is none.
            LoginStep::Challenge(_) => LoginFailure::Unavailable,
        };
        // What cannot be checked now counts, too: somebody else had to be asked.
        if failure != LoginFailure::NotOffered {
            self.count_failure().await?;
        }
        // RFC 3206 §4, RFC 5034 §4
        let code = match failure {
            LoginFailure::Credentials => Some(ResponseCode::Auth),
            LoginFailure::Unavailable => Some(ResponseCode::SysTemp),
            LoginFailure::Malformed | LoginFailure::NotOffered => None,
        };
        self.writer().err(code, failure.text());
        Ok(())
    }

    async fn count_failure(&mut self) -> Result<(), End> {
        let limits = self.context.attempt_limits();
        match self.login_attempts.failed(limits).await {
            Reaction::GoOn => Ok(()),
            Reaction::Close => Err(End::Refused(ResponseCode::Auth, "too many failed logins")),
        }
    }

    /// Opens the maildrop. A client that cannot have it stays as it was (RFC 1939 §4).
    async fn enter(&mut self, login: &LoginAccount) -> Result<(), End> {
        let account = login.record.id;
        let opened = tokio::select! {
            biased;
            // It may have to wait.
            farewell = self.client.leave.requested() => return Err(End::Leave(farewell)),
            opened = Maildrop::open(&self.context, account) => opened,
        };
        match opened {
            Ok(maildrop) => {
                let address = login.record.address.to_string();
                self.client.registration.set_mailbox(Some("INBOX"));
                self.client.admission.logged_in();
                tracing::info!(user = address, "logged in");
                let text = format!("{} messages", maildrop.count());
                let account = Account::new(account);
                self.open = Some(Box::new(Open { account, maildrop }));
                self.writer().ok(&text);
            }
            Err(refused) => {
                self.client.registration.forget_user();
                self.refuse(&refused);
            }
        }
        Ok(())
    }
}
