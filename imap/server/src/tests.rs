//! Conversations over the in-memory twin.

mod rig;

mod append;
mod basics;
mod ended;
mod fetch;
mod flaky;
mod hostile;
mod in_doubt;
mod mailboxes;
mod model;
mod pop3;
mod pop3_lock;
mod search;
mod several;
mod speed;
mod storing;
mod tokens;
mod transport;
