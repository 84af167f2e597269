//! See `mailrook_fuzz::imap_session`.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| mailrook_fuzz::imap_session(input));
