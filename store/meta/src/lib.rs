//! The meta group's deterministic state machine: directory, placement, settings
