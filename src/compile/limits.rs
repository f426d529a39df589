//! What a module may ask of the compilers. Their time and memory grow with the number of things in it, or with
//! the square of it, so that a few megabytes could keep them busy for minutes. What a compiler for real programs
//! makes is far below each bound.

use wasmparser::{ElementItems, FunctionBody, Operator, Parser, Payload, TypeRef};

/// Functions with a body: 5 KB and 0.1 ms each. The largest programs known have 100,000.
const FUNCTIONS: u64 = 200_000;
/// Types: 6 KB and 0.1 ms each, and programs have hundreds.
const TYPES: u64 = 20_000;
/// Imports: each is looked up when the module is linked.
const IMPORTS: u64 = 10_000;
const EXPORTS: u64 = 200_000;
const GLOBALS: u64 = 100_000;
const TABLES: u64 = 100;
/// Elements that all tables begin with.
const ELEMENTS: u64 = 10_000_000;
/// Functions that element segments name: 200 bytes each.
const NAMED: u64 = 1_000_000;
/// Bytes of all functions.
const CODE: u64 = 128 << 20;
/// Bytes of one function: a second or two, and a gigabyte, for each megabyte of the worst.
const BODY: u64 = 4 << 20;
/// Locals of all functions: a few bytes of a module can declare 50,000.
const LOCALS: u64 = 10_000_000;
/// Locals of one function times its bytes: each of its blocks may have to say what each of them is.
const LOCALS_TIMES_BYTES: u64 = 4_000_000_000;
/// The same of all functions: half a second for each thousand million.
const ALL_LOCALS_TIMES_BYTES: u64 = 100_000_000_000;
/// Blocks in each other, in one function: a `match` has one for each of its arms.
const DEPTH: u64 = 50_000;
/// The squares of that, of all functions that are long enough for many: ten seconds for as many as one can have.
const ALL_DEPTHS_SQUARED: u64 = 4 * DEPTH * DEPTH;
/// Blocks that are no matter.
const SHALLOW: u64 = 5_000;

/// Looks at a module before it is compiled.
///
/// # Errors
/// What there is too much of, or what no module is, in words.
pub(super) fn check(wasm: &[u8]) -> Result<(), String> {
    let malformed = |error: wasmparser::BinaryReaderError| error.to_string();
    let (mut all_locals, mut all_weights, mut all_depths) = (0, 0_u64, 0_u64);
    for payload in Parser::new(0).parse_all(wasm) {
        match payload.map_err(malformed)? {
            Payload::TypeSection(section) => bound("types", section.count().into(), TYPES)?,
            Payload::ImportSection(section) => {
                // A group of them is counted as what it stands for.
                let mut count = 0;
                for import in section.into_imports() {
                    count += 1;
                    bound("imports", count, IMPORTS)?;
                    if let TypeRef::Table(table) = import.map_err(malformed)?.ty {
                        bound("elements of tables", table.initial, ELEMENTS)?;
                    }
                }
            }
            Payload::FunctionSection(section) => bound("functions", section.count().into(), FUNCTIONS)?,
            Payload::TableSection(section) => {
                bound("tables", section.count().into(), TABLES)?;
                let mut elements = 0_u64;
                for table in section {
                    elements = elements.saturating_add(table.map_err(malformed)?.ty.initial);
                }
                bound("elements of tables", elements, ELEMENTS)?;
            }
            Payload::GlobalSection(section) => bound("globals", section.count().into(), GLOBALS)?,
            Payload::ExportSection(section) => bound("exports", section.count().into(), EXPORTS)?,
            Payload::ElementSection(section) => {
                let mut named = 0;
                for segment in section {
                    named += match segment.map_err(malformed)?.items {
                        ElementItems::Functions(items) => u64::from(items.count()),
                        ElementItems::Expressions(_, items) => u64::from(items.count()),
                    };
                    bound("elements of tables", named, NAMED)?;
                }
            }
            Payload::CodeSectionStart { size, .. } => bound("bytes of code", size.into(), CODE)?,
            Payload::CodeSectionEntry(body) => {
                let size = body.range().len() as u64;
                bound("bytes in one function", size, BODY)?;
                let locals = locals(&body).map_err(malformed)?;
                all_locals += locals;
                bound("locals", all_locals, LOCALS)?;
                let weight = locals.saturating_mul(size);
                bound("locals, times bytes, in one function", weight, LOCALS_TIMES_BYTES)?;
                all_weights += weight;
                bound("locals, times bytes, in all functions", all_weights, ALL_LOCALS_TIMES_BYTES)?;
                // A block has two bytes at its beginning and one at its end.
                if size > 3 * SHALLOW {
                    let depth = depth(&body).map_err(malformed)?;
                    bound("blocks in each other", depth, DEPTH)?;
                    all_depths += depth * depth;
                    bound("blocks in each other, squared, in all functions", all_depths, ALL_DEPTHS_SQUARED)?;
                }
            }
            _ => {}
        }
    }
    Ok(())
}

fn bound(what: &str, count: u64, most: u64) -> Result<(), String> {
    if count <= most {
        return Ok(());
    }
    Err(format!("it has {count} {what}, and at most {most} are compiled"))
}

