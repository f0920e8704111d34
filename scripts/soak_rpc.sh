#!/usr/bin/env bash
# llama.cpp's own programs with 1, 2, 3 and 4 workers side by side under continuous requests, for MINUTES (10).
# Other numbers of workers can be given as arguments.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/paths.sh"
cd "$REPOSITORY"

shoal="${SHOAL:-$(swift build -c release --show-bin-path)/shoal}"
[ -x "$shoal" ] || fail "there is no $shoal; run: make release"
exec python3 scripts/soak_rpc.py "$shoal" "$REFERENCE_MODEL" "${MINUTES:-10}" "${SOAK_SEED:-$RANDOM}" "$@"
