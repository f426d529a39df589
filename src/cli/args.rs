//! The command line as it is typed. What it means is in [`super::options`].

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::{Arg, ArgAction, ArgMatches, Args, FromArgMatches, Parser, Subcommand, ValueEnum};
use sandbox_policy::CommandLineGrants;
use sandbox_policy::access::{Key, KeyRow, Operation};
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

/// Run and test crates under WASI with the permissions their Cargo.toml declares.
#[derive(Debug, Parser)]
#[command(name = "cargo-sandbox", bin_name = "cargo sandbox", version, styles = clap_cargo::style::CLAP_STYLING)]
#[command(
    after_help = "Permissions are declared in `[package.metadata.sandbox]`; the README has the reference.\n\
    Exit status: 77 an unexpected access, 78 a wrong manifest, 69 this kernel cannot confine, 101 as in cargo."
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Build and run a binary or example behind the walls (`cargo sandbox-run`)
    Run(RunArgs),
    /// Build the tests and run each alone behind the walls (`cargo sandbox-test`)
    Test(TestArgs),
    /// Check the manifests and show what each grant allows and which wall enforces it
    Check(CheckArgs),
    /// Say whether an access would be allowed, by which grant or exception, in which wall
    Why(WhyArgs),
    /// Run a wasm file that cargo built, as `CARGO_TARGET_WASM32_WASIP1_RUNNER`
    Runner(RunnerArgs),
    /// Show what the policy gained and lost since a revision, or between two reports
    Diff(DiffArgs),
    /// Work with JSON reports
    Report(ReportArgs),
    /// Print shell completions
    Completions {
        /// For which shell.
        shell: clap_complete::Shell,
    },
    /// Write the man pages into a directory
    Man {
        /// The directory, made if it does not exist.
        directory: PathBuf,
    },
}

/// Cargo's own flags, with cargo's own meaning.
#[derive(Debug, Default, Args)]
pub struct CargoArgs {
    #[command(flatten)]
    pub manifest: clap_cargo::Manifest,
    #[command(flatten)]
    pub workspace: clap_cargo::Workspace,
    #[command(flatten)]
    pub features: clap_cargo::Features,
    /// Build artifacts in release mode, with optimizations
    #[arg(short, long, conflicts_with = "profile")]
    pub release: bool,
    /// Build artifacts with the specified profile
    #[arg(long, value_name = "PROFILE-NAME")]
    pub profile: Option<String>,
    /// Directory for all generated artifacts
    #[arg(long, value_name = "DIRECTORY")]
    pub target_dir: Option<PathBuf>,
    /// Number of parallel jobs of the build
    #[arg(short, long, value_name = "N")]
    pub jobs: Option<String>,
    /// Assert that `Cargo.lock` will remain unchanged
    #[arg(long)]
    pub locked: bool,
    /// Run without accessing the network
    #[arg(long)]
    pub offline: bool,
    /// Equivalent to specifying both --locked and --offline
    #[arg(long)]
    pub frozen: bool,
    /// Override a cargo configuration value
    #[arg(long, value_name = "KEY=VALUE|PATH")]
    pub config: Vec<String>,
    /// Unstable (nightly-only) flags to cargo
    #[arg(short = 'Z', value_name = "FLAG")]
    pub unstable: Vec<String>,
}

/// What may be granted, and how strictly.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Policy")]
pub struct PolicyArgs {
    #[command(flatten)]
    pub grants: GrantArgs,
    /// Grant no more than this manifest, or the manifests of this revision, grant
    #[arg(long, value_name = "FILE|REV")]
    pub ceiling: Vec<String>,
    /// Allow and report, within the envelope that the walls still hold
    #[arg(long)]
    pub audit: bool,
    /// Run as with --audit, then write the missing grants into Cargo.toml [possible values: grants, prune, by-crate]
    #[arg(long, value_name = "HOW", num_args = 0..=1, require_equals = true, default_missing_value = "grants", value_delimiter = ',', hide_possible_values = true)]
    pub fix: Vec<Fix>,
    /// Fix even if the working directory has uncommitted changes
    #[arg(long, requires = "fix")]
    pub allow_dirty: bool,
    /// Fix even if there is no version control
    #[arg(long, requires = "fix")]
    pub allow_no_vcs: bool,
    /// What unused grants are [default: warn after a full `test`, allow otherwise]
    #[arg(long, value_name = "LEVEL")]
    pub unused: Option<Unused>,
}

