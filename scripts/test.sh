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
# Optimized: thousands of simulated clusters and plans.
SHOAL_PURE=1 swift test --scratch-path .build-pure -Xswiftc -O

say "building everything"
swift build --build-tests

# One after the other: each of these runs its own tests side by side, with engines that want a processor of their own.
decided='Shoal(Core|Model|Planning|Scheduling|Membership|RPC|Launch)Tests|TidyTests'
if [ $# -gt 0 ]; then
    say "what was asked for"
    swift test --skip-build "$@"
    exit
fi

# A test that hangs would take the whole run with it, and tell nothing.
seconds_max=1500
run_tests() {
    local bound=()
    if command -v timeout >/dev/null; then bound=(timeout --kill-after 10 "$seconds_max"); fi
    local log=.build/test.log
    if ! "${bound[@]}" swift test --skip-build "$@" 2>&1 | tee "$log"; then
        # What failed, at the end of a long output.
        grep --text '^✘' "$log" || true
        fail "swift test $*: failed, or ran for more than $seconds_max s"
    fi
}
say "sockets, links and nodes with made-up engines"
run_tests --skip "^($decided|Shoal(Engine|EndToEnd|Tunnel)Tests)\."
say "real engines"
run_tests --filter '^Shoal(Engine|Tunnel)Tests\.'
say "real processes"
run_tests --filter '^ShoalEndToEndTests\.'

SHOAL="$(swift build --show-bin-path)/shoal" scripts/test-net.sh --if-possible
