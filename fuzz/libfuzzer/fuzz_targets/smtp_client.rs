//! See `mailrook_fuzz::smtp_client`.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| mailrook_fuzz::smtp_client(input));
