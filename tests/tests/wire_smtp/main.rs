//! SMTP, submission and LMTP on the wire, a conversation for every extension and rule.
//!
//! All tests share one server; each has accounts of its own. What was accepted is read back over IMAP.
#![allow(clippy::unwrap_used, reason = "a test")]

mod data;
mod delivery;
mod extensions;
mod lmtp;
mod relay;
mod submission;

use mailrook_tests::harness::{Fixture, Shared};
use mailrook_tests::script::Script;

/// A fresh account.
fn fixture() -> Fixture {
    Shared::get().fixture()
}

/// A conversation on the MX port that has said EHLO, with a fresh account in `<<user>>`.
fn hello() -> (Fixture, Script) {
    let fixture = fixture();
    let mut script = fixture.named(Script::new(fixture.server.ports().smtp));
    script.play("S: 220 ...\nC: EHLO client.example.test\nS~ 250 ...");
    (fixture, script)
}

/// The messages in an account's INBOX.
fn inbox(fixture: &Fixture) -> Vec<String> {
    let mut imap = fixture.client().unwrap();
    imap.ok("EXAMINE INBOX").unwrap();
    let fetched = imap.uid_fetch("1:*", "BODY.PEEK[]").unwrap_or_default();
    fetched
        .iter()
        .map(|f| f.get("BODY[]").map(|b| b.text()).unwrap_or_default())
        .collect()
}
