//! One authentication, from the client's choice of a mechanism to its end.

use std::{fmt, mem, str};

use thiserror::Error;

use crate::{
    ChannelBindings, Credentials, FakeSaltKey, Mechanism, Password, PasswordCheck, Token,
    TokenService, TokenVerdict, Verdict, bearer, login, plain,
    scram::{ClientFinal, ClientFirst, Proven, ServerFirst},
    token::Refusal,
    wire::RESPONSE_BASE64_LEN_MAX,
};

/// Longest name that is looked up. An address has at most 64 + 1 + 253 bytes (RFC 5321 §4.5.3.1), in UTF-8 a
/// domain may be longer.
const NAME_LEN_MAX: usize = 512;

/// What an exchange knows of its surroundings.
#[derive(Clone, Debug)]
pub struct Context {
    /// Those of the connection; those by which [`Mechanism::offered`] was announced.
    pub bindings: ChannelBindings,
    /// Hides which users exist.
    pub fake_salts: FakeSaltKey,
    /// Which tokens are taken; `None` where none are.
    pub tokens: Option<TokenService>,
}

/// A running authentication.
#[derive(Debug)]
pub struct Exchange {
    context: Context,
    state: State,
}

/// What the driver of an exchange does next.
#[derive(Debug)]
#[must_use]
pub enum Step {
    /// Send this to the client, in base64, and hand its answer to [`Exchange::respond`].
    Challenge(Vec<u8>),
    /// Find this user's passwords, and hand them to [`Exchange::credentials`]. A directory that cannot be asked
    /// ends the exchange from outside, with a temporary failure.
    Lookup(String),
    /// Find out whose this token is, and hand that to [`Exchange::token`]. Who cannot be asked ends the exchange from
    /// outside, as above.
    Token(Token),
    /// Decide by [`PasswordCheck::cached`] or [`PasswordCheck::hash`], and hand the verdict to
    /// [`Exchange::checked`].
    Check(PasswordCheck),
    /// The client is who it says it is.
    Done(Success),
    /// It is not, or it broke the protocol.
    Failed(Failure),
}

/// A user has proven to know a password, or to hold a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Success {
    /// The name that was looked up.
    pub user: String,
    /// Which of [`Credentials::verifiers`] it was; `None` if it was a token.
    pub credential: Option<usize>,
    /// How.
    pub mechanism: Option<Mechanism>,
}

/// Why an exchange ended without a user. Those the client may hear apart are told apart; that a user does not
/// exist is [`Failure::Credentials`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Failure {
    /// No such user, or not with this password.
    #[error("invalid credentials")]
    Credentials,
    /// The client sent no token, to learn which one is wanted.
    #[error("a token is missing")]
    NoToken,
    /// The client wants to act as somebody else.
    #[error("authorization identity refused")]
    AuthzidRefused,
    /// The client's TLS connection is not ours, or somebody removed -PLUS from our announcement.
    #[error("channel binding mismatch")]
    ChannelBinding,
    /// The client broke the mechanism's grammar.
    #[error("malformed authentication message")]
    Malformed,
    /// A message came that was not due. The fault may be the driver's.
    #[error("authentication message out of order")]
    OutOfOrder,
    /// We are at fault: no random bytes, say. The client may try again.
    #[error("temporary authentication failure")]
    Temporary,
}

/// Each state is named by what it awaits.
enum State {
    PlainResponse,
    LoginUser,
    LoginPassword(Names),
    ScramClientFirst {
        plus: bool,
    },
    /// The mechanism is kept to be reported; none for a password that came without one.
    PasswordCredentials(Option<Mechanism>, Names, Password),
    PasswordVerdict(Option<Mechanism>, Names),
    ScramCredentials(ClientFirst),
    ScramClientFinal(ServerFirst),
    ScramAcknowledgement(Success),
    TokenResponse(Mechanism),
    TokenVerdict(Mechanism, Option<String>),
    TokenAccount(Mechanism, Names),
    /// The error was sent; whatever the client answers ends the exchange.
    TokenRefused(Refusal),
    Over,
}

/// Who logs in, and as whom.
pub(crate) struct Names {
    pub(crate) authcid: String,
    pub(crate) authzid: Option<String>,
}

impl Names {
    pub(crate) fn new(authcid: &[u8], authzid: Option<&[u8]>) -> Result<Names, Failure> {
        let read = |name: &[u8]| {
            let text = str::from_utf8(name).map_err(|_| Failure::Malformed)?;
            let good = text.len() <= NAME_LEN_MAX && !text.chars().any(char::is_control);
            if good {
                Ok(text.to_owned())
            } else {
                Err(Failure::Malformed)
            }
        };
        let authcid = read(authcid)?;
        if authcid.is_empty() {
            return Err(Failure::Malformed);
        }
        let authzid = authzid
            .filter(|name| !name.is_empty())
            .map(read)
            .transpose()?;
        Ok(Names { authcid, authzid })
    }

