//! See `mailrook_fuzz::dns_texts`.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| mailrook_fuzz::dns_texts(input));
