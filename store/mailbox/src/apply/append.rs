//! APPEND (RFC 9051 §6.3.12, RFC 3502, RFC 4315): all messages or none.

use mailrook_types::UploadId;

use crate::{
    AppendTo, Appended, ChangeReply, NewBody, Refusal, body,
    limits::APPEND_CHUNKS_MAX,
    message, name,
    record::IndexRecord,
    tx::{Account, Outcome},
};

pub(crate) fn apply(account: &mut Account<'_>, append: &AppendTo) -> Outcome<ChangeReply> {
    let mut mailbox = name::open(account, &append.mailbox)?;
    let count = append.messages.len() as u64;
    mailbox.require_room(count)?;
    let mut bytes = 0u64;
    let mut planned = Vec::with_capacity(append.messages.len());
    for new in &append.messages {
        let size = size_of(&new.body, &new.prefix)?;
        bytes += u64::from(size);
        let keywords = mailbox.intern(account, &new.flags.keywords)?;
        planned.push((size, keywords));
    }
    require_quota(account, count, bytes)?;
    for new in &append.messages {
        body::require(account.view, account.now, &new.body)?;
    }
    let mut entries = Vec::with_capacity(planned.len());
    for (new, (size, keywords)) in append.messages.iter().zip(planned) {
        entries.push(IndexRecord {
            modseq: 0,
            system: new.flags.system,
            internal_date_ms: new.internal_date.0,
            saved_ms: account.now,
            size,
            crlf_growth: new.body.crlf_growth,
            message: message::create(account, &new.body, &new.prefix)?,
            keywords,
        });
    }
    let appended = Appended {
        mailbox: mailbox.id,
        uid_validity: mailbox.record.uid_validity,
        uids: mailbox.add(account, entries)?,
        modseq: mailbox.record.highest_modseq,
    };
    mailbox.close(account);
    Ok(ChangeReply::Appended(appended))
}

/// The same, of what was sent before.
pub(crate) fn uploaded(
    account: &mut Account<'_>,
    upload: UploadId,
    digests: &[[u8; 32]],
) -> Outcome<ChangeReply> {
    if digests.len() > APPEND_CHUNKS_MAX {
        let text = format!("{APPEND_CHUNKS_MAX} chunks of messages in one APPEND");
        return Err(Refusal::Limit(text).into());
    }
    let bytes = body::read_upload(account.view, account.now, upload, digests)?;
    let reply = apply(account, &AppendTo::decode(&bytes)?)?;
    body::drop_upload(account.view, upload)?;
    Ok(reply)
}

/// RFC822.SIZE of a message: prefix and body.
pub(crate) fn size_of(body: &NewBody, prefix: &[u8]) -> Outcome<u32> {
    let size = u64::from(body.size) + prefix.len() as u64;
    Ok(u32::try_from(size).map_err(|_| Refusal::Limit("4 GiB in a message".to_owned()))?)
}

