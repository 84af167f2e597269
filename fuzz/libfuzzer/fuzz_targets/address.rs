//! See `mailrook_fuzz::address`.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| mailrook_fuzz::address(input));