    /// Nobody acts for somebody else (yet): the authorization identity must be the user itself.
    pub(crate) fn authorized(&self) -> bool {
        self.authzid
            .as_ref()
            .is_none_or(|authzid| authzid.to_lowercase() == self.authcid.to_lowercase())
    }
}

impl Exchange {
    /// Begins, with the client's initial response if it sent one.
    pub fn start(
        mechanism: Mechanism,
        initial: Option<&[u8]>,
        context: Context,
    ) -> (Exchange, Step) {
        let (state, challenge) = match mechanism {
            Mechanism::Plain => (State::PlainResponse, &b""[..]),
            Mechanism::Login => (State::LoginUser, login::ASK_USER),
            Mechanism::ScramSha256 => (State::ScramClientFirst { plus: false }, &b""[..]),
            Mechanism::ScramSha256Plus => (State::ScramClientFirst { plus: true }, &b""[..]),
            Mechanism::OAuthBearer | Mechanism::XOAuth2 => {
                (State::TokenResponse(mechanism), &b""[..])
            }
        };
        let mut exchange = Exchange { context, state };
        let step = match initial {
            Some(response) => exchange.respond(response),
            None => Step::Challenge(challenge.to_vec()),
        };
        (exchange, step)
    }

    /// Begins with a name and a password that came without SASL: IMAP's LOGIN, POP3's USER and PASS.
    pub fn with_password(user: &[u8], password: &[u8], context: Context) -> (Exchange, Step) {
        let mut exchange = Exchange {
            context,
            state: State::Over,
        };
        let step = match (Names::new(user, None), Password::prepare(password)) {
            (Ok(names), Ok(password)) => exchange.lookup_for_password(None, names, password),
            _ => Step::Failed(Failure::Credentials),
        };
        (exchange, step)
    }

    /// Takes the client's answer to a challenge, decoded.
    pub fn respond(&mut self, response: &[u8]) -> Step {
        if response.len() > RESPONSE_BASE64_LEN_MAX {
            return self.fail(Failure::Malformed);
        }
        self.respond_in_state(response)
            .unwrap_or_else(|failure| self.fail(failure))
    }

    fn respond_in_state(&mut self, response: &[u8]) -> Result<Step, Failure> {
        match mem::replace(&mut self.state, State::Over) {
            State::PlainResponse => {
                let (names, password) = plain::parse(response)?;
                Ok(self.lookup_for_password(Some(Mechanism::Plain), names, password))
            }
            State::LoginUser => {
                self.state = State::LoginPassword(Names::new(response, None)?);
                Ok(Step::Challenge(login::ASK_PASSWORD.to_vec()))
            }
            State::LoginPassword(names) => {
                let password = Password::prepare(response).map_err(|_| Failure::Credentials)?;
                Ok(self.lookup_for_password(Some(Mechanism::Login), names, password))
            }
            State::ScramClientFirst { plus } => {
                let first = ClientFirst::parse(response, plus, &self.context.bindings)?;
                let user = first.names.authcid.clone();
                self.state = State::ScramCredentials(first);
                Ok(Step::Lookup(user))
            }
            State::ScramClientFinal(server_first) => {
                let Proven {
                    success,
                    server_final,
                } = ClientFinal::parse(response)?.verify(server_first)?;
                self.state = State::ScramAcknowledgement(success);
                Ok(Step::Challenge(server_final))
            }
            // RFC 4954 and RFC 9051 carry no data with success: the server's proof went out as a challenge, and the
            // client's answer is empty.
            State::ScramAcknowledgement(success) if response.is_empty() => Ok(Step::Done(success)),
            State::ScramAcknowledgement(_) => Err(Failure::Malformed),
            State::TokenResponse(mechanism) => {
                let message = match mechanism {
                    Mechanism::XOAuth2 => bearer::parse_xoauth2(response)?,
                    _ => bearer::parse_oauthbearer(response)?,
                };
                match message.token {
                    Some(token) => {
                        self.state = State::TokenVerdict(mechanism, message.authzid);
                        Ok(Step::Token(token))
                    }
                    None => Ok(self.refuse_token(mechanism, Refusal::NoToken)),
                }
            }
            // RFC 7628 §3.2.3: the client answers `%x01`, with XOAUTH2 nothing; it makes no difference.
            State::TokenRefused(refusal) => Err(refusal.failure()),
            State::PasswordCredentials(..)
            | State::PasswordVerdict(..)
            | State::ScramCredentials(_)
            | State::TokenVerdict(..)
            | State::TokenAccount(..)
            | State::Over => Err(Failure::OutOfOrder),
        }
    }

