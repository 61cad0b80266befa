# `make help` tells what there is.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:

browser := tests/browser
node_modules := $(browser)/node_modules/.package-lock.json
# Where the server under test is built; both kinds of end-to-end tests read it.
export IM_SERVER_BIN := $(abspath $(or $(CARGO_TARGET_DIR),target))/debug/im-server
im_stack := $(dir $(IM_SERVER_BIN))im-stack
shell_scripts := .ci/run $(wildcard scripts/*)

.PHONY: help
help: ## This list
	@sed -nE 's/^([a-z-]+):.*## (.*)/  make \1\t\2/p' Makefile | expand -t 20

.PHONY: dev
dev: ## The whole chat in one process on http://127.0.0.1:8080
	cargo run --release -p im-server -- dev

# ---- tests

.PHONY: test
test: need test-unit test-e2e ## Everything that continuous integration checks

.PHONY: test-unit
test-unit: fmt-check lint deny web-check web-test rust-test ## Formatting, lints, and the tests that start no server

.PHONY: test-e2e
test-e2e: rust-e2e browser-e2e ## The built server under real clients and a real browser

.PHONY: need
need: # first, so that everything missing is said at once
	@scripts/need cargo cc node chromium shellcheck cargo-deny

.PHONY: fmt-check
fmt-check:
	cargo fmt --all --check

.PHONY: lint
lint: ## clippy and ShellCheck, warnings are errors
	shellcheck $(shell_scripts)
	cargo clippy --workspace --all-targets --locked -- -D warnings

.PHONY: deny
deny: ## Licences, sources and advisories of the dependencies
	scripts/deny

.PHONY: rust-test
rust-test:
	cargo test --workspace --exclude imcluster-tests --locked

.PHONY: rust-e2e
rust-e2e: im-server
	cargo test -p imcluster-tests --locked

.PHONY: web-check
web-check: $(node_modules)
	npm --prefix $(browser) run --silent check

.PHONY: web-test
web-test: $(node_modules)
	npm --prefix $(browser) run --silent unit

.PHONY: browser-e2e
browser-e2e: im-server $(node_modules)
	npm --prefix $(browser) run --silent e2e

# The server that the end-to-end tests start: cargo builds it for the tests of its own crate, and the same choice of crates
# as there means the same features, so that nothing is compiled a second time.
.PHONY: im-server
im-server:
	cargo test --workspace --exclude imcluster-tests --locked --no-run

# Tests that need real components are ignored where those are missing; here they are not.
.PHONY: test-stack
test-stack: need-stack im-stack im-server ## The tests that need Redis, PostgreSQL and Kafka, beside real ones
	$(im_stack) run --redis --redis-cluster --kafka --postgres -- \
	  cargo test --workspace --exclude imcluster-tests --locked --tests -- --ignored

.PHONY: need-stack
need-stack:
	@scripts/need cargo cc make perl redis postgres kafka nginx

.PHONY: im-stack
im-stack:
	cargo build -p imcluster-tests --locked --bin im-stack

# No package's script runs on installation, and no browser is downloaded: the tests use the system's.
$(node_modules): $(browser)/package.json $(browser)/package-lock.json
	npm ci --prefix $(browser) --ignore-scripts --no-audit --no-fund
	@touch $@

# ---- while working

.PHONY: fmt
fmt: ## Format the Rust code
	cargo fmt --all

.PHONY: schemas
schemas: ## Write the published schemas and lists again; a test fails when they differ from the code
	WRITE_DOCS=1 cargo test -p im-protocol --test it published
	WRITE_DOCS=1 cargo test -p im-server --test it documented

.PHONY: load
load: ## Measure a running server, see docs/performance.md; ARGS='sends --rate 5000'
	cargo run --release -p imcluster-tests --bin im-load -- $(ARGS)
