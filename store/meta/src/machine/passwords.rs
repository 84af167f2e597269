//! Passwords of accounts.

use mailrook_types::Address;

use super::{Machine, Outcome, Stop, limit};
use crate::{AccountRecord, Credential, MetaRefusal, MetaReply};

/// The most passwords of an account: one for each device a person may have, and a login reads them all.
pub const CREDENTIALS_MAX: usize = 32;
/// The longest name of a password.
pub const CREDENTIAL_NAME_BYTES_MAX: usize = 64;
/// The longest verifier. Mailrook's have about 300 bytes; imported ones may have longer salts.
pub const VERIFIER_BYTES_MAX: usize = 1024;

/// Whether a password may be kept.
pub(super) fn check(credential: &Credential) -> Result<(), Stop> {
    let name = &credential.name;
    if name.is_empty()
        || name.len() > CREDENTIAL_NAME_BYTES_MAX
        || name.chars().any(char::is_control)
    {
        let text = format!(
            "a password's name has 1 to {CREDENTIAL_NAME_BYTES_MAX} bytes, none a control character"
        );
        return Err(limit(text));
    }
    if credential.verifier.len() > VERIFIER_BYTES_MAX {
        return Err(limit(format!(
            "a verifier has at most {VERIFIER_BYTES_MAX} bytes"
        )));
    }
    // There are three; more would be repeats.
    if credential.scopes.len() > 3 {
        return Err(limit("a password has at most three scopes".to_owned()));
    }
    Ok(())
}

impl Machine<'_, '_> {
    pub(super) fn put_credential(&mut self, address: Address, credential: Credential) -> Outcome {
        let mut record = self.known_account(&address)?;
        check(&credential)?;
        let present = record
            .credentials
            .iter()
            .position(|known| known.name == credential.name);
        if present.is_none() && record.credentials.len() >= CREDENTIALS_MAX {
            return Err(limit(format!(
                "an account has at most {CREDENTIALS_MAX} passwords"
            )));
        }
        record.credentials_version += 1;
        let credential = Credential {
            version: record.credentials_version,
            created: self.now,
            ..credential
        };
        match present {
            Some(at) => record.credentials[at] = credential,
            None => record.credentials.push(credential),
        }
        self.keep(record)
    }

    pub(super) fn remove_credential(&mut self, address: Address, name: String) -> Outcome {
        let mut record = self.known_account(&address)?;
        let before = record.credentials.len();
        record.credentials.retain(|known| known.name != name);
        if record.credentials.len() == before {
            return Err(MetaRefusal::NoSuchCredential(name).into());
        }
        record.credentials_version += 1;
        self.keep(record)
    }

    fn keep(&mut self, record: AccountRecord) -> Outcome {
        self.put_account(&record);
        Ok(MetaReply::Account(Box::new(record)))
    }
}
