//! See `mailrook_fuzz::pop3_session`.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| mailrook_fuzz::pop3_session(input));
