# `make help` tells what there is.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:

browser := tests/browser
node_modules := $(browser)/node_modules/.package-lock.json
# Where the server under test is built; both kinds of end-to-end tests read it.
export IM_SERVER_BIN := $(abspath $(or $(CARGO_TARGET_DIR),target))/debug/im-server
release := $(abspath $(or $(CARGO_TARGET_DIR),target))/release
im_stack := $(dir $(IM_SERVER_BIN))im-stack
im_cluster := $(dir $(IM_SERVER_BIN))im-cluster
# Always the whole workspace: any other choice of crates means other features of their dependencies, and half the tree is
# compiled a second time.
cargo_test := cargo test --workspace --locked
# By their names: ignored tests that measure, and faults that take minutes.
measurements := messages_per_second
long_faults := long::
long_cases := long::
# They wait most of the time.
cluster_tests_at_once := 6
# Another cluster than the machine's own, if there is one to use.
own_cluster := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/imcluster/cluster
elsewhere := $(filter-out $(own_cluster)/kubeconfig,$(KUBECONFIG))
# What needs the machine's own.
on_this_machine := gateway:: machine:: operator:: played:: world::
shell_scripts := .ci/run $(wildcard scripts/*)

.PHONY: help
help: ## This list
	@sed -nE 's/^([a-z-]+):.*## (.*)/  make \1\t\2/p' Makefile | expand -t 20

.PHONY: dev
dev: ## The whole chat in one process on http://127.0.0.1:8080
	cargo run --release -p im-server -- dev

.PHONY: stack
stack: need-stack ## Redis, PostgreSQL, Kafka and three servers behind nginx, until Ctrl-C; ARGS='--restart'
	cargo build --release --locked -p im-server -p imcluster-tests --bin im-server --bin im-stack
	env -u IM_SERVER_BIN $(release)/im-stack up $(ARGS)

.PHONY: cluster-up
cluster-up: need-cluster ## A real Kubernetes of one node on this machine, without Docker; says how to use it
	@cargo build --workspace --locked --bin im-cluster
	@$(im_cluster) up

.PHONY: cluster-down
cluster-down: ## Takes it down, with everything that it had
	@cargo build --workspace --locked --bin im-cluster
	@$(im_cluster) down

.PHONY: cluster-parts
cluster-parts: need-cluster need-stack ## For trying it on that cluster: the images of this checkout, Redis, PostgreSQL and Kafka, until Ctrl-C
	@cargo build --release --locked -p im-server -p imcluster-operator -p imcluster-tests \
	  --bin im-server --bin imcluster-operator --bin im-cluster
	@$(release)/im-cluster parts

.PHONY: images
images: ## Images of the gateways and the operator; IM_IMAGES=registry.example.com/chat names them
	scripts/images

# ---- tests

.PHONY: test
test: need test-unit test-manifests test-e2e test-stack test-cluster-here ## Everything that continuous integration checks

.PHONY: test-unit
test-unit: fmt-check lint deny web-check web-test rust-test ## Formatting, lints, and the tests that start no server

# The renderers are found in PATH; scripts/lib.sh says where those are that scripts/need has built.
.PHONY: test-manifests
test-manifests: need-manifests rust-build ## Charts and kustomizations, rendered and checked
	. scripts/lib.sh; PATH=$$helm/bin:$$kustomize/bin:$$PATH $(cargo_test) --test manifests -- --include-ignored

.PHONY: test-e2e
test-e2e: rust-e2e browser-e2e ## The built server under real clients and a real browser

# Tests that need real components are ignored where those are missing; here they are not.
.PHONY: test-stack
test-stack: need-stack rust-build ## The contracts on real Redis, PostgreSQL and Kafka, and the quick faults
	$(im_stack) run --redis --redis-cluster --kafka --postgres -- \
	  $(cargo_test) --lib --bins --test it -- --ignored --skip $(measurements)
	$(cargo_test) --test stack -- --ignored --test-threads 2 --skip $(long_faults)

.PHONY: test-stack-full
test-stack-full: test-stack ## And the long table of faults
	$(cargo_test) --test stack -- --ignored --nocapture --test-threads 1 $(long_faults)

# How a cluster comes and goes is tried where none is up.
.PHONY: test-cluster
test-cluster: need-cluster need-stack rust-build ## What needs a real Kubernetes; brings one up for that, unless KUBECONFIG names yours
	$(im_cluster) run -- $(cargo_test) --test cluster -- --ignored --test-threads $(cluster_tests_at_once) \
	  --skip life:: --skip $(long_cases) $(if $(elsewhere),$(addprefix --skip ,$(on_this_machine)))
	$(if $(elsewhere)$(wildcard $(own_cluster)),@echo 'left out: life::',$(cargo_test) --test cluster -- --ignored life::)

.PHONY: test-cluster-full
test-cluster-full: test-cluster ## And the long tables: a crash at every write, every fault, many ImClusters
	$(im_cluster) run -- $(cargo_test) --test cluster -- --ignored --nocapture --test-threads 1 $(long_cases)

# Where the machine forbids what a node needs, whoever runs all tests is told, and has the others.
.PHONY: test-cluster-here
test-cluster-here: rust-build
	@if $(im_cluster) check; then $(MAKE) test-cluster; else echo 'LEFT OUT: all tests on a real Kubernetes, see above'; fi

.PHONY: need
need: need-stack need-cluster # first, so that everything missing is said at once
	@scripts/need cargo cc node chromium shellcheck cargo-deny helm kustomize

.PHONY: need-manifests
need-manifests:
	@scripts/need cargo cc make perl helm kustomize

.PHONY: need-stack
need-stack:
	@scripts/need cargo cc make perl redis postgres kafka nginx

.PHONY: need-cluster
need-cluster:
	@scripts/need cargo cc make perl cluster

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

.PHONY: rust-build
rust-build:
	$(cargo_test) --no-run

.PHONY: rust-test
rust-test:
	$(cargo_test) --no-fail-fast --lib --bins --test it
	$(cargo_test) --doc

.PHONY: rust-e2e
rust-e2e: rust-build
	$(cargo_test) --test e2e

.PHONY: web-check
web-check: $(node_modules)
	npm --prefix $(browser) run --silent check

.PHONY: web-test
web-test: $(node_modules)
	npm --prefix $(browser) run --silent unit

.PHONY: browser-e2e
browser-e2e: rust-build $(node_modules)
	npm --prefix $(browser) run --silent e2e

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
	WRITE_DOCS=1 cargo test -p imcluster-crds --test it published
	WRITE_DOCS=1 cargo test -p imcluster-operator --test it documented

.PHONY: load
load: ## Measure a running server, see docs/performance.md; ARGS='sends --rate 5000'
	cargo run --release -p imcluster-tests --bin im-load -- $(ARGS)
