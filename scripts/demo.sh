#!/usr/bin/env bash
# Two nodes on loopback, separate data folders, one thread each; the model split in two halves; one streamed answer.
# Everything it starts it stops, also when it is interrupted. MODEL=PATH takes another GGUF.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/paths.sh"
cd "$REPOSITORY"

shoal="$REPOSITORY/.build/release/shoal"
model="${MODEL:-$REFERENCE_MODEL}"
question="${QUESTION:-What is the capital of France, and what is it known for?}"
[ -f "$model" ] || fail "there is no file $model"

scratch="$(mktemp -d)"
pids=()
stop_nodes() {
    local status=$?
    for pid in "${pids[@]}"; do kill -TERM "$pid" 2>/dev/null || true; done
    for pid in "${pids[@]}"; do wait "$pid" 2>/dev/null || true; done
    if [ "$status" -ne 0 ]; then
        for log in "$scratch"/*.log; do say "last lines of $(basename "$log")"; tail -n 15 "$log" >&2; done
    fi
    rm -rf "$scratch"
    exit "$status"
}
trap stop_nodes EXIT
trap 'exit 130' INT TERM

free_port() { "$PYTHON_TOOLS/bin/python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
api_a=127.0.0.1:$(free_port); api_b=127.0.0.1:$(free_port); link_a=127.0.0.1:$(free_port); link_b=127.0.0.1:$(free_port)

# Both nodes are ours: a shared key lets them in without an invite.
export SHOAL_CLUSTER_KEY="$scratch/cluster-key"
(umask 077; head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \n' >"$SHOAL_CLUSTER_KEY")

say "starting nodes a ($api_a) and b ($api_b)"
"$shoal" serve --name a --data "$scratch/a" --api "$api_a" --link "$link_a" --threads 1 >"$scratch/a.log" 2>&1 &
pids+=($!)
"$shoal" serve --name b --data "$scratch/b" --api "$api_b" --link "$link_b" --peer "$link_a" --threads 1 >"$scratch/b.log" 2>&1 &
pids+=($!)

connected() { "$shoal" nodes --host "$api_a" --json 2>/dev/null | grep -q '"connected"'; }
for _ in $(seq 100); do connected && break; sleep 0.1; done
connected || fail "the two nodes did not find each other within ten seconds"
"$shoal" nodes --host "$api_a"

layers=$("$shoal" plan "$model" --host "$api_a" --json | "$PYTHON_TOOLS/bin/python" -c 'import json,sys; print(json.load(sys.stdin)["layerCount"])')
half=$((layers / 2))
split="a=0-$((half - 1)),b=$half-$((layers - 1))"
say "loading $(basename "$model") split as $split"
"$shoal" load "$model" --layers "$split" --host "$api_a"

name="$(basename "${model%.gguf}")"
say "asking node a: $question"
"$shoal" run "$name" "$question" --host "$api_a" --system "You are a helpful assistant." --temperature 0 --max-tokens 120 --verbose 2>"$scratch/timings"
echo
# Stages report once a second.
counted() { "$shoal" ps --host "$api_a" --json | grep -Eq '"boundaryTokenCount" : [0-9]{2,}'; }
for _ in $(seq 30); do counted && break; sleep 0.2; done
"$shoal" ps --host "$api_a" --json | "$PYTHON_TOOLS/bin/python" "$REPOSITORY/scripts/demo_table.py" "$scratch/timings"

cat <<TEXT

By hand, in two terminals:
  .build/release/shoal serve --name a --threads 1 --data /tmp/shoal-a
  .build/release/shoal serve --name b --threads 1 --data /tmp/shoal-b --api 127.0.0.1:7470 --link 127.0.0.1:7471
then
  .build/release/shoal join --host 127.0.0.1:7470 \$(.build/release/shoal invite --quiet)
  .build/release/shoal load $model --layers $split
  curl http://127.0.0.1:7460/v1/chat/completions -d '{"model":"$name","messages":[{"role":"user","content":"Hello!"}]}'
TEXT
