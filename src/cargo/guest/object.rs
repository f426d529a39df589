//! Linked into every guest that `cargo-sandbox` builds; `build::object` compiles it.
//!
//! Compiled by the user's own rustc, on its own, as a relocatable object. There is no panic handler
//! and no allocator here: nothing may panic, so there is no indexing and no checked arithmetic, and
//! memory is only touched through raw pointers. It compiles with Rust 1.78, the first one that has
//! the target.
#![no_std]
#![allow(clippy::missing_safety_doc)]

use core::ffi::{c_char, c_int};
use core::mem::MaybeUninit;
use core::ptr::{addr_of_mut, copy_nonoverlapping};

extern "C" {
    /// The C library's `getenv`: the linker redirects every other call (`--wrap=getenv`).
    fn __real_getenv(name: *const c_char) -> *mut c_char;
    fn __errno_location() -> *mut c_int;
    fn chdir(path: *const c_char) -> c_int;
    fn stat(path: *const c_char, buffer: *mut Stat) -> c_int;
}

/// Tells the host which version of this object the guest carries. A custom section: it survives
/// optimisation, link-time optimisation and `strip = true`.
#[used]
#[link_section = "cargo-sandbox"]
static MARKER: [u8; 1] = *b"1";

/// Where names are asked for. The host never has such a file.
const PREFIX: [u8; 23] = *b"/.cargo-sandbox/getenv/";
/// Bytes of a name that the host is told. A longer name is cut, and its digits end in `~`.
const LONGEST: usize = 1000;

/// Room for the C library's `struct stat`, which is 144 bytes long.
#[repr(C, align(16))]
struct Stat([u8; 512]);

/// WASI starts every program in `/`. The host gives the current directory as `PWD`. This runs
/// before `main`, after the C library has found its environment.
extern "C" fn enter_current_dir() {
    // SAFETY: the name is a C string, and what `getenv` returns is null or one that `chdir` may
    // read; there is one thread.
    unsafe {
        let errno = __errno_location();
        let saved = *errno;
        let path = __real_getenv(c"PWD".as_ptr());
        if !path.is_null() {
            chdir(path);
        }
        *errno = saved;
    }
}

#[used]
#[link_section = ".init_array"]
static CONSTRUCTOR: extern "C" fn() = enter_current_dir;

/// Takes the place of `getenv`: tells the host which name is asked for, then answers as ever.
#[no_mangle]
pub unsafe extern "C" fn __wrap_getenv(name: *const c_char) -> *mut c_char {
    // SAFETY: the caller passes a C string, as `getenv` demands.
    unsafe {
        if !name.is_null() {
            tell(name.cast());
        }
        __real_getenv(name)
    }
}

/// Looks at `/.cargo-sandbox/getenv/<name in lower-case hexadecimal>`. The name is encoded because
/// it may hold slashes and dots, which would reach the host as a path.
unsafe fn tell(name: *const u8) {
    // SAFETY: `name` is a C string and is read up to its end. At most `PREFIX`, two digits for
    // each of `LONGEST` bytes, the `~` and the final zero are written: the size of `path`.
    unsafe {
        let mut path = MaybeUninit::<[u8; PREFIX.len() + 2 * LONGEST + 2]>::uninit();
        let start: *mut u8 = path.as_mut_ptr().cast();
        copy_nonoverlapping(PREFIX.as_ptr(), start, PREFIX.len());
        let mut end = start.wrapping_add(PREFIX.len());
        let mut read = 0_usize;
        loop {
            let byte = *name.wrapping_add(read);
            if byte == 0 {
                break;
            }
            if read == LONGEST {
                *end = b'~';
                end = end.wrapping_add(1);
                break;
            }
            *end = digit(byte >> 4);
            *end.wrapping_add(1) = digit(byte & 15);
            end = end.wrapping_add(2);
            read = read.wrapping_add(1);
        }
        *end = 0;
        let errno = __errno_location();
        let saved = *errno;
        let mut unused = MaybeUninit::<Stat>::uninit();
        stat(start.cast(), addr_of_mut!(unused).cast());
        *errno = saved;
    }
}

fn digit(nibble: u8) -> u8 {
    let first = if nibble < 10 { b'0' } else { b'a'.wrapping_sub(10) };
    first.wrapping_add(nibble)
}
