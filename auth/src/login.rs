//! Drives a SASL exchange, or a plain password, between a session, the directory and a token issuer.
//!
//! A token opens what its issuer gave it for: the scopes of an account's passwords do not bound it, as it is none of
//! them, and an account that has no password at all can be logged in to by a token.

use std::{fmt, net::IpAddr, sync::Arc, time::Instant};

use mailrook_net::{BlockingPool, LoginThrottle, Stream, site_of};
use mailrook_oauth::{Refusal, TokenError, TokenVerifier};
use mailrook_sasl::{
    ChannelBindings, Context, Credentials, Exchange, Failure, FakeSaltKey, Mechanism, OfferPolicy,
    PasswordCache, Step, Token, TokenService, TokenVerdict, Verifier,
};
use mailrook_store_api::{
    Directory,
    meta::{CredentialScope, LoginAccount},
};

use crate::seldom::Seldom;

/// Logins that could not be checked, in the log: who tries again and again, or many at once, fills no disk by it.
static UNCHECKED: Seldom = Seldom::new();

/// What the logins of all sessions share.
#[derive(Clone)]
pub struct Logins {
    /// Passwords that were right.
    pub cache: Arc<PasswordCache>,
    /// Hides which users exist.
    pub fake_salts: FakeSaltKey,
    /// Slows down who guesses.
    pub throttle: Arc<LoginThrottle>,
    /// Hashes passwords.
    pub hashing: BlockingPool,
    /// Checks tokens; `None` where none are taken.
    pub tokens: Option<Arc<TokenVerifier>>,
}

impl fmt::Debug for Logins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Logins").finish_non_exhaustive()
    }
}

/// What comes of a step.
pub enum LoginStep {
    /// Ask the client, and hand its answer to [`Login::respond`].
    Challenge(Vec<u8>),
    /// The client is this user.
    Done(Box<LoginAccount>),
    /// It is not.
    Failed(LoginFailure),
}

/// Why there is no login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoginFailure {
    /// Wrong name or password, no good token, or a channel that is not ours.
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
    pub const fn text(self) -> &'static str {
        match self {
            LoginFailure::Credentials => "authentication failed",
            LoginFailure::Malformed => "the response does not fit the mechanism",
            LoginFailure::NotOffered => "this mechanism is not offered",
            LoginFailure::Unavailable => "authentication cannot be checked now, try again later",
        }
    }
}

/// What a login is made in.
pub struct LoginPlace<'a> {
    /// What it shares with others.
    pub logins: &'a Logins,
    /// Who may log in.
    pub directory: &'a dyn Directory,
    /// What a password must be good for.
    pub scope: CredentialScope,
    /// Of the client; `None` on a unix socket.
    pub ip: Option<IpAddr>,
    /// Of its connection.
    pub bindings: ChannelBindings,
}

/// A running exchange.
pub struct Login {
    exchange: Exchange,
    account: Option<Box<LoginAccount>>,
    ip: Option<IpAddr>,
    scope: CredentialScope,
    /// Whether the client has waited for what failed before.
    has_waited: bool,
    /// Whether this failure was held against the client's address.
    is_counted: bool,
}

impl Logins {
    /// The mechanisms that some connection may be offered.
    pub fn mechanisms(&self) -> impl Iterator<Item = &'static str> + use<> {
        let takes_tokens = self.tokens.is_some();
        let all = Mechanism::ALL.into_iter();
        all.filter(move |mechanism| takes_tokens || !mechanism.takes_token())
            .map(Mechanism::name)
    }

    /// The mechanisms to announce on a connection, in the order in which they are to be tried: none where what opens an
    /// account is not taken. That holds for tokens as for passwords.
    pub fn offered(
        &self,
        bindings: &ChannelBindings,
        password_permitted: bool,
    ) -> impl Iterator<Item = &'static str> + use<> {
        Mechanism::offered(bindings, OfferPolicy::Everything, self.tokens.is_some())
            .map(Mechanism::name)
            .filter(move |_| password_permitted)
    }
}

/// The channel bindings of a connection: none without TLS.
pub fn bindings(stream: &Stream) -> ChannelBindings {
    let tls = stream.tls_bindings();
    ChannelBindings {
        tls_exporter: tls.exporter,
        tls_server_end_point: tls.server_end_point.map(|hash| hash.to_vec()),
    }
}

impl Login {
    /// Begins an exchange. There is no login to go on with if the mechanism is not offered.
    pub async fn start(
        mechanism: &str,
        initial: Option<&[u8]>,
        place: LoginPlace<'_>,
    ) -> (Option<Login>, LoginStep) {
        let offered = mechanism.parse::<Mechanism>().ok().filter(|mechanism| {
            let mut offered = place.logins.offered(&place.bindings, true);
            offered.any(|name| name == mechanism.name())
        });
        let Some(mechanism) = offered else {
            return (None, LoginStep::Failed(LoginFailure::NotOffered));
        };
        let (logins, directory) = (place.logins, place.directory);
        let (mut login, step) =
            Login::begin(place, |sasl| Exchange::start(mechanism, initial, sasl));
        let step = login.advance(step, logins, directory).await;
        (Some(login), step)
    }

    /// A name and a password without SASL: LOGIN, or USER and PASS.
    pub async fn with_password(user: &[u8], password: &[u8], place: LoginPlace<'_>) -> LoginStep {
        let (logins, directory) = (place.logins, place.directory);
        let (mut login, step) =
            Login::begin(place, |sasl| Exchange::with_password(user, password, sasl));
        login.advance(step, logins, directory).await
    }