    fn lookup_for_password(
        &mut self,
        mechanism: Option<Mechanism>,
        names: Names,
        password: Password,
    ) -> Step {
        let user = names.authcid.clone();
        self.state = State::PasswordCredentials(mechanism, names, password);
        Step::Lookup(user)
    }

    /// Takes what was found out about a token.
    pub fn token(&mut self, verdict: TokenVerdict) -> Step {
        let (mechanism, authzid) = match mem::replace(&mut self.state, State::Over) {
            State::TokenVerdict(mechanism, authzid) => (mechanism, authzid),
            _ => return self.fail(Failure::OutOfOrder),
        };
        let user = match verdict {
            TokenVerdict::Of(user) => user,
            TokenVerdict::Invalid => return self.refuse_token(mechanism, Refusal::Invalid),
            TokenVerdict::InsufficientScope => {
                return self.refuse_token(mechanism, Refusal::InsufficientScope);
            }
        };
        // Another user's token is as good as none.
        let names = Names::new(user.as_bytes(), authzid.as_ref().map(String::as_bytes));
        match names {
            Ok(names) if names.authorized() => {
                self.state = State::TokenAccount(mechanism, names);
                Step::Lookup(user)
            }
            _ => self.refuse_token(mechanism, Refusal::Invalid),
        }
    }

    /// Why the client's token is not taken, once that is sure. The challenge that says so may never be answered.
    pub fn refused(&self) -> Option<Failure> {
        match &self.state {
            State::TokenRefused(refusal) => Some(refusal.failure()),
            _ => None,
        }
    }

    fn refuse_token(&mut self, mechanism: Mechanism, refusal: Refusal) -> Step {
        match &self.context.tokens {
            Some(service) => {
                let challenge = refusal.challenge(mechanism, service);
                self.state = State::TokenRefused(refusal);
                Step::Challenge(challenge)
            }
            None => self.fail(refusal.failure()),
        }
    }

    /// Takes what the directory has: `None` when there is no such user, or none that may log in here.
    pub fn credentials(&mut self, found: Option<Credentials>) -> Step {
        let exists = found.is_some();
        let found = found.filter(|credentials| !credentials.verifiers.is_empty());
        match mem::replace(&mut self.state, State::Over) {
            // Who comes with a token needs no password.
            State::TokenAccount(mechanism, names) if exists => Step::Done(Success {
                user: names.authcid,
                credential: None,
                mechanism: Some(mechanism),
            }),
            State::TokenAccount(mechanism, _) => self.refuse_token(mechanism, Refusal::Invalid),
            State::PasswordCredentials(mechanism, names, password) => {
                let fake_salt = self.context.fake_salts.salt(&names.authcid);
                self.state = State::PasswordVerdict(mechanism, names);
                Step::Check(PasswordCheck::new(password, found, fake_salt))
            }
            State::ScramCredentials(first) => {
                let fake_salt = self.context.fake_salts.salt(&first.names.authcid);
                match ServerFirst::new(first, found, fake_salt) {
                    Ok(server_first) => {
                        let challenge = server_first.message.clone().into_bytes();
                        self.state = State::ScramClientFinal(server_first);
                        Step::Challenge(challenge)
                    }
                    Err(failure) => self.fail(failure),
                }
            }
            _ => self.fail(Failure::OutOfOrder),
        }
    }

    /// Takes the verdict on a password.
    pub fn checked(&mut self, verdict: Verdict) -> Step {
        match mem::replace(&mut self.state, State::Over) {
            State::PasswordVerdict(mechanism, names) => match verdict.credential() {
                // Said only to who knows the password, lest it tell who exists.
                Some(_) if !names.authorized() => self.fail(Failure::AuthzidRefused),
                Some(credential) => Step::Done(Success {
                    user: names.authcid,
                    credential: Some(credential),
                    mechanism,
                }),
                None => self.fail(Failure::Credentials),
            },
            _ => self.fail(Failure::OutOfOrder),
        }
    }

    fn fail(&mut self, failure: Failure) -> Step {
        self.state = State::Over;
        Step::Failed(failure)
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            State::PlainResponse => "PlainResponse",
            State::LoginUser => "LoginUser",
            State::LoginPassword(_) => "LoginPassword",
            State::ScramClientFirst { .. } => "ScramClientFirst",
            State::PasswordCredentials(..) => "PasswordCredentials",
            State::PasswordVerdict(..) => "PasswordVerdict",
            State::ScramCredentials(_) => "ScramCredentials",
            State::ScramClientFinal(_) => "ScramClientFinal",
            State::ScramAcknowledgement(_) => "ScramAcknowledgement",
            State::TokenResponse(_) => "TokenResponse",
            State::TokenVerdict(..) => "TokenVerdict",
            State::TokenAccount(..) => "TokenAccount",
            State::TokenRefused(_) => "TokenRefused",
            State::Over => "Over",
        })
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod token_tests;
