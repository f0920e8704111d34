#!/usr/bin/env bash
# Obtains the pinned llama.cpp source, builds it and prints the prefix: engine/build.sh [--print-prefix]
# The prefix lives in the user's cache under a hash of everything that shapes it, so every clone on the machine shares it.
# LLAMA_CPP_SOURCE=PATH builds another checkout instead. A failed or interrupted build leaves no prefix behind: it is
# installed beside its final place and renamed at the end.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../scripts/paths.sh"

source_identity() {
    if [ -n "${LLAMA_CPP_SOURCE:-}" ]; then
        [ -f "$LLAMA_CPP_SOURCE/include/llama.h" ] || fail "LLAMA_CPP_SOURCE=$LLAMA_CPP_SOURCE is not a llama.cpp checkout (no include/llama.h)"
        # A local checkout changes under our hands: its newest file decides.
        (cd "$LLAMA_CPP_SOURCE" && pwd && git rev-parse HEAD 2>/dev/null; git -C "$LLAMA_CPP_SOURCE" status --porcelain 2>/dev/null;
         find "$LLAMA_CPP_SOURCE/src" "$LLAMA_CPP_SOURCE/ggml/src" "$LLAMA_CPP_SOURCE/common" -type f -printf '%p %T@ %s\n' 2>/dev/null | sort)
    else
        printf '%s %s\n' "$LLAMA_SDIST_VERSION" "$LLAMA_SDIST_SHA256"
    fi
}

# GGML_NATIVE compiles for this processor, so its feature list is part of the recipe.
processor_identity() {
    case "$(uname -s)" in
        Linux) grep -m1 -iE '^(flags|features)' /proc/cpuinfo || true ;;
        Darwin) sysctl -n machdep.cpu.brand_string ;;
    esac
}

gpu_options() {
    if [ "$(uname -s)" = Darwin ]; then echo "-DGGML_METAL=ON -DGGML_METAL_EMBED_LIBRARY=ON"; return; fi
    if [ -n "${SHOAL_NO_GPU:-}" ]; then return; fi
    if command -v nvcc >/dev/null || [ -x /usr/local/cuda/bin/nvcc ]; then
        echo "-DGGML_CUDA=ON ${SHOAL_CUDA_ARCHITECTURES:+-DCMAKE_CUDA_ARCHITECTURES=$SHOAL_CUDA_ARCHITECTURES}"
    elif command -v glslc >/dev/null && pkg-config --exists vulkan 2>/dev/null; then
        echo "-DGGML_VULKAN=ON"
    fi
}

recipe_hash() {
    { uname -sm; ${CXX:-c++} --version | head -1; source_identity; processor_identity; gpu_options
      cat "$REPOSITORY/engine/CMakeLists.txt" "$REPOSITORY/engine/shoal-llama.pc.in"
    } >"$1/recipe"
    sha256_of "$1/recipe" | cut -c1-16
}

obtain_source() {
    local work="$1"
    ensure_python_tools
    say "fetching the llama.cpp source (llama-cpp-python $LLAMA_SDIST_VERSION, 77 MB)"
    printf 'llama-cpp-python==%s --hash=sha256:%s\n' "$LLAMA_SDIST_VERSION" "$LLAMA_SDIST_SHA256" >"$work/requirements.txt"
    "$PYTHON_TOOLS/bin/pip" download --quiet --no-deps --no-binary llama-cpp-python --require-hashes \
        -r "$work/requirements.txt" -d "$work/sdist" >&2 || fail "pip could not fetch the llama.cpp source; see its message above"
    tar -xzf "$work/sdist/llama_cpp_python-$LLAMA_SDIST_VERSION.tar.gz" -C "$work" \
        "llama_cpp_python-$LLAMA_SDIST_VERSION/vendor/llama.cpp"
    LLAMA_CPP_SOURCE="$work/llama_cpp_python-$LLAMA_SDIST_VERSION/vendor/llama.cpp"
}

# One line every five percent instead of ninja's thousand.
show_progress() {
    awk -F'[][/]' '/^\[[0-9]+\/[0-9]+\]/ { p = int($2 * 20 / $3); if (p != last) { last = p; printf "    %3d %%  (%d of %d)\n", p * 5, $2, $3; fflush() } }' >&2
}

build() {
    local prefix="$1" work="$2"
    if [ -e "$prefix/complete" ]; then return; fi
    local commit=unknown
    if [ -z "${LLAMA_CPP_SOURCE:-}" ]; then commit="$LLAMA_CPP_COMMIT"; obtain_source "$work"
    else commit="$(git -C "$LLAMA_CPP_SOURCE" rev-parse --short HEAD 2>/dev/null || echo local)"; fi
    say "building llama.cpp $commit (about ten minutes on two cores, once per machine): $prefix"
    # shellcheck disable=SC2046
    cmake -S "$REPOSITORY/engine" -B "$work/build" -G Ninja -DCMAKE_BUILD_TYPE=Release \
        -DLLAMA_CPP_SOURCE="$LLAMA_CPP_SOURCE" -DLLAMA_BUILD_NUMBER=0 -DLLAMA_BUILD_COMMIT="$commit" \
        -DCMAKE_INSTALL_PREFIX="$work/prefix" $(gpu_options) >"$work/configure.log" 2>&1 \
        || { tail -40 "$work/configure.log" >&2; fail "cmake could not configure llama.cpp"; }
    if ! ninja -C "$work/build" 2>&1 | tee "$work/build.log" | show_progress; then
        tail -60 "$work/build.log" >&2; fail "llama.cpp did not build; the lines above are the last of it"
    fi
    cmake --install "$work/build" --component shoal --strip >"$work/install.log" 2>&1 \
        || { tail -20 "$work/install.log" >&2; fail "llama.cpp did not install"; }
    printf '%s\n' "$commit" >"$work/prefix/llama-cpp-commit"
    cp "$work/recipe" "$work/prefix/complete"
    rm -rf "$prefix"
    mv "$work/prefix" "$prefix"
}

mkdir -p "$SHOAL_CACHE/engine"
# What a build that was killed outright left behind; no build takes half a day.
find "$SHOAL_CACHE/engine" -maxdepth 1 -name '.building.*' -mmin +720 -exec rm -rf {} + 2>/dev/null || true
scratch="$(mktemp -d "$SHOAL_CACHE/engine/.building.XXXXXX")"
trap 'rm -rf "$scratch"' EXIT
trap 'exit 130' INT TERM
prefix="$SHOAL_CACHE/engine/$(recipe_hash "$scratch")"
[ "${1:-}" = --print-prefix ] || with_lock engine build "$prefix" "$scratch"
printf '%s\n' "$prefix"
