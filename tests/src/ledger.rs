//! The clients' ledger: what each was told, and whether the server kept its word after a crash.
//!
//! A message is known by its `X-Ledger-Id` and the digest of its body. For each the ledger holds the *possible* places
//! and the *possible* flags: one each while every command was acknowledged, two while a command's answer is missing.
//! An acknowledged append stands in `{INBOX}`, an unanswered one in `{INBOX, nowhere}`, an unanswered MOVE in
//! `{INBOX, Work}`. Looking at the mailboxes must find each message in exactly one of its possible places, once (or not
//! at all, where nowhere is possible), with possible flags; what is found then becomes the only possibility.
//!
//! COPY leaves one message in two mailboxes: the copy is accounted for by itself, under a name of its own
//! ([`copy_name`]), so that neither stands in for the other when one is lost. What one command adds in several pieces
//! (MULTIAPPEND, COPY of a set) is a *group* until it is answered: all of it is there after a crash, or nothing (RFC 3502,
//! RFC 9051 §6.4.7).
//!
//! Besides: UIDVALIDITY never changes, a UID never changes and is never given to another message, UIDNEXT, HIGHESTMODSEQ
//! and every message's MODSEQ never go back (RFC 9051 §2.3.1.1, RFC 7162 §3.1.2).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use sha2::{Digest, Sha256};

/// A mailbox, or nowhere.
pub type Place = Option<String>;
/// Flags, sorted, without `\Recent`.
pub type FlagSet = Vec<String>;

/// One message of an account, or a copy of one.
#[derive(Debug, Clone)]
struct Entry {
    /// What its `X-Ledger-Id` says: a copy's is that of its original.
    id: String,
    digest: [u8; 32],
    places: BTreeSet<Place>,
    flags: BTreeSet<FlagSet>,
    /// Mailbox, UID.
    known: Option<(String, u32)>,
    modseq: u64,
}

/// What is known of a mailbox.
#[derive(Debug, Clone, Default)]
struct MailboxBook {
    uid_validity: Option<u32>,
    uid_next: u32,
    modseq: u64,
    /// Every UID ever seen, with its message: none may come back as another's.
    uids: BTreeMap<u32, String>,
}

/// One message as it was found.
#[derive(Debug, Clone)]
pub struct SeenMessage {
    /// Its UID.
    pub uid: u32,
    /// Its MODSEQ, if the server keeps them.
    pub modseq: Option<u64>,
    /// Its flags.
    pub flags: FlagSet,
    /// The octets of header and body.
    pub bytes: Vec<u8>,
}

/// A mailbox as it was found.
#[derive(Debug, Clone)]
pub struct SeenMailbox {
    /// Its name.
    pub name: String,
    /// UIDVALIDITY.
    pub uid_validity: u32,
    /// UIDNEXT.
    pub uid_next: u32,
    /// HIGHESTMODSEQ, if the server keeps one.
    pub highest_modseq: Option<u64>,
    /// All messages.
    pub messages: Vec<SeenMessage>,
}

/// A broken promise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Whose.
    pub account: String,
    /// What.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.account, self.what)
    }
}

/// The ledger of one account.
#[derive(Debug, Clone, Default)]
pub struct Ledger {
    account: String,
    entries: BTreeMap<String, Entry>,
    mailboxes: BTreeMap<String, MailboxBook>,
    /// What unanswered commands add, all or nothing.
    groups: Vec<Vec<String>>,
    /// What was wrong with an answer itself.
    noted: Vec<String>,
}

/// The name under which the copy of a message in a mailbox is accounted for.
pub fn copy_name(id: &str, mailbox: &str) -> String {
    format!("{id} copied to {mailbox}")
}

/// The digest of what stands after the header: servers add lines before it on the way in.
pub fn body_digest(message: &[u8]) -> [u8; 32] {
    let body = message
        .windows(4)
        .position(|w| w == b"\r\n\r\n")
        .map_or(message, |at| &message[at + 4..]);
    Sha256::digest(body).into()
}

