#!/usr/bin/env bash
# Makes what the tests need beside the reference model: a Python with the official clients, and small models of every
# supported family. Kept in the user's cache; made again when the recipe changes.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/paths.sh"

TEST_PYTHON="$SHOAL_CACHE/test-python"
TEST_MODELS="$SHOAL_CACHE/test-models"

prepare() {
    local requirements="$REPOSITORY/scripts/models/requirements.txt"
    if ! cmp -s "$requirements" "$TEST_PYTHON/requirements.txt"; then
        say "creating the tests' Python environment in $TEST_PYTHON"
        rm -rf "$TEST_PYTHON"
        python3 -m venv "$TEST_PYTHON"
        "$TEST_PYTHON/bin/pip" install --quiet -r "$requirements" >&2
        cp "$requirements" "$TEST_PYTHON/requirements.txt"
    fi
    local prefix; prefix="$("$REPOSITORY/engine/build.sh" --print-prefix)"
    local recipe; recipe="$(cat "$REPOSITORY"/scripts/models/*.py "$requirements" | { sha256sum 2>/dev/null || shasum -a 256; } | cut -c1-16)"
    if [ "$(cat "$TEST_MODELS/recipe" 2>/dev/null)" != "$recipe" ]; then
        say "making small models of every family in $TEST_MODELS"
        rm -rf "$TEST_MODELS" "$TEST_MODELS.partial"
        mkdir -p "$TEST_MODELS.partial"
        "$TEST_PYTHON/bin/python" "$REPOSITORY/scripts/models/make_test_models.py" "$prefix/share/vocabularies" "$TEST_MODELS.partial" >&2
        echo "$recipe" >"$TEST_MODELS.partial/recipe"
        mv "$TEST_MODELS.partial" "$TEST_MODELS"
    fi
}

with_lock test-models prepare
