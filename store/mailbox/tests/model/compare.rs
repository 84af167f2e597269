//! Asks the shard everything that the reference knows.

use mailrook_kv::{Direction, MemorySnapshot, Read, Space};
use mailrook_mailbox::{
    Answer, Changes, IndexEntry, MailboxInfo, MailboxList, MailboxRef, MailboxStatus,
    MessageDetail, Query, QuotaUsage, SlotEntry, TableId, answer, table_slot,
};
use mailrook_types::{
    AccountId, Flags, MailboxId, MessageId, ModSeq, SystemFlags, Timestamp, Uid, UidSet,
    UidValidity,
};

use crate::{
    account::{Account, Mailbox, Message},
    generate::{ACCOUNTS, TABLE_KEYS, TABLES, chunks},
    reference::Reference,
    slots::State,
};

pub fn all(snapshot: &MemorySnapshot, now: i64, reference: &Reference) {
    let ask = |query: Query| answer(snapshot, now, &query).unwrap();
    for id in 1..=ACCOUNTS {
        account(snapshot, now, reference, id);
    }
    compare_tables(&ask, now, reference);
}

/// One account.
pub fn account(snapshot: &MemorySnapshot, now: i64, reference: &Reference, id: u64) {
    let ask = |query: Query| answer(snapshot, now, &query).unwrap();
    let account = AccountId(id);
    match reference.accounts.get(&id).filter(|known| known.live) {
        None => {
            assert_eq!(ask(Query::Mailboxes { account }), Answer::NoSuchAccount);
            assert_eq!(ask(Query::Quota { account }), Answer::NoSuchAccount);
            let mailbox = MailboxId(1);
            assert_eq!(ask(Query::Uids { account, mailbox }), Answer::NoSuchAccount);
        }
        Some(known) => compare_account(&ask, account, known),
    }
}

fn compare_account(ask: &impl Fn(Query) -> Answer, account: AccountId, known: &Account) {
    let (messages, storage_bytes) = known.usage();
    let quota = QuotaUsage {
        limit: known.limit,
        storage_bytes,
        messages,
    };
    assert_eq!(ask(Query::Quota { account }), Answer::Quota(quota));
    let infos = known.names.iter().map(|(name, id)| MailboxInfo {
        name: name.clone(),
        special_use: known.boxes[id].special_use,
        status: MailboxStatus {
            keywords: Vec::new(),
            ..status(*id, &known.boxes[id])
        },
    });
    let list = MailboxList {
        mailboxes: infos.collect(),
        subscriptions: known.subscriptions.iter().cloned().collect(),
    };
    assert_eq!(ask(Query::Mailboxes { account }), Answer::Mailboxes(list));
    for (name, id) in &known.names {
        let mailbox = &known.boxes[id];
        for by in [
            MailboxRef::Name(name.clone()),
            MailboxRef::Id(MailboxId(*id)),
        ] {
            let told = ask(Query::Status {
                account,
                mailbox: by,
            });
            assert_eq!(told, Answer::Status(status(*id, mailbox)));
        }
        compare_mailbox(ask, account, MailboxId(*id), mailbox);
    }
    let gone = MailboxId(known.next_mailbox + 1);
    assert_eq!(
        ask(Query::Uids {
            account,
            mailbox: gone
        }),
        Answer::NoSuchMailbox
    );
}

fn uid(number: u32) -> Uid {
    Uid::new(number).unwrap()
}

fn status(id: u64, mailbox: &Mailbox) -> MailboxStatus {
    let having = |test: fn(&Message) -> bool| {
        mailbox
            .messages
            .values()
            .filter(|message| test(message))
            .count() as u64
    };
    let unseen = |message: &Message| !message.system.contains(SystemFlags::SEEN);
    MailboxStatus {
        id: MailboxId(id),
        uid_validity: UidValidity::new(mailbox.uid_validity).unwrap(),
        uid_next: uid(mailbox.uid_next),
        highest_modseq: ModSeq(mailbox.highest),
        history_floor: ModSeq(mailbox.floor),
        messages: having(|_| true),
        unseen: having(unseen),
        deleted: having(|message| message.system.contains(SystemFlags::DELETED)),
        size_bytes: mailbox
            .messages
            .values()
            .map(|message| u64::from(message.size))
            .sum(),
        first_unseen: mailbox
            .messages
            .iter()
            .find(|(_, message)| unseen(message))
            .map(|(number, _)| uid(*number)),
        keywords: mailbox.keywords.clone(),
    }
}

fn entry(mailbox: &Mailbox, number: u32, message: &Message) -> IndexEntry {
    IndexEntry {
        uid: uid(number),
        modseq: ModSeq(message.modseq),
        flags: Flags {
            system: message.system,
            keywords: mailbox
                .keywords
                .iter()
                .filter(|known| message.keywords.contains(known))
                .cloned()
                .collect(),
        },
        internal_date: Timestamp(message.internal),
        saved: Timestamp(message.saved),
        size: message.size,
        crlf_growth: message.body.crlf_growth,
        message: MessageId(message.id),
    }
}