/// The `X-Ledger-Id` of a message.
pub fn ledger_id(message: &[u8]) -> Option<String> {
    let head = &message[..message
        .windows(4)
        .position(|w| w == b"\r\n\r\n")
        .unwrap_or(message.len())];
    let head = String::from_utf8_lossy(head);
    head.lines()
        .find_map(|l| l.strip_prefix("X-Ledger-Id: ").map(|v| v.trim().to_owned()))
}

impl Ledger {
    /// An empty ledger of this account.
    pub fn new(account: &str) -> Self {
        Self {
            account: account.to_owned(),
            ..Self::default()
        }
    }

    /// A message that is about to be sent to a mailbox: until [`Ledger::arrived`] it may be there or not.
    pub fn sending(&mut self, id: &str, message: &[u8], mailbox: &str, flags: FlagSet) {
        let entry = Entry {
            id: id.to_owned(),
            digest: body_digest(message),
            places: [None, Some(mailbox.to_owned())].into(),
            flags: [flags].into(),
            known: None,
            modseq: 0,
        };
        self.entries.insert(id.to_owned(), entry);
    }

    /// The server acknowledged it; with APPENDUID or without.
    pub fn arrived(&mut self, id: &str, uid: Option<u32>) {
        if let Some(entry) = self.entries.get_mut(id) {
            entry.places.remove(&None);
            let mailbox = entry.places.first().cloned().flatten();
            if let (Some(uid), Some(mailbox)) = (uid, mailbox) {
                entry.known = Some((mailbox.clone(), uid));
                self.mailboxes
                    .entry(mailbox)
                    .or_default()
                    .uids
                    .insert(uid, entry.id.clone());
            }
        }
    }

    /// A command that copies a message to a mailbox was sent: until [`Ledger::arrived`] under the copy's name, which is
    /// returned, it may be there or not. It has the original's body and flags.
    pub fn copying(&mut self, id: &str, mailbox: &str) -> Option<String> {
        let original = self.entries.get(id)?;
        let copy = Entry {
            places: [None, Some(mailbox.to_owned())].into(),
            known: None,
            modseq: 0,
            ..original.clone()
        };
        let name = copy_name(id, mailbox);
        self.entries.insert(name.clone(), copy);
        Some(name)
    }

    /// One command adds all of these: until [`Ledger::answered`], all or none of them may be there.
    pub fn together(&mut self, names: Vec<String>) {
        self.groups.push(names);
    }

    /// The command that was sent last was acknowledged.
    pub fn answered(&mut self) {
        self.groups.pop();
    }

    /// An answer that is wrong in itself; [`Ledger::check`] reports it.
    pub fn note(&mut self, what: String) {
        self.noted.push(what);
    }

    /// UIDVALIDITY as an answer told it (APPENDUID, COPYUID).
    pub fn told_uid_validity(&mut self, mailbox: &str, told: u32) {
        let book = self.mailboxes.entry(mailbox.to_owned()).or_default();
        let known = *book.uid_validity.get_or_insert(told);
        if known != told {
            self.noted.push(format!(
                "{mailbox}: UIDVALIDITY is {known}, and an answer says {told}"
            ));
        }
    }

    /// Whether it certainly stands nowhere, or was never heard of.
    pub fn is_nowhere(&self, name: &str) -> bool {
        let nowhere: BTreeSet<Place> = [None].into();
        self.entries
            .get(name)
            .is_none_or(|entry| entry.places == nowhere)
    }

    /// A command that will move the message to another place, or to nowhere, was sent.
    pub fn moving(&mut self, id: &str, to: Place) {
        if let Some(entry) = self.entries.get_mut(id) {
            entry.places.insert(to);
        }
    }

    /// That command was acknowledged.
    pub fn moved(&mut self, id: &str, to: Place) {
        if let Some(entry) = self.entries.get_mut(id) {
            entry.places = [to].into();
            // A new UID, which the next look will find.
            entry.known = None;
            entry.modseq = 0;
        }
    }

    /// A command that replaces the flags was sent.
    pub fn flagging(&mut self, id: &str, flags: FlagSet) {
        if let Some(entry) = self.entries.get_mut(id) {
            entry.flags.insert(flags);
        }
    }

