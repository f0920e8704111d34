#!/usr/bin/env bash
# What a stranger on the network finds out about a node: every TCP port is tried from another network namespace, and
# what is open is spoken to. Linux, root. Runs alone, or from test-net.sh. SHOAL names another binary than the debug one.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../paths.sh"
cd "$REPOSITORY"

[ "$(uname -s)" = Linux ] || fail "network namespaces exist on Linux only"
[ "$(id -u)" -eq 0 ] || fail "network namespaces need root"
shoal="${SHOAL:-}"
if [ -z "$shoal" ]; then
    export PKG_CONFIG_PATH="$(engine/build.sh --print-prefix)/lib/pkgconfig:${PKG_CONFIG_PATH:-}"
    swift build --product shoal >&2
    swift build --product shoal-engine >&2
    shoal="$(swift build --show-bin-path)/shoal"
fi

tag="shs$$"
folder="$(mktemp -d)"
node_pid=""

cleanup() {
    status=$?
    if [ -n "$node_pid" ]; then kill "$node_pid" 2>/dev/null || true; wait "$node_pid" 2>/dev/null || true; fi
    ip netns del "${tag}node" 2>/dev/null || true
    ip netns del "${tag}scan" 2>/dev/null || true
    if [ "$status" -ne 0 ]; then cat "$folder"/*.log >&2 || true; fi
    rm -rf "$folder"
    exit "$status"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

ip netns add "${tag}node"
ip netns add "${tag}scan"
ip -n "${tag}node" link add eth0 type veth peer name eth0 netns "${tag}scan"
ip -n "${tag}node" address add 10.78.0.1/24 broadcast + dev eth0
ip -n "${tag}scan" address add 10.78.0.2/24 broadcast + dev eth0
for side in node scan; do
    ip -n "${tag}$side" link set lo up
    ip -n "${tag}$side" link set eth0 up
done

# Runs a node with the arguments, and the scan.
scan() {
    local name="$1"; shift
    say "scanning a node: $name"
    ip netns exec "${tag}node" "$shoal" serve --name scanned --data "$folder/$name" --link 0.0.0.0:7461 --threads 1 "$@" \
        >"$folder/$name.log" 2>&1 &
    node_pid=$!
    for _ in $(seq 1 300); do
        grep -q serving "$folder/$name.log" && break
        kill -0 "$node_pid" 2>/dev/null || fail "the node ended"
        sleep 0.1
    done
    ip netns exec "${tag}scan" python3 scripts/net/port_scan.py 10.78.0.1 7461
    kill -0 "$node_pid" 2>/dev/null || fail "the node did not survive the scan"
    local lines
    lines="$(grep -c 'a connection was refused' "$folder/$name.log" || true)"
    # So many kinds of nonsense and not one line more, however many connections there were.
    [ "$lines" -ge 1 ] && [ "$lines" -le 8 ] || fail "$lines refusals were logged"
    kill "$node_pid"
    wait "$node_pid" || true
    node_pid=""
}

scan closed
scan admitting --cluster-key "$(head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \n')"
say "a stranger learns nothing"
