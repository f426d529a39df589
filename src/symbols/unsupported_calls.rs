//! Calls that are in a wasip1 program but can never reach the host: std fails them inside the guest.

use super::module::Module;
use super::{Error, cut, mangling, origin};
use sandbox_policy::access::RawFrame;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Callers that are listed for one function.
const MOST_CALLERS: usize = 16;
/// Functions of std that may lie between the program's call and the one that is stuck.
const LONGEST_WAY: usize = 6;
/// Bytes of a demangled name that are compared.
const LONGEST_NAME: usize = 4096;

/// What such a call would do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum UnsupportedKind {
    /// Start a process.
    Process,
    /// Connect or listen by TCP.
    Tcp,
    /// Open a UDP socket.
    Udp,
    /// Look up the address of a host.
    Lookup,
    /// Start a thread.
    Thread,
}

/// A function of the program's own that calls it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Caller {
    /// Its crate, as in the symbol name.
    pub krate: String,
    /// Its demangled path.
    pub function: String,
    /// The call itself, to be symbolised.
    pub site: RawFrame,
}

/// One function of std that cannot do its work on wasip1, and who calls it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct UnsupportedCall {
    /// What it would do.
    pub kind: UnsupportedKind,
    /// As the documentation names it: `std::net::TcpStream::connect`.
    pub function: String,
    /// At most 16, in the order of the module; never empty.
    pub callers: Vec<Caller>,
}

/// Functions by their plain path, and how the documentation names them. In optimised programs those
/// for the network are inlined away without a trace.
const UNSUPPORTED: [(UnsupportedKind, &str, &str); 17] = [
    (UnsupportedKind::Process, "std::process::Command::spawn", "std::process::Command::spawn"),
    (UnsupportedKind::Process, "std::process::Command::output", "std::process::Command::output"),
    (UnsupportedKind::Process, "std::process::Command::status", "std::process::Command::status"),
    (UnsupportedKind::Process, "std::sys::process::unsupported::Command::new", "std::process::Command::new"),
    (UnsupportedKind::Tcp, "std::net::tcp::TcpStream::connect", "std::net::TcpStream::connect"),
    (
        UnsupportedKind::Tcp,
        "std::net::tcp::TcpStream::connect_timeout",
        "std::net::TcpStream::connect_timeout",
    ),
    (UnsupportedKind::Tcp, "std::net::tcp::TcpListener::bind", "std::net::TcpListener::bind"),
    (UnsupportedKind::Udp, "std::net::udp::UdpSocket::bind", "std::net::UdpSocket::bind"),
    (UnsupportedKind::Lookup, "std::net::socket_addr::str::to_socket_addrs", "std::net::ToSocketAddrs"),
    (UnsupportedKind::Lookup, "std::net::socket_addr::String::to_socket_addrs", "std::net::ToSocketAddrs"),
    (UnsupportedKind::Thread, "std::thread::functions::spawn", "std::thread::spawn"),
    (UnsupportedKind::Thread, "std::thread::spawn", "std::thread::spawn"),
    (UnsupportedKind::Thread, "std::thread::builder::Builder::spawn", "std::thread::Builder::spawn"),
    (UnsupportedKind::Thread, "std::thread::Builder::spawn", "std::thread::Builder::spawn"),
    (UnsupportedKind::Thread, "std::thread::scoped::Scope::spawn", "std::thread::Scope::spawn"),
    (
        UnsupportedKind::Thread,
        "std::thread::scoped::Builder::spawn_scoped",
        "std::thread::Builder::spawn_scoped",
    ),
    (UnsupportedKind::Thread, "std::thread::lifecycle::spawn_unchecked", "std::thread::spawn"),
];

/// The calls of that kind that the program's own code contains, from the `name` and code sections:
/// nothing is found in a stripped program. One entry per function of std. A call that stays
/// inside std, such as a thread of libtest, is not listed.
///
/// # Errors
/// The module is malformed.
pub fn unsupported_calls(wasm: &[u8]) -> Result<Vec<UnsupportedCall>, Error> {
    let module = Module::parse(wasm)?;
    let names: HashMap<u32, &str> = module.names().collect();
    let unsupported: BTreeMap<u32, usize> = names
        .iter()
        .filter(|(_, name)| {
            ["spawn", "process", "bind", "connect", "addrs"].iter().any(|word| name.contains(word))
        })
        .filter_map(|(index, name)| {
            let path = plain_path(&mangling::demangle(name, LONGEST_NAME)?);
            Some((*index, UNSUPPORTED.iter().position(|(_, plain, _)| *plain == path)?))
        })
        .collect();
    if unsupported.is_empty() {
        return Ok(Vec::new());
    }
    let calls = calls(&module);
    let mut found: BTreeMap<(UnsupportedKind, &str), BTreeSet<Caller>> = BTreeMap::new();
    for (function, entry) in unsupported {
        let (kind, _, shown) = UNSUPPORTED[entry];
        let ways = if kind == UnsupportedKind::Lookup { 1 } else { LONGEST_WAY };
        let callers = callers(function, &calls, &names, ways);
        if !callers.is_empty() {
            found.entry((kind, shown)).or_default().extend(callers);
        }
    }
    drop_repeated_sites(&mut found);
    Ok(found
        .into_iter()
        .map(|((kind, function), callers)| UnsupportedCall {
            kind,
            function: function.to_owned(),
            callers: callers.into_iter().take(MOST_CALLERS).collect(),
        })
        .filter(|call| !call.callers.is_empty())
        .collect())
}

