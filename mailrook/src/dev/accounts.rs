//! The accounts of a throwaway server. Their passwords lie beside the data, so that a second start, also after a crash,
//! has the same.

use std::{fs, io, path::Path};

use futures::{StreamExt, TryStreamExt, stream};
use mailrook_types::{Address, Domain};
use serde::{Deserialize, Serialize};

use crate::{
    admin::protocol::{Request, Secret},
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

/// Makes the domain and those of the first `count` accounts that are not there yet.
pub async fn make(
    server: &Server,
    folder: &Path,
    domain: &str,
    count: u32,
) -> Result<Vec<Account>, String> {
    let accounts = known_or_new(&folder.join("accounts.json"), domain, count)?;
    let domain = Domain::parse(domain).map_err(|error| error.to_string())?;
    let added = server.admin().handle(Request::DomainAdd { domain }).await;
    added.map_err(|error| error.to_string())?;
    let adding = accounts.iter().map(|account| add(server, account));
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

async fn add(server: &Server, account: &Account) -> Result<(), String> {
    let failed = |error: String| format!("{}: {error}", account.user);
    let address = Address::parse(&account.user).map_err(|error| failed(error.to_string()))?;
    let known = server
        .admin()
        .directory
        .account(&address)
        .await
        .map_err(|error| failed(error.to_string()))?;
    if known.is_some() {
        return Ok(());
    }
    let password = Some(Secret::new(account.password.clone()));
    let request = Request::AccountAdd {
        address,
        password,
        quota_bytes: None,
        quota_messages: None,
    };
    match server.admin().handle(request).await {
        Ok(_) => Ok(()),
        Err(error) => Err(failed(error.to_string())),
    }
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
