;; A guest that does what its arguments say, one after the other, each by its first letter; paths are relative
;; to the root. What fails ends it with the number of the error.
;;   m FROM TO: move    s TEXT PATH: symbolic link    d PATH: directory    c PATH: a file that says "forged"
;;   o PATH: open for reading, whatever comes of it
;;   t: a file `f` in the directory that TMPDIR names, which is printed    p: print    l: loop for ever
(module
  (import "wasi_snapshot_preview1" "args_sizes_get" (func $args_sizes_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "args_get" (func $args_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "environ_sizes_get" (func $environ_sizes_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "environ_get" (func $environ_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_open"
    (func $path_open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_rename"
    (func $path_rename (param i32 i32 i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_symlink" (func $path_symlink (param i32 i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_create_directory"
    (func $path_create_directory (param i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
  (memory (export "memory") 4)
  ;; 0: iovec; 16: results; 64: argument pointers; 4096: arguments; 65536: pointers of the environment;
  ;; 69632: the environment.
  (data (i32.const 32) "forged\n")
  (data (i32.const 40) "TMPDIR=")
  (data (i32.const 48) "hello\n")

  (func $length (param $at i32) (result i32)
    (local $n i32)
    (block $end
      (loop $next
        (br_if $end (i32.eqz (i32.load8_u (i32.add (local.get $at) (local.get $n)))))
        (local.set $n (i32.add (local.get $n) (i32.const 1)))
        (br $next)))
    (local.get $n))

  (func $write (param $fd i32) (param $at i32) (param $length i32) (result i32)
    (i32.store (i32.const 0) (local.get $at))
    (i32.store (i32.const 4) (local.get $length))
    (call $fd_write (local.get $fd) (i32.const 0) (i32.const 1) (i32.const 16)))

  (func $arg (param $n i32) (result i32)
    (i32.load (i32.add (i32.const 64) (i32.mul (local.get $n) (i32.const 4)))))

  (func $check (param $errno i32)
    (if (local.get $errno) (then (call $proc_exit (local.get $errno)))))

  ;; Absolute paths lose their slash: descriptor 3 is the root.
  (func $create (param $at i32)
    (if (i32.eq (i32.load8_u (local.get $at)) (i32.const 47))
      (then (local.set $at (i32.add (local.get $at) (i32.const 1)))))
    (call $check (call $path_open (i32.const 3) (i32.const 1)
      (local.get $at) (call $length (local.get $at))
      (i32.const 9) (i64.const 64) (i64.const 0) (i32.const 0) (i32.const 16)))
    (call $check (call $write (i32.load (i32.const 16)) (i32.const 32) (i32.const 7))))

  ;; The value of TMPDIR, or 0.
  (func $tmpdir (result i32)
    (local $i i32) (local $at i32)
    (drop (call $environ_sizes_get (i32.const 16) (i32.const 20)))
    (local.set $i (i32.load (i32.const 16)))
    (drop (call $environ_get (i32.const 65536) (i32.const 69632)))
    (loop $next
      (if (local.get $i) (then
        (local.set $i (i32.sub (local.get $i) (i32.const 1)))
        (local.set $at
          (i32.load (i32.add (i32.const 65536) (i32.mul (local.get $i) (i32.const 4)))))
        (br_if $next (i64.ne
          (i64.and (i64.load (local.get $at)) (i64.const 0xffffffffffffff))
          (i64.and (i64.load (i32.const 40)) (i64.const 0xffffffffffffff))))
        (return (i32.add (local.get $at) (i32.const 7))))))
    (i32.const 0))

  (func (export "_start")
    (local $i i32) (local $argc i32) (local $op i32) (local $at i32)
    (drop (call $args_sizes_get (i32.const 16) (i32.const 20)))
    (local.set $argc (i32.load (i32.const 16)))
    (drop (call $args_get (i32.const 64) (i32.const 4096)))
    (local.set $i (i32.const 1))
    (loop $next
      (if (i32.lt_u (local.get $i) (local.get $argc)) (then
        (local.set $op (i32.load8_u (call $arg (local.get $i))))
        (local.set $i (i32.add (local.get $i) (i32.const 1)))
        (if (i32.eq (local.get $op) (i32.const 109)) (then
          (call $check (call $path_rename
            (i32.const 3) (call $arg (local.get $i)) (call $length (call $arg (local.get $i)))
            (i32.const 3) (call $arg (i32.add (local.get $i) (i32.const 1)))
            (call $length (call $arg (i32.add (local.get $i) (i32.const 1))))))
          (local.set $i (i32.add (local.get $i) (i32.const 2)))))
        (if (i32.eq (local.get $op) (i32.const 115)) (then
          (call $check (call $path_symlink
            (call $arg (local.get $i)) (call $length (call $arg (local.get $i)))
            (i32.const 3) (call $arg (i32.add (local.get $i) (i32.const 1)))
            (call $length (call $arg (i32.add (local.get $i) (i32.const 1))))))
          (local.set $i (i32.add (local.get $i) (i32.const 2)))))
        (if (i32.eq (local.get $op) (i32.const 100)) (then
          (call $check (call $path_create_directory
            (i32.const 3) (call $arg (local.get $i)) (call $length (call $arg (local.get $i)))))
          (local.set $i (i32.add (local.get $i) (i32.const 1)))))
        (if (i32.eq (local.get $op) (i32.const 99)) (then
          (call $create (call $arg (local.get $i)))
          (local.set $i (i32.add (local.get $i) (i32.const 1)))))
        (if (i32.eq (local.get $op) (i32.const 111)) (then
          (drop (call $path_open (i32.const 3) (i32.const 1)
            (call $arg (local.get $i)) (call $length (call $arg (local.get $i)))
            (i32.const 0) (i64.const 2) (i64.const 0) (i32.const 0) (i32.const 16)))
          (local.set $i (i32.add (local.get $i) (i32.const 1)))))
        (if (i32.eq (local.get $op) (i32.const 116)) (then
          (local.set $at (call $tmpdir))
          (if (i32.eqz (local.get $at)) (then (call $proc_exit (i32.const 99))))
          (drop (call $write (i32.const 1) (local.get $at) (call $length (local.get $at))))
          (i32.store16 (i32.add (local.get $at) (call $length (local.get $at))) (i32.const 0x662f))
          (call $create (local.get $at))))
        (if (i32.eq (local.get $op) (i32.const 112)) (then
          (drop (call $write (i32.const 1) (i32.const 48) (i32.const 6)))))
        (if (i32.eq (local.get $op) (i32.const 108)) (then (loop $again (br $again))))
        (br $next))))))
