#!/usr/bin/env bash
# Discovery and the matrix of who reaches whom, in real network namespaces: three nodes on one bridge, each with an
# address of its own; then inbound packets are dropped on one, on the other, on both. Linux, root.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/paths.sh"
cd "$REPOSITORY"

[ "$(uname -s)" = Linux ] || fail "network namespaces exist on Linux only"
[ "$(id -u)" -eq 0 ] || fail "network namespaces need root: sudo make test-net"
SHOAL_TEST_NET=1 scripts/install-dependencies.sh

probe="${SHOAL_PROBE:-}"
if [ -z "$probe" ]; then
    export PKG_CONFIG_PATH="$(engine/build.sh --print-prefix)/lib/pkgconfig:${PKG_CONFIG_PATH:-}"
    swift build --product shoal-probe >&2
    probe="$(swift build --show-bin-path)/shoal-probe"
fi

# Names of this run only, so that two runs do not meet. Interface names have at most 15 characters.
tag="shl$$"
nodes=(a b c)
targets=()
for index in 0 1 2; do targets+=("${nodes[$index]}=$((index + 1))@10.77.0.$((index + 1)):7461"); done
folder="$(mktemp -d)"
pids=()

stop_probes() {
    for index in "${!pids[@]}"; do kill "${pids[$index]}" 2>/dev/null || true; done
    for index in "${!pids[@]}"; do wait "${pids[$index]}" 2>/dev/null || true; done
    pids=()
}

