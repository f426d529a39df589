//! The one table of protected and sensitive places.
//!
//! Protected: what would let a guest change what confines it, or what runs later outside of it.
//! Sensitive: keys, credentials, and the views into the machine that the kernel offers as files.
//! A grant that could reach one is an error unless it names it and says `protected = true`; names
//! that can appear anywhere become exceptions below every grant that changes files.

use super::matching::{literal, literal_prefix, may_contain};
use super::model::literals;
use super::model::{Component, PathBase, PathPattern};
use super::pattern::{escape, joined, parse_path};
use super::places::{Places, bytes};
use crate::access::OperationSet;
use std::path::{Path, PathBuf};

/// How far a place reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reach {
    /// The place and all beneath it.
    Whole,
    /// Only the place as a whole: an entry beneath it is fine.
    Itself,
    /// All beneath it except these names.
    Except(&'static [&'static str]),
}

/// Names that are protected in every directory, and why. A grant that could reach one in the root of a package
/// or workspace is an error.
const NAMES: &[(&str, &str)] = &[
    ("Cargo.toml", "it holds the permissions and the dependencies"),
    ("Cargo.lock", "it pins what is built"),
    ("*.rs", "it is source that may be built and run"),
    (".cargo", "cargo's configuration can run any program"),
    ("rust-toolchain", "it chooses the compiler"),
    ("rust-toolchain.toml", "it chooses the compiler"),
    (".git", "its hooks and configuration run programs"),
    (".gitmodules", "it says what git fetches"),
    (".gitattributes", "it can make git run filters"),
    (".hg", "its hooks run programs"),
    (".jj", "its configuration runs programs"),
    (".github", "it says what CI runs"),
    (".gitlab", "it says what CI runs"),
    (".gitlab-ci.yml", "it says what CI runs"),
    (".forgejo", "it says what CI runs"),
    (".gitea", "it says what CI runs"),
    (".circleci", "it says what CI runs"),
    (".buildkite", "it says what CI runs"),
    (".woodpecker*", "it says what CI runs"),
    (".drone.yml", "it says what CI runs"),
    (".travis.yml", "it says what CI runs"),
    (".cirrus.yml", "it says what CI runs"),
    (".ci", "it says what CI runs"),
    ("azure-pipelines*", "it says what CI runs"),
    ("bitbucket-pipelines.yml", "it says what CI runs"),
    ("appveyor.yml", "it says what CI runs"),
    ("Jenkinsfile", "it says what CI runs"),
    ("Makefile", "it says what `make` runs"),
    ("GNUmakefile", "it says what `make` runs"),
    ("makefile", "it says what `make` runs"),
    ("justfile", "it says what `just` runs"),
    ("Justfile", "it says what `just` runs"),
    (".justfile", "it says what `just` runs"),
    (".config", "nextest and other tools of cargo run what it says"),
    ("flake.nix", "nix builds and runs what it says"),
    (".gdbinit", "a debugger runs it"),
    (".lldbinit", "a debugger runs it"),
    (".envrc", "direnv runs it"),
    (".vscode", "the editor runs its tasks"),
    (".idea", "the editor runs its tasks"),
    (".zed", "the editor runs its tasks"),
    (".devcontainer", "it says what the editor runs"),
    (".husky", "git runs it"),
    (".pre-commit-config.yaml", "git runs it"),
];