fn compare_mailbox(
    ask: &impl Fn(Query) -> Answer,
    account: AccountId,
    id: MailboxId,
    mailbox: &Mailbox,
) {
    let uids: UidSet = mailbox.messages.keys().map(|number| uid(*number)).collect();
    assert_eq!(
        ask(Query::Uids {
            account,
            mailbox: id
        }),
        Answer::Uids(uids)
    );
    let some = UidSet::from_range(uid(2)..=uid(7));
    for (asked, limit) in [
        (UidSet::from_range(Uid::MIN..=Uid::MAX), u32::MAX),
        (some.clone(), 3),
    ] {
        let wanted = || {
            mailbox
                .messages
                .iter()
                .filter(|(number, _)| asked.contains(uid(**number)))
                .take(limit as usize)
        };
        let index = wanted()
            .map(|(number, message)| entry(mailbox, *number, message))
            .collect::<Vec<IndexEntry>>();
        let query = Query::Index {
            account,
            mailbox: id,
            uids: asked.clone(),
            limit,
        };
        let flags = |entries: &Vec<IndexEntry>| -> Vec<_> {
            let of = |entry: &IndexEntry| (entry.uid, entry.flags.clone());
            entries.iter().map(of).collect()
        };
        let marks = Query::Flags {
            account,
            mailbox: id,
            uids: asked.clone(),
            limit,
        };
        assert_eq!(ask(marks), Answer::Flags(flags(&index)));
        assert_eq!(ask(query), Answer::Index(index));
        let details = wanted().map(|(number, message)| MessageDetail {
            uid: uid(*number),
            hash: message.body.hash,
            body_size: message.body.size,
            prefix: message.prefix.clone(),
            detail: message.body.detail.clone(),
        });
        let query = Query::Details {
            account,
            mailbox: id,
            uids: asked.clone(),
            limit,
        };
        assert_eq!(ask(query), Answer::Details(details.collect()));
        let signatures = wanted()
            .map(|(number, message)| (uid(*number), message.body.signature.clone()))
            .collect();
        let query = Query::Signatures {
            account,
            mailbox: id,
            uids: asked.clone(),
            limit,
        };
        assert_eq!(ask(query), Answer::Signatures(signatures));
    }
    let since = ModSeq(mailbox.highest.saturating_sub(3));
    // Of what is lost nobody knows what changed: all is told.
    let since_kept = if since.0 >= mailbox.floor { since.0 } else { 0 };
    for uids in [None, Some(some)] {
        let concerns = |number: u32| uids.as_ref().is_none_or(|uids| uids.contains(uid(number)));
        let changed = mailbox
            .messages
            .iter()
            .filter(|(number, message)| message.modseq > since_kept && concerns(**number));
        let vanished = mailbox
            .expunged
            .iter()
            .filter(|(modseq, number)| *modseq > since.0 && concerns(*number));
        let changes = Changes {
            status: status(id.0, mailbox),
            changed: changed
                .map(|(number, message)| entry(mailbox, *number, message))
                .collect(),
            vanished: (since.0 >= mailbox.floor)
                .then(|| vanished.map(|(_, number)| uid(*number)).collect()),
            next: None,
        };
        assert_eq!(
            ask(Query::Changes {
                account,
                mailbox: id,
                since,
                uids: uids.clone(),
                after: None,
                limit: u32::MAX,
            }),
            Answer::Changes(changes.clone())
        );
        compare_pieces(ask, (account, id, since), uids, &changes);
    }
    for message in mailbox.messages.values() {
        let hash = message.body.hash;
        let all = chunks(hash.0[0] - 1);
        assert_eq!(
            ask(Query::Chunks {
                hash,
                first: 0,
                count: 9
            }),
            Answer::Chunks(all.clone())
        );
        for first in [0, 1] {
            let one = all.iter().skip(first as usize).take(1).cloned().collect();
            assert_eq!(
                ask(Query::Chunks {
                    hash,
                    first,
                    count: 1
                }),
                Answer::Chunks(one)
            );
        }
    }
}

/// The changes in the smallest pieces are the same.
fn compare_pieces(
    ask: &impl Fn(Query) -> Answer,
    (account, mailbox, since): (AccountId, MailboxId, ModSeq),
    uids: Option<UidSet>,
    whole: &Changes,
) {
    let (mut after, mut changed, mut vanished) = (None, Vec::new(), None);
    loop {
        let piece = match ask(Query::Changes {
            account,
            mailbox,
            since,
            uids: uids.clone(),
            after,
            limit: 1,
        }) {
            Answer::Changes(piece) => piece,
            other => panic!("not changes: {other:?}"),
        };
        assert!(
            piece.next.is_none_or(|next| Some(next) > after),
            "it goes on"
        );
        changed.extend(piece.changed);
        vanished = vanished.or(piece.vanished);
        after = piece.next;
        if after.is_none() {
            break;
        }
    }
    changed.sort_by_key(|entry| entry.uid);
    assert_eq!((&changed, &vanished), (&whole.changed, &whole.vanished));
}

/// Slot, key and value of an entry.
type Found = (u16, Vec<u8>, Vec<u8>);

