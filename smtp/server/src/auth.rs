//! AUTH (RFC 4954): drives a SASL exchange between the session and the directory.

use std::net::IpAddr;

use mailrook_net::Stream;
use mailrook_sasl::{
    ChannelBindings, Context, Credentials, Exchange, Failure, Mechanism, OfferPolicy, Step,
    Verifier,
};
use mailrook_smtp_proto::{EnhancedCode, Reply, ReplyCode};
use mailrook_store_api::{
    Directory,
    meta::{CredentialScope, LoginAccount},
};

use crate::front::Logins;

/// What comes of a step.
pub(crate) enum Outcome {
    /// Ask the client.
    Challenge(Vec<u8>),
    /// The client is this user.
    Done(Box<LoginAccount>),
    /// It is not.
    Failed(Reply),
}

/// A running exchange.
pub(crate) struct Login {
    exchange: Exchange,
    account: Option<Box<LoginAccount>>,
    ip: Option<IpAddr>,
}

/// The names of all mechanisms.
pub(crate) fn all_mechanisms() -> Vec<String> {
    Mechanism::ALL
        .into_iter()
        .map(|mechanism| mechanism.name().to_owned())
        .collect()
}

/// What to offer on a connection: nothing without TLS, unless `plaintext` permits it.
pub(crate) fn offered(stream: &Stream, plaintext: bool) -> Vec<&'static str> {
    if !stream.is_tls() && !plaintext {
        return Vec::new();
    }
    Mechanism::offered(&bindings(stream), OfferPolicy::Everything)
        .map(Mechanism::name)
        .collect()
}

fn bindings(stream: &Stream) -> ChannelBindings {
    let tls = stream.tls_bindings();
    ChannelBindings {
        tls_exporter: tls.exporter,
        tls_server_end_point: tls.server_end_point.map(|hash| hash.to_vec()),
    }
}

impl Login {
    /// Begins an exchange with a mechanism that was offered.
    pub(crate) async fn start(
        mechanism: &str,
        initial: Option<&[u8]>,
        stream: &Stream,
        ip: Option<IpAddr>,
        logins: &Logins,
        directory: &dyn Directory,
    ) -> (Option<Login>, Outcome) {
        let Ok(mechanism) = mechanism.parse::<Mechanism>() else {
            let text = "this mechanism is not offered";
            let reply = Reply::new(
                ReplyCode::ParameterNotImplemented504,
                EnhancedCode::INVALID_ARGUMENTS,
                text,
            );
            return (None, Outcome::Failed(reply));
        };
        let context = Context {
            bindings: bindings(stream),
            fake_salts: logins.fake_salts.clone(),
        };
        let (exchange, step) = Exchange::start(mechanism, initial, context);
        let mut login = Login {
            exchange,
            account: None,
            ip,
        };
        let outcome = login.advance(step, logins, directory).await;
        (Some(login), outcome)
    }

    /// Takes the client's response.
    pub(crate) async fn respond(
        &mut self,
        response: &[u8],
        logins: &Logins,
        directory: &dyn Directory,
    ) -> Outcome {
        let step = self.exchange.respond(response);
        self.advance(step, logins, directory).await
    }

    async fn advance(
        &mut self,
        mut step: Step,
        logins: &Logins,
        directory: &dyn Directory,
    ) -> Outcome {
        loop {
            step = match step {
                Step::Challenge(challenge) => return Outcome::Challenge(challenge),
                Step::Lookup(name) => {
                    if let Some(ip) = self.ip {
                        tokio::time::sleep(logins.throttle.delay(ip)).await;
                    }
                    match directory.login(&name).await {
                        Ok(account) => {
                            let found = account.as_deref().and_then(credentials);
                            self.account = account;
                            self.exchange.credentials(found)
                        }
                        Err(error) => {
                            tracing::warn!(%error, "a login could not be checked");
                            return Outcome::Failed(try_later());
                        }
                    }
                }
                Step::Check(check) => match check.cached(&logins.cache) {
                    Some(verdict) => self.exchange.checked(verdict),
                    None => {
                        let cache = std::sync::Arc::clone(&logins.cache);
                        match logins.hashing.run(move || check.hash(&cache)).await {
                            Ok(verdict) => self.exchange.checked(verdict),
                            Err(_) => return Outcome::Failed(try_later()),
                        }
                    }
                },
                Step::Done(_) => return self.done(logins),
                Step::Failed(failure) => return self.failed(failure, logins),
            }
        }
    }

    fn done(&mut self, logins: &Logins) -> Outcome {
        if let Some(ip) = self.ip {
            logins.throttle.succeeded(ip);
        }
        // Nobody gets here without an account that was looked up.
        self.account
            .take()
            .map_or_else(|| Outcome::Failed(try_later()), Outcome::Done)
    }

    fn failed(&self, failure: Failure, logins: &Logins) -> Outcome {
        if let Some(ip) = self.ip
            && failure == Failure::Credentials
        {
            logins.throttle.failed(ip);
        }
        Outcome::Failed(match failure {
            Failure::Temporary => try_later(),
            Failure::Malformed | Failure::OutOfOrder => {
                let text = "the response does not fit the mechanism";
                Reply::new(ReplyCode::ParameterError501, EnhancedCode::SYNTAX, text)
            }
            Failure::Credentials | Failure::AuthzidRefused | Failure::ChannelBinding => Reply::new(
                ReplyCode::AuthFailed535,
                EnhancedCode::BAD_CREDENTIALS,
                "authentication failed",
            ),
        })
    }
}

/// The passwords that open submission; none if the account may not log in.
fn credentials(account: &LoginAccount) -> Option<Credentials> {
    let record = &account.record;
    if !record.enabled {
        return None;
    }
    let opens =
        |scopes: &[CredentialScope]| scopes.is_empty() || scopes.contains(&CredentialScope::Smtp);
    let of_smtp = record
        .credentials
        .iter()
        .filter(|credential| opens(&credential.scopes));
    let verifiers = of_smtp.filter_map(|credential| match Verifier::from_bytes(&credential.verifier) {
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

/// RFC 4954 §6.
fn try_later() -> Reply {
    Reply::new(
        ReplyCode::TemporaryAuthFailure454,
        EnhancedCode::SECURITY,
        "authentication cannot be checked now",
    )
}
