//! See `mailrook_fuzz::mailbox_name`.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| mailrook_fuzz::mailbox_name(input));
