#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| vfiod_fuzz::klog(bytes));
