#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| burrow_fuzz::language_server(bytes));
