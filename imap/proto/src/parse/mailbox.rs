//! Commands that name one mailbox or quota root: SELECT, CREATE, STATUS, QUOTA and their kin.

use mailrook_types::{ModSeq, SpecialUse, UidValidity};

use super::input::{Input, Parsed};
use crate::{
    command::{Command, Qresync, Select, StatusItem},
    error::ParseError,
};

/// RFC 9208 §5 names four resources; some room for those of others.
const QUOTA_RESOURCES_MAX: usize = 16;

fn mailbox_argument(input: &mut Input<'_>) -> Parsed<String> {
    input.space("a mailbox's name")?;
    input.mailbox()
}

// RFC 9051 §6.3.2, RFC 7162 §3.1.8
pub(super) fn select(input: &mut Input<'_>, read_only: bool) -> Parsed<Command> {
    let mailbox = mailbox_argument(input)?;
    let mut select = Select {
        mailbox,
        read_only,
        condstore: false,
        qresync: None,
    };
    if !input.is_empty() {
        input.space("parameters in parentheses")?;
        input.list("parameters in parentheses", false, |input| {
            match input.word("CONDSTORE or QRESYNC")?.as_str() {
                "CONDSTORE" => select.condstore = true,
                "QRESYNC" => select.qresync = Some(qresync(input)?),
                _ => return Err(ParseError::Unknown("parameter")),
            }
            Ok(())
        })?;
    }
    Ok(Command::Select(select))
}

// RFC 7162 §3.2.5
fn qresync(input: &mut Input<'_>) -> Parsed<Qresync> {
    input.space("QRESYNC's arguments")?;
    input.byte(b'(', "QRESYNC's arguments")?;
    let uid_validity = input.nz_number("UIDVALIDITY")?.get();
    let uid_validity =
        UidValidity::new(uid_validity).ok_or(ParseError::OutOfRange("UIDVALIDITY"))?;
    input.space("a MODSEQ")?;
    let mod_seq = input.mod_seq()?;
    let (mut known_uids, mut match_data) = (None, None);
    let mut more = input.eat(b' ');
    if more && input.peek() != Some(b'(') {
        known_uids = Some(input.explicit_set()?);
        more = input.eat(b' ');
    }
    if more {
        input.byte(b'(', "sequence numbers and UIDs")?;
        let sequence = input.explicit_set()?;
        input.space("UIDs")?;
        match_data = Some((sequence, input.explicit_set()?));
        input.byte(b')', "')'")?;
    }
    input.byte(b')', "')'")?;
    Ok(Qresync {
        uid_validity,
        mod_seq,
        known_uids,
        match_data,
    })
}

// RFC 9051 §6.3.4, RFC 6154 §3
pub(super) fn create(input: &mut Input<'_>) -> Parsed<Command> {
    let mailbox = mailbox_argument(input)?;
    let mut special_uses = Vec::new();
    if !input.is_empty() {
        input.space("USE in parentheses")?;
        input.list("USE in parentheses", false, |input| {
            if !input.eat_word("USE ") {
                return Err(ParseError::Unknown("parameter"));
            }
            input.list("special uses in parentheses", true, |input| {
                special_use(input, &mut special_uses)
            })
        })?;
    }
    Ok(Command::Create {
        mailbox,
        special_uses,
    })
}

fn special_use(input: &mut Input<'_>, special_uses: &mut Vec<SpecialUse>) -> Parsed<()> {
    input.byte(b'\\', "a special use")?;
    let attribute = format!("\\{}", input.atom("a special use")?);
    let special_use = SpecialUse::parse(&attribute).ok_or(ParseError::SpecialUse)?;
    if !special_uses.contains(&special_use) {
        special_uses.push(special_use);
    }
    Ok(())
}

// RFC 9051 §6.3.5
pub(super) fn delete(input: &mut Input<'_>) -> Parsed<Command> {
    Ok(Command::Delete {
        mailbox: mailbox_argument(input)?,
    })
}

// RFC 9051 §6.3.6
pub(super) fn rename(input: &mut Input<'_>) -> Parsed<Command> {
    Ok(Command::Rename {
        from: mailbox_argument(input)?,
        to: mailbox_argument(input)?,
    })
}

// RFC 9051 §6.3.7
pub(super) fn subscribe(input: &mut Input<'_>) -> Parsed<Command> {
    Ok(Command::Subscribe {
        mailbox: mailbox_argument(input)?,
    })
}

// RFC 9051 §6.3.8
pub(super) fn unsubscribe(input: &mut Input<'_>) -> Parsed<Command> {
    Ok(Command::Unsubscribe {
        mailbox: mailbox_argument(input)?,
    })
}

// RFC 9051 §6.3.11
pub(super) fn status(input: &mut Input<'_>) -> Parsed<Command> {
    let mailbox = mailbox_argument(input)?;
    input.space("status items in parentheses")?;
    Ok(Command::Status {
        mailbox,
        items: status_items(input)?,
    })
}

/// A parenthesised list of status items, nothing twice.
pub(super) fn status_items(input: &mut Input<'_>) -> Parsed<Vec<StatusItem>> {
    let mut items = Vec::new();
    input.list("status items in parentheses", false, |input| {
        let name = input.word("a status item")?;
        let item = StatusItem::parse(&name).ok_or(ParseError::Unknown("status item"))?;
        if !items.contains(&item) {
            items.push(item);
        }
        Ok(())
    })?;
    Ok(items)
}

fn quota_root(input: &mut Input<'_>) -> Parsed<String> {
    input.space("a quota root")?;
    input.text("a quota root")
}

// RFC 9208 §4.1.1
pub(super) fn get_quota(input: &mut Input<'_>) -> Parsed<Command> {
    Ok(Command::GetQuota {
        root: quota_root(input)?,
    })
}

// RFC 9208 §4.1.2
pub(super) fn get_quota_root(input: &mut Input<'_>) -> Parsed<Command> {
    Ok(Command::GetQuotaRoot {
        mailbox: mailbox_argument(input)?,
    })
}

// RFC 9208 §4.1.3
pub(super) fn set_quota(input: &mut Input<'_>) -> Parsed<Command> {
    let root = quota_root(input)?;
    input.space("limits in parentheses")?;
    let mut count = 0;
    let limits = input.list("limits in parentheses", true, |input| {
        count += 1;
        if count > QUOTA_RESOURCES_MAX {
            return Err(ParseError::TooMany {
                what: "resources",
                max: QUOTA_RESOURCES_MAX,
            });
        }
        let resource = input.atom("a resource")?.to_ascii_uppercase();
        input.space("a limit")?;
        Ok((resource, input.number64("limit")?))
    })?;
    Ok(Command::SetQuota { root, limits })
}

impl Input<'_> {
    /// A MODSEQ, zero included (RFC 7162 §7, `mod-sequence-valzer`). Where the grammar excludes zero it is
    /// taken all the same: it means "all", and some clients send it.
    pub(super) fn mod_seq(&mut self) -> Parsed<ModSeq> {
        let mod_seq = ModSeq(self.number64("MODSEQ")?);
        if mod_seq > ModSeq::MAX {
            return Err(ParseError::OutOfRange("MODSEQ"));
        }
        Ok(mod_seq)
    }
}
