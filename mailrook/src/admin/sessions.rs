//! Requests about sessions: who is connected, and who is to go.

use std::{collections::HashMap, time::Duration};

use futures::future::BoxFuture;
use mailrook_net::Reason;
use mailrook_store_api::meta::Resolution;
use mailrook_types::{AccountId, Address, Domain};
use serde::{Deserialize, Serialize};

use super::{
    handle::{Admin, Failure, Outcome},
    protocol::{
        Reply, Request, SessionDetail, SessionInfo, SessionPage, SessionProtocol, SessionsEnded,
        UnreachedNode,
    },
};

/// Sessions in one reply: 400 KB.
pub const SESSION_PAGE: usize = 1_000;

/// What can be asked about the sessions of all nodes. A node that does not answer is named in the answers.
pub trait SessionHost: Send + Sync + 'static {
    /// A page of them: at most [`SESSION_PAGE`], behind the one that `after` names.
    fn list(
        &self,
        filter: SessionFilter,
        node: Option<String>,
        after: Option<String>,
    ) -> BoxFuture<'_, Result<SessionPage, Failure>>;

    /// One of them.
    fn show(&self, id: String) -> BoxFuture<'_, Result<SessionDetail, Failure>>;

    /// Tells them to end. A user's `account` is named with the user, where it is known: names change.
    fn end(
        &self,
        whom: Whom,
        account: Option<AccountId>,
        reason: Reason,
    ) -> BoxFuture<'_, Result<SessionsEnded, Failure>>;

    /// What is asked for of each account, by sessions and deliveries.
    fn loads(&self) -> BoxFuture<'_, AccountLoads>;
}

/// What the nodes have counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccountLoads {
    /// Requests an hour, of all nodes that answered.
    pub by_account: HashMap<AccountId, u64>,
    /// Nodes whose counts are missing.
    pub unreached: Vec<UnreachedNode>,
}

/// How long the directory is waited for before names have to do: as long as another node is.
const DIRECTORY_WITHIN: Duration = Duration::from_secs(2);

/// Which sessions are asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionFilter {
    /// Of this user.
    pub user: Option<Address>,
    /// The account of `user`, where it is known. A program that does not know this field goes by the name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<AccountId>,
    /// Of users of this domain.
    pub domain: Option<Domain>,
    /// That speak this.
    pub protocol: Option<SessionProtocol>,
}

/// Whose sessions are to end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Whom {
    /// This one: with its node's name in front, or without.
    Session(String),
    /// All of a user.
    User(Address),
}

impl SessionProtocol {
    /// What the sessions of a service speak.
    pub fn of_service(service: &str) -> Option<SessionProtocol> {
        Some(match service {
            "imap" | "imaps" => SessionProtocol::Imap,
            "pop3" | "pop3s" => SessionProtocol::Pop3,
            "smtp" | "submission" | "submissions" => SessionProtocol::Smtp,
            "lmtp" => SessionProtocol::Lmtp,
            _ => return None,
        })
    }

    /// In a word, as in the figures: `imap`.
    pub fn name(self) -> &'static str {
        match self {
            SessionProtocol::Imap => "imap",
            SessionProtocol::Pop3 => "pop3",
            SessionProtocol::Smtp => "smtp",
            SessionProtocol::Lmtp => "lmtp",
        }
    }
}

impl SessionFilter {
    /// Whether a session of `service` is asked for, with `user` logged in to `account`. Users are told apart by their accounts where both
    /// are known, else by their names.
    pub fn takes(&self, service: &str, user: Option<&str>, account: Option<AccountId>) -> bool {
        let of_user = |wanted: &Address| match (self.account, account) {
            (Some(wanted), Some(account)) => wanted == account,
            _ => user.is_some_and(|user| user.eq_ignore_ascii_case(&wanted.to_string())),
        };
        let of_domain = |wanted: &Domain| {
            let domain = user.and_then(|user| Some(user.rsplit_once('@')?.1));
            domain.is_some_and(|domain| domain.eq_ignore_ascii_case(&wanted.to_string()))
        };
        self.user.as_ref().is_none_or(of_user)
            && self.domain.as_ref().is_none_or(of_domain)
            && self
                .protocol
                .is_none_or(|wanted| SessionProtocol::of_service(service) == Some(wanted))
    }
}

impl SessionInfo {
    /// What it does, in words: `INBOX: UID FETCH for 12s`.
    pub fn doing(&self) -> String {
        let lasting = lasting(self.lasting_ms);
        let doing = match (&self.command, &self.ended) {
            (_, Some(_)) => "told to end".to_owned(),
            (Some(command), None) => format!("{command} for {lasting}"),
            (None, None) => format!("waits for {lasting}"),
        };
        match &self.mailbox {
            Some(mailbox) => format!("{mailbox}: {doing}"),
            None => doing,
        }
    }
}

