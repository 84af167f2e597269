//! One shard's deterministic state machine
