//! What a guest may use up: the one table of limits.

use super::units;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// What documents and messages say of a limit, and how a manifest gives it.
#[derive(Debug)]
pub struct LimitRow {
    /// In `limits` of the manifest.
    pub key: &'static str,
    /// How its value is written.
    pub unit: Unit,
    /// The greatest value, in bytes, milliseconds or pieces. None is below 1.
    pub most: u64,
    /// The default, as docs/manifest.md has it.
    pub default: &'static str,
    /// What counts.
    pub counts: &'static str,
    /// What happens when it is reached.
    pub reached: &'static str,
    /// Sets it, to a number of bytes, milliseconds or pieces.
    pub(super) set: fn(&mut LimitsPatch, u64),
}

/// How the value of a limit is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// `"256 MiB"`.
    Size,
    /// `"60s"`.
    Time,
    /// `64`.
    Number,
}

/// Reads a value, or says what is wrong as a sentence without final period.
pub(super) type Parse = fn(&str) -> Result<u64, String>;

impl Unit {
    /// What a value must be, and how its text is read. A number is no text.
    pub(super) fn text(self) -> Option<(&'static str, Parse)> {
        match self {
            Self::Size => Some(("a size such as `\"256 MiB\"`", units::size)),
            Self::Time => Some(("a duration such as `\"60s\"`", |text| {
                units::duration(text).map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
            })),
            Self::Number => None,
        }
    }
}

/// Makes [`Limits`], [`LimitsPatch`] and [`LIMITS`] from one table: of each its field, the type in `Limits`,
/// its default there, the type of a value and how it is made from a number.
macro_rules! limits {
    ($($(#[$doc:meta])* $name:ident: $limit:ty = $default:expr, $value:ty, $from:expr, { $($row:tt)* })*) => {
        /// What a guest may use up. `None`: no limit of ours.
        #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
        pub struct Limits {
            $($(#[$doc])* pub $name: $limit,)*
        }

        impl Default for Limits {
            /// 4 GiB of memory (all that wasm32 has), 256 open files; nothing else is limited.
            fn default() -> Self {
                Self { $($name: $default,)* }
            }
        }

        /// Limits as a table says them: what is `None` is left as it was.
        #[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
        pub struct LimitsPatch {
            $(#[doc = concat!("See [`Limits::", stringify!($name), "`].")] pub $name: Option<$value>,)*
        }

        impl LimitsPatch {
            /// Replaces what the patch says.
            pub fn apply(&self, limits: &mut Limits) {
                let Self { $($name,)* } = self;
                $(if let Some(value) = *$name {
                    limits.$name = value.into();
                })*
            }

            /// The smaller of each value; where one is missing it stays missing, unless `either`.
            pub(super) fn clamp(&self, bound: &Self, either: bool) -> Self {
                Self { $($name: smaller(self.$name, bound.$name, either),)* }
            }
        }

        /// Every limit, in the order of the documents.
        pub static LIMITS: &[LimitRow] = &[
            $(LimitRow { set: |patch, value| patch.$name = Some($from(value)), $($row)* },)*
        ];
    };
}

limits! {
    /// Linear memory and tables, in bytes.
    memory: Option<u64> = None, u64, u64::from, {
        key: "memory",
        unit: Unit::Size,
        most: u64::MAX,
        default: "4 GiB, all that wasm32 has",
        counts: "linear memory and tables",
        reached: "it cannot grow; if the guest ends by that: status 134",
    }
    /// Wall-clock time of the run, or of one test.
    time: Option<Duration> = None, Duration, Duration::from_millis, {
        key: "time",
        unit: Unit::Time,
        most: u64::MAX,
        default: "none",
        counts: "wall-clock time of the run, or of one test",
        reached: "the guest is killed: status 124",
    }
    /// Bytes written to standard output and standard error together.
    output: Option<u64> = None, u64, u64::from, {
        key: "output",
        unit: Unit::Size,
        most: u64::MAX,
        default: "none",
        counts: "bytes on standard output and standard error together",
        reached: "the guest is ended: status 134",
    }
    /// Open file descriptors of the guest at one time.
    open_files: u32 = 256, u32, |number| u32::try_from(number).unwrap_or(u32::MAX), {
        key: "open-files",
        unit: Unit::Number,
        most: u32::MAX as u64,
        default: "256",
        counts: "descriptors that are open at one time",
        reached: "opening fails with \"too many open files\"",
    }
    /// Bytes written to files in total, and the size of any one file.
    disk: Option<u64> = None, u64, u64::from, {
        key: "disk",
        unit: Unit::Size,
        most: u64::MAX,
        default: "none",
        counts: "bytes written to files in total, and the size of any one file",
        reached: "writing fails with \"quota exceeded\"",
    }
    /// Files, directories and links created.
    files: Option<u64> = None, u64, u64::from, {
        key: "files",
        unit: Unit::Number,
        most: u64::MAX,
        default: "none",
        counts: "files, directories and links created",
        reached: "creating fails with \"quota exceeded\"",
    }
}

fn smaller<T: Ord>(value: Option<T>, bound: Option<T>, either: bool) -> Option<T> {
    match (value, bound) {
        (Some(value), Some(bound)) => Some(value.min(bound)),
        (None, bound) if either => bound,
        (value, _) => value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A row that sets the field of another one would be a limit that nobody gets.
    #[test]
    fn each_limit_has_a_field_of_its_own_and_the_default_that_it_says() {
        let mut seen = Vec::new();
        for row in LIMITS {
            let mut patch = LimitsPatch::default();
            (row.set)(&mut patch, 1);
            assert!(patch != LimitsPatch::default() && !seen.contains(&patch), "{}", row.key);
            let mut limits = Limits::default();
            patch.apply(&mut limits);
            assert_ne!(limits, Limits::default(), "{}", row.key);
            assert_eq!(patch.clamp(&LimitsPatch::default(), false), patch);
            assert_eq!(LimitsPatch::default().clamp(&patch, true), patch);
            seen.push(patch);
        }
        let keys: Vec<&str> = LIMITS.iter().map(|row| row.key).collect();
        let fields = format!("{:?}", LimitsPatch::default());
        assert!(keys.iter().all(|key| fields.contains(&format!("{}: None", key.replace('-', "_")))));
    }
}
