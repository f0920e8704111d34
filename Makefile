# Two commands matter to a newcomer: `make demo` and `make test`. Everything they need is installed, built and cached.
SHELL := /bin/bash
.DEFAULT_GOAL := help

ENGINE_PREFIX = $(shell engine/build.sh --print-prefix)
SWIFT_ENV = PKG_CONFIG_PATH="$(ENGINE_PREFIX)/lib/pkgconfig:$$PKG_CONFIG_PATH"

.PHONY: help dependencies engine model setup build release demo bench microbench microbench-thresholds test test-net fuzz soak soak-stages soak-rpc soak-workers format lint env clean

help: ## this list
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

dependencies:
	@scripts/install-dependencies.sh

engine: dependencies ## build the pinned llama.cpp (cached per user; LLAMA_CPP_SOURCE=PATH builds another checkout)
	@engine/build.sh >/dev/null

model: dependencies ## fetch the reference model
	@scripts/fetch-reference-model.sh >/dev/null

setup: engine model ## engine, reference model, test models and test clients
	@scripts/prepare-test-models.sh

build: engine ## build Shoal, debug
	@$(SWIFT_ENV) swift build

release: engine ## build Shoal, release
	@$(SWIFT_ENV) swift build -c release --product shoal
	@$(SWIFT_ENV) swift build -c release --product shoal-engine

demo: release model ## two nodes on this machine answer as one model (MODEL=PATH for another GGUF)
	@scripts/demo.sh

bench: release model ## Shoal beside llama.cpp, about 17 minutes (BENCH_QUICK=1: three; MODEL=PATH); docs/benchmarks.md
	@scripts/bench.sh

MICROBENCH = cd Benchmarks && swift package --disable-sandbox --allow-writing-to-package-directory benchmark

microbench: dependencies ## codec, scheduler and planner alone; checked where thresholds are recorded
	@$(MICROBENCH) $$([ -d Thresholds ] && echo thresholds check --path Thresholds)

microbench-thresholds: dependencies ## record this machine's figures as the bounds of make microbench
	@$(MICROBENCH) thresholds update --path Thresholds

test: setup ## everything that must hold, fast checks first
	@scripts/test.sh

soak: soak-stages soak-rpc soak-workers ## the three below (MINUTES, SOAK_SEED, SHOAL_SEED)

soak-rpc: setup ## fifty random deaths and freezes of llama.cpp's programs in a row (SHOAL_SEED=N repeats one)
	@$(SWIFT_ENV) SHOAL_SOAK=1 SHOAL_TEST_CACHE="$$(. scripts/paths.sh && echo $$SHOAL_CACHE)" \
		swift test --filter 'StockProgramsMayDie/soak'

soak-workers: release model ## llama.cpp's programs with 1 to 4 workers side by side, MINUTES (10) of requests
	@scripts/soak_rpc.sh

test-net: engine ## discovery, reachability and a port scan in network namespaces (Linux, root)
	@scripts/test-net.sh

fuzz: setup ## made-up inputs for every decoder and for a node (FUZZ_ITERATIONS, SHOAL_SEED to replay)
	@scripts/fuzz.sh

soak-stages: release model ## three nodes under random requests and kills (MINUTES, SOAK_SEED to repeat)
	@scripts/soak.sh

format: ## rewrite the sources in the house format
	@swift format --in-place --recursive --parallel Sources Tests Package.swift

lint: ## check the format
	@swift format lint --strict --recursive --parallel Sources Tests Package.swift

env: ## print what a shell needs to call swift directly: eval "$(make -s env)"
	@echo "export $(SWIFT_ENV)"

clean: ## remove build products; the engine prefix and models in the user cache stay
	@rm -rf .build .build-pure
