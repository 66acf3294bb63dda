# After common.sh. PASSWORD is the superuser's; arguments go to the server.
if [ ! -f data.complete ]; then
    rm -rf data
    echo "$PASSWORD" >password
    # Not synced: nobody needs an empty cluster after a crash. The server itself syncs.
    initdb --no-sync --pgdata=data --username=postgres --pwfile=password --auth=scram-sha-256 \
        --encoding=UTF8 --locale=C
    rm password
    [ ! -f server.key ] || chmod 600 server.key
    touch data.complete
fi
exec_first postgres -D "$DIR/data" "$@"
