//! The accounts of a throwaway server. Their passwords lie beside the data, so that a second start, also after a crash,
//! has the same.

use std::{collections::BTreeSet, fs, io, path::Path};

use futures::{StreamExt, TryStreamExt, stream};
use mailrook_types::{Address, Domain};
use serde::{Deserialize, Serialize};

use crate::{
    admin::{
        Client,
        protocol::{Reply, Request, Secret},
    },
    password::generate,
    server::Server,
    tls::write_secret,
};

/// Accounts that are being added at once: hashing takes a core each, and the log gathers the rest.
const AT_ONCE: usize = 16;

/// A login.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// `user1@example.test`
    pub user: String,
    /// In clear.
    pub password: String,
}

/// Who carries requests out.
pub enum Asker<'a> {
    /// This process.
    Server(&'a Server),
    /// Another one.
    Client(Client),
}

impl Asker<'_> {
    async fn ask(&self, request: Request) -> Result<Reply, String> {
        match self {
            Asker::Server(server) => {
                let reply = server.admin().handle(request).await;
                reply.map_err(|error| error.to_string())
            }
            Asker::Client(client) => {
                let reply = client.call(&request).await;
                reply.map_err(|error| error.to_string())
            }
        }
    }
}

/// Makes the domain and those of the first `count` accounts that are not there yet.
pub async fn make(
    asker: &Asker<'_>,
    folder: &Path,
    domain: &str,
    count: u32,
) -> Result<Vec<Account>, String> {
    let accounts = known_or_new(&folder.join("accounts.json"), domain, count)?;
    let domain = Domain::parse(domain).map_err(|error| error.to_string())?;
    asker.ask(Request::DomainAdd { domain }).await?;
    let known = known(asker).await?;
    let adding = accounts
        .iter()
        .filter(|account| !known.contains(&account.user))
        .map(|account| add(asker, account));
    stream::iter(adding)
        .buffer_unordered(AT_ONCE)
        .try_collect::<Vec<()>>()
        .await?;
    Ok(accounts)
}

/// Written before the first account is made: a crash in between leaves no account without a known password.
fn known_or_new(path: &Path, domain: &str, count: u32) -> Result<Vec<Account>, String> {
    let at_fault = |error: io::Error| format!("{}: {error}", path.display());
    let mut accounts: Vec<Account> = match fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| at_fault(error.into()))?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(at_fault(error)),
    };
    let count = count as usize;
    if accounts.len() < count {
        for n in accounts.len() + 1..=count {
            accounts.push(Account {
                user: format!("user{n}@{domain}"),
                password: generate()?,
            });
        }
        let text = serde_json::to_vec_pretty(&accounts).map_err(|error| error.to_string())?;
        write_secret(path, &text).map_err(at_fault)?;
    }
    accounts.truncate(count);
    Ok(accounts)
}

/// The accounts that are there.
async fn known(asker: &Asker<'_>) -> Result<BTreeSet<String>, String> {
    let mut known = BTreeSet::new();
    let mut after = None;
    loop {
        let request = Request::AccountList {
            domain: None,
            after,
        };
        match asker.ask(request).await? {
            Reply::Accounts { accounts } => {
                let Some(last) = accounts.last() else {
                    return Ok(known);
                };
                after = Some(last.user.clone());
                known.extend(accounts.iter().map(|account| account.user.to_string()));
            }
            other => return Err(format!("the answer does not fit: {other:?}")),
        }
    }
}

async fn add(asker: &Asker<'_>, account: &Account) -> Result<(), String> {
    let failed = |error: String| format!("{}: {error}", account.user);
    let address = Address::parse(&account.user).map_err(|error| failed(error.to_string()))?;
    let request = Request::AccountAdd {
        address,
        password: Some(Secret::new(account.password.clone())),
        quota_bytes: None,
        quota_messages: None,
    };
    asker.ask(request).await.map(drop).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_stay_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("accounts.json");
        let two = known_or_new(&path, "example.test", 2).unwrap();
        let three = known_or_new(&path, "example.test", 3).unwrap();
        assert_eq!(three[..2], two[..]);
        assert_eq!(three[2].user, "user3@example.test");
        assert_eq!(known_or_new(&path, "example.test", 1).unwrap(), two[..1]);
        assert_eq!(known_or_new(&path, "example.test", 3).unwrap(), three);
    }
}
