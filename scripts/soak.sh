#!/usr/bin/env bash
# Three nodes under random requests and kills, for MINUTES (5); SOAK_SEED repeats the same plan of misfortunes.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/paths.sh"
cd "$REPOSITORY"

shoal="${SHOAL:-$(swift build -c release --show-bin-path)/shoal}"
[ -x "$shoal" ] || fail "there is no $shoal; run: make release"
exec python3 scripts/soak.py "$shoal" "$REFERENCE_MODEL" "${MINUTES:-5}" "${SOAK_SEED:-$RANDOM}"
