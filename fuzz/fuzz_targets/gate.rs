#![no_main]

libfuzzer_sys::fuzz_target!(
    init: {
        // The executable for the compile process. It has no instrumentation, so it is fast.
        let compiler = std::env::var_os("MEED_FUZZ_COMPILER").expect("run it with cargo xtask fuzz --long");
        fuzz_targets::compile_with(compiler.into());
    },
    |bytes: &[u8]| fuzz_targets::gate(bytes)
);