/// More such names: what other tools of a developer read by a fixed name and run, or take for what to run. There are
/// so many that a wildcard in a grant would nearly always be able to reach one; it just does not cover them.
const TOOLS: &[(&str, &str)] = &[
    ("Makefile.toml", "a tool of cargo runs what it says"),
    ("Cross.toml", "a tool of cargo runs what it says"),
    ("Trunk.toml", "a tool of cargo runs what it says"),
    ("Dioxus.toml", "a tool of cargo runs what it says"),
    ("Anchor.toml", "a tool of cargo runs what it says"),
    ("Tauri.toml", "a tool of cargo runs what it says"),
    ("tauri.*", "a tool of cargo runs what it says"),
    ("spin.toml", "a tool of cargo runs what it says"),
    ("dist.toml", "a tool of cargo runs what it says"),
    ("dist-workspace.toml", "a tool of cargo runs what it says"),
    ("release.toml", "a tool of cargo runs what it says"),
    ("release-plz.toml", "a tool of cargo runs what it says"),
    (".release-plz.toml", "a tool of cargo runs what it says"),
    ("cliff.toml", "a tool of cargo runs what it says"),
    (".cliff.toml", "a tool of cargo runs what it says"),
    ("bacon.toml", "a tool of cargo runs what it says"),
    (".bacon.toml", "a tool of cargo runs what it says"),
    (".rusty-hook.toml", "a tool of cargo runs what it says"),
    ("rust-analyzer.toml", "the editor runs what it says"),
    (".rust-analyzer.toml", "the editor runs what it says"),
    (".exrc", "the editor runs what it says"),
    (".nvimrc", "the editor runs what it says"),
    (".nvim.lua", "the editor runs what it says"),
    (".vimrc", "the editor runs what it says"),
    (".dir-locals*", "the editor runs what it says"),
    (".helix", "the editor runs what it says"),
    (".fleet", "the editor runs what it says"),
    (".vs", "the editor runs what it says"),
    ("*.code-workspace", "the editor runs what it says"),
    ("*.sublime-project", "the editor runs what it says"),
    ("deny.toml", "it says what checks let pass"),
    (".deny.toml", "it says what checks let pass"),
    ("clippy.toml", "it says what checks let pass"),
    (".clippy.toml", "it says what checks let pass"),
    ("supply-chain", "it says what checks let pass"),
    (".gitconfig", "git runs what it says"),
    (".lfsconfig", "git runs what it says"),
    (".svn", "its hooks run programs"),
    (".sl", "its hooks run programs"),
    (".githooks", "git runs it"),
    (".pre-commit-*", "git runs it"),
    ("prek.toml", "git runs it"),
    ("lefthook*", "git runs it"),
    (".lefthook*", "git runs it"),
    (".overcommit.yml", "git runs it"),
    ("hk.pkl", "git runs it"),
    (".gitlab-ci*", "it says what CI runs"),
    (".drone*", "it says what CI runs"),
    (".cirrus*", "it says what CI runs"),
    (".azuredevops", "it says what CI runs"),
    (".azure-pipelines*", "it says what CI runs"),
    (".appveyor.yml", "it says what CI runs"),
    ("Jenkinsfile*", "it says what CI runs"),
    (".teamcity", "it says what CI runs"),
    (".semaphore", "it says what CI runs"),
    (".tekton", "it says what CI runs"),
    (".builds", "it says what CI runs"),
    (".build.yml", "it says what CI runs"),
    ("cloudbuild*", "it says what CI runs"),
    ("buildspec*", "it says what CI runs"),
    ("action.yml", "it says what CI runs"),
    ("action.yaml", "it says what CI runs"),
    ("renovate.json*", "it says what CI runs"),
    (".renovaterc*", "it says what CI runs"),
    (".mergify.yml", "it says what CI runs"),
    ("netlify.toml", "it says what CI runs"),
    ("vercel.json", "it says what CI runs"),
    ("wrangler.*", "it says what CI runs"),
    ("BSDmakefile", "it says what `make` runs"),
    ("Makefile.*", "it says what `make` runs"),
    ("*.mk", "it says what `make` runs"),
    ("JUSTFILE", "it says what `just` runs"),
    (".Justfile", "it says what `just` runs"),
    ("*.just", "it says what `just` runs"),
    ("Taskfile*", "it says what `task` runs"),
    ("taskfile*", "it says what `task` runs"),
    (".env*", "direnv and other tools run it, or take variables from it"),
    ("mise", "it chooses programs, and mise runs what it says"),
    ("mise*.toml", "it chooses programs, and mise runs what it says"),
    (".mise*", "it chooses programs, and mise runs what it says"),
    (".rtx.toml", "it chooses programs, and mise runs what it says"),
    (".tool-versions", "it chooses programs, and mise runs what it says"),
    (".asdfrc", "it chooses programs, and mise runs what it says"),
    (".nvmrc", "it chooses programs, and mise runs what it says"),
    (".node-version", "it chooses programs, and mise runs what it says"),
    (".python-version", "it chooses programs, and mise runs what it says"),
    (".ruby-version", "it chooses programs, and mise runs what it says"),
    (".java-version", "it chooses programs, and mise runs what it says"),
    ("*.nix", "nix builds and runs what it says"),
    ("flake.lock", "nix builds and runs what it says"),
    ("devenv.yaml", "nix builds and runs what it says"),
    ("devenv.lock", "nix builds and runs what it says"),
    (".devenv*", "nix builds and runs what it says"),
    ("devbox.json", "nix builds and runs what it says"),
    ("devbox.lock", "nix builds and runs what it says"),
    ("guix.scm", "nix builds and runs what it says"),
    ("manifest.scm", "nix builds and runs what it says"),
    ("Dockerfile*", "containers are built and run from it"),
    ("*.Dockerfile", "containers are built and run from it"),
    ("*.dockerfile", "containers are built and run from it"),
    ("Containerfile*", "containers are built and run from it"),
    ("compose*.yaml", "containers are built and run from it"),
    ("compose*.yml", "containers are built and run from it"),
    ("docker-compose*", "containers are built and run from it"),
    ("docker-bake*", "containers are built and run from it"),
    ("skaffold.yaml", "containers are built and run from it"),
    ("Tiltfile", "containers are built and run from it"),
    ("Earthfile", "containers are built and run from it"),
    ("devfile.yaml", "containers are built and run from it"),
    (".devfile.yaml", "containers are built and run from it"),
    (".gitpod*", "containers are built and run from it"),
    (".devcontainer*", "it says what the editor runs"),
    (".claude", "an assistant runs what it says, or follows it"),
    (".cursor*", "an assistant runs what it says, or follows it"),
    (".windsurf*", "an assistant runs what it says, or follows it"),
    (".codex", "an assistant runs what it says, or follows it"),
    (".gemini", "an assistant runs what it says, or follows it"),
    (".aider*", "an assistant runs what it says, or follows it"),
    (".mcp.json", "an assistant runs what it says, or follows it"),
    ("AGENTS.md", "an assistant runs what it says, or follows it"),
    ("CLAUDE.md", "an assistant runs what it says, or follows it"),
    ("GEMINI.md", "an assistant runs what it says, or follows it"),
    (".lldbinit*", "a debugger runs it"),
    ("*-gdb.py", "a debugger runs it"),
    ("*-gdb.gdb", "a debugger runs it"),
    ("CMakeLists.txt", "a build system runs it"),
    ("*.cmake", "a build system runs it"),
    ("CMakePresets.json", "a build system runs it"),
    ("CMakeUserPresets.json", "a build system runs it"),
    ("meson.build", "a build system runs it"),
    ("build.ninja", "a build system runs it"),
    ("configure", "a build system runs it"),
    ("configure.ac", "a build system runs it"),
    ("SConstruct", "a build system runs it"),
    ("SConscript", "a build system runs it"),
    ("wscript", "a build system runs it"),
    ("xmake.lua", "a build system runs it"),
    ("BUILD", "a build system runs it"),
    ("BUILD.bazel", "a build system runs it"),
    ("WORKSPACE*", "a build system runs it"),
    ("MODULE.bazel", "a build system runs it"),
    ("*.bzl", "a build system runs it"),
    (".bazelrc", "a build system runs it"),
    (".bazelversion", "a build system runs it"),
    (".buckconfig*", "a build system runs it"),
    ("BUCK", "a build system runs it"),
    ("BUILD.gn", "a build system runs it"),
    (".gn", "a build system runs it"),
    ("*.gni", "a build system runs it"),
    ("pants.toml", "a build system runs it"),
    ("*.gradle", "a build system runs it"),
    ("*.gradle.kts", "a build system runs it"),
    ("gradlew*", "a build system runs it"),
    ("gradle*.properties", "a build system runs it"),
    ("gradle-wrapper.jar", "a build system runs it"),
    ("pom.xml", "a build system runs it"),
    ("mvnw*", "a build system runs it"),
    (".mvn", "a build system runs it"),
    ("build.sbt", "a build system runs it"),
    ("build.xml", "a build system runs it"),
    ("build.zig*", "a build system runs it"),
    ("Package.swift", "a build system runs it"),
    ("mix.exs", "a build system runs it"),
    ("magefile.go", "a build system runs it"),
    ("Rakefile*", "Ruby runs it"),
    ("rakefile*", "Ruby runs it"),
    ("Gemfile*", "Ruby runs it"),
    ("Vagrantfile", "Ruby runs it"),
    ("Procfile*", "Ruby runs it"),
    ("Brewfile", "Ruby runs it"),
    ("Podfile", "Ruby runs it"),
    ("Guardfile", "Ruby runs it"),
    ("Dangerfile", "Ruby runs it"),
    ("Fastfile", "Ruby runs it"),
    ("noxfile.py", "Python and its tools run it, or what it says"),
    ("tox.ini", "Python and its tools run it, or what it says"),
    ("conftest.py", "Python and its tools run it, or what it says"),
    ("pytest.ini", "Python and its tools run it, or what it says"),
    ("setup.py", "Python and its tools run it, or what it says"),
    ("setup.cfg", "Python and its tools run it, or what it says"),
    ("pyproject.toml", "Python and its tools run it, or what it says"),
    ("tasks.py", "Python and its tools run it, or what it says"),
    ("fabfile.py", "Python and its tools run it, or what it says"),
    ("dodo.py", "Python and its tools run it, or what it says"),
    ("sitecustomize.py", "Python and its tools run it, or what it says"),
    ("usercustomize.py", "Python and its tools run it, or what it says"),
    ("Pipfile*", "Python and its tools run it, or what it says"),
    ("requirements*.txt", "Python and its tools run it, or what it says"),
    (".venv", "Python and its tools run it, or what it says"),
    ("package.json", "Node and its tools run it, or what it says"),
    ("package-lock.json", "Node and its tools run it, or what it says"),
    ("npm-shrinkwrap.json", "Node and its tools run it, or what it says"),
    ("yarn.lock", "Node and its tools run it, or what it says"),
    ("pnpm-lock.yaml", "Node and its tools run it, or what it says"),
    ("pnpm-workspace.yaml", "Node and its tools run it, or what it says"),
    ("bun.lock*", "Node and its tools run it, or what it says"),
    ("bunfig.toml", "Node and its tools run it, or what it says"),
    ("deno.json*", "Node and its tools run it, or what it says"),
    ("node_modules", "Node and its tools run it, or what it says"),
    (".npmrc", "Node and its tools run it, or what it says"),
    (".yarn*", "Node and its tools run it, or what it says"),
    (".pnp*", "Node and its tools run it, or what it says"),
    ("*.config.js", "Node and its tools run it, or what it says"),
    ("*.config.cjs", "Node and its tools run it, or what it says"),
    ("*.config.mjs", "Node and its tools run it, or what it says"),
    ("*.config.ts", "Node and its tools run it, or what it says"),
    ("*.config.mts", "Node and its tools run it, or what it says"),
    ("*.config.cts", "Node and its tools run it, or what it says"),
    ("gulpfile*", "Node and its tools run it, or what it says"),
    ("Gruntfile*", "Node and its tools run it, or what it says"),
    (".eslintrc*", "Node and its tools run it, or what it says"),
    (".babelrc*", "Node and its tools run it, or what it says"),
    (".prettierrc*", "Node and its tools run it, or what it says"),
    (".lintstagedrc*", "Node and its tools run it, or what it says"),
    ("turbo.json", "Node and its tools run it, or what it says"),
    ("nx.json", "Node and its tools run it, or what it says"),
    ("lerna.json", "Node and its tools run it, or what it says"),
];

