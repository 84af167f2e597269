//! See `mailrook_fuzz::pop3_framing`.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| mailrook_fuzz::pop3_framing(input));
