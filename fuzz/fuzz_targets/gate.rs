#![no_main]

libfuzzer_sys::fuzz_target!(
    init: {
        // The program that becomes a compiling process; without instrumentation it is as fast as it can be.
        let compiler = std::env::var_os("MEED_FUZZ_COMPILER").expect("run it with cargo xtask fuzz --long");
        fuzz_targets::compile_with(compiler.into());
    },
    |bytes: &[u8]| fuzz_targets::gate(bytes)
);
