#!/usr/bin/env bash
# Runs every test as an ordinary user: root does not notice what only root may do.
#
#   usage: scripts/test-user.sh [FILTER or flags of the tests]
#
# Whoever is no root is such a user already, and runs the tests as they are. Root builds them, makes the user
# `cargo-sandbox-test` the first time, and starts the same binaries as that user: another home, no groups, no
# capabilities. What the user cannot see (a toolchain or a checkout below root's home) is shown in a mount namespace of
# its own; nothing on disk changes its mode or its owner.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf 'test-user: %s\n' "$*" >&2; }
fail() {
  say "error: $1"
  shift
  for line in "$@"; do printf '  help: %s\n' "$line" >&2; done
  exit 1
}

wasi=$(scripts/wasi-toolchain.sh)
if [ "$wasi" != default ]; then export CARGO_SANDBOX_TEST_TOOLCHAIN=$wasi; fi
build=(cargo test --locked --workspace --features test-walls)

if [ "$(id -u)" != 0 ]; then
  exec "${build[@]}" -- "$@"
fi

for tool in useradd unshare setpriv mount; do
  command -v "$tool" >/dev/null || fail "there is no \`$tool\`" "install \`passwd\`, \`util-linux\` and \`mount\`"
done
user=cargo-sandbox-test
id "$user" >/dev/null 2>&1 || useradd --system --user-group --create-home --shell /bin/sh "$user"
home=$(getent passwd "$user" | cut -d: -f6)
nextest=$(command -v cargo-nextest) || fail "there is no cargo-nextest" "\`make nextest\` installs it"
sysroot=$(if [ "$wasi" != default ]; then export RUSTUP_TOOLCHAIN=$wasi; fi && rustc --print sysroot)

messages=$(mktemp)
trap 'rm -f "$messages"' EXIT
"${build[@]}" --no-run --message-format=json-render-diagnostics >"$messages"
mapfile -t tests < <(grep -E '"profile":\{[^}]*"test":true' "$messages" | sed -nE 's/.*"executable":"([^"]+)".*/\1/p' | sort -u)
[ ${#tests[@]} -ge 3 ] || fail "cargo named ${#tests[@]} test binaries, and there are more"

# What follows runs in the mount namespace.
inside=$(cat <<'INSIDE'
set -euo pipefail
checkout=$PWD
hold=$home/hold
mkdir -p "$hold" "$home/toolchain" "$home/bin" "$home/scratch"
chown "$user:" "$home/scratch"
mount --rbind "$checkout" "$hold"
mount --rbind "$sysroot" "$home/toolchain"
install -m 755 "$nextest" "$home/bin/cargo-nextest"
# The first folder on the way that the user may not pass is covered by an empty one, and the checkout shown in it.
as_user() { setpriv --reuid "$user" --regid "$user" --clear-groups -- "$@"; }
at=/
IFS=/ read -ra parts <<<"${checkout#/}"
for part in "${parts[@]}"; do
  at=${at%/}/$part
  if ! as_user test -x "$at"; then
    mount -t tmpfs -o mode=755 none "$at"
    mkdir -p "$checkout"
    mount --rbind "$hold" "$checkout"
    break
  fi
done
cd "$checkout"
# Open to everybody, as a distribution has it: tests mount a file system that ignores case, in a namespace of their own.
if [ -c /dev/fuse ]; then
  rm -f "$home/fuse"
  mknod -m 666 "$home/fuse" c 10 229
  mount --bind "$home/fuse" /dev/fuse
fi
# Where the tests were built to leave their files.
mkdir -p target/tmp
mount --bind "$home/scratch" target/tmp
for test in "${tests[@]}"; do
  printf 'test-user: %s as %s\n' "${test##*/}" "$user" >&2
  as_user env -i HOME="$home" USER="$user" PATH="$home/toolchain/bin:$home/bin:/usr/local/bin:/usr/bin:/bin" \
    CARGO="$home/toolchain/bin/cargo" LANG=C.UTF-8 CARGO_TERM_COLOR=never "$test" "$@"
done
INSIDE
)
# An array cannot be exported, so the script is given its declaration.
exec unshare --mount --propagation private bash -c "$(declare -p tests user home sysroot nextest); $inside" test-user "$@"
