//! Real networks on loopback: TCP, TLS and all.

#![allow(clippy::unwrap_used, reason = "tests may")]

mod calls;
mod hostile;
mod identity;
mod joining;
mod links;
mod proxy;
mod raw;
mod rig;
mod streams;
