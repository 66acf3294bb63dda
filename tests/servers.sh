# Sourced by run.sh: makes sure that the tests find database servers, in containers or else as
# programs of this machine, and ends at exit what was started for them. Sets `servers` to
# `containers` or `programs`.
# shellcheck disable=SC2034 # run.sh reads it.

images=(mcp-event-store-test:trixie mcp-event-store-test:bookworm)

# What a docker daemon of this script's keeps from one run to the next: its images, its last log.
docker_home=${XDG_CACHE_HOME:-$HOME/.cache}/mcp-event-store/docker
# What it keeps while it runs. Paths of sockets must be short.
docker_run=/tmp/mcp-event-store-docker-$EUID
docker_started=

# Marks this run's containers.
export MCP_EVENT_STORE_TEST_RUN=${MCP_EVENT_STORE_TEST_RUN:-run-$$-$RANDOM}

need_servers() {
    trap clean_up EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    servers=programs
    if need_docker && need_images && containers_run; then
        servers=containers
        say "The servers for the tests run in containers"
        return
    fi
    # Without root it may have nothing to stop, and fail at that; the tests run all the same.
    stop_docker || true
    if need_programs; then
        say "No containers: the servers for the tests are programs of this machine"
    else
        say "There may be no servers for the tests; those that need one say what to do"
    fi
}

need_docker() {
    docker_answers && return
    if ! has docker || ! has dockerd; then
        # The client is a package of its own in newer releases.
        # shellcheck disable=SC2046 # No such package is no argument.
        { update_packages && install_without_services docker.io $(first_package docker-cli); } || {
            say "Docker is not here and cannot be installed"
            return 1
        }
    fi
    start_docker
}

docker_answers() { has docker && timeout 20 docker ps >/dev/null 2>&1; }

# A daemon apart from any that the user has or starts: with directories and a socket of its own,
# and without a hand in the machine's network, since the containers use the host's.
start_docker() {
    mkdir -p "$docker_home" "$docker_run" && [[ -O $docker_run ]] || return 1
    exec {docker_lock}>"$docker_run.lock"
    flock --nonblock "$docker_lock" || {
        say "Waiting for another run, which uses the same docker daemon, to end"
        flock "$docker_lock"
    }
    stop_daemon # One whose run was killed.
    mkdir -p "$docker_run"
    say "Starting a docker daemon for this run; its log is $docker_home/log"
    docker_started=yes
    # In a group of its own: Ctrl-C must not end it before the containers are removed.
    set -m
    run_daemon </dev/null >"$docker_home/log" 2>&1 &
    set +m
    export DOCKER_HOST=unix://$docker_run/docker.sock
    wait_for_docker $! || {
        say "The docker daemon does not run. Its last words:"
        tail -n 5 "$docker_home/log"
        return 1
    }
}

run_daemon() {
    # The lock is this script's, and must not outlive it with the daemon.
    exec {docker_lock}>&-
    as_root dockerd --host "unix://$docker_run/docker.sock" --group "$(id -gn)" \
        --data-root "$docker_home/data" --exec-root "$docker_run/exec" \
        --pidfile "$docker_run/pid" --containerd-namespace mcp-event-store \
        --containerd-plugins-namespace mcp-event-store-plugins \
        --bridge none --iptables=false --ip6tables=false
}

wait_for_docker() {
    local deadline=$((SECONDS + 60))
    until docker_answers; do
        kill -0 "$1" 2>/dev/null && [[ $SECONDS -lt $deadline ]] || return 1
        sleep 0.5
    done
}

stop_docker() {
    [[ -n $docker_started ]] || return 0
    docker_started=
    unset DOCKER_HOST
    stop_daemon
    exec {docker_lock}>&-
}

stop_daemon() {
    local pid deadline=$((SECONDS + 30))
    pid=$(cat "$docker_run/pid" 2>/dev/null) || pid=none
    # Another process may have got the number since.
    if [[ $(cat "/proc/$pid/comm" 2>/dev/null) == dockerd ]]; then
        as_root kill "$pid"
        while [[ -d /proc/$pid && $SECONDS -lt $deadline ]]; do sleep 0.2; done
    fi
    # It leaves its hold on the host's network mounted; one that was killed, its data as well.
    local mount
    for mount in "$docker_run/exec/netns/default" "$docker_home/data"; do
        while mountpoint -q "$mount" && as_root umount "$mount"; do :; done
    done
    rm -rf "$docker_run" 2>/dev/null || as_root rm -rf "$docker_run"
}

need_images() {
    local image
    for image in "${images[@]}"; do
        docker image inspect "$image" >/dev/null 2>&1 ||
            { need_debootstrap && tests/images.sh "${image##*:}"; } || return 1
    done
}

# A daemon may answer and yet not be allowed to start anything, such as one inside a container.
containers_run() {
    docker run --rm --network host --label "mcp-event-store.run=$MCP_EVENT_STORE_TEST_RUN" \
        "${images[0]}" true </dev/null || {
        say "The docker daemon cannot run containers"
        return 1
    }
}

need_debootstrap() {
    has debootstrap && return
    # shellcheck disable=SC2046 # No such package is no argument.
    { update_packages &&
        install_packages debootstrap $(first_package debian-archive-keyring); } || {
        say "There is no debootstrap to build images with, and it cannot be installed"
        return 1
    }
}

need_programs() {
    local missing=()
    has redis-server || has valkey-server || missing+=(redis-server)
    compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || has initdb || missing+=(postgresql)
    has pgbouncer || [[ -x /usr/sbin/pgbouncer ]] || missing+=(pgbouncer)
    [[ ${#missing[@]} -gt 0 ]] || return 0
    install_without_services "${missing[@]}"
}

clean_up() {
    local containers
    containers=$(docker ps -aq --filter "label=mcp-event-store.run=$MCP_EVENT_STORE_TEST_RUN" \
        2>/dev/null) || true
    # shellcheck disable=SC2086 # One argument a container.
    [[ -z $containers ]] || docker rm -f -v $containers >/dev/null 2>&1 || true
    stop_docker || true
    allow_services || true
}
