//! Mailrook.
fn main() {}
