//! The ordered key-value trait under the state machines, with its in-memory twin
