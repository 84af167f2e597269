//! LOGIN and AUTHENTICATE (RFC 9051 §6.2.2, §6.2.3).

use std::{sync::Arc, time::Duration};

use mailrook_auth::{self as auth, Login, LoginFailure, LoginPlace, LoginStep, Reaction};
use mailrook_imap_proto::{command::Secret, response::Code};
use mailrook_store_api::meta::{CredentialScope, LoginAccount};

use super::capability::{capabilities, password_permitted};
use crate::{
    SessionContext,
    account::Account,
    outcome::{Failure, Outcome, Reply},
    session::{Line, Session},
};

/// Between the lines of an exchange. The login's own deadline holds beside it.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(60);

pub(crate) async fn login(session: &mut Session, user: &str, password: &Secret) -> Outcome {
    require_permission(session)?;
    let context = session.context.clone();
    let place = place(session, &context);
    let step = Login::with_password(user.as_bytes(), password.as_bytes(), place).await;
    conclude(session, step).await
}

pub(crate) async fn authenticate(
    session: &mut Session,
    mechanism: &str,
    initial: Option<Secret>,
) -> Outcome {
    require_permission(session)?;
    let context = session.context.clone();
    let place = place(session, &context);
    let initial = initial.as_ref().map(Secret::as_bytes);
    let (mut login, mut step) = Login::start(mechanism, initial, place).await;
    while let (Some(login), LoginStep::Challenge(challenge)) = (&mut login, &step) {
        session.writer().challenge(challenge);
        session.framer.expect_auth_response();
        let line = response(session).await?;
        if login.has_failed() && !matches!(line, Line::AuthResponse(Some(_))) {
            // Who does not wait to hear that its token was refused has tried it all the same.
            count_failure(session).await?;
        }
        step = match line {
            Line::AuthResponse(Some(response)) => context.respond(login, response.as_bytes()).await,
            // RFC 9051 §6.2.2: a cancelled exchange is BAD.
            Line::AuthResponse(None) => return Err(Reply::bad("authentication cancelled").into()),
            Line::Bad(error) => return Err(Reply::bad(error.to_string()).into()),
            Line::Done => return Err(Failure::Bye("internal error")),
        };
    }
    conclude(session, step).await
}

fn place<'c>(session: &Session, context: &'c SessionContext) -> LoginPlace<'c> {
    context.place(
        CredentialScope::Imap,
        session.client.ip,
        session.wire.bindings(),
    )
}

async fn response(session: &mut Session) -> Result<Line, Failure> {
    loop {
        if let Some(line) = session.take_line()? {
            return Ok(line);
        }
        session.await_input(RESPONSE_TIMEOUT).await?;
    }
}

fn require_permission(session: &Session) -> Result<(), Reply> {
    if session.account.is_some() {
        return Err(Reply::bad("you have logged in already"));
    }
    if !password_permitted(session) {
        // RFC 9051 §6.2.3, RFC 5530
        return Err(Reply::no("passwords need TLS here").code(Code::PrivacyRequired));
    }
    Ok(())
}

async fn conclude(session: &mut Session, step: LoginStep) -> Outcome {
    let directory = Arc::clone(&session.context.directory);
    match auth::enter(step, &session.client.registration, &*directory).await {
        LoginStep::Done(account) => {
            let address = account.record.address.to_string();
            enter(session, &account, &address);
            let code = Code::Capability(capabilities(session));
            Ok(Reply::ok("logged in").code(code))
        }
        LoginStep::Failed(LoginFailure::Unavailable) => {
            // Nobody's fault here, perhaps, and yet a question that somebody else had to be asked.
            count_failure(session).await?;
            Err(Reply::no(LoginFailure::Unavailable.text())
                .code(Code::Unavailable)
                .into())
        }
        LoginStep::Failed(LoginFailure::Malformed) => {
            count_failure(session).await?;
            Err(Reply::bad(LoginFailure::Malformed.text()).into())
        }
        LoginStep::Failed(LoginFailure::NotOffered) => {
            Err(Reply::no(LoginFailure::NotOffered.text())
                .code(Code::Cannot)
                .into())
        }
        LoginStep::Failed(LoginFailure::Credentials) => {
            count_failure(session).await?;
            Err(Reply::no(LoginFailure::Credentials.text())
                .code(Code::AuthenticationFailed)
                .into())
        }
        LoginStep::Challenge(_) => Err(Failure::Bye("internal error")),
    }
}

fn enter(session: &mut Session, account: &LoginAccount, address: &str) {
    session.account = Some(Account::new(account.record.id));
    session.framer.set_authenticated(true);
    session.client.admission.logged_in();
    tracing::info!(user = address, "logged in");
}

async fn count_failure(session: &mut Session) -> Result<(), Failure> {
    let limits = session.context.attempt_limits();
    match session.login_attempts.failed(limits).await {
        Reaction::GoOn => Ok(()),
        Reaction::Close => Err(Failure::Bye("too many failed logins")),
    }
}
