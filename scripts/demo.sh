#!/usr/bin/env bash
# The main fixture, on a copy: once with its permissions, once without the one to write. Shows both and fails if
# either ends otherwise than it must.
#
#   usage: scripts/demo.sh PATH/TO/cargo-sandbox
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
tool=$(realpath "$1")
wasi=$("$root/scripts/wasi-toolchain.sh")
[ "$wasi" = default ] || export RUSTUP_TOOLCHAIN=$wasi

crate=$root/target/demo/copy-file
rm -rf "$crate"
mkdir -p "$(dirname "$crate")"
cp -R "$root/fixtures/copy-file" "$crate"
cd "$crate"

bold='' plain=''
[ ! -t 1 ] || bold=$'\033[1m' plain=$'\033[0m'
show() { printf '\n%s%s%s\n' "$bold" "$*" "$plain"; }
show "copy-file may read input.txt and write output.txt, and nothing else:"
sed -n '/^\[package.metadata.sandbox/,$p' Cargo.toml
show "\$ cargo sandbox-run"
"$tool" run
show "\$ cat output.txt"
cat output.txt

show "The same without the line that grants the write:"
rm output.txt
sed -i '/^write/d' Cargo.toml
show "\$ cargo sandbox-run"
status=0
"$tool" run || status=$?
show "exit status $status"
[ "$status" = 77 ] || { echo "demo: the violation should have ended with status 77" >&2; exit 1; }
[ ! -e output.txt ] || { echo "demo: output.txt was written without a grant" >&2; exit 1; }
