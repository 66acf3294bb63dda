# Runs a local server for one test process, and outlives that process just long enough to end it.
#
#     sh -c KEEPER keeper BASE SCRIPT [ARGUMENT...]
#
# Its standard input is a pipe whose other end only the test process holds. Each line is an order,
# answered by one line; the end of input means that the test process has ended, however it did.
# PIPE: the answer to an order may find nobody there to read it.
trap '' INT TERM HUP PIPE
base=$1 script=$2
shift 2
server=

# PostgreSQL's processes have sessions of their own, so that no process group holds them all.
tree() {
    echo "$1"
    for child in $(cat "/proc/$1"/task/*/children 2>/dev/null); do tree "$child"; done
}

# state PROCESS: the letter of its state, or nothing if there is no such process.
state() {
    if stat=$(cat "/proc/$1/stat" 2>/dev/null); then
        stat=${stat##*) }
    else
        stat=$(ps -o stat= -p "$1" 2>/dev/null)
    fi
    echo "${stat%"${stat#?}"}"
}

# alive PROCESS: whether it is more than a zombie, which holds nothing.
alive() {
    case $(state "$1") in '' | Z | X) return 1 ;; esac
}

# Kills all its processes, and waits for each: PostgreSQL does not start again before.
end_server() {
    [ -n "$server" ] || return 0
    # A stopped one starts no more of them. Once is not enough: as the test process ends, the system
    # wakes what is stopped in process groups that lose their parent.
    while alive "$server" && [ "$(state "$server")" != T ]; do
        kill -STOP "$server" 2>/dev/null
        sleep 0.01
    done
    processes=$(tree "$server")
    # shellcheck disable=SC2086 # One argument a process.
    kill -KILL $processes 2>/dev/null
    wait "$server" 2>/dev/null
    for process in $processes; do
        while alive "$process"; do sleep 0.02; done
    done
    server=
}

while read -r order; do
    case $order in
        start)
            (trap - INT TERM HUP PIPE && exec sh -c "$script" server "$@" </dev/null >>"$base/log" 2>&1) &
            server=$!
            echo started
            ;;
        kill) end_server && echo killed ;;
        status) if [ -n "$server" ] && alive "$server"; then echo running; else echo ended; fi ;;
    esac
done
end_server
# A process that was just writing there may need a moment to be gone.
rm -rf "$base" 2>/dev/null || { sleep 1 && rm -rf "$base"; }