    /// That command was acknowledged, with this MODSEQ if one was told.
    pub fn flagged(&mut self, id: &str, flags: FlagSet, modseq: Option<u64>) {
        if let Some(entry) = self.entries.get_mut(id) {
            entry.flags = [flags].into();
            entry.modseq = entry.modseq.max(modseq.unwrap_or(0));
        }
    }

    /// HIGHESTMODSEQ or a MODSEQ that the server told of a mailbox.
    pub fn told_modseq(&mut self, mailbox: &str, modseq: u64) {
        let book = self.mailboxes.entry(mailbox.to_owned()).or_default();
        book.modseq = book.modseq.max(modseq);
    }

    /// The messages that stand in this mailbox for certain, with their UIDs where known.
    pub fn certain(&self, mailbox: &str) -> Vec<(String, Option<u32>)> {
        let here: BTreeSet<Place> = [Some(mailbox.to_owned())].into();
        let entries = self.entries.iter().filter(|(_, e)| e.places == here);
        entries
            .map(|(id, e)| (id.clone(), e.known.as_ref().map(|(_, uid)| *uid)))
            .collect()
    }

    /// Those of [`Ledger::certain`] that no unanswered command is about, their flags included: what such a command
    /// does may still come, also behind what is sent now.
    pub fn settled(&self, mailbox: &str) -> Vec<(String, Option<u32>)> {
        let mut here = self.certain(mailbox);
        here.retain(|(id, _)| self.entries[id].flags.len() == 1);
        here
    }

    /// The messages whose sending was not answered.
    pub fn unanswered(&self) -> Vec<String> {
        self.entries
            .iter()
            .filter(|(_, e)| e.places.len() > 1)
            .map(|(id, _)| id.clone())
            .collect()
    }

    /// How many messages the ledger knows, and how many of them stand somewhere for certain.
    pub fn counts(&self) -> (usize, usize) {
        let certain = self
            .entries
            .values()
            .filter(|e| !e.places.contains(&None))
            .count();
        (self.entries.len(), certain)
    }

    /// Compares with all mailboxes of the account, and takes what was found as what is.
    pub fn check(&mut self, seen: &[SeenMailbox]) -> Vec<Violation> {
        let mut wrong = std::mem::take(&mut self.noted);
        let mut found: BTreeMap<String, Vec<(String, SeenMessage)>> = BTreeMap::new();
        for mailbox in seen {
            self.check_mailbox(mailbox, &mut wrong);
            for message in &mailbox.messages {
                match self.name_of(&mailbox.name, &message.bytes) {
                    Some(name) => found
                        .entry(name)
                        .or_default()
                        .push((mailbox.name.clone(), message.clone())),
                    None => wrong.push(format!(
                        "{} UID {} was never sent by anybody",
                        mailbox.name, message.uid
                    )),
                }
            }
        }
        for group in self.groups.drain(..) {
            let there = group.iter().filter(|name| found.contains_key(*name));
            let there: Vec<&String> = there.collect();
            if !there.is_empty() && there.len() < group.len() {
                wrong.push(format!(
                    "one command did a part of its work: of {group:?} only {there:?}"
                ));
            }
        }
        for (id, entry) in &mut self.entries {
            match found.remove(id).unwrap_or_default().as_slice() {
                [] if entry.places.contains(&None) => entry.places = [None].into(),
                [] => wrong.push(format!(
                    "message {id} is lost; it should be in {:?}",
                    entry.places
                )),
                [(mailbox, message)] => check_one(id, entry, mailbox, message, &mut wrong),
                many => {
                    let at: Vec<_> = many
                        .iter()
                        .map(|(m, s)| format!("{m} UID {}", s.uid))
                        .collect();
                    wrong.push(format!(
                        "message {id} is there {} times: {}",
                        many.len(),
                        at.join(", ")
                    ));
                }
            }
        }
        wrong
            .into_iter()
            .map(|what| Violation {
                account: self.account.clone(),
                what,
            })
            .collect()
    }

