//! The client's side: for mail that goes out through a smart host, and for tests of everything that logs in.

use base64::{Engine, engine::general_purpose::STANDARD};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::{
    ChannelBindings, Mechanism, Password,
    verifier::{ScramKeys, hmac_sha256},
};

/// What a server may ask of SCRAM: RFC 7677 §4 has 4,096 at least, lest the proof be easy to guess from. A million are
/// half a second; whoever wants more wants to keep us busy.
const ITERATIONS: std::ops::RangeInclusive<u32> = 4_096..=1_000_000;

/// A client in an exchange.
pub struct Client {
    mechanism: Mechanism,
    user: String,
    password: Zeroizing<String>,
    gs2_header: String,
    binding_data: Vec<u8>,
    nonce: String,
    state: State,
}

enum State {
    First,
    LoginPassword,
    ServerFirst {
        first_bare: String,
    },
    ServerFinal {
        signature: String,
    },
    /// With a token the server has nothing to say but that it does not take it.
    TokenError,
    Finished,
    /// The server broke the mechanism: nothing it says counts any more.
    Broken,
}

/// What the client did not like of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ClientError {
    /// A challenge that the mechanism does not know.
    #[error("unexpected challenge")]
    Unexpected,
    /// The server does not know the password either.
    #[error("the server's proof is wrong")]
    ServerProof,
}

impl Client {
    /// A client that takes the strongest binding of `bindings` with -PLUS, and says `n` without it. Where a mechanism wants
    /// a token, the password is one.
    pub fn new(
        mechanism: Mechanism,
        user: &str,
        password: &str,
        bindings: &ChannelBindings,
    ) -> Client {
        let (name, data) = match (&bindings.tls_exporter, &bindings.tls_server_end_point) {
            (Some(data), _) => ("tls-exporter", data.to_vec()),
            (None, Some(data)) => ("tls-server-end-point", data.clone()),
            (None, None) => ("none", Vec::new()),
        };
        let plus = mechanism == Mechanism::ScramSha256Plus;
        let mut nonce = [0; 18];
        getrandom::fill(&mut nonce).expect("a test machine has random bytes");
        Client {
            mechanism,
            user: user.to_owned(),
            password: Zeroizing::new(password.to_owned()),
            gs2_header: if plus {
                format!("p={name},,")
            } else {
                "n,,".to_owned()
            },
            binding_data: if plus { data } else { Vec::new() },
            nonce: STANDARD.encode(nonce),
            state: State::First,
        }
    }

    /// The same client with another GS2 header, to provoke the server.
    #[must_use]
    pub fn with_gs2_header(mut self, header: &str) -> Client {
        self.gs2_header = header.to_owned();
        self
    }

    /// The initial response; `None` for LOGIN, which waits to be asked.
    pub fn initial(&mut self) -> Option<Vec<u8>> {
        match self.mechanism {
            Mechanism::Plain => {
                self.state = State::Finished;
                Some(format!("\0{}\0{}", self.user, *self.password).into_bytes())
            }
            Mechanism::Login => None,
            Mechanism::OAuthBearer => {
                self.state = State::TokenError;
                let user = self.user.replace('=', "=3D").replace(',', "=2C");
                let token = self.password.as_str();
                Some(format!("n,a={user},\x01auth=Bearer {token}\x01\x01").into_bytes())
            }
            Mechanism::XOAuth2 => {
                self.state = State::TokenError;
                let (user, token) = (&self.user, self.password.as_str());
                Some(format!("user={user}\x01auth=Bearer {token}\x01\x01").into_bytes())
            }
            Mechanism::ScramSha256 | Mechanism::ScramSha256Plus => {
                let user = self.user.replace('=', "=3D").replace(',', "=2C");
                let first_bare = format!("n={user},r={}", self.nonce);
                let message = format!("{}{first_bare}", self.gs2_header);
                self.state = State::ServerFirst { first_bare };
                Some(message.into_bytes())
            }
        }
    }

