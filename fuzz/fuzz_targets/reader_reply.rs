#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| burrow_fuzz::reader_reply(bytes));
