//! See `mailrook_fuzz::shard_commands`.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| mailrook_fuzz::shard_commands(input));