/// How many locals are declared, which fits: each group has 32 bits, and there are few in a body.
fn locals(body: &FunctionBody<'_>) -> wasmparser::Result<u64> {
    let mut all = 0_u64;
    for group in body.get_locals_reader()? {
        all = all.saturating_add(group?.0.into());
    }
    Ok(all)
}

/// How many blocks are open at one time.
fn depth(body: &FunctionBody<'_>) -> wasmparser::Result<u64> {
    let (mut depth, mut deepest) = (0_u64, 0);
    for operator in body.get_operators_reader()? {
        match operator? {
            Operator::Block { .. }
            | Operator::Loop { .. }
            | Operator::If { .. }
            | Operator::TryTable { .. }
            | Operator::Try { .. } => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            Operator::End => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    Ok(deepest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(text: &str) -> Result<(), String> {
        check(&wat::parse_str(text).unwrap())
    }

    /// A module with `count` times this text.
    fn many(text: &str, count: u64) -> Result<(), String> {
        said(&format!("(module (type (func)) {})", text.repeat(count as usize)))
    }

    #[test]
    fn each_bound_holds_from_the_first_that_is_too_much() {
        let shapes = [
            ("types", "(type (func))", TYPES, 1),
            ("imports", "(import \"a\" \"b\" (func (type 0)))", IMPORTS, 0),
            ("functions", "(func (type 0))", FUNCTIONS, 0),
            ("tables", "(table 0 funcref)", TABLES, 0),
            ("globals", "(global i32 (i32.const 0))", GLOBALS, 0),
        ];
        for (what, text, most, before) in shapes {
            assert_eq!(many(text, most - before), Ok(()), "{what}");
            let why = many(text, most - before + 1).unwrap_err();
            assert_eq!(why, format!("it has {} {what}, and at most {most} are compiled", most + 1));
        }
        let exports = |count| {
            let all: String = (0..count).map(|index| format!("(export \"e{index}\" (func 0))")).collect();
            said(&format!("(module (func) {all})"))
        };
        assert_eq!(exports(EXPORTS), Ok(()));
        assert!(exports(EXPORTS + 1).unwrap_err().contains("exports"));
    }

    #[test]
    fn elements_of_all_tables_count_together() {
        assert_eq!(said("(module (table 9999999 funcref) (table 1 funcref))"), Ok(()));
        assert!(
            said("(module (table 10000000 funcref) (table 1 funcref))").unwrap_err().contains("elements")
        );
        assert!(said("(module (table 4294967295 funcref))").unwrap_err().contains("elements"));
        assert!(
            said("(module (import \"a\" \"b\" (table 4294967295 funcref)))")
                .unwrap_err()
                .contains("elements")
        );
    }

    #[test]
    fn locals_count_together_and_against_the_length_of_their_function() {
        let module = |functions: u64, locals: u64, bytes: u64| {
            let function = format!(
                "(func (local {}) {})",
                "i32 ".repeat(locals as usize),
                "nop\n".repeat(bytes as usize)
            );
            said(&format!("(module {})", function.repeat(functions as usize)))
        };
        assert_eq!(module(200, 50_000, 0), Ok(()));
        assert!(module(201, 50_000, 0).unwrap_err().contains("locals"));
        assert_eq!(module(1, 40_000, 99_900), Ok(()));
        assert!(module(1, 40_000, 100_100).unwrap_err().contains("in one function"));
        assert_eq!(module(24, 40_000, 99_900), Ok(()));
        assert!(module(26, 40_000, 99_900).unwrap_err().contains("in all functions"));
    }

    #[test]
    fn what_element_segments_name_counts_together() {
        let segments = |count: usize| {
            let segment = format!("(elem func {})", "0 ".repeat(1000));
            said(&format!("(module (func) {})", segment.repeat(count)))
        };
        assert_eq!(segments(1000), Ok(()));
        assert!(segments(1001).unwrap_err().contains("elements"));
    }

    #[test]
    fn a_function_is_bounded_in_length_and_depth() {
        let nested = |functions: usize, depth: u64| {
            let (open, close) = ("block\n".repeat(depth as usize), "end\n".repeat(depth as usize));
            said(&format!("(module {})", format!("(func {open} {close})").repeat(functions)))
        };
        assert_eq!(nested(1, DEPTH), Ok(()));
        assert!(nested(1, DEPTH + 1).unwrap_err().contains("blocks in each other"));
        // Many of them count together, and many small ones are no matter.
        assert_eq!(nested(4, DEPTH), Ok(()));
        assert!(nested(5, DEPTH).unwrap_err().contains("squared"));
        assert_eq!(nested(500, 1000), Ok(()));
        let long = |length: u64| said(&format!("(module (func {}))", "nop\n".repeat(length as usize)));
        assert_eq!(long(BODY - 10), Ok(()));
        assert!(long(BODY + 10).unwrap_err().contains("bytes in one function"));
        // One block after the other is not one in the other.
        assert_eq!(said(&format!("(module (func {}))", "block end\n".repeat(DEPTH as usize + 1))), Ok(()));
    }
}