/// `--read PATH`, `--env NAME` and the others: a flag for each key of the manifest.
#[derive(Clone, Debug, Default)]
pub struct GrantArgs(pub CommandLineGrants);

impl Args for GrantArgs {
    fn augment_args(command: clap::Command) -> clap::Command {
        command.args(Key::all().map(|key| {
            let KeyRow { flag, value, help, .. } = key.row();
            Arg::new(*flag).long(*flag).value_name(*value).help(*help).action(ArgAction::Append)
        }))
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for GrantArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let values = |key: Key| matches.get_many::<String>(key.row().flag).into_iter().flatten().cloned();
        let flags = Key::all().flat_map(|key| values(key).map(move |value| (key, value)));
        Ok(Self(CommandLineGrants { flags: flags.collect() }))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// What `--fix` writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Fix {
    /// The missing grants.
    Grants,
    /// The missing grants, and remove unused ones.
    Prune,
    /// The missing grants, each for the crate that needs it only.
    ByCrate,
}

/// What is made of unused grants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Unused {
    /// Nothing.
    Allow,
    /// A warning each.
    Warn,
    /// An error each, and exit status 79.
    Deny,
}

/// What is made of tests that were not run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum NotRun {
    /// They are counted and named.
    #[default]
    Allow,
    /// Exit status 101.
    Deny,
}

/// The walls and the compiler.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Walls")]
pub struct WallArgs {
    /// What the kernel must enforce: `required` asks for Landlock ABI 2, `full` for ABI 6
    #[arg(long, value_name = "LEVEL", default_value = "required")]
    pub landlock: Landlock,
    /// Compiler of the guest
    #[arg(long, value_name = "COMPILER", default_value = "auto")]
    pub compiler: Compiler,
    /// Do not use the cache of compiled guests (the default where CI is set)
    #[arg(long)]
    pub no_cache: bool,
    /// Say on standard error when each step of the run was reached: for the benchmarks.
    #[arg(long, hide = true)]
    pub timings: bool,
    /// Which walls stand: for the tests of cargo-sandbox itself.
    #[cfg(feature = "test-walls")]
    #[arg(long, hide = true, value_delimiter = ',')]
    pub walls: Option<Vec<String>>,
}

/// `--landlock`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Landlock {
    /// Everything we know of, ABI 6 at least.
    Full,
    /// The file rights, ABI 2 at least.
    #[default]
    Required,
    /// Nothing: only the other two walls stand.
    Off,
}

/// `--compiler`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Compiler {
    /// Fast code, slower to compile.
    Cranelift,
    /// Compiled three times as fast, runs three times slower.
    Winch,
    /// Cranelift; for tests Winch first, and Cranelift for those that run for long.
    #[default]
    Auto,
}

/// What is said, where.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Output")]
pub struct OutputArgs {
    /// Write the JSON report to a file
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
    /// How messages are written
    #[arg(long, value_name = "FORMAT", default_value = "human")]
    pub message_format: MessageFormat,
    /// Write JUnit XML to a file
    #[arg(long, value_name = "FILE")]
    pub junit: Option<PathBuf>,
    /// Write SARIF 2.1.0 to a file
    #[arg(long, value_name = "FILE")]
    pub sarif: Option<PathBuf>,
    /// Coloring
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    pub color: Color,
    /// Do not print status lines
    #[arg(short, long, conflicts_with = "verbose")]
    pub quiet: bool,
    /// Say more (-vv very verbose build output)
    #[arg(short, long, action = ArgAction::Count)]
    pub verbose: u8,
}

/// `--message-format`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum MessageFormat {
    /// For people, on standard error.
    #[default]
    Human,
    /// A JSON object a line, on standard output.
    Json,
    /// As for people, with GitHub's annotations.
    Github,
}

/// `--color`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// `cargo sandbox run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    #[command(flatten)]
    pub cargo: CargoArgs,
    /// Name of the binary to run
    #[arg(long, value_name = "NAME", conflicts_with = "example")]
    pub bin: Option<String>,
    /// Name of the example to run
    #[arg(long, value_name = "NAME")]
    pub example: Option<String>,
    #[command(flatten)]
    pub policy: PolicyArgs,
    #[command(flatten)]
    pub walls: WallArgs,
    #[command(flatten)]
    pub output: OutputArgs,
    /// Arguments for the guest
    #[arg(value_name = "ARGS", trailing_var_arg = true, help_heading = "Arguments")]
    pub args: Vec<OsString>,
}