cleanup() {
    status=$?
    stop_probes
    for node in "${nodes[@]}"; do ip netns del "$tag$node" 2>/dev/null || true; done
    ip netns del "${tag}br" 2>/dev/null || true
    if [ "$status" -ne 0 ]; then tail -n +1 "$folder"/* >&2 || true; fi
    rm -rf "$folder"
    exit "$status"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

make_network() {
    ip netns add "${tag}br"
    ip -n "${tag}br" link add bridge type bridge mcast_snooping 0
    ip -n "${tag}br" link set bridge up
    for index in 0 1 2; do
        local node="${nodes[$index]}"
        ip netns add "$tag$node"
        ip -n "${tag}br" link add "port$node" type veth peer name eth0 netns "$tag$node"
        ip -n "${tag}br" link set "port$node" master bridge up
        ip -n "$tag$node" link set lo up
        ip -n "$tag$node" address add "10.77.0.$((index + 1))/24" broadcast + dev eth0
        ip -n "$tag$node" link set eth0 up
    done
}

# Like a phone or a strict firewall: nothing comes in that was not asked for.
drop_inbound() {
    ip netns exec "$tag$1" nft -f - <<'RULES'
table inet shoal {
    chain input {
        type filter hook input priority 0; policy accept;
        iifname "eth0" tcp flags & (syn | ack) == syn drop
        iifname "eth0" meta l4proto udp drop
    }
}
RULES
}

accept_inbound() { ip netns exec "$tag$1" nft delete table inet shoal; }

await_line() {
    local file="$1" line="$2"
    for _ in $(seq 1 600); do
        grep -q "^$line" "$file" 2>/dev/null && return 0
        sleep 0.1
    done
    fail "$(basename "$file"): no \"$line\" after 60 s"
}

# Runs all three nodes, with a command in the middle if there is one, and judges what they measured: $folder/NAME.verdict.
run_scenario() {
    local name="$1"
    rm -f "$folder"/*.out
    for index in 0 1 2; do
        local node="${nodes[$index]}"
        # Standard input stays open until the probe is killed.
        ip netns exec "$tag$node" "$probe" run "$((index + 1))" "${targets[@]}" \
            >"$folder/$node.out" 2>"$folder/$node.err" < <(exec sleep 120) &
        pids+=("$!")
    done
    if [ "${2:-}" != "" ]; then
        await_line "$folder/c.out" ready
        "$2"
    fi
    for node in "${nodes[@]}"; do await_line "$folder/$node.out" done; done
    stop_probes
    sed -n 's/^row //p' "$folder"/*.out | "$probe" judge "${targets[@]}" >"$folder/$name.verdict"
}

expect() {
    grep -q "$2" "$folder/$1.verdict" || fail "$1: expected \"$2\", but got:"$'\n'"$(cat "$folder/$1.verdict")"
}

expect_seen() {
    local by="$1" number="$2"
    local milliseconds
    milliseconds="$(sed -n "s/^seen 0$number //p" "$folder/$by.out")"
    [ -n "$milliseconds" ] || fail "$by did not see node $number within 3 s"
    [ "$milliseconds" -le 3000 ] || fail "$by saw node $number after $milliseconds ms only"
}

make_network

say "all open: three fresh nodes see each other and reach each other"
run_scenario open
for pair in "a 2" "a 3" "b 1" "b 3" "c 1" "c 2"; do expect_seen $pair; done
for pair in "a b 10.77.0.2" "a c 10.77.0.3" "b a 10.77.0.1" "b c 10.77.0.3" "c a 10.77.0.1" "c b 10.77.0.2"; do
    expect open "^link $pair:7461 open passed"
done
for pair in "a b" "a c" "b c"; do expect open "^pair $pair direct"; done
expect open "^doctor pass every measured address is open: 6 of 6"

say "b drops what comes in: others see it, b dials out"
drop_inbound b
run_scenario b-filtered
expect_seen a 2
expect_seen c 2
expect b-filtered "^link a b 10.77.0.2:7461 timedOut"
expect b-filtered "^link c b 10.77.0.2:7461 timedOut"
expect b-filtered "^link b a 10.77.0.1:7461 open passed"
expect b-filtered "^link b c 10.77.0.3:7461 open passed"
expect b-filtered "^pair a b reversed"
expect b-filtered "^pair b c direct"
expect b-filtered "^doctor warning a gets no answer from b at 10.77.0.2:7461.*on b, allow incoming TCP port 7461"
accept_inbound b

say "a drops what comes in"
drop_inbound a
run_scenario a-filtered
expect a-filtered "^link b a 10.77.0.1:7461 timedOut"
expect a-filtered "^link a b 10.77.0.2:7461 open passed"
expect a-filtered "^pair a b direct"

say "a and b drop what comes in: c relays"
drop_inbound b
run_scenario both-filtered
expect both-filtered "^link a b 10.77.0.2:7461 timedOut"
expect both-filtered "^link b a 10.77.0.1:7461 timedOut"
expect both-filtered "^link a c 10.77.0.3:7461 open passed"
expect both-filtered "^pair a b relayed c"
expect both-filtered "^doctor warning a and b cannot dial each other; c passes their bytes on"
accept_inbound a
accept_inbound b

say "c's network comes late"
address_of_c() { ip -n "${tag}c" address "$1" 10.77.0.3/24 broadcast + dev eth0; }
connect_c() { address_of_c add; }
address_of_c del
export SHOAL_PROBE_SECONDS=8
run_scenario late connect_c
unset SHOAL_PROBE_SECONDS
for pair in "a 3" "b 3" "c 1" "c 2"; do
    grep -q "^seen 0${pair#* } " "$folder/${pair% *}.out" || fail "late: ${pair% *} did not see node ${pair#* }"
done
expect late "^doctor pass every measured address is open: 6 of 6"

say "nothing listens on c's port: refused is told from filtered"
targets[2]="c=3@10.77.0.3:7999"
run_scenario refused
expect refused "^link a c 10.77.0.3:7999 refused"
expect refused "^doctor warning a is refused by c at 10.77.0.3:7999.*c listens on port 7461"

say "c is looked for at an address that nobody has"
targets[2]="c=3@10.77.0.99:7461"
run_scenario absent
expect absent "^link a c 10.77.0.99:7461 \(unreachable\|timedOut\)"

say "all as it should be"