/// Insists that the account may hold so much more (RFC 9208 §4.1).
pub(crate) fn require_quota(account: &Account<'_>, messages: u64, bytes: u64) -> Outcome<()> {
    let record = &account.record;
    let over = |limit: Option<u64>, used: u64, more: u64| {
        more > 0 && limit.is_some_and(|limit| used.saturating_add(more) > limit)
    };
    if over(record.limit.storage_bytes, record.storage_bytes, bytes)
        || over(record.limit.messages, record.messages, messages)
    {
        return Err(Refusal::OverQuota.into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use mailrook_types::{Timestamp, UploadId};

    use crate::{
        AccountChange, BodySource, Change, Chunk, ChunkCodec, MailboxRef, QuotaLimit, Refusal,
        ShardCommand, ShardReply, UploadChunk, limits::APPEND_CHUNKS_MAX, testing::*,
    };

    #[test]
    fn gives_consecutive_uids_and_one_modseq() {
        let mut world = World::new();
        world.append(3);
        world.append(2);
        assert_eq!(world.uids(INBOX), "1:5");
        let modseqs: Vec<_> = world
            .index(INBOX)
            .iter()
            .map(|entry| entry.modseq.0)
            .collect();
        assert_eq!(modseqs, [2, 2, 2, 3, 3]);
        let status = world.status(INBOX);
        assert_eq!(
            (status.messages, status.unseen, status.size_bytes),
            (5, 5, 500)
        );
    }

    #[test]
    fn refuses_all_if_one_does_not_fit() {
        let mut world = World::new();
        let quota = QuotaLimit {
            storage_bytes: Some(250),
            messages: None,
        };
        world
            .change(Change::Account(AccountChange::SetQuota(quota)))
            .unwrap();
        assert_eq!(
            world.change(append(MailboxRef::Id(INBOX), 3)),
            Err(Refusal::OverQuota)
        );
        assert_eq!(world.uids(INBOX), "");
        world.append(2);
        assert_eq!(world.uids(INBOX), "1:2");
    }

    #[test]
    fn a_body_sent_in_too_few_chunks_is_missing() {
        let mut world = World::new();
        let Change::Append(mut to) = append(MailboxRef::Id(INBOX), 2) else {
            unreachable!()
        };
        to.messages[1].body.source = BodySource::Inline(Vec::new());
        let op = world.op();
        assert_eq!(
            world.change_as(op, Change::Append(to)),
            Err(Refusal::BodyMissing)
        );
        // The same operation runs when the body comes with it.
        assert!(
            world
                .change_as(op, append(MailboxRef::Id(INBOX), 2))
                .is_ok()
        );
        assert_eq!(world.uids(INBOX), "1:2");
    }

    /// Sends an APPEND in pieces, and gives the change that refers to them.
    fn send(world: &mut World, change: &Change, codec: ChunkCodec) -> Change {
        let Change::Append(to) = change else {
            unreachable!()
        };
        let mut digests = Vec::new();
        for (index, piece) in (0..).zip(to.encode().chunks(100)) {
            let chunk = Chunk {
                codec,
                bytes: piece.to_vec(),
            };
            digests.push(*blake3::hash(piece).as_bytes());
            let expires = Timestamp(world.now + 60_000);
            let reply = world.apply(&ShardCommand::Upload(UploadChunk {
                upload: UPLOAD,
                index,
                expires,
                chunk,
            }));
            assert_eq!(reply, ShardReply::Uploaded(Ok(())));
        }
        Change::AppendUploaded {
            upload: UPLOAD,
            digests,
        }
    }

    const UPLOAD: UploadId = UploadId(9);

    #[test]
    fn what_was_sent_in_pieces_is_the_same() {
        let (mut one, mut other) = (World::new(), World::new());
        let change = append(MailboxRef::Id(INBOX), 5);
        let sent = send(&mut one, &change, ChunkCodec::Raw);
        let op = one.op();
        assert!(other.op() == op);
        other.now = one.now;
        let expected = other.change_as(op, change);
        assert!(expected.is_ok());
        assert_eq!(one.change_as(op, sent.clone()), expected);
        assert_eq!(one.index(INBOX), other.index(INBOX));
        // Nothing of the pieces is left, and the command repeated does not need them.
        assert_eq!(one.change_as(op, sent.clone()), expected);
        assert_eq!(one.pairs(), other.pairs());
        assert_eq!(one.change(sent), Err(Refusal::BodyMissing));
    }

    #[test]
    fn pieces_that_are_missing_are_sent_again() {
        let mut world = World::new();
        let change = append(MailboxRef::Id(INBOX), 5);
        let sent = send(&mut world, &change, ChunkCodec::Raw);
        world.now += 60_001;
        let op = world.op();
        assert_eq!(
            world.change_as(op, sent.clone()),
            Err(Refusal::BodyMissing),
            "they expired"
        );
        assert_eq!(send(&mut world, &change, ChunkCodec::Lz4), sent);
        assert_eq!(
            world.change_as(op, sent.clone()),
            Err(Refusal::BodyMissing),
            "apply decompresses nothing"
        );
        send(&mut world, &change, ChunkCodec::Raw);
        assert!(world.change_as(op, sent).is_ok());
        assert_eq!(world.uids(INBOX), "1:5");
        let digests = vec![[0; 32]; APPEND_CHUNKS_MAX + 1];
        let upload = UPLOAD;
        assert!(matches!(
            world.change(Change::AppendUploaded { upload, digests }),
            Err(Refusal::Limit(_))
        ));
    }

    #[test]
    fn an_unknown_mailbox_is_not_made() {
        let mut world = World::new();
        let to = MailboxRef::Name(name("nowhere"));
        assert_eq!(world.change(append(to, 1)), Err(Refusal::NoSuchMailbox));
        assert_eq!(world.names(), ["INBOX"]);
    }
}