/// Places that no grant may change, relative to variables, and why.
const PROTECTED: &[(&str, Reach, &str)] = &[
    ("{package}/src", Reach::Itself, "it holds the sources of the package"),
    ("{workspace}/src", Reach::Itself, "it holds the sources of the package"),
    (
        "{target-dir}",
        // `tmp` is CARGO_TARGET_TMPDIR, meant for tests.
        Reach::Except(&["tmp", "sandbox/tmp", "criterion"]),
        "what is built there runs later",
    ),
    ("{cache}", Reach::Whole, "it is our own cache of compiled code"),
    ("{cargo-home}", Reach::Whole, "it is cargo's home"),
    ("{rustup-home}", Reach::Whole, "it is rustup's home"),
    ("{home}/.*", Reach::Whole, "it is configuration of your account, such as shell start-up files"),
    ("{home}/bin", Reach::Whole, "programs are started from there"),
    ("/proc", Reach::Whole, "it reaches into processes and the kernel"),
    ("/sys", Reach::Whole, "it reaches into the kernel"),
    ("/dev", Reach::Except(&["null", "zero", "full"]), "it holds devices"),
    ("/run", Reach::Whole, "it holds sockets of services"),
    ("/var/run", Reach::Whole, "it holds sockets of services"),
    ("/var/lib", Reach::Whole, "services keep their state there"),
    ("/var/spool", Reach::Whole, "scheduled jobs are kept there"),
    ("/etc", Reach::Whole, "it is the configuration of the system"),
    ("/boot", Reach::Whole, "the system starts from it"),
    ("/usr", Reach::Whole, "programs are started from there"),
    ("/bin", Reach::Whole, "programs are started from there"),
    ("/sbin", Reach::Whole, "programs are started from there"),
    ("/lib*", Reach::Whole, "programs are loaded from there"),
    ("/opt", Reach::Whole, "programs are started from there"),
];

