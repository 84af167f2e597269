//! IMAP on the wire, a conversation for every command and capability. RFC examples are adapted where they fit.
//!
//! All tests share one server; each has an account of its own.
#![allow(clippy::unwrap_used, reason = "a test")]

mod auth;
mod basics;
mod condstore;
mod fetch;
mod listing;
mod mailboxes;
mod searching;
mod several;
mod storing;
mod two_sessions;

use mailrook_tests::harness::{Fixture, Shared};
use mailrook_tests::script::Script;

/// A fresh account.
fn fixture() -> Fixture {
    Shared::get().fixture()
}

/// A fresh account with so many messages, logged in, nothing selected.
fn with_mail(count: usize) -> Script {
    let fixture = fixture();
    fixture.fill(count).unwrap();
    fixture.imap_in()
}

/// The same, INBOX selected (tag `s`).
fn selected(count: usize) -> Script {
    let mut script = with_mail(count);
    script.play("C: s SELECT INBOX\nS~ s OK ...");
    script
}
