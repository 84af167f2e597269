//! See `mailrook_fuzz::raw_commands`.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| mailrook_fuzz::raw_commands(input));
