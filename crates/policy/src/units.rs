//! Sizes (`256 MiB`) and durations (`1m 30s`) as limits write them.

use std::time::Duration;

/// Parses a number of bytes with its unit: `B`, `kB`, `MB`, `GB`, `TB` (powers of 1000) or `KiB`, `MiB`, `GiB`,
/// `TiB` (powers of 1024), in any case, with or without a space before it.
///
/// # Errors
/// What is wrong, as a sentence without final period.
pub fn size(text: &str) -> Result<u64, String> {
    let (number, unit) = split(text)?;
    let factor: u64 = match unit.to_ascii_lowercase().as_str() {
        "b" => 1,
        "kb" => 1000,
        "mb" => 1000_u64.pow(2),
        "gb" => 1000_u64.pow(3),
        "tb" => 1000_u64.pow(4),
        "kib" => 1 << 10,
        "mib" => 1 << 20,
        "gib" => 1 << 30,
        "tib" => 1 << 40,
        "" => return Err("a size needs a unit, such as `256 MiB`".to_owned()),
        _ => return Err(format!("unknown unit `{unit}`; known are B, KiB, MiB, GiB, TiB, kB, MB, GB, TB")),
    };
    positive(number.checked_mul(factor).ok_or("this size is too large")?)
}

/// Parses a duration: numbers with the units `ms`, `s`, `m` (or `min`) and `h`, added up.
///
/// # Errors
/// What is wrong, as a sentence without final period.
pub fn duration(text: &str) -> Result<Duration, String> {
    let mut rest = text.trim();
    let mut millis: u64 = 0;
    if rest.is_empty() {
        return Err("a duration needs a number and a unit, such as `60s`".to_owned());
    }
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let after = rest[digits..].trim_start();
        let letters = after.bytes().take_while(u8::is_ascii_alphabetic).count();
        let (number, unit) = (&rest[..digits], &after[..letters]);
        let factor = match unit {
            _ if number.is_empty() => {
                return Err("a duration is a whole number and a unit, such as `60s` or `1m 30s`".to_owned());
            }
            "ms" => 1,
            "s" => 1000,
            "m" | "min" => 60_000,
            "h" => 3_600_000,
            "" => return Err("a duration needs a unit, such as `60s`".to_owned()),
            _ => return Err(format!("unknown unit `{unit}`; known are ms, s, m, h")),
        };
        millis = number
            .parse::<u64>()
            .ok()
            .and_then(|number| number.checked_mul(factor))
            .and_then(|more| millis.checked_add(more))
            .ok_or("this duration is too long")?;
        rest = after[letters..].trim_start();
    }
    Ok(Duration::from_millis(positive(millis)?))
}

fn positive(number: u64) -> Result<u64, String> {
    if number == 0 { Err("a limit must be above zero".to_owned()) } else { Ok(number) }
}

fn split(text: &str) -> Result<(u64, &str), String> {
    let text = text.trim();
    let digits = text.bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b'_').count();
    let number: String = text[..digits].chars().filter(|c| *c != '_').collect();
    if number.is_empty() {
        return Err("a size is a whole number and a unit, such as `256 MiB`".to_owned());
    }
    let number = number.parse().map_err(|_| "this size is too large".to_owned())?;
    Ok((number, text[digits..].trim_start()))
}

#[cfg(test)]
mod tests {
    use super::{duration, size};
    use std::time::Duration;

    #[test]
    fn sizes_are_bytes() {
        assert_eq!(size("256 MiB"), Ok(256 << 20));
        assert_eq!(size("1GiB"), Ok(1 << 30));
        assert_eq!(size("10 kB"), Ok(10_000));
        assert_eq!(size("1_000 B"), Ok(1000));
        for bad in
            ["", "256", "MiB", "1 XB", "0 B", "-1 B", "99999999999999999999 B", "99999999 TiB", "1.5 GiB"]
        {
            assert!(size(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn durations_add_up() {
        assert_eq!(duration("60s"), Ok(Duration::from_secs(60)));
        assert_eq!(duration("1m 30s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("2 h"), Ok(Duration::from_secs(7200)));
        for bad in
            ["", "60", "s", "1 day", "0s", "1.5s", "99999999999999999999s", "9999999999999999h", "1s é"]
        {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }
}
