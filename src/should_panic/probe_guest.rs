// Compiled by the user's rustc, never run: the numbers are read from the data of the module it
// makes. What libtest's types look like is not promised, so each is measured. Only names that the
// code behind `#[test]` uses itself are used here.
#![feature(test)]
extern crate test;

use std::borrow::Cow;
use std::mem::{align_of, offset_of, size_of};
use test::{NamePadding, ShouldPanic, TestDesc, TestDescAndFn, TestName};

// The types of the fields that are read, checked by the compiler.
const _: fn(&TestDesc) -> &'static str = |desc| desc.source_file;
const _: fn(&TestDesc) -> usize = |desc| desc.start_line;
const _: fn(&TestDesc) -> bool = |desc| desc.ignore;

const fn at(field: usize) -> u32 {
    (offset_of!(TestDescAndFn, desc) + field) as u32
}

#[no_mangle]
pub static CARGO_SANDBOX_LAYOUT: [u32; 9] = [
    0x4c_54_44_31,
    size_of::<TestDescAndFn>() as u32,
    align_of::<TestDescAndFn>() as u32,
    at(offset_of!(TestDesc, name)),
    size_of::<TestName>() as u32,
    at(offset_of!(TestDesc, should_panic)),
    size_of::<ShouldPanic>() as u32,
    at(offset_of!(TestDesc, source_file)),
    at(offset_of!(TestDesc, start_line)) | at(offset_of!(TestDesc, ignore)) << 16,
];

#[no_mangle]
pub static CARGO_SANDBOX_TEXT: &str = "cargo-sandbox text";

#[no_mangle]
pub static CARGO_SANDBOX_NAME_A: TestName = TestName::StaticTestName("cargo-sandbox name a");
#[no_mangle]
pub static CARGO_SANDBOX_NAME_B: TestName = TestName::StaticTestName("cargo-sandbox longer name b");
#[no_mangle]
pub static CARGO_SANDBOX_NAME_DYN: TestName = TestName::DynTestName(String::new());
#[no_mangle]
pub static CARGO_SANDBOX_NAME_ALIGNED: TestName =
    TestName::AlignedTestName(Cow::Borrowed("cargo-sandbox aligned name"), NamePadding::PadNone);

#[no_mangle]
pub static CARGO_SANDBOX_PANIC_NO: ShouldPanic = ShouldPanic::No;
#[no_mangle]
pub static CARGO_SANDBOX_PANIC_YES: ShouldPanic = ShouldPanic::Yes;
#[no_mangle]
pub static CARGO_SANDBOX_PANIC_WITH_A: ShouldPanic = ShouldPanic::YesWithMessage("cargo-sandbox panic a");
#[no_mangle]
pub static CARGO_SANDBOX_PANIC_WITH_B: ShouldPanic =
    ShouldPanic::YesWithMessage("cargo-sandbox longer panic b");
