//! The vocabulary: what was parsed is printed so that it parses to the same again, and sets are sets.

use std::collections::BTreeSet;

use mailrook_imap_proto::utf7;
use mailrook_types::{
    Address, Domain, Flags, Keyword, LocalPart, MailboxName, SystemFlags, Uid, UidSet,
};

use crate::{Target, choices::Choices};

pub(crate) const ADDRESS: Target = Target {
    name: "address",
    run: address,
    seeds: || {
        [
            "user@example.test",
            "\"a b\\\"c\"@example.test",
            "user+box@[192.0.2.1]",
            "u@[IPv6:2001:db8::1]",
            "jürgen@bücher.example",
            "a%b!c@xn--bcher-kva.example",
        ]
        .map(Vec::from)
        .to_vec()
    },
    dictionary: &[
        b"@",
        b"\"",
        b"\\\"",
        b".",
        b"[IPv6:",
        b"]",
        b"xn--",
        b"\xc3\xbc",
        b"\xe2\x80\x8d",
        b"%",
        b"!",
        b"\xef\xbc\xa0",
        b"\xc2\xad",
        b"+",
    ],
    len_max: 1200,
    rounds: 300_000,
};

pub(crate) const MAILBOX_NAME: Target = Target {
    name: "mailbox_name",
    run: mailbox_name,
    seeds: || {
        [
            "INBOX",
            "inbox/Entwürfe",
            "~peter/mail/台北/日本語",
            "&U,BTFw-/&ZeVnLIqe-",
            "Tom &- Jerry",
            "&2D3eAA-",
        ]
        .map(Vec::from)
        .to_vec()
    },
    dictionary: &[
        b"/",
        b"&",
        b"-",
        b"&-",
        b"&AOQ-",
        b"&2D3eAA-",
        b"INBOX",
        b"\xf0\x9f\x98\x80",
        b"\xe5\x8f\xb0",
        b"*",
        b"\x7f",
        b"\xe2\x80\xa8",
    ],
    len_max: 2400,
    rounds: 150_000,
};

pub(crate) const UID_SET: Target = Target {
    name: "uid_set",
    run: uid_set,
    seeds: || vec![(0..=80).collect(), (100..=255).collect(), vec![7; 40]],
    dictionary: &[b"\0\xff", b"\x01\xfe\xff", b"\x05"],
    len_max: 600,
    rounds: 60_000,
};

/// Addresses, their parts and keywords.
///
/// # Panics
/// If one of them is not what it prints.
pub fn address(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    if let Ok(address) = Address::parse(&text) {
        let printed = address.to_string();
        assert_eq!(Address::parse(&printed).as_ref(), Ok(&address), "{printed}");
        let lower = address.to_lowercase();
        assert_eq!(lower, lower.to_lowercase());
        assert_same_local_part(&address.local);
        if let Some((user, _)) = address.local.split_subaddress('+') {
            assert_same_local_part(&user);
        }
    }
    if let Ok(domain) = Domain::parse(&text) {
        assert_eq!(Domain::parse(domain.as_str()).as_ref(), Ok(&domain));
        assert!(domain.as_str().is_ascii() && domain.as_str().len() <= 255);
    }
    if let Ok(local) = LocalPart::parse(&text) {
        assert_same_local_part(&local);
    }
    if let Ok(keyword) = Keyword::parse(&text) {
        assert_eq!(Keyword::parse(keyword.as_str()).as_ref(), Ok(&keyword));
        let mut flags = Flags::system(SystemFlags::SEEN);
        flags.insert_keyword(keyword.clone());
        flags.insert_keyword(keyword);
        assert_eq!(flags.keywords.len(), 1);
    }
}

fn assert_same_local_part(local: &LocalPart) {
    let printed = local.to_string();
    assert_eq!(LocalPart::parse(&printed).as_ref(), Ok(local), "{printed}");
}

/// Mailbox names, and their encoding before IMAP4rev2.
///
/// # Panics
/// If a name is not what it prints, or has two encodings.
pub fn mailbox_name(input: &[u8]) {
    if let Some(name) = utf7::decode(input) {
        let mut encoded = Vec::new();
        utf7::encode(&name, &mut encoded);
        assert_eq!(encoded, input, "a second spelling of {name:?}");
    }
    let text = String::from_utf8_lossy(input);
    let mut encoded = Vec::new();
    utf7::encode(&text, &mut encoded);
    assert!(encoded.iter().all(|byte| matches!(byte, b' '..=b'~')));
    assert_eq!(utf7::decode(&encoded).as_deref(), Some(&*text));
    let Ok(name) = MailboxName::parse(&text) else {
        return;
    };
    assert_eq!(MailboxName::parse(name.as_str()).as_ref(), Ok(&name));
    assert!(!name.is_below(&name));
    if let Some(parent) = name.parent() {
        assert_eq!(MailboxName::parse(parent.as_str()).as_ref(), Ok(&parent));
        assert!(name.is_below(&parent) && !parent.is_below(&name));
    }
}

/// Operations on sets, beside the same on sets of numbers.
///
/// # Panics
/// If they differ, or a set is not kept in order.
pub fn uid_set(input: &[u8]) {
    let mut choices = Choices::new(input);
    let mut sets = [UidSet::new(), UidSet::new()];
    let mut models: [BTreeSet<u32>; 2] = Default::default();
    while !choices.is_empty() {
        let which = choices.below(2);
        let (a, b) = (uid(&mut choices), uid(&mut choices));
        match choices.below(6) {
            0 | 1 => {
                sets[which].insert_range(a..=b);
                if b.get() - a.get().min(b.get()) < 300 {
                    models[which].extend(a.get()..=b.get());
                } else {
                    // Too many for the model: both start anew.
                    (sets, models) = Default::default();
                }
            }
            2 => {
                let removed = sets[which].remove(a);
                assert_eq!(removed, models[which].remove(&a.get()));
            }
            3 => {
                sets[which] = sets[0].union(&sets[1]);
                models[which] = models[0].union(&models[1]).copied().collect();
            }
            4 => {
                sets[which] = sets[0].intersection(&sets[1]);
                models[which] = models[0].intersection(&models[1]).copied().collect();
            }
            _ => {
                sets[which] = sets[0].difference(&sets[1]);
                models[which] = models[0].difference(&models[1]).copied().collect();
            }
        }
        assert_same_set(&sets[which], &models[which]);
    }
}

/// Near one end of the numbers or the other.
fn uid(choices: &mut Choices<'_>) -> Uid {
    let near = u32::from(choices.byte());
    let number = if near >= 200 {
        u32::MAX - (near - 200)
    } else {
        near + 1
    };
    Uid::new(number).expect("both ends are above zero")
}

fn assert_same_set(set: &UidSet, model: &BTreeSet<u32>) {
    assert_eq!(set.len(), model.len() as u64);
    assert!(set.iter().map(Uid::get).eq(model.iter().copied()));
    assert_eq!(set.first().map(Uid::get), model.first().copied());
    assert_eq!(set.last().map(Uid::get), model.last().copied());
    let mut last_end = None;
    for range in set.ranges() {
        let (start, end) = (range.start().get(), range.end().get());
        // Neither touching nor out of order.
        assert!(start <= end && last_end.is_none_or(|last: u32| last.saturating_add(1) < start));
        last_end = Some(end);
    }
    let stored = mailrook_kv::encode(set);
    assert_eq!(mailrook_kv::decode(&stored).as_ref(), Ok(set));
}
