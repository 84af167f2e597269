//! ENABLE (RFC 9051 §6.3.1, RFC 7162 §3.2.3).

use mailrook_imap_proto::response::{Code, Status};

use crate::{
    outcome::{Outcome, Reply},
    session::Session,
};

pub(crate) fn run(session: &mut Session, names: &[String]) -> Outcome {
    session.account()?;
    let mut enabled = Vec::new();
    for name in names {
        let name = match name.as_str() {
            "IMAP4REV2" => {
                session.enabled.imap4rev2 = true;
                session.framer.set_utf8(true);
                "IMAP4rev2"
            }
            "CONDSTORE" => {
                session.enabled.condstore = true;
                "CONDSTORE"
            }
            // RFC 7162 §3.2.3: it enables CONDSTORE too.
            "QRESYNC" => {
                session.enabled.condstore = true;
                session.enabled.qresync = true;
                "QRESYNC"
            }
            // What is not known is passed over.
            _ => continue,
        };
        if !enabled.contains(&name) {
            enabled.push(name);
        }
    }
    session.writer().enabled(enabled.iter().copied());
    let condstore = enabled.contains(&"CONDSTORE") || enabled.contains(&"QRESYNC");
    if let Some(selected) = session.selected.as_deref().filter(|_| condstore) {
        // RFC 7162 §3.1.2.1: the client may not have looked at SELECT's.
        let code = Code::HighestModSeq(selected.seen);
        session.untagged(Status::Ok, Some(code), "highest MODSEQ");
    }
    Ok(Reply::ok("ENABLE completed"))
}