/// A time in its largest unit.
pub fn lasting(ms: u64) -> String {
    const UNITS: [(&str, u64); 4] = [
        ("d", 86_400_000),
        ("h", 3_600_000),
        ("m", 60_000),
        ("s", 1_000),
    ];
    match UNITS.iter().find(|(_, factor)| ms >= *factor) {
        Some((unit, factor)) => format!("{}{unit}", ms / factor),
        None => format!("{ms}ms"),
    }
}

impl Admin {
    pub(super) async fn handle_sessions(&self, request: Request) -> Outcome {
        let sessions = self.host.sessions();
        match request {
            Request::SessionList {
                user,
                domain,
                node,
                protocol,
                after,
            } => {
                let account = match &user {
                    Some(user) => self.account_if_known(user).await,
                    None => None,
                };
                let filter = SessionFilter {
                    user,
                    account,
                    domain,
                    protocol,
                };
                sessions
                    .list(filter, node, after)
                    .await
                    .map(Reply::Sessions)
            }
            Request::SessionShow { id } => {
                let shown = sessions.show(id).await?;
                Ok(Reply::Session(Box::new(shown)))
            }
            Request::SessionKill { id, user, reason } => {
                let whom = match (id, user) {
                    (Some(id), None) => Whom::Session(id),
                    (None, Some(user)) => Whom::User(user),
                    _ => {
                        let text = "name either one session or one user";
                        return Err(Failure::Invalid(text.to_owned()));
                    }
                };
                let reason = match reason {
                    Some(text) => {
                        Reason::parse(&text).map_err(|error| Failure::Invalid(error.to_string()))?
                    }
                    None => Reason::default(),
                };
                let account = match &whom {
                    Whom::User(user) => self.account_if_known(user).await,
                    Whom::Session(_) => None,
                };
                let ended = sessions.end(whom, account, reason).await;
                ended.map(Reply::Ended)
            }
            other => Err(Failure::Internal(format!("nobody handles {other:?}"))),
        }
    }

    /// The account that `user` names. None, too, while nobody answers for the directory: who is connected is shown all the same, and who is
    /// to go goes, by the name that they logged in with.
    async fn account_if_known(&self, user: &Address) -> Option<AccountId> {
        let meant = tokio::time::timeout(DIRECTORY_WITHIN, self.account_meant(user)).await;
        let error = match meant {
            Ok(Ok(account)) => return account,
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("the directory did not answer within {DIRECTORY_WITHIN:?}"),
        };
        tracing::warn!(error, "sessions are looked for by the user's name");
        None
    }

    /// The account that `user` names, by its own address or by an alias that leads to it alone. None if there is none (any more): sessions
    /// of such a one are found by the name that they logged in with.
    async fn account_meant(&self, user: &Address) -> Result<Option<AccountId>, Failure> {
        if let Some(record) = self.directory.account(user).await? {
            return Ok(Some(record.id));
        }
        let Resolution::Local {
            accounts,
            elsewhere,
        } = self.directory.resolve(user).await?
        else {
            return Ok(None);
        };
        let ([target], []) = (accounts.as_slice(), elsewhere.as_slice()) else {
            return Ok(None);
        };
        // Not by a catch-all, which a mistyped name leads to as well, nor by a subaddress.
        let owner = self.directory.login(&target.address.to_string()).await?;
        let is_alias = owner.is_some_and(|owner| {
            let mut senders = owner.senders.iter().map(Address::to_string);
            senders.any(|sender| sender.eq_ignore_ascii_case(&user.to_string()))
        });
        Ok(is_alias.then_some(target.account))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_what_is_asked_for() {
        let (user, other) = (Some("One@Example.test"), Some("one@other.test"));
        let of_user = SessionFilter {
            user: Some(Address::parse("one@example.test").unwrap()),
            ..SessionFilter::default()
        };
        let (one, two) = (Some(AccountId(1)), Some(AccountId(2)));
        assert!(of_user.takes("imaps", user, one));
        assert!(!of_user.takes("imaps", other, one) && !of_user.takes("imaps", None, None));
        // The account decides where both sides know it.
        let of_account = SessionFilter {
            account: one,
            ..of_user
        };
        assert!(of_account.takes("imaps", other, one) && of_account.takes("imaps", user, None));
        assert!(!of_account.takes("imaps", user, two) && !of_account.takes("imaps", None, None));
        let of_domain = SessionFilter {
            domain: Some(Domain::parse("other.test").unwrap()),
            protocol: Some(SessionProtocol::Smtp),
            ..SessionFilter::default()
        };
        assert!(of_domain.takes("submission", other, two));
        assert!(!of_domain.takes("pop3", other, two) && !of_domain.takes("submission", user, one));
        assert!(SessionFilter::default().takes("lmtp", None, None));
    }

    #[test]
    fn times_are_read_at_a_glance() {
        for (ms, text) in [
            (0, "0ms"),
            (143, "143ms"),
            (12_900, "12s"),
            (61_000, "1m"),
            (200_000_000, "2d"),
        ] {
            assert_eq!(lasting(ms), text);
        }
    }
}