    /// What a message that was found in a mailbox is accounted for under; `None` if nobody sent it.
    fn name_of(&self, mailbox: &str, message: &[u8]) -> Option<String> {
        let id = ledger_id(message)?;
        let copy = copy_name(&id, mailbox);
        [copy, id]
            .into_iter()
            .find(|name| self.entries.contains_key(name))
    }

    fn check_mailbox(&mut self, seen: &SeenMailbox, wrong: &mut Vec<String>) {
        let book = self.mailboxes.entry(seen.name.clone()).or_default();
        let name = &seen.name;
        if book
            .uid_validity
            .is_some_and(|known| known != seen.uid_validity)
        {
            wrong.push(format!(
                "{name}: UIDVALIDITY went from {:?} to {}",
                book.uid_validity, seen.uid_validity
            ));
        }
        if seen.uid_next < book.uid_next {
            wrong.push(format!(
                "{name}: UIDNEXT went from {} to {}",
                book.uid_next, seen.uid_next
            ));
        }
        if seen.highest_modseq.is_some_and(|now| now < book.modseq) {
            wrong.push(format!(
                "{name}: HIGHESTMODSEQ went from {} to {:?}",
                book.modseq, seen.highest_modseq
            ));
        }
        for message in &seen.messages {
            if message.uid >= seen.uid_next {
                wrong.push(format!(
                    "{name}: UID {} is not below UIDNEXT {}",
                    message.uid, seen.uid_next
                ));
            }
            let id = ledger_id(&message.bytes).unwrap_or_default();
            match book.uids.insert(message.uid, id.clone()) {
                Some(other) if other != id => {
                    wrong.push(format!("{name}: UID {} was {other}, is {id}", message.uid))
                }
                None if message.uid < book.uid_next => {
                    wrong.push(format!(
                        "{name}: UID {} is new, but below the UIDNEXT told before",
                        message.uid
                    ));
                }
                _ => {}
            }
        }
        book.uid_validity = Some(seen.uid_validity);
        book.uid_next = book.uid_next.max(seen.uid_next);
        book.modseq = book.modseq.max(seen.highest_modseq.unwrap_or(0));
    }
}

