//! See `mailrook_fuzz::mime_message`.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| mailrook_fuzz::mime_message(input));
