#!/usr/bin/env bash
# Runs every test of the workspace, on a fresh Debian or Ubuntu machine too: installs a C compiler
# and Rust if they are missing. Arguments go to `cargo test`.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

source tests/prepare.sh

say "Running all tests: unit, integration, compliance and documentation"
exec cargo test --release --workspace --locked --no-fail-fast "$@" </dev/null
