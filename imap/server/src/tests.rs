//! Conversations over the in-memory twin.

mod rig;

mod append;
mod basics;
mod fetch;
mod mailboxes;
mod several;
mod storing;
mod search;
