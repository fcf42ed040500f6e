# Hubward's recipes; CI calls the same ones. `make` alone lists them.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
# rustup's folder is not on the path of every shell.
export PATH := $(PATH):$(HOME)/.cargo/bin
# Cargo builds the whole workspace always: with fewer crates it picks other features and
# builds the dependencies anew.
LOCKED := $(if $(CI),--locked)

.PHONY: help install build demo test check sim faults chaos failover bench bench-peers proto

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 13

install: ## install what `make test` needs, where it is missing
	@scripts/section "install" scripts/install test

build: ## build every crate
	@scripts/section "build" cargo build $(LOCKED) --workspace

demo: ## a hub and two spokes on this machine, step by step
	@scripts/section "install" scripts/install demo
	@scripts/section "build" cargo build $(LOCKED) --workspace
	@scripts/demo

test: ## every check and every test
	@scripts/section "install" scripts/install test
	@scripts/test

check: ## format and lints
	@scripts/section "format" cargo fmt --all --check
	@scripts/section "lints" cargo clippy $(LOCKED) --workspace --all-targets -- -D warnings

sim: ## the simulation: make sim [SEEDS=2000], one seed again: make sim SEED=17 [SHRINK=1], or a plan: make sim PLAN=file
	@SEEDS=$(SEEDS) SEED=$(SEED) SHRINK=$(SHRINK) PLAN=$(PLAN) scripts/trial simulation seeds

faults: ## the product broken on purpose, one promise at a time: does the simulation notice? make faults [FAULT=name] [SEEDS=600]
	@FAULT=$(FAULT) SEEDS=$(SEEDS) scripts/trial faults planted

chaos: ## real processes killed, stopped and cut off under load, one kill -9 a round: make chaos [ROUNDS=8] [DB=sqlite|postgres]
	@scripts/section "install" scripts/install test
	@scripts/section "build" cargo build $(LOCKED) --workspace
	@ROUNDS=$(ROUNDS) DB=$(DB) SEED=$(SEED) scripts/trial chaos rounds

failover: ## gateways stopped, killed and replaced under load, the database failing over: make failover [ROUNDS=10]
	@scripts/section "install" scripts/install test
	@scripts/section "build" cargo build $(LOCKED) --workspace
	@ROUNDS=$(ROUNDS) scripts/trial cluster figures

# What a run of the bench suite is told.
BENCH := ONLY="$(ONLY)" CASE="$(CASE)" ROUNDS=$(ROUNDS) RESUME=$(RESUME) SMALL=$(SMALL) FULL=$(FULL) TEXTS="$(TEXTS)"

bench: ## hubs under load beside the ceilings of what they are made of: make bench [ONLY=push,catch] [CASE='64 spokes'] [ROUNDS=5] [RESUME=1] [SMALL=1|FULL=1] [FLUSH_MS=3] [TEXTS=folder]
	@scripts/section "install" scripts/install test
	@scripts/section "build" cargo build $(LOCKED) --release --workspace
	@$(BENCH) FLUSH_MS=$(FLUSH_MS) scripts/bench

bench-peers: ## the same beside etcd, NATS, Redis and plain Postgres, where they can be had, and once more with slow flushes: make bench-peers [ONLY=push] [ROUNDS=5] [RESUME=1]
	@scripts/section "install" scripts/install test
	@scripts/section "peers" scripts/peers
	@scripts/section "build" cargo build $(LOCKED) --release --workspace
	@PEERS=1 $(BENCH) FLUSH_MS=$(FLUSH_MS) scripts/bench
	@[ -n "$(ONLY)$(CASE)$(FLUSH_MS)" ] || PEERS=1 $(BENCH) ONLY=peers-push CASE="64 clients" FLUSH_MS=3 scripts/bench

proto: ## lint the .proto files
	@scripts/section "install" scripts/install test
	@scripts/section "proto lint" target/tools/node/node_modules/.bin/buf lint proto
