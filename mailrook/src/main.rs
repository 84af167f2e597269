//! Mailrook: a mail cluster in one program.
//!
//! This crate puts the others together: `server` starts the roles that the configuration asks for, `cli` is the command
//! line, which speaks to a running server through `admin`; `dev` is a throwaway server.
//!
//! *Architecture Invariant:* this crate knows no mail. It decides which parts run, with what settings, as which user; what
//! they do is theirs.

mod admin;
mod cli;
mod dev;
mod http;
mod logging;
mod metrics;
mod password;
mod privileges;
mod process;
mod serve;
mod server;
mod tls;

use std::process::ExitCode;

use clap::Parser;
use mailrook_config as config;

/// Small for many sessions, and gives the memory of password hashes back.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    cli::run(cli::Cli::parse())
}