    fn begin(
        place: LoginPlace<'_>,
        start: impl FnOnce(Context) -> (Exchange, Step),
    ) -> (Login, Step) {
        let (exchange, step) = start(Context {
            bindings: place.bindings,
            fake_salts: place.logins.fake_salts.clone(),
            tokens: place.logins.tokens.as_deref().map(service),
        });
        let login = Login {
            exchange,
            account: None,
            ip: place.ip,
            scope: place.scope,
            has_waited: false,
            is_counted: false,
        };
        (login, step)
    }

    /// Takes the client's response.
    pub async fn respond(
        &mut self,
        response: &[u8],
        logins: &Logins,
        directory: &dyn Directory,
    ) -> LoginStep {
        let step = self.exchange.respond(response);
        self.advance(step, logins, directory).await
    }

    async fn advance(
        &mut self,
        mut step: Step,
        logins: &Logins,
        directory: &dyn Directory,
    ) -> LoginStep {
        loop {
            step = match step {
                Step::Challenge(challenge) => {
                    // What failed counts now: the client may go without an answer.
                    if let Some(failure) = self.exchange.refused() {
                        self.count(failure, logins);
                    }
                    return LoginStep::Challenge(challenge);
                }
                Step::Lookup(name) => {
                    self.wait(logins).await;
                    match directory.login(&name).await {
                        Ok(account) => {
                            let found = account
                                .as_deref()
                                .and_then(|account| credentials(account, self.scope));
                            self.account = account;
                            let step = self.exchange.credentials(found);
                            if self.has_failed() {
                                tracing::info!("a token names no account that may log in here");
                            }
                            step
                        }
                        Err(error) => {
                            return LoginStep::Failed(unavailable(&error));
                        }
                    }
                }
                Step::Token(token) => {
                    self.wait(logins).await;
                    match identify(&token, self.ip, logins).await {
                        Ok(verdict) => {
                            let is_good = matches!(verdict, TokenVerdict::Of(_));
                            let step = self.exchange.token(verdict);
                            if is_good && self.has_failed() {
                                tracing::info!("a token names another account than its client");
                            }
                            step
                        }
                        Err(failure) => return LoginStep::Failed(failure),
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
                Step::Done(_) => return self.done(logins),
                Step::Failed(failure) => return self.failed(failure, logins),
            }
        }
    }

    /// Once a login, before anything is looked up or asked.
    async fn wait(&mut self, logins: &Logins) {
        if let Some(ip) = self.ip
            && !std::mem::replace(&mut self.has_waited, true)
        {
            tokio::time::sleep(logins.throttle.delay(ip)).await;
        }
    }

    /// Whether it has failed, and only the client's acknowledgement is missing. A client that gives up instead has
    /// failed all the same.
    pub fn has_failed(&self) -> bool {
        self.exchange.refused().is_some()
    }

    fn count(&mut self, failure: Failure, logins: &Logins) {
        if let Some(ip) = self.ip
            && failure == Failure::Credentials
            && !std::mem::replace(&mut self.is_counted, true)
        {
            logins.throttle.failed(ip);
        }
    }

    fn done(&mut self, logins: &Logins) -> LoginStep {
        if let Some(ip) = self.ip {
            logins.throttle.succeeded(ip);
        }
        // Nobody gets here without an account that was looked up.
        self.account.take().map_or(
            LoginStep::Failed(LoginFailure::Unavailable),
            LoginStep::Done,
        )
    }

    fn failed(&mut self, failure: Failure, logins: &Logins) -> LoginStep {
        self.count(failure, logins);
        LoginStep::Failed(match failure {
            Failure::Temporary => LoginFailure::Unavailable,
            Failure::Malformed | Failure::OutOfOrder => LoginFailure::Malformed,
            Failure::Credentials
            | Failure::NoToken
            | Failure::AuthzidRefused
            | Failure::ChannelBinding => LoginFailure::Credentials,
        })
    }
}

fn service(tokens: &TokenVerifier) -> TokenService {
    TokenService {
        scope: tokens.scope().map(str::to_owned),
        openid_configuration: tokens.openid_configuration(),
    }
}

/// Whose the token is. What cannot be asked now is nobody's fault here.
async fn identify(
    token: &Token,
    ip: Option<IpAddr>,
    logins: &Logins,
) -> Result<TokenVerdict, LoginFailure> {
    let Some(tokens) = &logins.tokens else {
        return Err(LoginFailure::NotOffered);
    };
    // Apart, lest each session hold the room for an HTTP request from its beginning to its end.
    match Box::pin(tokens.identify(token.as_str(), ip.map(site_of))).await {
        Ok(account) => Ok(TokenVerdict::Of(account)),
        Err(TokenError::Refused(refusal)) => {
            tracing::info!(%refusal, "a token was refused");
            Ok(match refusal {
                Refusal::Scope => TokenVerdict::InsufficientScope,
                _ => TokenVerdict::Invalid,
            })
        }
        Err(error @ TokenError::Unavailable(_)) => Err(unavailable(&error)),
    }
}

/// Logs why a login cannot be checked, but not each time.
pub(crate) fn unavailable(error: &dyn fmt::Display) -> LoginFailure {
    if let Some(untold) = UNCHECKED.turn(Instant::now()) {
        tracing::warn!(%error, untold, "a login could not be checked");
    }
    LoginFailure::Unavailable
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
