# After common.sh. SERVERS names the programs to choose from; arguments go to the server.
exec_first "$SERVERS" "$@"
