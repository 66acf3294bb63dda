#!/usr/bin/env bash
# Builds the container images that the tests run servers in, from Debian's packages: no image
# needs to be pulled. An image that exists already is left alone.
#
#     tests/images.sh            both of them
#     tests/images.sh trixie     Redis 8.0, Valkey 8.1, PostgreSQL 17: what the tests use
#     tests/images.sh bookworm   Redis 7.0, PostgreSQL 15: the oldest that the stores support
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

source tests/shell.sh

# shellcheck disable=SC2054 # debootstrap wants commas.
declare -A packages=(
    [trixie]=redis-server,valkey-server,postgresql-17,pgbouncer
    [bookworm]=redis-server,postgresql-15,pgbouncer
)

# The mirror that apt uses, if it is one of Debian's. Without one debootstrap takes its default.
# shellcheck disable=SC2016 # Fields of apt's.
mirror() {
    has apt-get &&
        apt-get indextargets --format '$(REPO_URI)' 'Label: Debian' 'Component: main' | head -n 1
}

# What servers need not, and what differs between two builds of the same packages.
clean() {
    as_root rm -rf "$1"/var/cache/apt "$1"/var/lib/apt/lists "$1"/var/log/*.log \
        "$1"/usr/share/{doc,man,locale,info} "$1"/var/lib/postgresql/*
}

build() {
    local release=$1 name=mcp-event-store-test:$1 root
    if docker image inspect "$name" >/dev/null 2>&1; then
        say "The image $name is there"
        return
    fi
    say "Building the image $name from Debian's packages; this takes a minute or two"
    root=$(mktemp -d "${TMPDIR:-/tmp}/mcp-event-store-image.XXXXXX")
    # shellcheck disable=SC2064 # The directory of this build.
    trap "as_root rm -rf '$root'" EXIT
    # shellcheck disable=SC2046 # No mirror is no argument.
    as_root debootstrap --variant=minbase --include="${packages[$release]}" \
        "$release" "$root" $(mirror) >"$root.log" 2>&1 || {
        tail -n 20 "$root.log" >&2
        give_up "debootstrap cannot install $release; all that it said is in $root.log"
    }
    rm "$root.log"
    clean "$root"
    as_root tar -C "$root" --numeric-owner -c . | docker import - "$name" >/dev/null ||
        give_up "docker cannot take the image $name"
    as_root rm -rf "$root"
    trap - EXIT
}

has docker || give_up "there is no docker command; install docker.io"
docker ps >/dev/null 2>&1 || give_up "no docker daemon answers; start one, or see: docker info"
has debootstrap ||
    give_up "there is no debootstrap; install it, such as with: apt-get install debootstrap"
[[ $# -gt 0 ]] || set -- trixie bookworm
for release; do
    [[ -n ${packages[$release]:-} ]] || give_up "no image is called $release; trixie and bookworm are"
    build "$release"
done
