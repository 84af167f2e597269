//! See `mailrook_fuzz::configuration`.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| mailrook_fuzz::configuration(input));
