#!/usr/bin/env bash
# Makes sure that a Rust toolchain on this machine can compile for wasm32-wasip1 and wasm32-wasip2, and prints
# its name, for `RUSTUP_TOOLCHAIN` or `cargo +NAME`, as the only line on standard output.
#
#   usage: scripts/wasi-toolchain.sh [--check] [--build] [--name NAME] [--dest DIR] [--suite SUITE]
#
#   --check   only look: fail instead of installing anything
#   --build   make the linked toolchain even if another one has the targets
#   --name    name of the linked toolchain (default: wasi, or wasi-own if another toolchain has that name)
#   --dest    its folder (default: ~/.cache/cargo-sandbox/wasi-toolchain)
#   --suite   the distribution's suite to take it from (default: sid on Debian, devel on Ubuntu)
#
# In this order: the active toolchain, if it has the targets; a linked toolchain NAME that has them; what
# `rustup target add` installs into the active toolchain; and, where rustup can download nothing, a linked toolchain
# out of the packages of the distribution's development suite. That last step needs apt-get and dpkg, no root, and
# installs nothing on the system: the packages are unpacked into DIR, from the package source (and with the proxy,
# the credentials and the signature checks) that this machine's own apt configuration names.
#
# Two runs at once are safe (one waits), a run that was cut off continues with what it had downloaded, and a run
# with nothing to do takes well under a second.
set -euo pipefail
exec 3>&1 1>&2 # Standard output is data: whatever the commands below print goes to standard error.

name=${CARGO_SANDBOX_TOOLCHAIN_NAME:-}
dest=${CARGO_SANDBOX_TOOLCHAIN_DIR:-}
suite=${CARGO_SANDBOX_SUITE:-}
mode=any
targets=(wasm32-wasip1 wasm32-wasip2)

say() { printf 'wasi-toolchain: %s\n' "$*"; }
fail() {
  printf 'wasi-toolchain: error: %s\n' "$1"
  shift
  for line in "$@"; do printf '  help: %s\n' "$line"; done
  exit 1
}
need_value() { [ $# -ge 2 ] && [ -n "$2" ] || fail "\`$1\` needs a value"; }

while [ $# -gt 0 ]; do
  case $1 in
    --check) mode=check ;;
    --build) mode=build ;;
    --name) need_value "$@"; name=$2; shift ;;
    --dest) need_value "$@"; dest=$2; shift ;;
    --suite) need_value "$@"; suite=$2; shift ;;
    -h | --help) sed -n '2,/^set -/{/^set -/d;s/^# \{0,1\}//;p}' "$0" >&3; exit 0 ;;
    *) fail "unknown argument \`$1\`" "see \`$0 --help\`" ;;
  esac
  shift
done
case $name in *[!A-Za-z0-9._-]*) fail "\`$name\` is no name for a toolchain" ;; esac
if [ -z "$dest" ]; then
  [ -n "${HOME:-}" ] || fail "HOME is not set" "name a folder with \`--dest DIR\`"
  dest=${XDG_CACHE_HOME:-$HOME/.cache}/cargo-sandbox/wasi-toolchain
