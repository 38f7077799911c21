#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| burrow_fuzz::volume_parts(bytes));
