//! Landlock's ABIs: the one table of what each of them added, and since when.

use super::rights::Rights;

/// One ABI of Landlock.
#[derive(Debug)]
pub struct Abi {
    /// Its number, as the kernel tells it.
    pub number: u32,
    /// The first Linux that has it.
    pub linux: &'static str,
    /// The rights on files that it added.
    pub rights: Rights,
    /// It can deny to bind and to connect TCP ports.
    tcp: bool,
    /// It can keep signals and abstract sockets inside.
    scopes: bool,
    /// What it added, for people. `None`: nothing that we use.
    pub adds: Option<&'static str>,
}

const fn row(number: u32, linux: &'static str, bits: u64, adds: Option<&'static str>) -> Abi {
    Abi { number, linux, rights: Rights::from_bits(bits), tcp: false, scopes: false, adds }
}

/// Every ABI that rules are made for, the oldest first (Documentation/userspace-api/landlock.rst). A newer
/// kernel is asked for the last one.
pub static TABLE: [Abi; 9] = [
    row(1, "5.13", 0x1fff, Some("reading, writing, creating and removing files")),
    row(2, "5.19", 1 << 13, Some("moves and hard links between directories")),
    row(3, "6.2", 1 << 14, Some("truncation")),
    Abi { tcp: true, ..row(4, "6.7", 0, Some("TCP bind and connect")) },
    row(5, "6.10", 1 << 15, Some("device ioctls")),
    Abi { scopes: true, ..row(6, "6.12", 0, Some("abstract sockets and signals")) },
    // What is written to the audit log.
    row(7, "6.15", 0, None),
    // Confining all threads at once, where there is one.
    row(8, "7.0", 0, None),
    row(9, "7.1", 1 << 16, Some("connecting to named sockets")),
];

/// The newest ABI that rules are made for: the newest that the landlock crate knows.
pub const NEWEST: u32 = TABLE.len() as u32;

/// The ABI whose rules a kernel is given that has `kernel`.
pub fn used(kernel: Option<u32>) -> Option<u32> {
    kernel.map(|abi| abi.min(NEWEST))
}

/// The rows of what a kernel with this ABI can do.
pub fn known(abi: u32) -> impl Iterator<Item = &'static Abi> {
    TABLE.iter().take_while(move |row| row.number <= abi)
}

/// Whether TCP is denied by a ruleset for this ABI.
pub(super) fn has_tcp(abi: u32) -> bool {
    known(abi).any(|row| row.tcp)
}

/// Whether signals and abstract sockets are kept inside by a ruleset for this ABI.
pub(super) fn has_scopes(abi: u32) -> bool {
    known(abi).any(|row| row.scopes)
}

/// The first Linux with this ABI.
pub fn linux(abi: u32) -> &'static str {
    known(abi).last().map_or("5.13", |row| row.linux)
}

/// How an ABI is printed: `landlock ABI 7`, or `landlock ABI 9 of this kernel's 11` where the kernel has more
/// than rules are made for.
pub fn in_words(used: u32, kernel: Option<u32>) -> String {
    match kernel {
        Some(kernel) if kernel > used => format!("landlock ABI {used} of this kernel's {kernel}"),
        _ => format!("landlock ABI {used}"),
    }
}

impl Rights {
    /// Every right that a kernel of this ABI checks: what a ruleset handles, and denies where no
    /// rule grants it.
    pub fn handled(abi: u32) -> Self {
        known(abi).fold(Self::NONE, |all, row| all.union(row.rights))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_order_and_gives_every_right_once() {
        let mut all = Rights::NONE;
        for (row, number) in TABLE.iter().zip(1..) {
            assert_eq!(row.number, number);
            assert!(all.intersection(row.rights).is_empty(), "ABI {number} adds what is there");
            all = all.union(row.rights);
        }
        assert_eq!(all.names().count(), 17);
        assert_eq!(all, Rights::handled(NEWEST));
        assert_eq!(all, Rights::handled(u32::MAX), "a kernel of the future is asked for no more");
    }

    #[test]
    fn the_table_agrees_with_the_landlock_crate() {
        use landlock::{ABI, Access as _, AccessFs, AccessNet, Scope};
        let theirs = [ABI::V1, ABI::V2, ABI::V3, ABI::V4, ABI::V5, ABI::V6, ABI::V7, ABI::V8, ABI::V9];
        assert_eq!(theirs.len(), TABLE.len());
        for (row, abi) in TABLE.iter().zip(theirs) {
            let rights = Rights::handled(row.number);
            assert_eq!(rights.bits(), AccessFs::from_all(abi).bits(), "ABI {}", row.number);
            assert_eq!(has_tcp(row.number), !AccessNet::from_all(abi).is_empty(), "ABI {}", row.number);
            assert_eq!(has_scopes(row.number), !Scope::from_all(abi).is_empty(), "ABI {}", row.number);
        }
    }

    #[test]
    fn what_a_kernel_has_and_what_is_used_of_it_are_told_apart() {
        let words = |kernel| used(kernel).map(|abi| in_words(abi, kernel));
        assert_eq!(words(None), None);
        for abi in 1..=NEWEST {
            assert_eq!(words(Some(abi)), Some(format!("landlock ABI {abi}")));
        }
        assert_eq!(words(Some(10)).as_deref(), Some("landlock ABI 9 of this kernel's 10"));
        assert_eq!(words(Some(11)).as_deref(), Some("landlock ABI 9 of this kernel's 11"));
        assert_eq!((linux(2), linux(6), linux(11)), ("5.19", "6.12", "7.1"));
    }
}