/// Places whose contents and listings need a word of their own, and why.
const SENSITIVE: &[(&str, Reach, &str)] = &[
    ("{home}/.ssh", Reach::Whole, "it holds private keys"),
    ("{home}/.gnupg", Reach::Whole, "it holds private keys"),
    ("{home}/.age", Reach::Whole, "it holds private keys"),
    ("{home}/.aws", Reach::Whole, "it holds credentials"),
    ("{home}/.azure", Reach::Whole, "it holds credentials"),
    ("{home}/.kube", Reach::Whole, "it holds credentials"),
    ("{home}/.docker", Reach::Whole, "it holds credentials"),
    ("{home}/.config/gcloud", Reach::Whole, "it holds credentials"),
    ("{home}/.config/gh", Reach::Whole, "it holds credentials"),
    ("{home}/.config/glab-cli", Reach::Whole, "it holds credentials"),
    ("{home}/.config/hub", Reach::Whole, "it holds credentials"),
    ("{home}/.config/git/credentials", Reach::Whole, "it holds credentials"),
    ("{home}/.config/op", Reach::Whole, "it holds credentials"),
    ("{home}/.config/sops", Reach::Whole, "it holds private keys"),
    ("{home}/.git-credentials", Reach::Whole, "it holds credentials"),
    ("{home}/.netrc", Reach::Whole, "it holds credentials"),
    ("{home}/.npmrc", Reach::Whole, "it holds credentials"),
    ("{home}/.yarnrc*", Reach::Whole, "it holds credentials"),
    ("{home}/.pypirc", Reach::Whole, "it holds credentials"),
    ("{home}/.gem/credentials", Reach::Whole, "it holds credentials"),
    ("{home}/.m2/settings*", Reach::Whole, "it holds credentials"),
    ("{home}/.pgpass", Reach::Whole, "it holds credentials"),
    ("{home}/.my.cnf", Reach::Whole, "it holds credentials"),
    ("{home}/.vault-token", Reach::Whole, "it holds credentials"),
    ("{home}/.terraform.d", Reach::Whole, "it holds credentials"),
    ("{home}/.password-store", Reach::Whole, "it holds passwords"),
    ("{home}/.local/share/keyrings", Reach::Whole, "it holds passwords"),
    ("{home}/.mozilla", Reach::Whole, "it holds passwords and sessions"),
    ("{home}/.config/chromium", Reach::Whole, "it holds passwords and sessions"),
    ("{home}/.config/google-chrome", Reach::Whole, "it holds passwords and sessions"),
    ("{home}/.*_history", Reach::Whole, "it holds what was typed"),
    ("{home}/.cargo/credentials*", Reach::Whole, "it holds credentials"),
    ("{cargo-home}/credentials*", Reach::Whole, "it holds credentials"),
    ("/home/*/.ssh", Reach::Whole, "it holds private keys"),
    ("/root/.ssh", Reach::Whole, "it holds private keys"),
    ("/etc/shadow*", Reach::Whole, "it holds passwords"),
    ("/etc/gshadow*", Reach::Whole, "it holds passwords"),
    ("/etc/sudoers*", Reach::Whole, "it is the configuration of privileges"),
    ("/etc/ssh", Reach::Whole, "it holds private keys"),
    ("/etc/ssl/private", Reach::Whole, "it holds private keys"),
    ("/proc", Reach::Whole, "it reaches into processes and the kernel"),
    ("/sys", Reach::Whole, "it reaches into the kernel"),
    ("/dev", Reach::Except(&["null", "zero", "full", "random", "urandom"]), "it holds devices"),
    ("/run", Reach::Whole, "it holds sockets and secrets of services"),
    ("/var/run", Reach::Whole, "it holds sockets and secrets of services"),
];