    /// Whether all is said, and the server has proved what its mechanism has it prove: only then its yes means
    /// anything.
    pub fn is_finished(&self) -> bool {
        matches!(self.state, State::Finished | State::TokenError)
    }

    /// Answers a challenge. An empty first challenge asks for the initial response. After an error the exchange is over.
    pub fn respond(&mut self, challenge: &[u8]) -> Result<Vec<u8>, ClientError> {
        let response = self.answer(challenge);
        if response.is_err() {
            self.state = State::Broken;
        }
        response
    }

    fn answer(&mut self, challenge: &[u8]) -> Result<Vec<u8>, ClientError> {
        let text = std::str::from_utf8(challenge).map_err(|_| ClientError::Unexpected)?;
        match std::mem::replace(&mut self.state, State::Finished) {
            State::First if self.mechanism == Mechanism::Login => {
                self.state = State::LoginPassword;
                Ok(self.user.clone().into_bytes())
            }
            State::First if text.is_empty() => self.initial().ok_or(ClientError::Unexpected),
            // RFC 7628 §3.2.3
            State::TokenError if text.starts_with('{') => match self.mechanism {
                Mechanism::OAuthBearer => Ok(b"\x01".to_vec()),
                _ => Ok(Vec::new()),
            },
            State::LoginPassword => Ok(self.password.as_bytes().to_vec()),
            State::ServerFirst { first_bare } => self.prove(&first_bare, text),
            State::ServerFinal { signature } if text == signature => Ok(Vec::new()),
            State::ServerFinal { .. } => Err(ClientError::ServerProof),
            State::First | State::TokenError | State::Finished | State::Broken => {
                Err(ClientError::Unexpected)
            }
        }
    }

    fn prove(&mut self, first_bare: &str, server_first: &str) -> Result<Vec<u8>, ClientError> {
        let mut attributes = server_first.split(',');
        let mut attribute = |name| {
            attributes
                .next()
                .and_then(|a| a.strip_prefix(name))
                .ok_or(ClientError::Unexpected)
        };
        let (nonce, salt, iterations) = (attribute("r=")?, attribute("s=")?, attribute("i=")?);
        if !nonce.starts_with(&self.nonce) || nonce.len() == self.nonce.len() {
            return Err(ClientError::Unexpected);
        }
        let salt = STANDARD.decode(salt).map_err(|_| ClientError::Unexpected)?;
        let iterations = iterations.parse().map_err(|_| ClientError::Unexpected)?;
        if !ITERATIONS.contains(&iterations) {
            return Err(ClientError::Unexpected);
        }
        let password =
            Password::prepare(self.password.as_bytes()).map_err(|_| ClientError::Unexpected)?;
        let keys = ScramKeys::derive(password.as_bytes(), &salt, iterations);

        let binding = [self.gs2_header.as_bytes(), &self.binding_data].concat();
        let without_proof = format!("c={},r={nonce}", STANDARD.encode(binding));
        let signed = format!("{first_bare},{server_first},{without_proof}");
        let mut proof = hmac_sha256(&keys.stored_key(), &[signed.as_bytes()]);
        proof
            .iter_mut()
            .zip(*keys.client_key)
            .for_each(|(proof, key)| *proof ^= key);
        let signature = hmac_sha256(&*keys.server_key, &[signed.as_bytes()]);
        self.state = State::ServerFinal {
            signature: format!("v={}", STANDARD.encode(signature)),
        };
        Ok(format!("{without_proof},p={}", STANDARD.encode(proof)).into_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_cannot_make_it_cheap_or_dear() {
        for (iterations, taken) in [(1, false), (4_095, false), (4_096, true), (u32::MAX, false)] {
            let bindings = ChannelBindings::default();
            let mut client = Client::new(Mechanism::ScramSha256, "ann", "dark", &bindings);
            client.initial();
            let first = format!("r={}x,s=QUFB,i={iterations}", client.nonce);
            assert_eq!(
                client.respond(first.as_bytes()).is_ok(),
                taken,
                "{iterations}"
            );
            // Its yes is worth nothing before its proof.
            assert!(!client.is_finished());
        }
    }
}
