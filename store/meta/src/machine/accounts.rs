//! Accounts: added, removed, renamed, let in, limited.

use mailrook_kv::KvError;
use mailrook_types::{AccountId, Address, ShardId};

use super::{Machine, Outcome, Stop};
use crate::{
    AccountRecord, Credential, MetaRefusal, MetaReply, NewAccount, Removal, key,
    tables::{delete, put},
};

impl Machine<'_, '_> {
    pub(super) fn add_account(&mut self, new: NewAccount) -> Outcome {
        let mut row = self.known_domain(&new.address.domain)?;
        if let Some(present) = self.tables().account_at(&new.address)? {
            // The same command again, or somebody else's.
            return if is_as_asked(&present, &new) {
                Ok(MetaReply::Account(Box::new(present)))
            } else {
                Err(MetaRefusal::AddressTaken(new.address).into())
            };
        }
        self.refuse_taken(&new.address)?;
        if let Some(credential) = &new.credential {
            super::passwords::check(credential)?;
        }
        let shard = self.emptiest_shard()?;

        let id = AccountId(self.count_up(key::NEXT_ACCOUNT)?);
        let credentials_version = 1;
        let stamp = |credential| Credential {
            version: credentials_version,
            created: self.now,
            ..credential
        };
        let record = AccountRecord {
            id,
            address: new.address,
            shard,
            enabled: true,
            quota_storage_bytes: new.quota_storage_bytes,
            quota_messages: new.quota_messages,
            credentials: new.credential.map(stamp).into_iter().collect(),
            credentials_version,
            created: self.now,
        };
        self.link_account(&record);
        self.put_account(&record);
        self.count_on_shard(shard, true)?;
        row.accounts += 1;
        self.put_domain(&row);
        Ok(MetaReply::Account(Box::new(record)))
    }

    pub(super) fn remove_account(&mut self, address: Address) -> Outcome {
        let record = self.known_account(&address)?;
        // While the account is still there: a subaddress of it is its own.
        self.replace_target(&record.address, None)?;
        self.unlink_account(&record);
        self.end_move_of(record.id)?;
        delete(self.view, key::account(record.id));
        self.count_on_shard(record.shard, false)?;
        let mut row = self.known_domain(&record.address.domain)?;
        row.accounts -= 1;
        self.put_domain(&row);
        // Who removes it from its shard may fail or die on the way: whoever comes next finds here what is left to do.
        let removal = Removal {
            account: record.id,
            shard: record.shard,
            removed: self.now,
        };
        put(self.view, key::removal(record.id), &removal);
        Ok(MetaReply::Removed(Box::new(record)))
    }

    pub(super) fn end_removal(&mut self, account: AccountId) -> MetaReply {
        delete(self.view, key::removal(account));
        MetaReply::Done
    }

    pub(super) fn rename_account(&mut self, from: Address, to: Address) -> Outcome {
        let mut record = self.known_account(&from)?;
        self.known_domain(&to.domain)?;
        if key::folded(&from) != key::folded(&to) {
            self.refuse_taken(&to)?;
        }
        let old_domain = record.address.domain.clone();
        // Aliases name the account, so they follow it.
        self.replace_target(&record.address, Some(&to))?;
        self.unlink_account(&record);
        record.address = to;
        self.link_account(&record);
        self.put_account(&record);
        if old_domain != record.address.domain {
            let mut left = self.known_domain(&old_domain)?;
            left.accounts -= 1;
            self.put_domain(&left);
            let mut joined = self.known_domain(&record.address.domain)?;
            joined.accounts += 1;
            self.put_domain(&joined);
        }
        Ok(MetaReply::Account(Box::new(record)))
    }

    pub(super) fn set_enabled(&mut self, address: Address, enabled: bool) -> Outcome {
        let mut record = self.known_account(&address)?;
        if record.enabled != enabled {
            record.enabled = enabled;
            record.credentials_version += 1;
            self.put_account(&record);
        }
        Ok(MetaReply::Account(Box::new(record)))
    }

    pub(super) fn set_quota(
        &mut self,
        address: Address,
        storage_bytes: Option<u64>,
        messages: Option<u64>,
    ) -> Outcome {
        let mut record = self.known_account(&address)?;
        record.quota_storage_bytes = storage_bytes;
        record.quota_messages = messages;
        self.put_account(&record);
        Ok(MetaReply::Account(Box::new(record)))
    }

    /// Accounts and aliases share one set of addresses.
    pub(super) fn refuse_taken(&self, address: &Address) -> Result<(), Stop> {
        let tables = self.tables();
        if tables.account_at(address)?.is_some() || tables.alias(address)?.is_some() {
            return Err(MetaRefusal::AddressTaken(address.clone()).into());
        }
        Ok(())
    }

    /// The shard with the fewest accounts; of several the one with the lowest id.
    fn emptiest_shard(&self) -> Result<ShardId, Stop> {
        let shards = self.tables().shards()?;
        let emptiest = shards
            .into_iter()
            .min_by_key(|(shard, accounts)| (*accounts, *shard));
        Ok(emptiest.ok_or(MetaRefusal::NoShards)?.0)
    }

    pub(super) fn count_on_shard(&mut self, shard: ShardId, added: bool) -> Result<(), KvError> {
        let shards = self.tables().shards()?;
        let (_, accounts) = shards
            .into_iter()
            .find(|(id, _)| *id == shard)
            .unwrap_or((shard, 0));
        let accounts = if added {
            accounts + 1
        } else {
            accounts.saturating_sub(1)
        };
        put(self.view, key::shard(shard), &(shard, accounts));
        Ok(())
    }

    fn link_account(&mut self, record: &AccountRecord) {
        put(self.view, key::address(&record.address), &record.id);
        put(
            self.view,
            key::age(&record.address.domain, record.id),
            &record.id,
        );
    }

    fn unlink_account(&mut self, record: &AccountRecord) {
        delete(self.view, key::address(&record.address));
        delete(self.view, key::age(&record.address.domain, record.id));
    }
}

/// Whether the account is what the command would make.
fn is_as_asked(present: &AccountRecord, new: &NewAccount) -> bool {
    let same_password = match (&new.credential, present.credentials.as_slice()) {
        (None, []) => true,
        (Some(asked), [one]) => {
            (&asked.name, &asked.scopes, &asked.verifier) == (&one.name, &one.scopes, &one.verifier)
        }
        _ => false,
    };
    same_password
        && present.quota_storage_bytes == new.quota_storage_bytes
        && present.quota_messages == new.quota_messages
}
