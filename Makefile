# Everything a newcomer, CI or a release needs. `make help` lists it.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
export PATH := $(HOME)/.cargo/bin:$(PATH)

DEMO_PACKAGES := busybox-static docker-registry git jq mmdebstrap runc
TEST_PACKAGES := attr busybox-static bzip2 docker-registry git libcap2-bin mmdebstrap runc skopeo uidmap util-linux xz-utils
BENCH_PACKAGES := $(DEMO_PACKAGES) pigz skopeo time

.PHONY: help
help: ## Lists the targets
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 20

.PHONY: demo
demo: deps-demo ## Builds twelve images of one project from nothing to running programs, in about a minute (root)
	@examples/monorepo/demo.sh

.PHONY: test
test: deps-test lint ## Checks format and lints, runs all tests (root; installs what is missing)
	KAIRN_TEST_REQUIRE=1 cargo test --workspace --locked --features object-store

.PHONY: lint
lint: deps-rust ## Checks format, lints and, where cargo-deny is installed, dependencies
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked --features object-store -- -D warnings
	@if command -v cargo-deny >/dev/null; then cargo deny --locked check bans licenses sources; \
	else echo "cargo-deny is not installed, so deny.toml was not checked: cargo install --locked cargo-deny"; fi

.PHONY: bench
bench: deps-bench ## Measures kairn beside plain tools doing the same work
	@benches/run.sh

.PHONY: static
static: deps-rust ## Builds the release binary with nothing to link against at run time
	@scripts/static.sh

.PHONY: image
image: deps-image ## Builds kairn's own images with kairn: one with nothing else, one with a shell and Git (root)
	@scripts/image.sh

.PHONY: deps-rust
deps-rust:
	@scripts/deps.sh rust

.PHONY: deps-demo
deps-demo: deps-rust ## Installs what the demo needs
	@scripts/deps.sh packages $(DEMO_PACKAGES)

.PHONY: deps-test
deps-test: deps-rust ## Installs what the tests need
	@scripts/deps.sh packages $(TEST_PACKAGES)

.PHONY: deps-bench
deps-bench: deps-rust
	@scripts/deps.sh packages $(BENCH_PACKAGES)

.PHONY: deps-image
deps-image: deps-rust ## Installs what the images are made from
	@scripts/deps.sh packages ca-certificates jq mmdebstrap