/// A place with its variables filled in.
#[derive(Clone, Debug)]
struct ProtectedPlace {
    pattern: Vec<Component>,
    /// What is fine beneath it.
    except: Vec<Vec<Component>>,
    itself: bool,
    /// It is the root of a package or workspace plus one of [`NAMES`]: exceptions cover it too.
    named: bool,
    shown: String,
    why: &'static str,
}

/// What stands in the way of a grant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// The place, as a person would write it.
    pub place: String,
    /// Why it is protected.
    pub why: &'static str,
    /// The grant names the place, or something in it, without wildcards: `protected = true` is
    /// all that it needs.
    pub exact: bool,
    /// It is about keys and credentials, not about changes.
    pub sensitive: bool,
}

/// The tables for one package.
#[derive(Clone, Debug)]
pub struct Protected {
    changes: Vec<ProtectedPlace>,
    reads: Vec<ProtectedPlace>,
    names: Vec<(Component, &'static str)>,
    /// Where the user works: a place that holds one of these does not make it protected.
    roots: Vec<Vec<Component>>,
    /// What the guest sees as `/`: the way to all of its patterns.
    outside: Vec<Component>,
}

impl Protected {
    /// Fills in the variables. The places should be canonical.
    ///
    /// Where the guest sees another folder as `/`, what it names is judged by what it is outside. That
    /// folder is where the user works then, and no package is known.
    pub fn new(places: &Places) -> Self {
        let outside = places.root.as_deref().map(|root| literals(bytes(root)));
        let known = match &outside {
            Some(_) => Places {
                package: PathBuf::new(),
                workspace: PathBuf::new(),
                target_dir: PathBuf::new(),
                ..places.clone()
            },
            None => places.clone(),
        };
        let names: Vec<_> = NAMES.iter().chain(TOOLS).map(|(name, why)| (component(name), *why)).collect();
        let mut changes: Vec<ProtectedPlace> =
            PROTECTED.iter().filter_map(|row| place(row, &known)).collect();
        let workspace = literals(bytes(&known.workspace));
        let package = literals(bytes(&known.package));
        for (root, variable) in [(&package, "{package}"), (&workspace, "{workspace}")] {
            if outside.is_some() || (variable == "{workspace}" && workspace == package) {
                continue;
            }
            // The names with a wildcard are left to the exceptions: a `*` in a grant would nearly
            // always be able to reach one of them.
            let exact = |((name, _), _): &(&(Component, _), _)| matches!(name, Component::Literal(_));
            for ((name, why), (text, _)) in names.iter().zip(NAMES).filter(exact) {
                let mut pattern = root.clone();
                pattern.push(name.clone());
                let shown = if root == &package { (*text).to_owned() } else { format!("{variable}/{text}") };
                changes.push(ProtectedPlace {
                    pattern,
                    except: Vec::new(),
                    itself: false,
                    named: true,
                    shown,
                    why,
                });
            }
        }
        let reads = SENSITIVE.iter().filter_map(|row| place(row, &known)).collect();
        let outside = outside.unwrap_or_default();
        let roots = [package, workspace, literals(bytes(&known.target_dir)), outside.clone()];
        let roots = roots.into_iter().filter(|root| !root.is_empty()).collect();
        Self { changes, reads, names, roots, outside }
    }

