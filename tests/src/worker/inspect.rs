//! What a worker does when the server is back: it reads everything, compares, and empties what has grown large.

use std::io;

use super::{MAILBOX_MESSAGES_MAX, MAILBOXES, Worker};
use crate::client::{Imap, wire_error};
use crate::harness::Ports;
use crate::ledger::{SeenMailbox, SeenMessage, Violation};

impl Worker {
    /// Reads all mailboxes and compares.
    pub fn inspect(&mut self, ports: Ports) -> io::Result<Vec<Violation>> {
        let mut violations = Vec::new();
        for index in 0..self.accounts.len() {
            let mut imap = self.imap(ports, index)?;
            let there = imap.list()?;
            let (here, gone): (Vec<&str>, Vec<&str>) = MAILBOXES
                .into_iter()
                .partition(|name| there.iter().any(|listed| listed == name));
            for name in gone {
                self.ledgers[index].note(format!("mailbox {name} is lost"));
            }
            let seen: Vec<SeenMailbox> = here
                .into_iter()
                .map(|name| look(&mut imap, name))
                .collect::<io::Result<_>>()?;
            violations.extend(self.ledgers[index].check(&seen));
            imap.logout()?;
        }
        Ok(violations)
    }

    /// Leaves nothing but an empty INBOX.
    pub fn remove_everything(&self, ports: Ports) -> io::Result<()> {
        for index in 0..self.accounts.len() {
            let mut imap = self.imap(ports, index)?;
            for mailbox in imap.list()?.iter().filter(|name| *name != "INBOX") {
                imap.ok(&format!("DELETE {mailbox}"))?;
            }
            imap.ok("SELECT INBOX")?;
            imap.ok("UID STORE 1:* +FLAGS.SILENT (\\Deleted)")?;
            imap.ok("EXPUNGE")?;
            imap.logout()?;
        }
        Ok(())
    }

    /// Empties mailboxes that have grown large, by commands whose answers go into the ledger like all others.
    pub fn tidy(&mut self, ports: Ports) -> io::Result<()> {
        for index in 0..self.accounts.len() {
            for mailbox in MAILBOXES {
                let here = self.ledgers[index].certain(mailbox);
                if here.len() < MAILBOX_MESSAGES_MAX {
                    continue;
                }
                let mut imap = self.imap(ports, index)?;
                imap.ok(&format!("SELECT {mailbox}"))?;
                imap.ok("UID STORE 1:* +FLAGS.SILENT (\\Deleted)")?;
                imap.ok("EXPUNGE")?;
                here.iter()
                    .for_each(|(id, _)| self.ledgers[index].moved(id, None));
                imap.logout()?;
            }
        }
        Ok(())
    }
}

fn look(imap: &mut Imap, name: &str) -> io::Result<SeenMailbox> {
    let reply = imap.ok(&format!("SELECT {name} (CONDSTORE)"))?;
    let number = |code: &str| {
        reply
            .code(code)
            .and_then(|c| c.first()?.parse::<u64>().ok())
    };
    let uid = |code: &str| {
        let value = number(code).and_then(|n| u32::try_from(n).ok());
        value.ok_or_else(|| wire_error(format!("SELECT {name} told no {code}")))
    };
    let (uid_validity, uid_next) = (uid("UIDVALIDITY")?, uid("UIDNEXT")?);
    let highest_modseq = number("HIGHESTMODSEQ");
    let mut messages = Vec::new();
    if reply.exists().unwrap_or(0) > 0 {
        for fetch in imap.uid_fetch("1:*", "UID FLAGS MODSEQ BODY.PEEK[]")? {
            let (Some(uid), Some(flags), Some(body)) =
                (fetch.uid(), fetch.flags(), fetch.get("BODY[]"))
            else {
                return Err(wire_error(format!(
                    "{name}: a FETCH without what was asked for: {:?}",
                    fetch.sequence
                )));
            };
            messages.push(SeenMessage {
                uid,
                modseq: fetch.modseq(),
                flags,
                bytes: body.bytes().to_vec(),
            });
        }
    }
    if reply.exists() != u32::try_from(messages.len()).ok() {
        return Err(wire_error(format!(
            "{name}: {:?} EXISTS, {} fetched",
            reply.exists(),
            messages.len()
        )));
    }
    Ok(SeenMailbox {
        name: name.to_owned(),
        uid_validity,
        uid_next,
        highest_modseq,
        messages,
    })
}
