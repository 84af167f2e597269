//! Raft groups on one shared log, over RocksDB
