#!/usr/bin/env bash
# The tests, fast ones first: format, the pure targets alone, then everything with real engines and processes.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/paths.sh"
cd "$REPOSITORY"

prefix="$(engine/build.sh --print-prefix)"
export PKG_CONFIG_PATH="$prefix/lib/pkgconfig:${PKG_CONFIG_PATH:-}"
export SHOAL_TEST_CACHE="$SHOAL_CACHE"

say "format"
swift format lint --strict --recursive --parallel Sources Tests Package.swift

say "decisions: pure targets"
SHOAL_PURE=1 swift test --scratch-path .build-pure

say "building everything"
swift build --build-tests

say "everything with sockets, engines and processes"
swift test --skip-build --skip '^(Shoal(Core|Model|Planning|Scheduling|Membership|RPC)Tests|TidyTests)\.' "$@"
