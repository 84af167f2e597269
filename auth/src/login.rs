//! Drives a SASL exchange, or a plain password, between a session and the directory.

use std::{fmt, net::IpAddr, sync::Arc};

use mailrook_net::{BlockingPool, LoginThrottle, Stream};
use mailrook_sasl::{
    ChannelBindings, Context, Credentials, Exchange, Failure, FakeSaltKey, Mechanism, OfferPolicy,
    PasswordCache, Step, Verifier,
};
use mailrook_store_api::{
    Directory,
    meta::{CredentialScope, LoginAccount},
};

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
}

/// The names of all mechanisms.
pub fn all_mechanisms() -> impl Iterator<Item = &'static str> {
    Mechanism::ALL.into_iter().map(Mechanism::name)
}

/// The channel bindings of a connection: none without TLS.
pub fn bindings(stream: &Stream) -> ChannelBindings {
    let tls = stream.tls_bindings();
    ChannelBindings {
        tls_exporter: tls.exporter,
        tls_server_end_point: tls.server_end_point.map(|hash| hash.to_vec()),
    }
}

/// The mechanisms to announce, the strongest first: none where passwords are not taken.
pub fn offered(
    bindings: &ChannelBindings,
    password_permitted: bool,
) -> impl Iterator<Item = &'static str> + use<> {
    Mechanism::offered(bindings, OfferPolicy::Everything)
        .map(Mechanism::name)
        .filter(move |_| password_permitted)
}

impl Login {
    /// Begins an exchange. There is no login to go on with if the mechanism is not offered.
    pub async fn start(
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
        });
        let login = Login {
            exchange,
            account: None,
            ip: place.ip,
            scope: place.scope,
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
                Step::Challenge(challenge) => return LoginStep::Challenge(challenge),
                Step::Lookup(name) => {
                    if let Some(ip) = self.ip {
                        tokio::time::sleep(logins.throttle.delay(ip)).await;
                    }
                    match directory.login(&name).await {
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
                Step::Done(_) => return self.done(logins),
                Step::Failed(failure) => return self.failed(failure, logins),
            }
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

    fn failed(&self, failure: Failure, logins: &Logins) -> LoginStep {
        if let Some(ip) = self.ip
            && failure == Failure::Credentials
        {
            logins.throttle.failed(ip);
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
