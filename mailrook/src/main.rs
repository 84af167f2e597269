//! Mailrook.
mod config;
fn main() {}
