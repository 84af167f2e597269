//! Whole-system tests: wire conversations, real clients, faults, benchmarks
