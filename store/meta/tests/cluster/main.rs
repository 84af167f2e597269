//! The cluster's own records as nodes and operators see them: commands in, replies and answers out.

#![allow(clippy::unwrap_used, reason = "tests may")]

mod ca;
mod fronts;
mod model;
mod moving;
mod nodes;
mod placement;
mod rig;
mod settings;