    /// What a grant of `operations` on `pattern` could reach and must not without saying so. An
    /// inexact conflict comes before an exact one.
    pub fn conflict(&self, operations: OperationSet, pattern: &PathPattern) -> Option<Conflict> {
        if pattern.base == PathBase::Tmp {
            return None;
        }
        let mut seen_outside;
        let pattern = if self.outside.is_empty() {
            pattern
        } else {
            seen_outside = pattern.clone();
            seen_outside.components.splice(0..0, self.outside.iter().cloned());
            &seen_outside
        };
        let mut conflicts = Vec::new();
        if !operations.intersection(OperationSet::FS_CHANGE).is_empty() {
            conflicts.extend(self.changes.iter().filter_map(|place| self.reaches(place, pattern, false)));
            if let Some((name, why)) = self.name_in(&pattern.components) {
                conflicts.push(Conflict {
                    place: name,
                    why,
                    exact: literal(&pattern.components),
                    sensitive: false,
                });
            }
        }
        if !operations.intersection(OperationSet::FS_REVEAL).is_empty() {
            conflicts.extend(self.reads.iter().filter_map(|place| self.reaches(place, pattern, true)));
        }
        let inexact = conflicts.iter().position(|conflict| !conflict.exact).unwrap_or(0);
        (!conflicts.is_empty()).then(|| conflicts.swap_remove(inexact))
    }

