#!/usr/bin/env bash
# Real nodes with a real model in network namespaces: firewalls, a relay, interfaces that come and go, a VPN. Linux, root.
#   scripts/test-net.sh [SCENARIO...]      scenarios of scripts/net/cluster.py; all by default
#   scripts/test-net.sh --if-possible      says why and ends well where namespaces cannot be made
# SHOAL=PATH takes another program than the debug build.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/paths.sh"
cd "$REPOSITORY"

why_not() {
    [ "$(uname -s)" = Linux ] || { echo "network namespaces exist on Linux only"; return; }
    [ "$(id -u)" -eq 0 ] || { echo "network namespaces need root: sudo make test-net"; return; }
    for tool in ip nft curl python3; do
        command -v "$tool" >/dev/null || { echo "$tool is missing"; return; }
    done
    local probe="shl$$probe"
    if ! ip netns add "$probe" 2>/dev/null; then echo "ip netns add is not permitted here"; return; fi
    ip -n "$probe" link add bridge type bridge 2>/dev/null || echo "bridges cannot be made here"
    ip netns exec "$probe" nft list tables >/dev/null 2>&1 || echo "nftables does not work here"
    ip netns del "$probe"
}

if [ "${1:-}" = --if-possible ]; then
    shift
    reason="$(why_not)"
    if [ -n "$reason" ]; then say "not in network namespaces: $reason"; exit 0; fi
else
    [ "$(uname -s)" != Linux ] || SHOAL_TEST_NET=1 scripts/install-dependencies.sh
    reason="$(why_not)"
    [ -z "$reason" ] || fail "$reason"
fi

shoal="${SHOAL:-}"
if [ -z "$shoal" ]; then
    export PKG_CONFIG_PATH="$(engine/build.sh --print-prefix)/lib/pkgconfig:${PKG_CONFIG_PATH:-}"
    swift build --product shoal >&2
    swift build --product shoal-engine >&2
    shoal="$(swift build --show-bin-path)/shoal"
fi
[ -f "$REFERENCE_MODEL" ] || scripts/fetch-reference-model.sh >/dev/null

exec python3 scripts/net/cluster.py "$shoal" "$REFERENCE_MODEL" "$@"
