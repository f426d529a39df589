//! Measures one operation from the inside, so that starting up does not count, and prints nanoseconds per operation.
//!
//! `bench-guest MEASURE ROUNDS`: prints `MEASURE NANOSECONDS` on standard error for one round's mean, the best of
//! forty repetitions. Works below `data` in the current directory, which `bench-guest prepare` fills.
//! `bench-guest nothing` returns at once: for start-up.

use std::fs::{self, File};
use std::hint::black_box;
use std::io::{self, Read, Seek, Write};
use std::time::Instant;

const BLOCK: usize = 8192;
const REPETITIONS: usize = 40;

/// Name, and what one round does. Opening files and making buffers happens outside of the clock where it is not
/// what is measured.
type Measure = fn(u32) -> io::Result<u64>;

const MEASURES: &[(&str, Measure)] = &[
    ("open-read-close", |rounds| {
        let mut buffer = [0; 64];
        timed(rounds, || {
            let length = File::open("data/small")?.read(&mut buffer)?;
            assert_eq!(black_box(length), 10);
            Ok(())
        })
    }),
    ("open-denied", |rounds| {
        // Natively the file is simply absent; under a sandbox nobody granted it.
        timed(rounds, || {
            assert!(File::open("ungranted").is_err());
            Ok(())
        })
    }),
    ("stat", |rounds| {
        timed(rounds, || {
            black_box(fs::metadata("data/small")?.len());
            Ok(())
        })
    }),
    ("read", |rounds| {
        let mut file = File::open("data/large")?;
        let mut buffer = vec![0; BLOCK];
        timed(rounds, || {
            if file.read(&mut buffer)? < BLOCK {
                file.rewind()?;
            }
            Ok(())
        })
    }),
    ("write", |rounds| {
        let mut file = File::create("data/written")?;
        let buffer = vec![b'x'; BLOCK];
        let mut blocks = 0;
        timed(rounds, || {
            file.write_all(&buffer)?;
            blocks += 1;
            // A bounded file: the page cache is measured, not the disk.
            if blocks == 1024 {
                blocks = 0;
                file.rewind()?;
            }
            Ok(())
        })
    }),
    ("create-delete", |rounds| {
        timed(rounds, || {
            File::create("data/made")?;
            fs::remove_file("data/made")
        })
    }),
    ("list-1000", |rounds| {
        timed(rounds, || {
            let mut count = 0;
            for entry in fs::read_dir("data/many")? {
                count += black_box(entry?.file_name().len());
            }
            assert!(count > 1000);
            Ok(())
        })
    }),
    ("line-output", |rounds| {
        let mut out = io::stdout().lock();
        timed(rounds, || writeln!(out, "a line of about forty characters in all"))
    }),
    ("sort-10000", |rounds| {
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        let numbers: Vec<u64> = (0..10_000)
            .map(|_| {
                // xorshift64: the same numbers everywhere.
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                state
            })
            .collect();
        timed(rounds, || {
            let mut numbers = black_box(numbers.clone());
            numbers.sort_unstable();
            black_box(numbers[5000]);
            Ok(())
        })
    }),
];

/// Nanoseconds per call of `round`, the best of some repetitions: noise only ever adds.
fn timed(rounds: u32, mut round: impl FnMut() -> io::Result<()>) -> io::Result<u64> {
    let mut best = u128::MAX;
    for _ in 0..REPETITIONS {
        let start = Instant::now();
        for _ in 0..rounds {
            round()?;
        }
        best = best.min(start.elapsed().as_nanos() / u128::from(rounds.max(1)));
    }
    Ok(u64::try_from(best).expect("no round takes centuries"))
}

fn prepare() -> io::Result<()> {
    fs::create_dir_all("data/many")?;
    fs::write("data/small", "ten bytes\n")?;
    fs::write("data/large", vec![b'x'; 4 << 20])?;
    for number in 0..1000 {
        fs::write(format!("data/many/entry-{number:04}"), "")?;
    }
    Ok(())
}

fn main() -> io::Result<()> {
    let mut args = std::env::args().skip(1);
    match args.next().as_deref() {
        Some("nothing") => Ok(()),
        Some("prepare") => prepare(),
        Some("list") => {
            MEASURES.iter().for_each(|(name, _)| println!("{name}"));
            Ok(())
        }
        Some(name) => {
            let (_, measure) = MEASURES.iter().find(|(known, _)| *known == name).expect("a known measure");
            let rounds = args.next().map_or(1000, |text| text.parse().expect("a number of rounds"));
            let nanoseconds = measure(rounds)?;
            writeln!(io::stderr(), "{name} {nanoseconds}")
        }
        None => panic!("usage: bench-guest nothing|prepare|list|MEASURE [ROUNDS]"),
    }
}
