//! Drives a SASL exchange, or a plain password, between a session and the directory. For IMAP and POP3.

use std::{net::IpAddr, sync::Arc};

use mailrook_sasl::{
    ChannelBindings, Context, Credentials, Exchange, Failure, Mechanism, OfferPolicy, Step,
    Verifier,
};
use mailrook_store_api::meta::{CredentialScope, LoginAccount};

use crate::SessionContext;

/// What comes of a step.
pub(crate) enum LoginStep {
    /// Ask the client, and hand its answer to [`Login::respond`].
    Challenge(Vec<u8>),
    /// The client is this user.
    Done(Box<LoginAccount>),
    /// It is not.
    Failed(LoginFailure),
}

/// Why there is no login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LoginFailure {
    /// Wrong name or password, or a channel that is not ours.
    Credentials,
    /// The client broke the mechanism's grammar.
    Malformed,
    /// No such mechanism here.
    NotOffered,
    /// It cannot be checked now.
    Unavailable,
}

impl LoginFailure {
    /// For the client's user.
    pub(crate) fn text(self) -> &'static str {
        match self {
            LoginFailure::Credentials => "authentication failed",
            LoginFailure::Malformed => "the response does not fit the mechanism",
            LoginFailure::NotOffered => "this mechanism is not offered",
            LoginFailure::Unavailable => "authentication cannot be checked now, try again later",
        }
    }
}

/// What a login is made in.
pub(crate) struct LoginPlace<'a> {
    pub(crate) context: &'a SessionContext,
    /// What a password must be good for.
    pub(crate) scope: CredentialScope,
    /// Of the client.
    pub(crate) ip: Option<IpAddr>,
    /// Of its connection.
    pub(crate) bindings: ChannelBindings,
}

/// A running exchange.
pub(crate) struct Login {
    exchange: Exchange,
    account: Option<Box<LoginAccount>>,
    ip: Option<IpAddr>,
    scope: CredentialScope,
}

/// The mechanisms to announce, the strongest first: none where passwords are not taken.
pub(crate) fn offered(
    bindings: &ChannelBindings,
    password_permitted: bool,
) -> impl Iterator<Item = &'static str> + use<> {
    Mechanism::offered(bindings, OfferPolicy::Everything)
        .map(Mechanism::name)
        .filter(move |_| password_permitted)
}

impl Login {
    /// Begins an exchange.
    pub(crate) async fn start(
        mechanism: &str,
        initial: Option<&[u8]>,
        place: LoginPlace<'_>,
    ) -> (Option<Login>, LoginStep) {
        let offered = mechanism.parse::<Mechanism>().ok().filter(|mechanism| {
            offered(&place.bindings, true).any(|name| name == mechanism.name())
        });
        let Some(mechanism) = offered else {
            return (None, LoginStep::Failed(LoginFailure::NotOffered));
        };
        let context = place.context;
        let (login, step) = Login::begin(place, |sasl| Exchange::start(mechanism, initial, sasl));
        login.advanced(step, context).await
    }

    /// A name and a password without SASL: LOGIN, or USER and PASS.
    pub(crate) async fn with_password(
        user: &[u8],
        password: &[u8],
        place: LoginPlace<'_>,
    ) -> LoginStep {
        let context = place.context;
        let (login, step) =
            Login::begin(place, |sasl| Exchange::with_password(user, password, sasl));
        login.advanced(step, context).await.1
    }

    fn begin(
        place: LoginPlace<'_>,
        start: impl FnOnce(Context) -> (Exchange, Step),
    ) -> (Login, Step) {
        let (exchange, step) = start(Context {
            bindings: place.bindings,
            fake_salts: place.context.logins.fake_salts.clone(),
        });
        let login = Login {
            exchange,
            account: None,
            ip: place.ip,
            scope: place.scope,
        };
        (login, step)
    }

    async fn advanced(
        mut self,
        step: Step,
        context: &SessionContext,
    ) -> (Option<Login>, LoginStep) {
        let step = self.advance(step, context).await;
        (Some(self), step)
    }

    /// Takes the client's response.
    pub(crate) async fn respond(&mut self, response: &[u8], context: &SessionContext) -> LoginStep {
        let step = self.exchange.respond(response);
        self.advance(step, context).await
    }

    async fn advance(&mut self, mut step: Step, context: &SessionContext) -> LoginStep {
        let logins = &context.logins;
        loop {
            step = match step {
                Step::Challenge(challenge) => return LoginStep::Challenge(challenge),
                Step::Lookup(name) => {
                    if let Some(ip) = self.ip {
                        tokio::time::sleep(logins.throttle.delay(ip)).await;
                    }
                    match context.directory.login(&name).await {
                        Ok(account) => {
                            let found = account
                                .as_deref()
                                .and_then(|account| credentials(account, self.scope));
                            self.account = account;
                            self.exchange.credentials(found)
                        }
                        Err(error) => {
                            tracing::warn!(%error, "a login could not be checked");
                            return LoginStep::Failed(LoginFailure::Unavailable);
                        }
                    }
                }
                Step::Check(check) => match check.cached(&logins.cache) {
                    Some(verdict) => self.exchange.checked(verdict),
                    None => {
                        let cache = Arc::clone(&logins.cache);
                        match logins.hashing.run(move || check.hash(&cache)).await {
                            Ok(verdict) => self.exchange.checked(verdict),
                            Err(_) => return LoginStep::Failed(LoginFailure::Unavailable),
                        }
                    }
                },
                Step::Done(_) => return self.done(context),
                Step::Failed(failure) => return self.failed(failure, context),
            }
        }
    }

    fn done(&mut self, context: &SessionContext) -> LoginStep {
        if let Some(ip) = self.ip {
            context.logins.throttle.succeeded(ip);
        }
        // Nobody gets here without an account that was looked up.
        self.account.take().map_or(
            LoginStep::Failed(LoginFailure::Unavailable),
            LoginStep::Done,
        )
    }

    fn failed(&self, failure: Failure, context: &SessionContext) -> LoginStep {
        if let Some(ip) = self.ip
            && failure == Failure::Credentials
        {
            context.logins.throttle.failed(ip);
        }
        LoginStep::Failed(match failure {
            Failure::Temporary => LoginFailure::Unavailable,
            Failure::Malformed | Failure::OutOfOrder => LoginFailure::Malformed,
            Failure::Credentials | Failure::AuthzidRefused | Failure::ChannelBinding => {
                LoginFailure::Credentials
            }
        })
    }
}

/// The passwords that open `scope`; none if the account may not log in.
fn credentials(account: &LoginAccount, scope: CredentialScope) -> Option<Credentials> {
    let record = &account.record;
    if !record.enabled {
        return None;
    }
    let opens = |scopes: &[CredentialScope]| scopes.is_empty() || scopes.contains(&scope);
    let of_scope = record
        .credentials
        .iter()
        .filter(|credential| opens(&credential.scopes));
    let verifiers = of_scope.filter_map(|credential| match Verifier::from_bytes(&credential.verifier) {
        Ok(verifier) => Some(verifier),
        Err(error) => {
            tracing::error!(account = %record.address, credential = credential.name, %error, "a password cannot be read");
            None
        }
    });
    Some(Credentials {
        account: record.id,
        version: record.credentials_version,
        verifiers: verifiers.collect(),
    })
}
