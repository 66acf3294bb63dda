# Runs a local server for one test process, and outlives that process just long enough to end it.
#
#     sh -c KEEPER keeper BASE SCRIPT [ARGUMENT...]
#
# Its standard input is a pipe whose other end only the test process holds. Each line is an order,
# answered by one line; the end of input means that the test process has ended, however it did.
trap '' INT TERM HUP
base=$1 script=$2
shift 2
server=

# PostgreSQL's processes have sessions of their own, so that no process group holds them all.
tree() {
    echo "$1"
    for child in $(cat "/proc/$1"/task/*/children 2>/dev/null); do tree "$child"; done
}

running() {
    [ -n "$server" ] || return 1
    case $(cat "/proc/$server/stat" 2>/dev/null || ps -o stat= -p "$server" 2>/dev/null) in
        '' | Z* | *') Z '*) return 1 ;;
    esac
}

end_server() {
    [ -n "$server" ] || return 0
    # shellcheck disable=SC2046 # One argument a process.
    kill -KILL $(tree "$server") 2>/dev/null
    wait "$server" 2>/dev/null
    server=
}

while read -r order; do
    case $order in
        start)
            (trap - INT TERM HUP && exec sh -c "$script" server "$@" </dev/null >>"$base/log" 2>&1) &
            server=$!
            echo started
            ;;
        kill) end_server && echo killed ;;
        status) if running; then echo running; else echo ended; fi ;;
    esac
done
end_server
# A process that was just writing there may need a moment to be gone.
rm -rf "$base" 2>/dev/null || { sleep 1 && rm -rf "$base"; }