    /// Places that lie beneath a folder, and whether reading them is what must not be.
    pub fn places_below(&self, folder: &[Component]) -> impl Iterator<Item = (&[Component], bool)> {
        let changes = self.changes.iter().map(|place| (place, false));
        let reads = self.reads.iter().map(|place| (place, true));
        let beneath = move |place: &&ProtectedPlace| {
            place.pattern.len() > folder.len() && place.pattern.starts_with(folder)
        };
        changes
            .chain(reads)
            .filter(move |(place, _)| beneath(place))
            .map(|(place, read)| (&*place.pattern, read))
    }

    /// Names that stay protected below a grant that changes files.
    pub fn names(&self) -> impl Iterator<Item = &Component> {
        self.names.iter().map(|(name, _)| name)
    }

    /// The same below one folder. In the system's folders for temporary files nothing is built and no
    /// tool is started, so a file there may be called `x.rs`, unless that is where the user works.
    pub fn names_below(&self, folder: &[Component]) -> impl Iterator<Item = &Component> {
        let folder = &[&self.outside, folder].concat()[..];
        let temporary = [&b"/tmp"[..], b"/var/tmp"].iter().any(|tmp| folder.starts_with(&literals(tmp)));
        let work = self.roots.iter().any(|root| folder.starts_with(root) || root.starts_with(folder));
        let most = if temporary && !work { NAMES.len() } else { self.names.len() };
        let names = self.names[..most].iter().map(|(name, _)| name);
        names.filter(move |name| most > NAMES.len() || *name != &component("*.rs"))
    }

    /// Whether the user works somewhere beneath a folder: names on the way there protect nothing.
    pub fn is_above_work(&self, folder: &[Component]) -> bool {
        self.roots.iter().any(|root| root.len() > folder.len() && root.starts_with(folder))
    }

    /// A component of the pattern that is itself a protected name. Only beneath the roots of the
    /// user's work: what lies above is where the user put it.
    fn name_in(&self, components: &[Component]) -> Option<(String, &'static str)> {
        let skip = self
            .roots
            .iter()
            .filter(|root| components.starts_with(root))
            .map(Vec::len)
            .max()
            .unwrap_or_default();
        components[skip..].iter().find_map(|component| {
            let Component::Literal(_) = component else { return None };
            let own = std::slice::from_ref(component);
            let (_, why) =
                self.names.iter().find(|(name, _)| may_contain(std::slice::from_ref(name), own))?;
            let shown = joined(own);
            Some((String::from_utf8_lossy(&shown[1..]).into_owned(), *why))
        })
    }