fi
case $dest in /*) ;; *) dest=$PWD/$dest ;; esac

# Whether `rustc "$@"` compiles and links a program for every target, and `rustdoc "$@"` a doc test: asking where the
# libraries would be is not enough, since the linker may be what is missing, or the libraries may belong to another
# compiler. The doc test is handed to `true` and not run.
works() {
  local scratch target ok=0
  scratch=$(mktemp -d)
  printf '/// ```\n/// ```\npub fn documented() {}\n' >"$scratch/lib.rs"
  rustdoc "$@" --edition 2021 --test --target "${targets[0]}" --test-runtool true "$scratch/lib.rs" >"$scratch/log" 2>&1 || ok=1
  printf 'fn main() { println!("{:?}", std::fs::metadata("/")); }\n' >"$scratch/main.rs"
  for target in "${targets[@]}"; do
    rustc "$@" --edition 2021 --target "$target" -o "$scratch/$target.wasm" "$scratch/main.rs" >"$scratch/log" 2>&1 &&
      [ -s "$scratch/$target.wasm" ] || ok=1
  done
  rm -rf "$scratch"
  return $ok
}
answer() {
  printf '%s\n' "$1" >&3
  exit 0
}

command -v rustc >/dev/null || fail "there is no \`rustc\`" "install Rust with rustup, then run this again"
if ! command -v rustup >/dev/null; then
  works && answer default
  fail "this rustc has no std for ${targets[*]} or no rustdoc, and there is no rustup to add it" \
    "install your distribution's package (Debian: libstd-rust-dev-wasm32, Fedora: rust-std-static-wasm32-wasip1)" \
    "or install Rust with rustup"
fi
active=$(rustup show active-toolchain 2>/dev/null | head -n 1 | cut -d ' ' -f 1) || active=
# Shown without the host triple, as people write it: `stable` rather than `stable-x86_64-unknown-linux-gnu`.
short=$active
for channel in stable beta nightly; do
  case $active in "$channel"-[a-z]*) short=$channel ;; esac
done

linked_to() { rustup toolchain list -v 2>/dev/null | awk -v name="$name" '$1 == name { print $NF }'; }

if [ "$mode" != build ]; then
  [ -n "$active" ] && works && answer "$short"
fi
# The name that was asked for, or the first that no other folder's toolchain has.
named=$name
for name in ${named:-wasi wasi-own}; do
  taken=$(linked_to)
  [ "$mode" = build ] || [ -z "$taken" ] || ! works "+$name" || answer "$name"
  if [ -z "$taken" ] || [ ! -e "$taken" ] || [ "$taken" -ef "$dest" ]; then break; fi
done
if [ "$mode" != build ]; then
  [ "$mode" = check ] && fail "no toolchain here can compile for ${targets[*]}" "run \`make toolchain\`"
  if [ -n "$active" ]; then
    say "trying \`rustup target add ${targets[*]}\` for $active"
    # A machine without a way out may wait long for each refusal: five minutes are enough for two small downloads.
    if timeout 300 rustup target add "${targets[@]}" && works; then answer "$short"; fi
    say "rustup could not install the targets; taking them from the distribution"
  fi
fi

# ---- a linked toolchain from the distribution's packages ----

for tool in apt-get apt-cache dpkg dpkg-deb flock; do
  command -v "$tool" >/dev/null || fail "rustup cannot download, and without \`$tool\` there is nothing else to take the targets from" \
    "let this machine reach rustup's server and run \`rustup target add ${targets[*]}\`" \
    "or install your distribution's package with std for wasm32-wasip1 and use its rustc"
done
case $(dpkg --print-architecture) in
  amd64) triple=x86_64-linux-gnu host=x86_64-unknown-linux-gnu loader=ld-linux-x86-64.so.2 ;;
  arm64) triple=aarch64-linux-gnu host=aarch64-unknown-linux-gnu loader=ld-linux-aarch64.so.1 ;;
  *) fail "no linked toolchain is known for the architecture $(dpkg --print-architecture)" \
    "use a machine on which \`rustup target add ${targets[*]}\` works" ;;
esac
[ -n "$active" ] || fail "rustup has no active toolchain to take cargo and the linker from" "run \`rustup default stable\`"
up=$(rustc --print sysroot)
tools=$up/lib/rustlib/$host/bin
[ -x "$tools/rust-lld" ] || fail "the toolchain $active has no rust-lld (looked in $tools)" "use a toolchain that rustup installed"

mkdir -p "$(dirname "$dest")"
exec 9>"$dest.lock"
if ! flock -n 9; then
  say "another run is making it; waiting"
  flock 9
fi
taken=$(linked_to)
if [ -n "$taken" ] && [ -e "$taken" ] && [ ! "$taken" -ef "$dest" ]; then
  fail "the name \`$name\` belongs to another toolchain, in $taken, which cannot compile for ${targets[*]}" \
    "choose another name with \`--name NAME\`"
fi
link() { rustup toolchain link "$name" "$dest" && works "+$name"; }
# Another run may have finished it while this one waited; or the folder is there and only the link is lost.
if [ -x "$dest/bin/rustc" ] && link; then answer "$name"; fi

work=$dest.work
mkdir -p "$work"/{state/lists/partial,cache/archives/partial,debs}
: >"$work/status"
apt=(
  -o "Dir::State=$work/state" -o "Dir::State::lists=$work/state/lists" -o "Dir::State::status=$work/status"
  -o "Dir::Cache=$work/cache" -o "Dir::Etc::sourcelist=$work/source.sources" -o "Dir::Etc::sourceparts=/dev/null"
  -o "Dir::Etc::preferences=/dev/null" -o "Dir::Etc::preferencesparts=/dev/null"
  -o "APT::Sandbox::User=$(id -un)" -o "Acquire::Languages=none" -o "Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled=false"
)

# What apt itself makes of its configuration, whichever of the two formats it is written in: one line a repository.
configured() {
  # shellcheck disable=SC2016 # apt, not the shell, replaces these.
  apt-get indextargets --format '$(SITE) $(RELEASE) $(COMPONENT) $(SOURCESENTRY)' 'Created-By: Packages' 2>/dev/null | sort -u
}
# The `Signed-By` of the entry that names a repository, as a field of the deb822 format with its continuation lines;
# nothing if the entry names none, in which case apt's own trusted keys apply.
signed_by() {
  local file=$1 site=$2
  case $file in
    *.sources)
      awk -v site="$site" 'BEGIN { RS = ""; FS = "\n" }
        index($0, site) { on = 0
          for (i = 1; i <= NF; i++) {
            if ($i ~ /^[Ss]igned-[Bb]y:/) on = 1; else if ($i !~ /^[ \t]/) on = 0
            if (on) print $i }
          exit }' "$file" ;;
    *)
      awk -v site="$site" '/^[ \t]*deb[ \t]/ && index($0, site) && match($0, /[Ss]igned-[Bb]y=[^] \t]+/) {
          print "Signed-By: " substr($0, RSTART + 10, RLENGTH - 10); exit }' "$file" ;;
  esac
}
. /etc/os-release
family=" ${ID:-} ${ID_LIKE:-} "
if [ -z "$suite" ]; then
  case $family in *' ubuntu '*) suite=devel ;; *) suite=sid ;; esac
fi
# Repositories of the distribution itself are those that have its release, under its name or a moving one.
found=
while read -r site release _ entry; do
  case " ${VERSION_CODENAME:-} ${DEBIAN_CODENAME:-} oldstable stable testing unstable sid devel $suite " in
    *" $release "*) ;;
    *) continue ;;
  esac
  case " $found " in *" $site "*) continue ;; esac
  found="$found $site"
  components=$(configured | awk -v s="$site" -v r="$release" '$1 == s && $2 == r { print $3 }' | sort -u | tr '\n' ' ')
  {
    printf 'Types: deb\nURIs: %s\nSuites: %s\nComponents: %s\n' "$site" "$suite" "$components"
    signed_by "${entry%:*}" "$site"
  } >"$work/source.sources"
  say "reading the package lists of $suite ($site)"
  apt-get "${apt[@]}" -qq update || continue
  apt-cache "${apt[@]}" show libstd-rust-dev-wasm32 >/dev/null 2>&1 && break
  say "it has no libstd-rust-dev-wasm32"
done < <(configured) || true
apt-cache "${apt[@]}" show libstd-rust-dev-wasm32 >/dev/null 2>&1 ||
  fail "no package source of this machine's apt configuration has libstd-rust-dev-wasm32 in its suite \`$suite\`" \
    "looked at:${found:- none}; another suite can be named with \`--suite SUITE\`" \
    "or use a machine on which \`rustup target add ${targets[*]}\` works"

# rustc, its standard libraries, and the shared libraries that they need: the suite's own, since they are newer than
# this machine's. Compilers, headers and configuration of the system are not among them.
packages=(rustc libstd-rust-dev libstd-rust-dev-wasm32)
frontier=("${packages[@]}")
while [ ${#frontier[@]} -gt 0 ]; do
  mapfile -t next < <(
    apt-cache "${apt[@]}" depends --important "${frontier[@]}" | sed -n 's/^ *\(Pre\)\{0,1\}Depends: *\([a-z0-9][a-z0-9+.-]*\).*/\2/p' |
      awk '/^libstd-rust-/ || /^rustc-[0-9.]+$/ || $0 == "zlib1g" || (/^lib/ && !/-(bin|common|data|dev|perl)$/)' | sort -u
  )
  frontier=()
  for package in "${next[@]}"; do
    case " ${packages[*]} " in *" $package "*) continue ;; esac
    packages+=("$package")
    frontier+=("$package")
  done
