//! See `mailrook_fuzz::uid_set`.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| mailrook_fuzz::uid_set(input));
