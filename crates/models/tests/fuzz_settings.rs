//! A fuzzer over the files of settings and the tokenizer.

#[test]
fn fuzz_nothing_yet() {}