fn check_one(
    id: &str,
    entry: &mut Entry,
    mailbox: &str,
    message: &SeenMessage,
    wrong: &mut Vec<String>,
) {
    if !entry.places.contains(&Some(mailbox.to_owned())) {
        wrong.push(format!(
            "message {id} is in {mailbox}; it should be in {:?}",
            entry.places
        ));
    }
    if body_digest(&message.bytes) != entry.digest {
        wrong.push(format!("message {id}: its body changed"));
    }
    if !entry.flags.contains(&message.flags) {
        wrong.push(format!(
            "message {id} has flags {:?}; it should have one of {:?}",
            message.flags, entry.flags
        ));
    }
    let modseq = message.modseq.unwrap_or(entry.modseq);
    match &entry.known {
        Some((known, uid)) if known == mailbox => {
            if *uid != message.uid {
                wrong.push(format!(
                    "message {id}: UID went from {uid} to {}",
                    message.uid
                ));
            }
            if modseq < entry.modseq {
                wrong.push(format!(
                    "message {id}: MODSEQ went from {} to {modseq}",
                    entry.modseq
                ));
            }
        }
        _ => {}
    }
    entry.places = [Some(mailbox.to_owned())].into();
    entry.flags = [message.flags.clone()].into();
    entry.known = Some((mailbox.to_owned(), message.uid));
    entry.modseq = modseq;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mail(id: &str) -> Vec<u8> {
        format!("X-Ledger-Id: {id}\r\n\r\nbody of {id}\r\n").into_bytes()
    }

    fn seen(uids: &[(u32, &str)], uid_next: u32) -> SeenMailbox {
        let messages = uids.iter().map(|(uid, id)| SeenMessage {
            uid: *uid,
            modseq: Some(u64::from(*uid)),
            flags: Vec::new(),
            bytes: [b"Received: x\r\n".as_slice(), &mail(id)].concat(),
        });
        SeenMailbox {
            name: "INBOX".into(),
            uid_validity: 7,
            uid_next,
            highest_modseq: Some(u64::from(uid_next)),
            messages: messages.collect(),
        }
    }

    fn ledger(ids: &[&str]) -> Ledger {
        let mut ledger = Ledger::new("a");
        for id in ids {
            ledger.sending(id, &mail(id), "INBOX", Vec::new());
        }
        ledger
    }

    fn complaints(ledger: &mut Ledger, seen: &[SeenMailbox]) -> String {
        ledger
            .check(seen)
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join("; ")
    }

    #[test]
    fn acknowledged_once_and_unanswered_at_most_once() {
        let mut l = ledger(&["x", "y", "z"]);
        l.arrived("x", Some(1));
        assert_eq!(complaints(&mut l, &[seen(&[(1, "x"), (2, "y")], 3)]), "");
        // What was found is from then on certain, both ways.
        assert!(complaints(&mut l, &[seen(&[(1, "x")], 3)]).contains("y is lost"));
        assert!(
            complaints(&mut l, &[seen(&[(1, "x"), (2, "y"), (3, "z")], 4)])
                .contains("z is in INBOX")
        );
    }

    #[test]
    fn loss_doubles_strangers_and_changes_are_found() {
        let mut l = ledger(&["x"]);
        l.arrived("x", None);
        assert!(complaints(&mut l.clone(), &[seen(&[], 1)]).contains("x is lost"));
        assert!(complaints(&mut l.clone(), &[seen(&[(1, "x"), (2, "x")], 3)]).contains("2 times"));
        assert!(
            complaints(&mut l.clone(), &[seen(&[(1, "x"), (2, "w")], 3)]).contains("never sent")
        );
        let mut torn = seen(&[(1, "x")], 2);
        torn.messages[0].bytes.truncate(40);
        assert!(complaints(&mut l, &[torn]).contains("body changed"));
    }

    fn in_copies(uids: &[(u32, &str)], uid_next: u32) -> SeenMailbox {
        SeenMailbox {
            name: "Copies".into(),
            uid_validity: 9,
            ..seen(uids, uid_next)
        }
    }

    #[test]
    fn a_copy_and_its_original_do_not_stand_in_for_each_other() {
        let mut l = ledger(&["x"]);
        l.arrived("x", Some(1));
        assert_eq!(l.copying("y", "Copies"), None);
        let copy = l.copying("x", "Copies").unwrap();
        let inbox = seen(&[(1, "x")], 2);
        // Unanswered it may be there or not, but the original is.
        assert_eq!(
            complaints(&mut l.clone(), &[inbox.clone(), in_copies(&[], 1)]),
            ""
        );
        assert_eq!(
            complaints(&mut l.clone(), &[inbox.clone(), in_copies(&[(4, "x")], 5)]),
            ""
        );
        let moved = complaints(&mut l.clone(), &[seen(&[], 2), in_copies(&[(4, "x")], 5)]);
        assert!(moved.contains("message x is lost"), "{moved}");

        l.arrived(&copy, Some(4));
        let both = [inbox.clone(), in_copies(&[(4, "x")], 5)];
        assert_eq!(complaints(&mut l.clone(), &both), "");
        let lost = complaints(&mut l.clone(), &[inbox.clone(), in_copies(&[], 5)]);
        assert!(lost.contains("x copied to Copies is lost"), "{lost}");
        let other_uid = complaints(&mut l.clone(), &[inbox.clone(), in_copies(&[(5, "x")], 6)]);
        assert!(other_uid.contains("UID went from 4 to 5"), "{other_uid}");
        let doubled = complaints(
            &mut l.clone(),
            &[inbox.clone(), in_copies(&[(4, "x"), (5, "x")], 6)],
        );
        assert!(doubled.contains("is there 2 times"), "{doubled}");
        let mut torn = both.clone();
        torn[1].messages[0].bytes.truncate(40);
        assert!(complaints(&mut l.clone(), &torn).contains("Copies: its body changed"));
        let mut flagged = both;
        flagged[1].messages[0].flags = vec!["\\Seen".into()];
        assert!(complaints(&mut l.clone(), &flagged).contains("has flags"));

        // The original may go; its copy must not go along.
        l.moved("x", None);
        let left = [seen(&[], 2), in_copies(&[(4, "x")], 5)];
        assert_eq!(complaints(&mut l.clone(), &left), "");
        assert!(complaints(&mut l, &[seen(&[], 2), in_copies(&[], 5)]).contains("is lost"));
        assert!(l.is_nowhere("x") && !l.is_nowhere(&copy) && l.is_nowhere("unheard of"));
    }

    #[test]
    fn one_command_is_all_or_nothing() {
        let mut l = ledger(&["x", "y", "z"]);
        l.together(["x", "y", "z"].map(String::from).into());
        let all = [seen(&[(1, "x"), (2, "y"), (3, "z")], 4)];
        assert_eq!(complaints(&mut l.clone(), &all), "");
        assert_eq!(complaints(&mut l.clone(), &[seen(&[], 1)]), "");
        for half in [&[(1, "x")][..], &[(1, "x"), (2, "y")], &[(1, "z")]] {
            let text = complaints(&mut l.clone(), &[seen(half, 4)]);
            assert!(text.contains("did a part of its work"), "{text}");
        }
        // Once it is answered, what is missing is lost.
        ["x", "y", "z"].iter().for_each(|id| l.arrived(id, None));
        l.answered();
        let text = complaints(&mut l, &[seen(&[(1, "x"), (2, "y")], 4)]);
        assert!(
            text.contains("z is lost") && !text.contains("a part"),
            "{text}"
        );

        let mut l = ledger(&["x", "y"]);
        ["x", "y"].iter().for_each(|id| l.arrived(id, None));
        let copies = ["x", "y"].map(|id| l.copying(id, "Copies").unwrap());
        l.together(copies.into());
        let inbox = seen(&[(1, "x"), (2, "y")], 3);
        let text = complaints(&mut l, &[inbox, in_copies(&[(1, "y")], 2)]);
        assert!(text.contains("did a part of its work"), "{text}");
    }

    #[test]
    fn an_answer_that_is_wrong_in_itself_is_reported_once() {
        let mut l = ledger(&["x"]);
        l.arrived("x", Some(1));
        l.told_uid_validity("INBOX", 7);
        assert_eq!(complaints(&mut l, &[seen(&[(1, "x")], 2)]), "");
        l.told_uid_validity("INBOX", 8);
        let text = complaints(&mut l, &[seen(&[(1, "x")], 2)]);
        assert!(text.contains("UIDVALIDITY is 7"), "{text}");
        assert_eq!(complaints(&mut l, &[seen(&[(1, "x")], 2)]), "");
    }

    #[test]
    fn uids_and_modseqs_never_go_back() {
        let mut l = ledger(&["x", "y"]);
        l.arrived("x", Some(1));
        l.arrived("y", Some(2));
        assert_eq!(complaints(&mut l, &[seen(&[(1, "x"), (2, "y")], 3)]), "");
        let swapped = complaints(&mut l.clone(), &[seen(&[(1, "y"), (2, "x")], 3)]);
        assert!(swapped.contains("UID 1 was x, is y"), "{swapped}");
        let mut other = seen(&[(1, "x"), (2, "y")], 3);
        other.uid_validity = 8;
        other.highest_modseq = Some(1);
        let text = complaints(&mut l, &[other]);
        assert!(
            text.contains("UIDVALIDITY") && text.contains("HIGHESTMODSEQ"),
            "{text}"
        );
    }

    #[test]
    fn a_move_is_in_one_place_and_flags_are_one_of_two() {
        let mut l = ledger(&["x"]);
        l.arrived("x", Some(1));
        l.moving("x", Some("Work".into()));
        l.flagging("x", vec!["\\Seen".into()]);
        let mut work = seen(&[(1, "x")], 2);
        work.name = "Work".into();
        assert!(
            complaints(&mut l.clone(), &[work.clone(), seen(&[(1, "x")], 2)]).contains("2 times")
        );
        assert_eq!(complaints(&mut l, &[work.clone(), seen(&[], 2)]), "");
        work.messages[0].flags = vec!["\\Seen".into()];
        assert!(complaints(&mut l, &[work, seen(&[], 2)]).contains("flags"));
    }
}
