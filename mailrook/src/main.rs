//! Mailrook: a mail cluster in one program.
//!
//! This crate puts the others together: `config` reads the configuration, `server` starts the roles it asks for, `cli` is
//! the command line, which speaks to a running server through `admin`; `dev` is a throwaway server.
//!
//! *Architecture Invariant:* this crate knows no mail. It decides which parts run, with what settings, as which user; what
//! they do is theirs.

mod admin;
mod cli;
mod config;
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

/// Small for many sessions, and gives the memory of password hashes back.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    cli::run(cli::Cli::parse())
}
