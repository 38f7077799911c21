#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| burrow_fuzz::restore_archive(bytes));
