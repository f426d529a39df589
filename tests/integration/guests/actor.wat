;; A guest that does what its first argument says, by its first letter. The second argument is a path
;; relative to the root. For the tests of `worker`, which need no toolchain for it.
(module
  (import "wasi_snapshot_preview1" "args_sizes_get" (func $args_sizes_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "args_get" (func $args_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_open"
    (func $path_open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
  (memory (export "memory") 2)
  ;; 0: iovec; 16: results; 64: argument pointers; 256: arguments.
  (data (i32.const 4096) "hello from the guest\n")
  (data (i32.const 4128) "thread 'main' panicked at src/main.rs:1:1:\nno\n")
  (data (i32.const 5000) "original")
  (data (i32.const 8192) "................................................................")

  (func $write (param $fd i32) (param $at i32) (param $length i32) (result i32)
    (i32.store (i32.const 0) (local.get $at))
    (i32.store (i32.const 4) (local.get $length))
    (call $fd_write (local.get $fd) (i32.const 0) (i32.const 1) (i32.const 16)))

  (func $length (param $at i32) (result i32)
    (local $n i32)
    (block $end
      (loop $next
        (br_if $end (i32.eqz (i32.load8_u (i32.add (local.get $at) (local.get $n)))))
        (local.set $n (i32.add (local.get $n) (i32.const 1)))
        (br $next)))
    (local.get $n))

  ;; Opens argument 2 beneath descriptor 3 and exits with the error number.
  (func $open (param $oflags i32) (param $rights i64) (result i32)
    (call $path_open (i32.const 3) (i32.const 1)
      (i32.load (i32.const 72)) (call $length (i32.load (i32.const 72)))
      (local.get $oflags) (local.get $rights) (i64.const 0) (i32.const 0) (i32.const 16)))

  (func $recurse (param $n i32) (result i32)
    (i32.add (i32.const 1) (call $recurse (i32.add (local.get $n) (i32.const 1)))))

  (func $is (param $letter i32) (result i32)
    (i32.eq (i32.load8_u (i32.load (i32.const 68))) (local.get $letter)))

  (func (export "_start")
    (local $i i32)
    (drop (call $args_sizes_get (i32.const 16) (i32.const 20)))
    (drop (call $args_get (i32.const 64) (i32.const 256)))
    ;; p: print
    (if (call $is (i32.const 112)) (then
      (drop (call $write (i32.const 1) (i32.const 4096) (i32.const 21)))))
    ;; e: exit with 3
    (if (call $is (i32.const 101)) (then (call $proc_exit (i32.const 3))))
    ;; t: trap
    (if (call $is (i32.const 116)) (then (unreachable)))
    ;; x: panic
    (if (call $is (i32.const 120)) (then
      (drop (call $write (i32.const 2) (i32.const 4128) (i32.const 46)))
      (unreachable)))
    ;; s: stack overflow
    (if (call $is (i32.const 115)) (then (drop (call $recurse (i32.const 0)))))
    ;; l: endless loop
    (if (call $is (i32.const 108)) (then (loop $again (br $again))))
    ;; m: all the memory there is, then one more access
    (if (call $is (i32.const 109)) (then
      (loop $more
        (br_if $more (i32.ne (memory.grow (i32.const 16)) (i32.const -1))))
      (unreachable)))
    ;; f: 100 MiB of output
    (if (call $is (i32.const 102)) (then
      (loop $more
        (drop (call $write (i32.const 1) (i32.const 8192) (i32.const 65536)))
        (local.set $i (i32.add (local.get $i) (i32.const 1)))
        (br_if $more (i32.lt_u (local.get $i) (i32.const 1600))))))
    ;; r: open for reading; c: create; a: open ten times
    (if (call $is (i32.const 114)) (then
      (call $proc_exit (call $open (i32.const 0) (i64.const 2)))))
    (if (call $is (i32.const 99)) (then
      (call $proc_exit (call $open (i32.const 5) (i64.const 64)))))
    (if (call $is (i32.const 97)) (then
      (loop $more
        (drop (call $open (i32.const 0) (i64.const 2)))
        (local.set $i (i32.add (local.get $i) (i32.const 1)))
        (br_if $more (i32.lt_u (local.get $i) (i32.const 10))))))
    ;; v: print what is at 5000
    (if (call $is (i32.const 118)) (then
      (drop (call $write (i32.const 1) (i32.const 5000) (i32.const 8)))))))
