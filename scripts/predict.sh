#!/usr/bin/env bash
# What the planner predicts for the reference model on this machine, beside what a node then does. One node, solo; the
# build folder and the port can be given: CONFIGURATION=release PORT=17460 THREADS=1 scripts/predict.sh
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/paths.sh
configuration=${CONFIGURATION:-release}
port=${PORT:-17460}
model=${MODEL:-${SHOAL_CACHE:-$HOME/.cache/shoal}/models/SmolLM2-135M-Instruct.Q4_1.gguf}
data=$(mktemp -d)
".build/$configuration/shoal" serve --name here --data "$data" --api "127.0.0.1:$port" --link 127.0.0.1:0 \
    --threads "${THREADS:-1}" --log-level warning &
node=$!
trap 'kill "$node" 2>/dev/null; wait "$node" 2>/dev/null || true; rm -rf "$data"' EXIT
# The measurement of a first start, at most a minute.
for _ in $(seq 600); do [ -s "$data/speed.json" ] && break; sleep 0.1; done
python3 scripts/predict.py "$port" "$model"
