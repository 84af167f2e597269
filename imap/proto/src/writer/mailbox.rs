//! LIST, STATUS, NAMESPACE and QUOTA (RFC 9051 §7.3, RFC 9208 §4).

use mailrook_types::{MailboxName, SpecialUse};

use super::{
    Writer,
    primitive::{push_astring, push_number, push_string},
};
use crate::{
    response::{ListAttributes, ListEntry, QuotaResource, StatusValue},
    utf7,
};

impl Writer<'_> {
    /// `* LIST (…) "/" name`
    pub fn list(&mut self, entry: &ListEntry<'_>) {
        self.list_entry(b"* LIST (", entry);
    }

    /// `* LSUB (…) "/" name` (RFC 3501 §7.2.3): extended data is left out.
    pub fn lsub(&mut self, attributes: ListAttributes, name: &str) {
        let entry = ListEntry {
            attributes,
            name,
            ..ListEntry::default()
        };
        self.list_entry(b"* LSUB (", &entry);
    }

    /// `* STATUS name (…)`
    pub fn mailbox_status(&mut self, name: &str, values: &[StatusValue]) {
        self.out.extend_from_slice(b"* STATUS ");
        self.mailbox(name);
        self.out.push(b' ');
        let mut separator = b'(';
        for value in values {
            self.out.push(separator);
            self.status_value(value);
            separator = b' ';
        }
        if values.is_empty() {
            self.out.push(b'(');
        }
        self.out.push(b')');
        self.end_line();
    }

    /// `* NAMESPACE …`: the prefixes of the user's own, other users' and shared mailboxes.
    pub fn namespace(&mut self, personal: &[&str], other_users: &[&str], shared: &[&str]) {
        self.out.extend_from_slice(b"* NAMESPACE");
        for prefixes in [personal, other_users, shared] {
            if prefixes.is_empty() {
                self.out.extend_from_slice(b" NIL");
                continue;
            }
            self.out.extend_from_slice(b" (");
            for prefix in prefixes {
                self.out.push(b'(');
                self.quoted_mailbox(prefix);
                self.out.extend_from_slice(SEPARATOR);
                self.out.push(b')');
            }
            self.out.push(b')');
        }
        self.end_line();
    }

    /// `* QUOTA root (…)`
    pub fn quota(&mut self, root: &str, resources: &[QuotaResource<'_>]) {
        self.out.extend_from_slice(b"* QUOTA ");
        push_string(self.out, root.as_bytes(), self.utf8);
        self.out.extend_from_slice(b" (");
        for (index, resource) in resources.iter().enumerate() {
            if index > 0 {
                self.out.push(b' ');
            }
            self.out.extend_from_slice(resource.name.as_bytes());
            self.item(b" ", Some(resource.usage));
            self.item(b" ", Some(resource.limit));
        }
        self.out.push(b')');
        self.end_line();
    }

    /// `* QUOTAROOT name root…`
    pub fn quota_root(&mut self, mailbox: &str, roots: &[&str]) {
        self.out.extend_from_slice(b"* QUOTAROOT ");
        self.mailbox(mailbox);
        for root in roots {
            self.out.push(b' ');
            push_string(self.out, root.as_bytes(), self.utf8);
        }
        self.end_line();
    }

    fn list_entry(&mut self, start: &[u8], entry: &ListEntry<'_>) {
        self.out.extend_from_slice(start);
        self.list_attributes(entry.attributes, entry.special_uses);
        self.out.push(b')');
        self.out.extend_from_slice(SEPARATOR);
        self.out.push(b' ');
        self.mailbox(entry.name);
        if entry.child_subscribed || entry.old_name.is_some() {
            self.out.extend_from_slice(b" (");
            if entry.child_subscribed {
                self.out
                    .extend_from_slice(b"\"CHILDINFO\" (\"SUBSCRIBED\")");
            }
            if let Some(old_name) = entry.old_name {
                if entry.child_subscribed {
                    self.out.push(b' ');
                }
                self.out.extend_from_slice(b"\"OLDNAME\" (");
                self.mailbox(old_name);
                self.out.push(b')');
            }
            self.out.push(b')');
        }
        self.end_line();
    }

    fn list_attributes(&mut self, attributes: ListAttributes, special_uses: &[SpecialUse]) {
        let is_set = |(bit, _): &&(u16, &str)| attributes.bits() & bit != 0;
        let names = ListAttributes::NAMES
            .iter()
            .filter(is_set)
            .map(|(_, name)| *name);
        let uses = special_uses
            .iter()
            .map(|special_use| special_use.attribute());
        for (index, name) in names.chain(uses).enumerate() {
            if index > 0 {
                self.out.push(b' ');
            }
            self.out.extend_from_slice(name.as_bytes());
        }
    }

    fn status_value(&mut self, value: &StatusValue) {
        let (name, number): (&[u8], u64) = match value {
            StatusValue::Messages(n) => (b"MESSAGES ", u64::from(*n)),
            StatusValue::Recent(n) => (b"RECENT ", u64::from(*n)),
            StatusValue::UidNext(n) => (b"UIDNEXT ", u64::from(*n)),
            StatusValue::UidValidity(n) => (b"UIDVALIDITY ", u64::from(*n)),
            StatusValue::Unseen(n) => (b"UNSEEN ", u64::from(*n)),
            StatusValue::Deleted(n) => (b"DELETED ", u64::from(*n)),
            StatusValue::Size(n) => (b"SIZE ", *n),
            StatusValue::HighestModSeq(mod_seq) => (b"HIGHESTMODSEQ ", mod_seq.0),
            StatusValue::AppendLimit(Some(n)) => (b"APPENDLIMIT ", *n),
            StatusValue::DeletedStorage(n) => (b"DELETED-STORAGE ", *n),
            StatusValue::AppendLimit(None) => {
                return self.out.extend_from_slice(b"APPENDLIMIT NIL");
            }
            StatusValue::MailboxId(id) => {
                return self
                    .out
                    .extend_from_slice(format!("MAILBOXID ({id})").as_bytes());
            }
        };
        self.out.extend_from_slice(name);
        push_number(self.out, number);
    }

    /// A mailbox's name as an `astring`.
    fn mailbox(&mut self, name: &str) {
        if self.utf8 || (name.is_ascii() && !name.contains('&')) {
            return push_astring(self.out, name.as_bytes(), self.utf8);
        }
        push_astring(self.out, &encoded(name), false);
    }

    /// A mailbox's name as a `string`, where the grammar has no atom.
    fn quoted_mailbox(&mut self, name: &str) {
        if self.utf8 {
            return push_string(self.out, name.as_bytes(), true);
        }
        push_string(self.out, &encoded(name), false);
    }
}

