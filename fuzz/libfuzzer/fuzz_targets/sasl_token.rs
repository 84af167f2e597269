//! See `mailrook_fuzz::sasl_token`.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| mailrook_fuzz::sasl_token(input));
