# What people and CI type. Everything here works from a bare checkout on a machine with rustup (or rustc and cargo),
# a C compiler, make and bash: what else is needed is found or made by scripts/wasi-toolchain.sh.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help toolchain build demo test test-user lint policy bench nextest tools install clean

CARGO ?= cargo
# A toolchain that compiles for WASI, as `RUSTUP_TOOLCHAIN` wants it. `default`: no rustup, and rustc can do it.
with_wasi = wasi=$$(scripts/wasi-toolchain.sh); if [ "$$wasi" != default ]; then export CARGO_SANDBOX_TEST_TOOLCHAIN=$$wasi; fi
SANDBOX := target/debug/cargo-sandbox

help: ## this list
	@sed -nE 's/^([a-z-]+):.*## (.*)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 18

toolchain: ## find or make a Rust toolchain for wasm32-wasip1 and wasm32-wasip2, and print its name
	@scripts/wasi-toolchain.sh

# As the tests build it: `cargo build` would give shared dependencies other features, and compile all of them, wasmtime
# too, a second time. A test of the binary brings all three binaries with it.
build: ## build the three binaries for trying them out, into target/debug
	$(CARGO) test --locked --features test-walls --no-run --test integration

demo: build ## run the main fixture with and without one of its permissions
	@scripts/demo.sh $(SANDBOX)

test: nextest ## every test, from nothing
	@$(with_wasi); set -x; $(CARGO) test --locked --workspace --features test-walls

test-user: nextest ## every test as an ordinary user: root makes one
	scripts/test-user.sh

lint: ## format and lints, warnings as errors
	$(CARGO) fmt --all --check
	find fixtures benches/native -name '*.rs' -not -path '*/target/*' -print0 | xargs -0 rustfmt --check --edition 2024
	$(CARGO) clippy --locked --workspace --all-targets --features test-walls -- -D warnings

policy: ## licences and sources of everything that Cargo.lock names
	python3 scripts/policy.py

nextest: ## cargo-nextest, which one test runs our runner under (installed if absent)
	@$(CARGO) nextest --version >/dev/null 2>&1 || $(CARGO) install --locked cargo-nextest

tools: nextest ## the peers that the benchmarks compare with (installed if absent)
	@command -v wasmtime >/dev/null || $(CARGO) install --locked wasmtime-cli --version 48.0.8

bench: tools ## measure; see benches/README.md
	@$(with_wasi); set -x; $(CARGO) bench --locked

install: ## install cargo-sandbox, cargo-sandbox-run and cargo-sandbox-test
	$(CARGO) install --locked --path .

clean: ## remove what was built here (never a toolchain)
	$(CARGO) clean
	rm -rf fixtures/*/target benches/native/target
