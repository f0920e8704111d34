#!/usr/bin/env bash
# Made-up inputs for everything that reads what others wrote. Nothing may trap; the seed that is printed repeats a run.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/paths.sh"
cd "$REPOSITORY"

export PKG_CONFIG_PATH="$(engine/build.sh --print-prefix)/lib/pkgconfig:${PKG_CONFIG_PATH:-}"
export SHOAL_TEST_CACHE="$SHOAL_CACHE"
export SHOAL_FUZZ_ITERATIONS="${FUZZ_ITERATIONS:-20000}"
export SHOAL_SEED="${SHOAL_SEED:-$(od -An -N6 -tu8 /dev/urandom | tr -d ' ')}"
say "SHOAL_SEED=$SHOAL_SEED FUZZ_ITERATIONS=$SHOAL_FUZZ_ITERATIONS"
swift build --build-tests
swift test --skip-build --filter 'ShoalFuzzTests|PeerFuzzTests' ||
    fail "replay with: SHOAL_SEED=$SHOAL_SEED FUZZ_ITERATIONS=$SHOAL_FUZZ_ITERATIONS make fuzz"
