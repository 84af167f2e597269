//! See `mailrook_fuzz::meta_commands`.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| mailrook_fuzz::meta_commands(input));