    fn reaches(&self, place: &ProtectedPlace, pattern: &PathPattern, sensitive: bool) -> Option<Conflict> {
        let components = &pattern.components;
        let contains = may_contain(components, &place.pattern);
        let inside = !place.itself && may_contain(&place.pattern, components);
        if !contains && !inside {
            return None;
        }
        // A checkout somewhere in a hidden folder is still where the user works.
        let prefix = literal_prefix(components);
        let at_work = |root: &Vec<Component>| prefix.starts_with(root) && may_contain(&place.pattern, root);
        let is_root = |root: &Vec<Component>| &place.pattern == root;
        if self.roots.iter().any(|root| at_work(root) && !is_root(root)) {
            return None;
        }
        if inside && !contains {
            let fine = |except: &Vec<Component>| {
                prefix.starts_with(except)
                    || (prefix.len() == components.len() && may_contain(except, components))
            };
            // Below a root, the names are exceptions at any depth: a wildcard cannot reach them.
            if place.except.iter().any(fine) || (place.named && !may_contain(&place.pattern, prefix)) {
                return None;
            }
        }
        let exact = inside && literal(components);
        Some(Conflict { place: place.shown.clone(), why: place.why, exact, sensitive })
    }
}

fn component(name: &str) -> Component {
    match name.split_once('*') {
        None => Component::Literal(name.as_bytes().to_vec()),
        Some((before, after)) => {
            let run = |text: &str| (!text.is_empty()).then(|| Some(text.as_bytes().to_vec()));
            Component::Glob([run(before), Some(None), run(after)].into_iter().flatten().collect())
        }
    }
}

fn place(row: &(&'static str, Reach, &'static str), places: &Places) -> Option<ProtectedPlace> {
    let (text, reach, why) = *row;
    let pattern = expand(text, places)?;
    let except = match reach {
        Reach::Except(names) => names
            .iter()
            .map(|name| {
                let mut except = pattern.clone();
                except.extend(literals(name.as_bytes()));
                except
            })
            .collect(),
        _ => Vec::new(),
    };
    Some(ProtectedPlace {
        pattern,
        except,
        itself: reach == Reach::Itself,
        named: false,
        shown: text.to_owned(),
        why,
    })
}

/// Fills in one row. `None` if the machine has no such folder.
fn expand(text: &str, places: &Places) -> Option<Vec<Component>> {
    for (variable, folder) in [
        ("{cache}", &places.cache),
        ("{cargo-home}", &places.cargo_home),
        ("{rustup-home}", &places.rustup_home),
    ] {
        if let Some(rest) = text.strip_prefix(variable) {
            let mut components = literals(bytes(folder.as_ref()?));
            components.extend(rest.split('/').filter(|part| !part.is_empty()).map(component));
            return (!components.is_empty()).then_some(components);
        }
    }
    let missing = |folder: &Path| folder.as_os_str().is_empty();
    if (text.starts_with("{package}") && missing(&places.package))
        || (text.starts_with("{workspace}") && missing(&places.workspace))
        || (text.starts_with("{target-dir}") && missing(&places.target_dir))
    {
        return None;
    }
    parse_path(text, places, b"/").ok().map(|pattern| pattern.components)
}

/// A path as an entry: with `{target-dir}`, relative to the package, with `{workspace}` or `{home}`, or
/// else absolute. `None` if it is not UTF-8.
pub fn entry_for(path: &[u8], places: &Places) -> Option<String> {
    let text = std::str::from_utf8(path).ok()?;
    let beneath = |root: &Path| {
        let root = std::str::from_utf8(bytes(root)).ok().filter(|root| !root.is_empty() && *root != "/")?;
        let rest = text.strip_prefix(root)?;
        if rest.is_empty() { Some("") } else { rest.strip_prefix('/') }
    };
    let home = places.home.as_deref().unwrap_or(Path::new(""));
    for (variable, root) in [
        ("{target-dir}", places.target_dir.as_path()),
        ("", &places.package),
        ("{workspace}", &places.workspace),
        ("{home}", home),
    ] {
        let Some(rest) = beneath(root) else { continue };
        return Some(match (variable, rest) {
            ("", "") => ".".to_owned(),
            ("", rest) => escape(rest),
            (variable, "") => variable.to_owned(),
            (variable, rest) => format!("{variable}/{}", escape(rest)),
        });
    }
    Some(escape(text))
}
