//! Mailrook.
mod admin;
mod config;
fn main() {}