fn compare_tables(ask: &impl Fn(Query) -> Answer, now: i64, reference: &Reference) {
    for table in 0..TABLES {
        let live = |key: &Vec<u8>| {
            let (value, expires) = reference.tables.get(&(table, key.clone()))?;
            expires.is_none_or(|at| at > now).then(|| value.clone())
        };
        let mut expected = Vec::new();
        for number in 0..TABLE_KEYS {
            let key = vec![b'k', number];
            let here = reference.is_here(table, &key);
            let value = live(&key).filter(|_| here);
            assert_eq!(
                ask(Query::TableGet {
                    table: TableId(table),
                    key: key.clone()
                }),
                match here {
                    true => Answer::TableValue(value.clone()),
                    false => Answer::SlotNotHere,
                }
            );
            expected.extend(value.map(|value| (table_slot(TableId(table), &key), key, value)));
        }
        expected.sort();
        let elsewhere = (reference.slots.iter()).filter(|(_, (_, state))| *state != State::Here);
        let elsewhere: Vec<u16> = elsewhere.map(|(slot, _)| *slot).collect();
        for limit in [2, 100] {
            let by_slots = |prefix| scan_slots(ask, TableId(table), prefix, limit, &elsewhere);
            assert_eq!(by_slots(b"k"), expected);
            assert_eq!(by_slots(b"q"), []);
            let whole = |prefix| scan(ask, TableId(table), prefix, limit);
            if reference.slots.is_empty() {
                assert_eq!(whole(b"k"), Some(expected.clone()));
                assert_eq!(whole(b"q"), Some(Vec::new()));
            } else {
                assert_eq!(whole(b"k"), None);
            }
        }
    }
    for (slot, (move_id, state)) in &reference.slots {
        compare_fenced(ask, now, reference, *slot, *move_id, *state);
    }
}

/// What is fenced can be read to be moved, and by that move alone.
fn compare_fenced(
    ask: &impl Fn(Query) -> Answer,
    now: i64,
    reference: &Reference,
    slot: u16,
    move_id: u64,
    state: State,
) {
    let entries = |fenced_by| {
        ask(Query::SlotEntries {
            fenced_by: Some(fenced_by),
            slots: vec![slot],
            after: None,
        })
    };
    let tables = reference.tables.iter();
    let there = tables.filter(|((table, key), (_, expires))| {
        table_slot(TableId(*table), key) == slot && expires.is_none_or(|at| at > now)
    });
    let there = there.map(|((table, key), (value, expires))| SlotEntry {
        table: TableId(*table),
        key: key.clone(),
        value: value.clone(),
        expires: expires.map(Timestamp),
    });
    let expected = match state {
        State::Fenced => Answer::SlotEntries {
            entries: there.collect(),
            complete: true,
        },
        _ => Answer::SlotNotHere,
    };
    assert_eq!(entries(move_id), expected);
    assert_eq!(entries(move_id + 1), Answer::SlotNotHere);
}

fn slots_in_use() -> Vec<u16> {
    let keys = (0..TABLES).flat_map(|table| (0..TABLE_KEYS).map(move |key| (table, key)));
    keys.map(|(table, key)| table_slot(TableId(table), &[b'k', key]))
        .collect()
}

/// All slots, a few entries at a time.
fn scan_slots(
    ask: &impl Fn(Query) -> Answer,
    table: TableId,
    prefix: &[u8],
    limit: u32,
    not_here: &[u16],
) -> Vec<Found> {
    let mut found: Vec<Found> = Vec::new();
    loop {
        let query = Query::TableScanSlots {
            table,
            prefix: prefix.to_vec(),
            slots: slots_in_use(),
            after: found.last().map(|(slot, key, _)| (*slot, key.clone())),
            limit,
        };
        let Answer::SlotsScanned { entries, elsewhere } = ask(query) else {
            panic!("not a scan")
        };
        assert_eq!(elsewhere, not_here);
        if entries.is_empty() {
            return found;
        }
        found.extend(entries);
    }
}

fn scan(
    ask: &impl Fn(Query) -> Answer,
    table: TableId,
    prefix: &[u8],
    limit: u32,
) -> Option<Vec<Found>> {
    let mut found: Vec<Found> = Vec::new();
    loop {
        let after = found.last().map(|(slot, key, _)| (*slot, key.clone()));
        let query = Query::TableScan {
            table,
            prefix: prefix.to_vec(),
            after,
            limit,
        };
        let entries = match ask(query) {
            Answer::TableEntries(entries) => entries,
            Answer::SlotNotHere => return None,
            other => panic!("not a scan: {other:?}"),
        };
        if entries.is_empty() {
            return Some(found);
        }
        found.extend(entries);
    }
}

/// After a month without commands the expiry queue is empty, and so is that of remains.
pub fn nothing_expires(snapshot: &MemorySnapshot) {
    let mut left = Vec::new();
    snapshot
        .scan(
            Space::Index,
            &[0x40],
            &[0x42],
            Direction::Forward,
            &mut |key, _| {
                left.push(key.to_vec());
                std::ops::ControlFlow::Continue(())
            },
        )
        .unwrap();
    assert_eq!(left, Vec::<Vec<u8>>::new());
}
