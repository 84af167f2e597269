//! Whole conversations over in-process streams, against the in-memory twin of the store.

mod delivery;
mod faults;
mod hostile;
mod listeners;
mod rig;
mod submission;
mod tokens;
