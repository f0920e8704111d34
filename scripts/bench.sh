#!/usr/bin/env bash
# Shoal beside llama.cpp on this machine: see docs/benchmarks.md. BENCH_QUICK=1 takes three minutes instead of seventeen,
# MODEL=PATH another GGUF, BENCH_OUTPUT=FOLDER another place for the results; further arguments go to bench.py.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/paths.sh"
cd "$REPOSITORY"

arguments=(--prefix "$(engine/build.sh --print-prefix)" --shoal "$REPOSITORY/.build/release/shoal")
arguments+=(--model "${MODEL:-$REFERENCE_MODEL}" --output "${BENCH_OUTPUT:-$REPOSITORY/docs/benchmarks}")
if [ "${BENCH_QUICK:-0}" != 0 ]; then arguments+=(--quick); fi
exec python3 -B scripts/bench/bench.py "${arguments[@]}" "$@"
