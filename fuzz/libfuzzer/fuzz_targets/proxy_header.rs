//! See `mailrook_fuzz::proxy_header`.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| mailrook_fuzz::proxy_header(input));
