# After common.sh. SERVERS names the programs to choose from; arguments go to the server.

# What a crash cut off in the middle of a transaction Redis would keep in part, and lose later writes
# for it: see "A killed server" in docs/redis.md. Its own tool takes such a transaction away whole.
for log in appendonlydir/*.manifest; do
    [ -f "$log" ] || continue
    for tool in redis-check-aof valkey-check-aof; do
        if command -v "$tool" >/dev/null; then
            echo y | "$tool" --fix "$log" || true
            break
        fi
    done
done
exec_first "$SERVERS" "$@"
