//! Who gets mail here: RCPT is answered by the directory.

use mailrook_smtp_proto::{EnhancedCode, ForwardPath, Reply, ReplyCode};
use mailrook_store_api::{
    Directory, StoreError,
    meta::{MetaAnswer, MetaQuery, Resolution, ResolvedTarget},
};
use mailrook_types::{Address, Domain, LocalPart};

use super::{relay, store_unreachable};

/// Who a RCPT leads to.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    /// The address as RCPT named it.
    pub(crate) address: Address,
    /// The accounts behind it, at least one.
    pub(crate) targets: Vec<ResolvedTarget>,
}

/// Resolves a forward-path, or says why not.
pub(crate) async fn find(
    directory: &dyn Directory,
    path: ForwardPath,
    hostname: &Domain,
    authenticated: bool,
) -> Result<Found, Reply> {
    let address = match path {
        ForwardPath::Address(address) => address,
        ForwardPath::Postmaster => postmaster(directory, hostname).await?,
    };
    match directory.resolve(&address).await {
        Ok(Resolution::Local {
            accounts,
            elsewhere,
        }) if elsewhere.is_empty() && !accounts.is_empty() => Ok(Found {
            address,
            targets: accounts,
        }),
        Ok(Resolution::Local { .. }) => Err(relay::refuse_forward()),
        Ok(Resolution::NoSuchUser) => {
            let text = "no such user here";
            Err(Reply::new(
                ReplyCode::MailboxUnavailable550,
                EnhancedCode::NO_SUCH_MAILBOX,
                text,
            ))
        }
        Ok(Resolution::NotLocal) => Err(relay::refuse(authenticated, &address.domain)),
        // Permanent: sent again it is the same, until somebody here mends the alias (RFC 5321 §4.2.1, RFC 3463 §3.3).
        Ok(Resolution::TooMany) => {
            tracing::warn!(%address, "more addresses stand behind this one than a delivery can reach");
            let text = "more recipients stand behind this address than one message can reach";
            Err(Reply::new(
                ReplyCode::MailboxUnavailable550,
                EnhancedCode::MAILING_LIST_EXPANSION,
                text,
            ))
        }
        Err(error) => Err(store_unreachable(&error)),
    }
}

/// RFC 5321 §4.5.1: `<postmaster>` without a domain is this host's: of the first of its name's domains that is ours, or
/// else of the first domain at all.
async fn postmaster(directory: &dyn Directory, hostname: &Domain) -> Result<Address, Reply> {
    let local = LocalPart::parse("postmaster").map_err(|_| no_domain())?;
    let mut name = hostname.as_str();
    while let Ok(domain) = Domain::parse(name) {
        let address = Address {
            local: local.clone(),
            domain,
        };
        match directory.resolve(&address).await {
            Ok(Resolution::NotLocal) => {}
            Ok(_) => return Ok(address),
            Err(error) => return Err(store_unreachable(&error)),
        }
        match name.split_once('.') {
            Some((_, parent)) => name = parent,
            None => break,
        }
    }
    match directory
        .query(MetaQuery::Domains {
            after: None,
            limit: 1,
        })
        .await
    {
        Ok(MetaAnswer::Domains(mut domains)) => {
            let domain = domains.pop().ok_or_else(no_domain)?.domain;
            Ok(Address { local, domain })
        }
        Ok(other) => Err(store_unreachable(&StoreError::Internal(format!(
            "asked for domains, got {other:?}"
        )))),
        Err(error) => Err(store_unreachable(&error)),
    }
}

fn no_domain() -> Reply {
    Reply::new(
        ReplyCode::LocalError451,
        EnhancedCode::SYSTEM,
        "no domain is set up here yet",
    )
}

#[cfg(test)]
mod tests {
    use mailrook_store_api::{
        Call,
        meta::{MetaCommand, MetaReply},
    };

    use super::*;

    /// A directory in which every address leads to too many.
    struct Overgrown;

    impl Directory for Overgrown {
        fn command(&self, _command: MetaCommand) -> Call<'_, MetaReply> {
            Box::pin(async { Ok(MetaReply::Done) })
        }

        fn query(&self, _query: MetaQuery) -> Call<'_, MetaAnswer> {
            Box::pin(async { Ok(MetaAnswer::Resolution(Resolution::TooMany)) })
        }
    }

    #[tokio::test]
    async fn an_alias_with_too_many_behind_it_is_refused_for_good() {
        let path = ForwardPath::Address(Address::parse("all@example.test").unwrap());
        let hostname = Domain::parse("mx.example.test").unwrap();
        let refused = find(&Overgrown, path, &hostname, false).await.unwrap_err();
        assert_eq!(refused.code, ReplyCode::MailboxUnavailable550);
        assert_eq!(refused.enhanced, Some(EnhancedCode::MAILING_LIST_EXPANSION));
    }
}