done
# One line a package: 'URI' FILE SIZE HASH. The names are escaped as apt names the files it writes.
mapfile -t files < <(cd "$work/debs" && apt-get "${apt[@]}" -qq download --print-uris "${packages[@]}" | awk '{ print $2 }')
[ ${#files[@]} -eq ${#packages[@]} ] || fail "apt has no source for one of: ${packages[*]}"
for old in "$work"/debs/*.deb; do # A run that was cut off may have left older versions.
  case " ${files[*]} " in *" ${old##*/} "*) ;; *) rm -f "$old" ;; esac
done
say "downloading ${#files[@]} packages of $suite (about 200 MB) into $work"
(cd "$work/debs" && apt-get "${apt[@]}" -q download "${packages[@]}")

stage=$dest.partial
rm -rf "$stage"
mkdir -p "$stage"/{root,bin,libexec}
say "unpacking"
for file in "${files[@]}"; do dpkg-deb -x "$work/debs/$file" "$stage/root"; done
loader_path=$(cd "$stage/root/usr" && find lib lib64 -name "$loader" 2>/dev/null | head -n 1)
for piece in bin/rustc bin/rustdoc "${targets[@]/#/lib/rustlib/}" "lib/rustlib/$host" "${loader_path:-lib/$loader}"; do
  [ -e "$stage/root/usr/$piece" ] || fail "the packages of $suite have no usr/$piece" "name another suite with \`--suite SUITE\`"
done
mv "$stage/root/usr/lib" "$stage/lib"
[ ! -d "$stage/root/usr/lib64" ] || mv "$stage/root/usr/lib64" "$stage/lib64"
cp -L "$stage/root/usr/bin/rustc" "$stage/root/usr/bin/rustdoc" "$stage/libexec/"
rm -rf "$stage/root" "$stage/lib/rustlib/$host/bin"
# Cargo and the linkers (rust-lld, wasm-component-ld) are those of the active toolchain: the distribution's cargo
# would be older or newer than the one people use, and its linkers come in yet other packages.
ln -s "$tools" "$stage/lib/rustlib/$host/bin"
ln -s "$up/bin/cargo" "$stage/bin/cargo"
for program in rustc rustdoc; do
  # Its libraries want the suite's C library, so it runs under that library's own loader.
  cat >"$stage/bin/$program" <<WRAPPER
#!/bin/sh
root=\$(dirname "\$(dirname "\$(readlink -f "\$0")")")
PATH="\$root/lib/rustlib/$host/bin:\$PATH"
export PATH
# Rustdoc hands its own --sysroot on to rustc, and arguments in a file (@FILE) may hold one: two are an error.
for argument; do
  case \$argument in
    --sysroot | --sysroot=*) given=1 ;;
    @*) ! grep -qs -e --sysroot "\${argument#@}" || given=1 ;;
  esac
done
[ -n "\${given-}" ] || set -- --sysroot "\$root" "\$@"
exec "\$root/$loader_path" --argv0 "\$root/bin/$program" --library-path "\$root/lib/$triple" \\
  "\$root/libexec/$program" "\$@"
WRAPPER
  chmod +x "$stage/bin/$program"
done
# What is in place now does not work, or this would not have come so far.
rm -rf "$dest"
mv "$stage" "$dest"
link || fail "the toolchain made in $dest cannot compile for ${targets[*]}" \
  "see what \`rustc +$name --target ${targets[0]}\` says; another suite can be named with \`--suite SUITE\`"
rm -rf "$work"
say "linked toolchain \`$name\`: $(rustc "+$name" --version)"
answer "$name"
