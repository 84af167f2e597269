//! The program as its users run it: started, spoken to, reloaded, killed.

#![allow(clippy::unwrap_used, reason = "tests may")]

mod by_hand;
mod cluster;
mod cluster_care;
mod command_line;
mod dev;
mod fronts;
mod harness;
mod load;
mod mail;
mod reload;
mod secrets;
mod serve;
mod sessions;
mod systemd;
mod tokens;
mod waiting;