/// `cargo sandbox test`.
#[derive(Debug, Args)]
pub struct TestArgs {
    #[command(flatten)]
    pub cargo: CargoArgs,
    /// Test only this package's library
    #[arg(long)]
    pub lib: bool,
    /// Test all binaries
    #[arg(long)]
    pub bins: bool,
    /// Test only the specified binary
    #[arg(long, value_name = "NAME")]
    pub bin: Vec<String>,
    /// Test all examples
    #[arg(long)]
    pub examples: bool,
    /// Test only the specified example
    #[arg(long, value_name = "NAME")]
    pub example: Vec<String>,
    /// Test all targets that have `test = true`
    #[arg(long)]
    pub tests: bool,
    /// Test only the specified test target
    #[arg(long, value_name = "NAME")]
    pub test: Vec<String>,
    /// Test all targets
    #[arg(long)]
    pub all_targets: bool,
    /// Test only this library's documentation
    #[arg(long)]
    pub doc: bool,
    /// Compile, but don't run tests
    #[arg(long)]
    pub no_run: bool,
    /// Run all tests regardless of failure (the default)
    #[arg(long, overrides_with = "fail_fast")]
    pub no_fail_fast: bool,
    /// Stop at the first test that fails
    #[arg(long)]
    pub fail_fast: bool,
    /// Run a failing test again, up to this many times
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub retries: u32,
    /// Run one shard of the tests: `hash:1/4`, `count:1/4`
    #[arg(long, value_name = "PARTITION")]
    pub partition: Option<Partition>,
    /// Time limit of one test, such as `30s` (the shorter of this and `limits.time` counts)
    #[arg(long, value_name = "TIME", value_parser = sandbox_policy::units::duration)]
    pub timeout: Option<Duration>,
    /// What tests that cannot be run here are
    #[arg(long, value_name = "LEVEL", default_value = "allow", help_heading = "Policy")]
    pub not_run: NotRun,
    #[command(flatten)]
    pub policy: PolicyArgs,
    #[command(flatten)]
    pub walls: WallArgs,
    #[command(flatten)]
    pub output: OutputArgs,
    /// Only tests whose name contains one of these
    #[arg(value_name = "FILTER", help_heading = "Arguments")]
    pub filters: Vec<String>,
    /// libtest's flags: --exact --skip --ignored --include-ignored --list --nocapture --test-threads
    #[arg(value_name = "LIBTEST FLAGS", last = true, help_heading = "Arguments")]
    pub libtest: Vec<String>,
}

/// Flags of libtest that are understood after `--`.
#[derive(Debug, Default, Parser)]
#[command(name = "cargo sandbox test --", no_binary_name = true, disable_version_flag = true)]
pub struct LibtestArgs {
    /// Match filters as whole names
    #[arg(long)]
    pub exact: bool,
    /// Leave out tests whose name contains this
    #[arg(long, value_name = "FILTER")]
    pub skip: Vec<String>,
    /// Run only ignored tests
    #[arg(long)]
    pub ignored: bool,
    /// Run ignored tests too
    #[arg(long)]
    pub include_ignored: bool,
    /// Print the names of the tests instead of running them
    #[arg(long)]
    pub list: bool,
    /// `--list` as `NAME: test` lines only
    #[arg(long, value_name = "FORMAT", hide = true)]
    pub format: Option<String>,
    /// Show output as it comes
    #[arg(long, alias = "no-capture")]
    pub nocapture: bool,
    /// How many tests run at once
    #[arg(long, value_name = "N")]
    pub test_threads: Option<usize>,
    /// Show output of tests that pass too
    #[arg(long)]
    pub show_output: bool,
    /// Only tests whose name contains one of these
    pub filters: Vec<String>,
}

/// A shard of the tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Partition {
    /// By a hash of the name (stable when tests are added), or by counting.
    pub hash: bool,
    /// Which shard, from 1.
    pub shard: u32,
    /// Of how many.
    pub of: u32,
}

