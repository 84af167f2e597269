//! The mechanisms, which of them to announce, and the channel that they may bind to.

use std::{fmt, str::FromStr};

/// A mechanism that Mailrook offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mechanism {
    /// RFC 7677 with channel binding (RFC 5802 §6).
    ScramSha256Plus,
    /// RFC 7677.
    ScramSha256,
    /// RFC 4616.
    Plain,
    /// draft-murchison-sasl-login-00: obsolete, and all that some clients speak.
    Login,
    /// RFC 7628.
    OAuthBearer,
    /// Google's and Microsoft's forerunner of it, which most clients speak.
    XOAuth2,
}

/// What the surrounding TLS connection offers for channel binding. Both are absent on a plain connection.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ChannelBindings {
    /// `tls-exporter` (RFC 9266), of TLS 1.3 connections.
    pub tls_exporter: Option<[u8; 32]>,
    /// `tls-server-end-point` (RFC 5929 §4): a hash of our certificate.
    pub tls_server_end_point: Option<Vec<u8>>,
}

/// Where a session stands, as far as it decides what may be offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OfferPolicy {
    /// The connection is confidential, or the site permits passwords without TLS.
    Everything,
    /// No mechanism that shows the password to whoever listens.
    NoPlaintext,
}

impl Mechanism {
    /// All of them. Those with a password come first, the strongest before the others: clients are told to take the first
    /// that they know. Those with a token come last, where a client that has a password does not run into them; one that
    /// has a token looks for nothing else.
    pub const ALL: [Mechanism; 6] = [
        Mechanism::ScramSha256Plus,
        Mechanism::ScramSha256,
        Mechanism::Plain,
        Mechanism::Login,
        Mechanism::OAuthBearer,
        Mechanism::XOAuth2,
    ];

    /// Those with a password.
    pub const PASSWORD: [Mechanism; 4] = [
        Mechanism::ScramSha256Plus,
        Mechanism::ScramSha256,
        Mechanism::Plain,
        Mechanism::Login,
    ];

    /// The registered name.
    pub const fn name(self) -> &'static str {
        match self {
            Mechanism::ScramSha256Plus => "SCRAM-SHA-256-PLUS",
            Mechanism::ScramSha256 => "SCRAM-SHA-256",
            Mechanism::Plain => "PLAIN",
            Mechanism::Login => "LOGIN",
            Mechanism::OAuthBearer => "OAUTHBEARER",
            Mechanism::XOAuth2 => "XOAUTH2",
        }
    }

    /// Whether what opens the account crosses the wire as it is.
    pub const fn shows_password(self) -> bool {
        matches!(self, Mechanism::Plain | Mechanism::Login) || self.takes_token()
    }

    /// Whether it is a token that the client shows.
    pub const fn takes_token(self) -> bool {
        matches!(self, Mechanism::OAuthBearer | Mechanism::XOAuth2)
    }

    /// What to announce, in the order of [`Mechanism::ALL`]; `tokens`: whether there is anybody who can check them. -PLUS is announced exactly when there is something to bind to:
    /// the check for downgrades (RFC 5802 §6) rests on that, so announce no other list.
    pub fn offered(
        bindings: &ChannelBindings,
        policy: OfferPolicy,
        tokens: bool,
    ) -> impl Iterator<Item = Mechanism> + use<> {
        let plus = bindings.any();
        Mechanism::ALL
            .into_iter()
            .filter(move |mechanism| match mechanism {
                Mechanism::ScramSha256Plus => plus,
                Mechanism::ScramSha256 => true,
                Mechanism::Plain | Mechanism::Login => policy == OfferPolicy::Everything,
                Mechanism::OAuthBearer | Mechanism::XOAuth2 => {
                    tokens && policy == OfferPolicy::Everything
                }
            })
    }
}

impl ChannelBindings {
    /// Whether there is anything to bind to.
    pub fn any(&self) -> bool {
        self.tls_exporter.is_some() || self.tls_server_end_point.is_some()
    }

    /// The data of the binding of that registered name.
    pub(crate) fn data(&self, name: &str) -> Option<&[u8]> {
        match name {
            "tls-exporter" => self.tls_exporter.as_ref().map(<[u8; 32]>::as_slice),
            "tls-server-end-point" => self.tls_server_end_point.as_deref(),
            _ => None,
        }
    }
}

/// The exported key is shown to nobody.
impl fmt::Debug for ChannelBindings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChannelBindings")
            .field("tls_exporter", &self.tls_exporter.is_some())
            .field("tls_server_end_point", &self.tls_server_end_point.is_some())
            .finish()
    }
}

impl fmt::Display for Mechanism {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Reads a mechanism's name in any case, as clients write it.
impl FromStr for Mechanism {
    type Err = ();

    fn from_str(text: &str) -> Result<Mechanism, ()> {
        Mechanism::ALL
            .into_iter()
            .find(|mechanism| mechanism.name().eq_ignore_ascii_case(text))
            .ok_or(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offers_what_the_connection_permits() {
        let names_with = |bindings: &ChannelBindings, policy, tokens| {
            Mechanism::offered(bindings, policy, tokens)
                .map(Mechanism::name)
                .collect::<Vec<_>>()
                .join(" ")
        };
        let names = |bindings: &ChannelBindings, policy| names_with(bindings, policy, false);
        let none = ChannelBindings::default();
        let tls = ChannelBindings {
            tls_exporter: Some([7; 32]),
            tls_server_end_point: None,
        };
        assert_eq!(names(&none, OfferPolicy::NoPlaintext), "SCRAM-SHA-256");
        assert_eq!(
            names(&none, OfferPolicy::Everything),
            "SCRAM-SHA-256 PLAIN LOGIN"
        );
        assert_eq!(
            names(&tls, OfferPolicy::Everything),
            "SCRAM-SHA-256-PLUS SCRAM-SHA-256 PLAIN LOGIN"
        );
        assert_eq!(
            names_with(&none, OfferPolicy::Everything, true),
            "SCRAM-SHA-256 PLAIN LOGIN OAUTHBEARER XOAUTH2"
        );
        assert_eq!(
            names_with(&none, OfferPolicy::NoPlaintext, true),
            "SCRAM-SHA-256"
        );
        assert_eq!("xoauth2".parse(), Ok(Mechanism::XOAuth2));
        assert_eq!("scram-sha-256-plus".parse(), Ok(Mechanism::ScramSha256Plus));
        assert_eq!("CRAM-MD5".parse::<Mechanism>(), Err(()));
        assert!(!format!("{tls:?}").contains('7'));
    }
}