/// `thread::spawn` ends in `Builder::spawn`: the same call of the program is listed once, under the
/// function it names itself, which is the one that is called directly.
fn drop_repeated_sites(found: &mut BTreeMap<(UnsupportedKind, &str), BTreeSet<Caller>>) {
    let mut seen = BTreeSet::new();
    // `Command::new` is only of interest where nothing else shows what becomes of the command.
    let (last, first): (Vec<_>, Vec<_>) =
        found.keys().copied().partition(|(_, function)| function.ends_with("Command::new"));
    let processes = first.iter().any(|(kind, _)| *kind == UnsupportedKind::Process);
    for key in first.iter().chain(&last) {
        if let Some(callers) = found.get_mut(key) {
            callers.retain(|caller| seen.insert(caller.site));
        }
    }
    if processes {
        found.retain(|(_, function), _| !function.ends_with("Command::new"));
    }
}

/// For each called function: who calls it, and where.
fn calls(module: &Module<'_>) -> HashMap<u32, Vec<RawFrame>> {
    let mut calls: HashMap<u32, Vec<RawFrame>> = HashMap::new();
    for (function, body) in (module.imported..).zip(&module.bodies) {
        let Ok(reader) = body.get_operators_reader() else { continue };
        for operator in reader.into_iter_with_offsets() {
            let Ok((operator, offset)) = operator else { break };
            let (wasmparser::Operator::Call { function_index: callee }
            | wasmparser::Operator::ReturnCall { function_index: callee }) = operator
            else {
                continue;
            };
            let offset = u32::try_from(offset).unwrap_or(u32::MAX);
            calls.entry(callee).or_default().push(RawFrame { function, offset });
        }
    }
    calls
}

/// The nearest callers outside std, over at most `ways` steps.
fn callers(
    function: u32,
    calls: &HashMap<u32, Vec<RawFrame>>,
    names: &HashMap<u32, &str>,
    ways: usize,
) -> Vec<Caller> {
    let mut found = Vec::new();
    let mut seen = BTreeSet::from([function]);
    let mut next = vec![function];
    for _ in 0..ways {
        let mut outer = Vec::new();
        for site in next.iter().filter_map(|callee| calls.get(callee)).flatten() {
            let frame = mangling::frame(names.get(&site.function).copied().unwrap_or_default());
            if origin::is_std_crate(&frame.krate) {
                if seen.insert(site.function) {
                    outer.push(site.function);
                }
            } else if !origin::is_internal(&frame) && found.len() < 4 * MOST_CALLERS {
                found.push(Caller { krate: frame.krate, function: frame.function, site: *site });
            }
        }
        next = outer;
    }
    found
}

/// A demangled path without generic arguments and without the brackets of an `impl`:
/// `<std::net::tcp::TcpStream>::connect::<&str>` → `std::net::tcp::TcpStream::connect`, and
/// `<str as std::net::socket_addr::ToSocketAddrs>::to_socket_addrs` → `std::net::socket_addr::str::…`.
pub fn plain_path(demangled: &str) -> String {
    let mut path = cut(demangled).to_owned();
    if let Some(inner) = path.strip_prefix("<")
        && let Some((own, method)) = split_bracket(inner)
    {
        let own = match own.rsplit_once(" as ") {
            Some((own, of)) => {
                let module = of.rsplit_once("::").map_or("", |(module, _)| module);
                let own = own.rsplit("::").next().unwrap_or(own);
                format!("{module}::{own}")
            }
            None => own.to_owned(),
        };
        path = format!("{own}{method}");
    }
    let mut plain = String::new();
    let mut depth = 0_usize;
    let mut before = ' ';
    for letter in path.chars() {
        match letter {
            '<' => depth += 1,
            '>' if before == '-' => {}
            '>' => depth = depth.saturating_sub(1),
            _ if depth == 0 => plain.push(letter),
            _ => {}
        }
        before = letter;
    }
    plain.trim_end_matches("::").replace("::::", "::")
}

/// What is before and after the `>` that closes a bracket opened before `inner`.
fn split_bracket(inner: &str) -> Option<(&str, &str)> {
    let mut depth = 0_usize;
    let mut before = ' ';
    for (at, letter) in inner.char_indices() {
        match letter {
            '<' => depth += 1,
            '>' if before == '-' => {}
            '>' if depth == 0 => return Some((&inner[..at], &inner[at + 1..])),
            '>' => depth -= 1,
            _ => {}
        }
        before = letter;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generic_arguments_and_brackets_do_not_hide_a_function() {
        assert_eq!(
            plain_path("<std::net::tcp::TcpStream>::connect::<&str>"),
            "std::net::tcp::TcpStream::connect"
        );
        assert_eq!(plain_path("std::net::tcp::TcpStream::connect"), "std::net::tcp::TcpStream::connect");
        assert_eq!(
            plain_path("<std::thread::builder::Builder>::spawn::<top::main::{closure#0}, ()>"),
            "std::thread::builder::Builder::spawn"
        );
        assert_eq!(
            plain_path("<str as std::net::socket_addr::ToSocketAddrs>::to_socket_addrs"),
            "std::net::socket_addr::str::to_socket_addrs"
        );
        assert_eq!(
            plain_path("<core::option::Option<fn() -> u8>>::map::<u8, fn(u8) -> u8>"),
            "core::option::Option::map"
        );
    }
}
