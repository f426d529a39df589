#!/usr/bin/env python3
"""Holds Cargo.lock to deny.toml: licences, sources, banned and duplicate crates. Needs no network.

Exit status 0: all is well. 1: at least one violation, each on its own line. The rules themselves are tried on
made-up graphs first, so that a checker that finds nothing any more is noticed.
"""

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def licensed(expression, allowed):
    """Whether the SPDX expression can be met with licences of `allowed`. `/` is the old way to write OR."""
    tokens = re.findall(r"\(|\)|[^\s()]+", expression.replace("/", " OR "))
    position = 0

    def peek():
        return tokens[position] if position < len(tokens) else None

    def take():
        nonlocal position
        position += 1
        return tokens[position - 1]

    def atom():
        if peek() is None or peek() in (")", "OR", "AND", "WITH"):
            raise ValueError(f"not an SPDX expression: {expression!r}")
        token = take()
        if token == "(":
            value = any_of()
            if peek() != ")":
                raise ValueError(f"not an SPDX expression: {expression!r}")
            take()
            return value
        if peek() == "WITH":
            take()
            token = f"{token} WITH {take()}"
        return token in allowed

    def all_of():
        value = atom()
        while peek() == "AND":
            take()
            value = atom() and value
        return value

    def any_of():
        value = all_of()
        while peek() == "OR":
            take()
            value = all_of() or value
        return value

    value = any_of()
    if peek() is not None:
        raise ValueError(f"not an SPDX expression: {expression!r}")
    return value


def violations(metadata, config):
    """Every way in which the graph of `cargo metadata` breaks the rules of deny.toml."""
    found = []
    allowed = set(config["licenses"]["allow"])
    members = set(metadata["workspace_members"])
    versions = {}
    used = set()
    registries = set()
    for package in metadata["packages"]:
        name = f"{package['name']} {package['version']}"
        versions.setdefault(package["name"], set()).add(package["version"])
        source = package["source"]
        if source is None:
            if package["id"] not in members:
                found.append(f"{name}: comes from a path outside the workspace")
        elif not source.startswith("registry+"):
            found.append(f"{name}: comes from {source}, not from a registry")
        else:
            registries.add(source)
        expression = package["license"]
        if not expression:
            found.append(f"{name}: names no licence")
            continue
        try:
            if not licensed(expression, allowed):
                found.append(f"{name}: its licence {expression} is not in deny.toml's list")
        except ValueError as error:
            found.append(f"{name}: {error}")
        used.update(licence for licence in allowed if licence in expression)
    # Cargo.toml names no registry (see `named_sources`), so where there is only one it is cargo's default.
    if len(registries) > 1:
        found.append(f"the graph comes from more than one registry: {', '.join(sorted(registries))}")
    for rule in config["bans"]["deny"]:
        have = versions.get(rule["crate"], set())
        if rule.get("deny-multiple-versions"):
            if len(have) > 1:
                found.append(f"{rule['crate']}: in the graph {len(have)} times ({', '.join(sorted(have))})")
        elif have:
            found.append(f"{rule['crate']}: banned by deny.toml")
    for licence in sorted(allowed - used):
        found.append(f"deny.toml allows {licence}, which no crate needs any more")
    return found


def named_sources(manifest):
    """Dependencies of a parsed Cargo.toml that name a source themselves, or replace one of another crate."""
    found = [f"Cargo.toml has a table [{table}]" for table in ("patch", "replace") if manifest.get(table)]
    tables = [manifest, *manifest.get("target", {}).values()]
    for table in tables:
        for kind in ("dependencies", "dev-dependencies", "build-dependencies"):
            for name, wanted in table.get(kind, {}).items():
                for key in ("registry", "registry-index", "git"):
                    if isinstance(wanted, dict) and key in wanted:
                        found.append(f"Cargo.toml: {name} names a source with `{key}`")
    return found


def self_test():
    """Each rule must find what it is there to find."""
    allowed = {"MIT", "Apache-2.0 WITH LLVM-exception"}
    good = ["MIT", "MIT OR GPL-3.0", "GPL-3.0/MIT", "(GPL-3.0 OR MIT) AND MIT", "Apache-2.0 WITH LLVM-exception"]
    bad = ["GPL-3.0", "MIT AND GPL-3.0", "Apache-2.0", "(MIT OR GPL-3.0) AND GPL-3.0", "MIT WITH Something"]
    for expression in good:
        assert licensed(expression, allowed), expression
    for expression in bad:
        assert not licensed(expression, allowed), expression
    for broken in ["", "MIT OR", "(MIT", "MIT MIT"]:
        try:
            licensed(broken, allowed)
        except ValueError:
            continue
        raise AssertionError(broken)

    def package(name, version="1.0.0", source="registry+one", licence="MIT"):
        return {"id": name, "name": name, "version": version, "source": source, "license": licence}

    config = {
        "licenses": {"allow": ["MIT"]},
        "bans": {"deny": [{"crate": "once", "deny-multiple-versions": True}, {"crate": "never"}]},
    }
    cases = [
        ([package("a")], None),
        ([package("a", source=None)], None),
        ([package("a"), package("b", source=None)], "outside the workspace"),
        ([package("a", source="git+one")], "not from a registry"),
        ([package("a"), package("b", source="registry+other")], "more than one registry"),
        ([package("a"), package("b", licence="GPL-3.0")], "its licence"),
        ([package("a"), package("b", licence=None)], "names no licence"),
        ([package("once"), package("once", "2.0.0")], "2 times"),
        ([package("a"), package("never")], "banned"),
        ([], "no crate needs"),
    ]
    for packages, expected in cases:
        found = violations({"packages": packages, "workspace_members": ["a"]}, config)
        if expected is None:
            assert not found, found
        else:
            assert len(found) == 1 and expected in found[0], (expected, found)


    for text in ['patch.x.a.path = "."', 'dependencies.a.git = "x"', 'target.x.dev-dependencies.a.registry = "x"']:
        assert len(named_sources(tomllib.loads(text))) == 1, text
    assert not named_sources(tomllib.loads('dependencies.a = "1"'))


def main():
    self_test()
    # `--locked` is a rule of its own: it fails when Cargo.lock does not belong to Cargo.toml.
    command = [os.environ.get("CARGO", "cargo"), "metadata", "--locked", "--all-features", "--format-version", "1"]
    metadata = json.loads(subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout)
    config = tomllib.loads((ROOT / "deny.toml").read_text())
    found = violations(metadata, config) + named_sources(tomllib.loads((ROOT / "Cargo.toml").read_text()))
    for line in found:
        print(f"policy: error: {line}", file=sys.stderr)
    print(f"policy: {len(metadata['packages'])} crates, {len(found)} violations")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
