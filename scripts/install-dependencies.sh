#!/usr/bin/env bash
# Installs what the build needs and is missing: compiler, cmake, ninja, pkg-config, Python venv tooling, SQLite headers.
# Debian and its kin through apt-get (root or sudo); macOS users are told what to install. Does nothing when all is there.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/paths.sh"

command -v swift >/dev/null || fail "Swift is not installed (swift --version fails); Shoal needs Swift 6.3"

missing=()
need() { "${@:2}" >/dev/null 2>&1 || missing+=("$1"); }
need cmake cmake --version
need ninja-build ninja --version
need pkg-config pkg-config --version
need g++ c++ --version
need make make --version
need curl curl --version
need python3 python3 --version
need python3-venv python3 -c 'import venv, ensurepip'
if [ -n "${SHOAL_TEST_NET:-}" ]; then  # make test-net
    need iproute2 ip -V
    need nftables nft --version
fi
[ "$(uname -s)" = Darwin ] || need libsqlite3-dev test -e /usr/include/sqlite3.h

[ "${#missing[@]}" -eq 0 ] && exit 0
if [ "$(uname -s)" = Darwin ]; then
    fail "missing: ${missing[*]}; install them, for example: brew install cmake ninja pkg-config python3"
fi
command -v apt-get >/dev/null || fail "missing: ${missing[*]}; install them with your system's package manager and run this again"
sudo=""
if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || fail "missing: ${missing[*]}; run as root: apt-get install ${missing[*]}"
    sudo=sudo
fi
say "installing ${missing[*]}"
$sudo apt-get update -qq
DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
