//! See `mailrook_fuzz::stored_records`.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| mailrook_fuzz::stored_records(input));
