//! The guest: it makes one call after the other, with the parameters that its first argument says, and nothing of its
//! own: whatever WASI lets a program ask for, it can ask for.

use super::program::{FUNCTIONS, IMAGE, RECORD, RECORDS};
use std::fmt::Write;

/// Two letters a byte.
pub(crate) fn argument(image: &[u8]) -> Vec<u8> {
    image.iter().flat_map(|byte| [b'a' + (byte >> 4), b'a' + (byte & 15)]).collect()
}

/// The module.
pub(crate) fn wasm() -> Vec<u8> {
    let mut imports = String::new();
    let mut cases = String::new();
    for (index, (name, types)) in FUNCTIONS.iter().enumerate() {
        let wide = |kind: char| kind == 'I';
        let params: Vec<&str> = types.chars().map(|kind| if wide(kind) { "i64" } else { "i32" }).collect();
        let params = params.join(" ");
        writeln!(
            imports,
            r#"(import "wasi_snapshot_preview1" "{name}" (func ${name} (param {params}) (result i32)))"#
        )
        .expect("it is memory");
        let argument = |(index, kind): (usize, char)| match wide(kind) {
            true => format!("(call $word (local.get $at) (i32.const {index}))"),
            false => format!("(i32.wrap_i64 (call $word (local.get $at) (i32.const {index})))"),
        };
        let arguments: Vec<String> = types.chars().enumerate().map(argument).collect();
        let number = index + 1;
        let arguments = arguments.join(" ");
        writeln!(
            cases,
            "(if (i32.eq (i32.load (local.get $at)) (i32.const {number}))
               (then (return (call ${name} {arguments}))))"
        )
        .expect("it is memory");
    }
    let text = format!(
        r#"(module
  (import "wasi_snapshot_preview1" "args_sizes_get" (func $args_sizes_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "args_get" (func $args_get (param i32 i32) (result i32)))
  {imports}
  (memory (export "memory") 24)
  ;; A parameter of the record at $at: a number, or the word at an address.
  (func $word (param $at i32) (param $index i32) (result i64)
    (local $value i64)
    (local.set $value
      (i64.load (i32.add (i32.add (local.get $at) (i32.const 16)) (i32.mul (local.get $index) (i32.const 8)))))
    (if (i32.and (i32.shr_u (i32.load offset=8 (local.get $at)) (local.get $index)) (i32.const 1))
      (then (return (i64.load32_u (i32.wrap_i64 (local.get $value))))))
    (local.get $value))
  (func $call (param $at i32) (result i32)
    {cases}
    (unreachable))
  (func (export "_start")
    (local $from i32) (local $to i32)
    (drop (call $args_sizes_get (i32.const 16) (i32.const 20)))
    (drop (call $args_get (i32.const 64) (i32.const 0xc0000)))
    (local.set $from (i32.load (i32.const 68)))
    (local.set $to (i32.const {IMAGE}))
    (block $read
      (loop $next
        (br_if $read (i32.eqz (i32.load8_u (local.get $from))))
        (i32.store8 (local.get $to)
          (i32.add
            (i32.shl (i32.sub (i32.load8_u (local.get $from)) (i32.const 97)) (i32.const 4))
            (i32.sub (i32.load8_u offset=1 (local.get $from)) (i32.const 97))))
        (local.set $from (i32.add (local.get $from) (i32.const 2)))
        (local.set $to (i32.add (local.get $to) (i32.const 1)))
        (br $next)))
    (local.set $to (i32.const {RECORDS}))
    (block $done
      (loop $next
        (br_if $done (i32.eqz (i32.load (local.get $to))))
        (i32.store (i32.load offset=4 (local.get $to)) (call $call (local.get $to)))
        (local.set $to (i32.add (local.get $to) (i32.const {RECORD})))
        (br $next)))))
"#
    );
    wat::parse_str(text).expect("a valid module")
}
