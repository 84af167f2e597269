//! Conversations over the in-memory twin.

mod rig;

mod append;
mod basics;
mod fetch;
mod mailboxes;
mod search;
mod several;
mod storing;
mod transport;
