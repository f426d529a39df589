//! A text as TOML, with the place of every key and value.

use crate::diagnostic::{Diagnostic, SourceFile};
use std::sync::Arc;
use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

/// A key and where it stands.
pub(super) type Key<'t> = Spanned<DeString<'t>>;

/// A value and where it stands.
pub(super) type Value<'t> = Spanned<DeValue<'t>>;

/// Reads a file as TOML.
///
/// # Errors
/// The first mistake in it, with its place.
pub fn parse(file: &Arc<SourceFile>) -> Result<DeTable<'_>, Diagnostic> {
    let wrong = |message: &str, range| Diagnostic::error("toml-syntax", message).at(file, range, "");
    let document = DeTable::parse(&file.text)
        .map_err(|error| wrong(error.message(), error.span().unwrap_or(0..0)))?
        .into_inner();
    // Numbers are kept as they are written.
    match document.values().find_map(overflow) {
        Some((message, value)) => Err(wrong(message, value.span())),
        None => Ok(document),
    }
}

fn overflow<'v, 't>(value: &'v Value<'t>) -> Option<(&'static str, &'v Value<'t>)> {
    let message = match value.get_ref() {
        DeValue::Array(values) => return values.iter().find_map(overflow),
        DeValue::Table(table) => return table.values().find_map(overflow),
        DeValue::Integer(number) if i64::from_str_radix(number.as_str(), number.radix()).is_err() => {
            "integer number overflowed"
        }
        DeValue::Float(number)
            if number.as_str().parse().is_ok_and(f64::is_infinite) && !number.as_str().contains("inf") =>
        {
            "floating-point number overflowed"
        }
        _ => return None,
    };
    Some((message, value))
}
