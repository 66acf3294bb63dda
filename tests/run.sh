#!/usr/bin/env bash
# Runs every test of the workspace, on a fresh Debian or Ubuntu machine too: installs what is
# missing, and starts what the tests of PostgreSQL and Redis need. Arguments go to `cargo test`.
# docs/testing.md has the details.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

source tests/prepare.sh
source tests/servers.sh

# The same for every pass, so that nothing is compiled twice.
run_tests() {
    cargo test --release --workspace --all-features --locked --no-fail-fast "$@" </dev/null
}

failed=()

# pass NAME FUNCTION [ARGUMENT...]
pass() {
    say "$1"
    "${@:2}" || failed+=("$1")
}

# Only the tests of these stores. A name that no test has would pass as well, and prove nothing.
run_stores() {
    local store
    run_tests --test stores --no-run || return 1
    for store; do
        run_tests --test stores -- --list "$store" 2>/dev/null | grep ': test$' >/dev/null || {
            echo "no test is called $store" >&2
            return 1
        }
    done
    run_tests --test stores -- "$@"
}

oldest() (
    export MCP_EVENT_STORE_TEST_POSTGRES_IMAGE=mcp-event-store-test:bookworm
    export MCP_EVENT_STORE_TEST_REDIS_IMAGE=mcp-event-store-test:bookworm
    run_stores postgres:: redis::
)

valkey() (
    export MCP_EVENT_STORE_TEST_REDIS_SERVER=valkey
    run_stores redis::
)

# Why the stores are not run once more against other versions; empty if they are.
why_not_all_versions() {
    local chosen
    chosen=$(compgen -e | grep -E '^MCP_EVENT_STORE_TEST_(POSTGRES|REDIS)_' | head -n 1) || true
    if [[ $# -gt 0 ]]; then
        echo "there are arguments"
    elif [[ $servers != containers ]]; then
        echo "there are no containers"
    elif [[ -n $chosen ]]; then
        echo "$chosen chooses one"
    fi
}

need_servers
reason=$(why_not_all_versions "$@")
if [[ -z $reason ]]; then
    pass "The stores on the oldest servers: PostgreSQL 15, Redis 7.0" oldest
    pass "The Redis store on Valkey" valkey
else
    say "One version of each server only, because $reason"
fi
pass "All tests: unit, integration, compliance and documentation" run_tests "$@"

[[ ${#failed[@]} -eq 0 ]] || give_up "failed: $(printf '%s; ' "${failed[@]}")see above"