impl std::str::FromStr for Partition {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not of the form `hash:M/N` or `count:M/N` with 1 <= M <= N");
        let (kind, shard) = text.split_once(':').ok_or_else(wrong)?;
        let (shard, of) = shard.split_once('/').ok_or_else(wrong)?;
        let (shard, of) = (shard.parse().map_err(|_| wrong())?, of.parse().map_err(|_| wrong())?);
        let hash = match kind {
            "hash" => true,
            "count" => false,
            _ => return Err(wrong()),
        };
        if shard < 1 || shard > of { Err(wrong()) } else { Ok(Self { hash, shard, of }) }
    }
}

/// `cargo sandbox runner`.
#[derive(Debug, Args)]
pub struct RunnerArgs {
    /// Map this folder as the guest's `/`
    #[arg(long, value_name = "DIR")]
    pub root: Option<PathBuf>,
    /// The guest's current directory
    #[arg(long, value_name = "DIR")]
    pub cwd: Option<PathBuf>,
    /// Do not look for a package; grant only what the command line says
    #[arg(long)]
    pub no_manifest: bool,
    #[command(flatten)]
    pub policy: PolicyArgs,
    #[command(flatten)]
    pub walls: WallArgs,
    #[command(flatten)]
    pub output: OutputArgs,
    /// The wasm file, and arguments for the guest: nothing after the file is ours
    // One list, so that libtest's `--list` is not taken for a grant.
    #[arg(value_names = ["FILE"], required = true, help_heading = "Arguments", trailing_var_arg = true)]
    pub words: Vec<OsString>,
}

/// `cargo sandbox check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    #[command(flatten)]
    pub cargo: CargoArgs,
    #[command(flatten)]
    pub policy: PolicyArgs,
    #[command(flatten)]
    pub walls: WallArgs,
    #[command(flatten)]
    pub output: OutputArgs,
}

/// `cargo sandbox why`.
#[derive(Debug, Args)]
pub struct WhyArgs {
    /// A path, or the name of an environment variable with `--op env`
    #[arg(value_name = "PATH")]
    pub resource: OsString,
    /// The operation
    #[arg(long, value_name = "OPERATION", default_value = "read", value_parser = asked())]
    pub op: Operation,
    /// For a test of this name
    #[arg(long = "for-test", visible_alias = "test", value_name = "NAME")]
    pub test: Option<String>,
    /// For a binary
    #[arg(long, value_name = "NAME", conflicts_with = "test")]
    pub bin: Option<String>,
    /// For an example
    #[arg(long, value_name = "NAME", conflicts_with_all = ["bin", "test"])]
    pub example: Option<String>,
    #[command(flatten)]
    pub cargo: CargoArgs,
    #[command(flatten)]
    pub policy: PolicyArgs,
    #[command(flatten)]
    pub walls: WallArgs,
    #[command(flatten)]
    pub output: OutputArgs,
}

/// The operations by the names that `--op` has for them.
fn asked() -> impl TypedValueParser<Value = Operation> {
    let words = Operation::ALL.map(|operation| {
        let (name, help) = operation.asked();
        PossibleValue::new(name).help(help)
    });
    PossibleValuesParser::new(words).try_map(|word| {
        let found = Operation::ALL.into_iter().find(|operation| operation.asked().0 == word);
        found.ok_or("no operation")
    })
}

/// `cargo sandbox diff`.
#[derive(Debug, Args)]
pub struct DiffArgs {
    /// A revision, or the older JSON report
    #[arg(value_name = "REV|REPORT")]
    pub old: String,
    /// The newer JSON report
    #[arg(value_name = "REPORT")]
    pub new: Option<String>,
    #[command(flatten)]
    pub cargo: CargoArgs,
    #[command(flatten)]
    pub output: OutputArgs,
}

/// `cargo sandbox report`.
#[derive(Debug, Args)]
pub struct ReportArgs {
    /// What to do with them.
    #[command(subcommand)]
    pub command: ReportCommand,
}

/// What can be done with reports.
#[derive(Debug, Subcommand)]
pub enum ReportCommand {
    /// Merge the reports of the shards of one test run into one verdict
    Merge {
        /// The JSON reports
        #[arg(value_name = "FILE", required = true)]
        files: Vec<PathBuf>,
        /// What unused grants are
        #[arg(long, value_name = "LEVEL", default_value = "warn")]
        unused: Unused,
        /// What tests that were not run are
        #[arg(long, value_name = "LEVEL", default_value = "allow")]
        not_run: NotRun,
        #[command(flatten)]
        output: OutputArgs,
    },
}