/// The hierarchy separator between its neighbours, [`MailboxName::SEPARATOR`].
const SEPARATOR: &[u8] = b" \"/\"";
const _: () = assert!(MailboxName::SEPARATOR == '/');

fn encoded(name: &str) -> Vec<u8> {
    let mut wire = Vec::with_capacity(2 * name.len());
    utf7::encode(name, &mut wire);
    wire
}

#[cfg(test)]
mod tests {
    use mailrook_types::{MailboxId, ModSeq};

    use super::*;
    use crate::writer::tests::printed;

    #[test]
    fn lists_mailboxes() {
        let entry = |name| ListEntry {
            name,
            ..ListEntry::default()
        };
        let seen = printed(false, |w| {
            w.list(&entry("INBOX"));
            w.list(&entry(""));
            w.list(&entry("Tom & Jerry"));
            w.list(&ListEntry {
                attributes: ListAttributes::HAS_NO_CHILDREN | ListAttributes::SUBSCRIBED,
                special_uses: &[SpecialUse::Drafts],
                ..entry("Entwürfe")
            });
            w.list(&ListEntry {
                attributes: ListAttributes::NON_EXISTENT,
                child_subscribed: true,
                old_name: Some("a b"),
                ..entry("Foo")
            });
            w.lsub(ListAttributes::NO_SELECT, "nil");
        });
        let lines = [
            "* LIST () \"/\" INBOX",
            "* LIST () \"/\" \"\"",
            "* LIST () \"/\" \"Tom &- Jerry\"",
            "* LIST (\\HasNoChildren \\Subscribed \\Drafts) \"/\" Entw&APw-rfe",
            "* LIST (\\NonExistent \\Noselect) \"/\" Foo (\"CHILDINFO\" (\"SUBSCRIBED\") \"OLDNAME\" (\"a b\"))",
            "* LSUB (\\Noselect) \"/\" \"nil\"",
            "",
        ];
        assert_eq!(seen, lines.join("\r\n"));
        let utf8 = printed(true, |w| w.list(&entry("Entwürfe & mehr")));
        assert_eq!(utf8, "* LIST () \"/\" \"Entwürfe & mehr\"\r\n");
    }

    #[test]
    fn tells_status() {
        let values = [
            StatusValue::Messages(231),
            StatusValue::HighestModSeq(ModSeq(7)),
            StatusValue::AppendLimit(None),
            StatusValue::AppendLimit(Some(5)),
            StatusValue::MailboxId(MailboxId(3)),
            StatusValue::Size(u64::MAX),
        ];
        let seen = printed(false, |w| {
            w.mailbox_status("blurdybloop", &values);
            w.mailbox_status("x", &[]);
        });
        assert_eq!(
            seen,
            "* STATUS blurdybloop (MESSAGES 231 HIGHESTMODSEQ 7 APPENDLIMIT NIL APPENDLIMIT 5 \
             MAILBOXID (m3) SIZE 18446744073709551615)\r\n* STATUS x ()\r\n"
        );
    }

    #[test]
    fn tells_quota_and_namespaces() {
        let storage = QuotaResource {
            name: "STORAGE",
            usage: 10,
            limit: 512,
        };
        let seen = printed(false, |w| {
            w.namespace(&[""], &[], &["Shared/"]);
            w.quota(
                "",
                &[
                    storage,
                    QuotaResource {
                        name: "MESSAGE",
                        usage: 1,
                        limit: 2,
                    },
                ],
            );
            w.quota_root("INBOX", &["", "other"]);
        });
        let lines = [
            "* NAMESPACE ((\"\" \"/\")) NIL ((\"Shared/\" \"/\"))",
            "* QUOTA \"\" (STORAGE 10 512 MESSAGE 1 2)",
            "* QUOTAROOT INBOX \"\" \"other\"",
            "",
        ];
        assert_eq!(seen, lines.join("\r\n"));
    }
}
