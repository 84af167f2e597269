//! See `mailrook_fuzz::smtp_session`.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| mailrook_fuzz::smtp_session(input));
