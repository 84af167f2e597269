//! Clients and settings.

use mailrook_types::ClientId;

use super::{Machine, Outcome, limit};
use crate::{
    MetaRefusal, MetaReply, key,
    resolve::{Rules, SETTING_ABUSE, SETTING_POSTMASTER, leads_anywhere, setting_address},
    tables::{delete, put},
};

/// How many of the latest grants are remembered by their nonce. An asker repeats itself within seconds; one that
/// comes back after so many others gets a new id, which harms nobody.
pub const GRANTS_KEPT: u64 = 4096;
/// The longest name of a setting.
pub const SETTING_NAME_BYTES_MAX: usize = 64;
/// The longest value of a setting.
pub const SETTING_BYTES_MAX: usize = 64 << 10;

impl Machine<'_, '_> {
    pub(super) fn grant_client(&mut self, nonce: [u8; 16]) -> Outcome {
        if let Some(granted) = self.tables().grant(&nonce)? {
            return Ok(MetaReply::Client(granted));
        }
        let id = ClientId(self.count_up(key::NEXT_CLIENT)?);
        put(self.view, key::grant_by_nonce(&nonce), &id);
        put(self.view, key::grant_by_id(id), &nonce);
        if let Some(old) = id.0.checked_sub(GRANTS_KEPT).map(ClientId)
            && let Some(nonce) = self.tables().grant_nonce(old)?
        {
            delete(self.view, key::grant_by_nonce(&nonce));
            delete(self.view, key::grant_by_id(old));
        }
        Ok(MetaReply::Client(id))
    }

    pub(super) fn put_setting(&mut self, name: &str, value: Option<Vec<u8>>) -> Outcome {
        if name.is_empty() || name.len() > SETTING_NAME_BYTES_MAX {
            return Err(limit(format!(
                "a setting's name has 1 to {SETTING_NAME_BYTES_MAX} bytes"
            )));
        }
        let Some(value) = value else {
            delete(self.view, key::setting(name));
            return Ok(MetaReply::Done);
        };
        if value.len() > SETTING_BYTES_MAX {
            return Err(limit(format!(
                "a setting has at most {SETTING_BYTES_MAX} bytes"
            )));
        }
        if [SETTING_POSTMASTER, SETTING_ABUSE].contains(&name) {
            let Some(address) = setting_address(&value) else {
                return Err(limit(format!("the setting {name} is a mail address")));
            };
            let rules = Rules {
                catch_all: true,
                settings: false,
            };
            if !leads_anywhere(self.tables(), &address, rules)? {
                return Err(MetaRefusal::NoSuchAccount(address).into());
            }
        }
        put(self.view, key::setting(name), &value);
        Ok(MetaReply::Done)
    }
}
