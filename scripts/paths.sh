# Where things are kept outside the repository. Sourced by the other scripts.
# SHOAL_CACHE overrides the per-user cache folder.
case "$(uname -s)" in
    Darwin) default_cache="$HOME/Library/Caches/shoal" ;;
    *) default_cache="${XDG_CACHE_HOME:-$HOME/.cache}/shoal" ;;
esac
SHOAL_CACHE="${SHOAL_CACHE:-$default_cache}"
REPOSITORY="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
. "$REPOSITORY/engine/pins.sh"

PYTHON_TOOLS="$SHOAL_CACHE/python-tools"          # a venv: pip, and nothing of the system's
MODELS="$SHOAL_CACHE/models"
REFERENCE_MODEL="$MODELS/SmolLM2-135M-Instruct.Q4_1.gguf"

say() { printf '==> %s\n' "$*" >&2; }
fail() { printf 'error: %s\n' "$*" >&2; exit 1; }

sha256_of() {
    if command -v sha256sum >/dev/null; then sha256sum "$1" | cut -d' ' -f1; else shasum -a 256 "$1" | cut -d' ' -f1; fi
}

# Runs the rest with an exclusive lock, so that two clones on one machine do not build the same thing at once.
with_lock() {
    local name="$1"; shift
    mkdir -p "$SHOAL_CACHE/locks"
    if command -v flock >/dev/null; then
        ( flock 9; "$@" ) 9>"$SHOAL_CACHE/locks/$name"
    else
        "$@"
    fi
}

# A venv of our own, so that hashes are checked by a known pip and the system's packages stay untouched.
ensure_python_tools() {
    if [ ! -x "$PYTHON_TOOLS/bin/pip" ]; then
        say "creating a Python environment in $PYTHON_TOOLS"
        rm -rf "$PYTHON_TOOLS.partial"
        python3 -m venv "$PYTHON_TOOLS" || fail "python3 -m venv failed; on Debian: apt-get install python3-venv"
    fi
}
