# Every target is one script or one line of cargo; read them for what they do.

.PHONY: help demo test lint bench bench-gpu bench-apple loom metal stress fuzz sanitize check-mac

help: ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' Makefile

demo: ## Fetch the model, embed real sentences from 8 threads, check the values, show throughput
	scripts/demo

test: ## Fetch the model; all tests, documentation examples, numbered examples and loom models
	scripts/test

lint: ## Formatting, clippy, rustdoc, no test doubles in a release, no paths of somebody's machine; warnings are errors
	scripts/lint

bench: ## All measurements on this machine: the model, one operation, threads, two models (a few minutes)
	scripts/bench

bench-gpu: ## Thalweg beside PyTorch on one NVIDIA GPU, with what is already built (8 minutes; needs PyTorch)
	python3 bench/gpu/compare.py

bench-apple: ## Thalweg beside PyTorch, MLX and candle on a Mac, with what is already built (25 minutes; docs/apple.md)
	python3 bench/apple/compare.py --json target/apple.json

loom: ## The loom models of the runtime's protocols
	scripts/loom

metal: ## The Metal backend's tests: on a Mac on its GPU, elsewhere on a simulator of Metal (part of `make test`)
	scripts/metal

stress: ## The stress tests' long form: a million operations for each number of threads, on the CPU, the mock and Vulkan
	THALWEG_STRESS_OPERATIONS=$${THALWEG_STRESS_OPERATIONS:-1000000} cargo test --workspace --profile checked stress_ -- --nocapture --test-threads 1

fuzz: ## The fuzzers' long form: settings and tokeniser files, a minute each (THALWEG_FUZZ_SECONDS)
	scripts/fuzz

sanitize: ## ThreadSanitizer over the runtime, the CPU backend and the HAL (a few minutes)
	scripts/sanitize thread

check-mac: ## Type-check the workspace for aarch64-apple-darwin, from any host
	scripts/check-mac
