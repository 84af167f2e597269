//! Messages of an account apart from the mailboxes that have them.

use mailrook_kv::{KvError, Space};
use mailrook_types::BlobHash;

use crate::{
    NewBody, body,
    fields::Damage,
    key::{self, detail_part},
    record::{DetailRecord, MessageRecord},
    tx::Account,
};

/// The digest of what is kept among the details.
pub(crate) fn content_digest(detail: &[u8], signature: &[u8]) -> [u8; 16] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&(detail.len() as u64).to_le_bytes());
    hasher.update(detail).update(signature);
    let mut digest = [0; 16];
    hasher.finalize_xof().fill(&mut digest);
    digest
}

/// Stores a new message, whose body must be here, and gives its id.
pub(crate) fn create(
    account: &mut Account<'_>,
    body: &NewBody,
    prefix: &[u8],
) -> Result<u64, KvError> {
    body::reference(account.view, body, 1)?;
    let id = account.record.next_message;
    account.record.next_message += 1;
    let detail = DetailRecord::encode(&body.hash, body.size, prefix, &body.detail);
    let record = MessageRecord {
        refs: 1,
        hash: body.hash,
        content: content_digest(&detail, &body.signature),
    };
    account.put(key::message(account.id, id), None, record.encode());
    let detail_key = key::of_message(account.id, detail_part::DETAIL, id);
    account.view.put(Space::Detail, detail_key, detail);
    let signature_key = key::of_message(account.id, detail_part::SIGNATURE, id);
    account
        .view
        .put(Space::Detail, signature_key, body.signature.clone());
    Ok(id)
}

/// Counts one more mailbox that has the message.
pub(crate) fn share(account: &mut Account<'_>, id: u64) -> Result<(), KvError> {
    let key = key::message(account.id, id);
    let old = account.get(&key)?.ok_or(NOT_HERE)?;
    let mut record = MessageRecord::decode(&old)?;
    record.refs += 1;
    account.put(key, Some(&old), record.encode());
    Ok(())
}

/// Takes one mailbox off those that have the message; with the last it goes, and lets go of its body.
pub(crate) fn release(account: &mut Account<'_>, id: u64) -> Result<(), KvError> {
    let key = key::message(account.id, id);
    let old = account.get(&key)?.ok_or(NOT_HERE)?;
    let mut record = MessageRecord::decode(&old)?;
    if record.refs > 1 {
        record.refs -= 1;
        account.put(key, Some(&old), record.encode());
        return Ok(());
    }
    account.delete(key, &old);
    for part in [detail_part::DETAIL, detail_part::SIGNATURE] {
        let key = key::of_message(account.id, part, id);
        account.view.delete(Space::Detail, key);
    }
    release_body(account, &record.hash)
}

fn release_body(account: &mut Account<'_>, hash: &BlobHash) -> Result<(), KvError> {
    body::release(account.view, account.now, hash)
}

const NOT_HERE: Damage = Damage("a message in an index is not among the account's messages");
