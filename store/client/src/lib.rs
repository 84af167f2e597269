//! Routes calls to the leaders of their shards, retries, and keeps operation ids
