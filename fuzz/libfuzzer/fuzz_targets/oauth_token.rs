//! See `mailrook_fuzz::oauth_token`.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| mailrook_fuzz::oauth_token(input));
