# Removes a container when its test process has ended, however it did.
#
#     sh -c GUARD guard CONTAINER
#
# Its standard input is a pipe whose other end only the test process holds. A line there says that
# the container is gone already.
trap '' INT TERM HUP
read -r word
[ -z "$word" ] || exit 0
# The daemon may still be busy creating it: the test process was killed while it waited for that.
for _ in 1 2 3 4 5 6 7 8; do
    [ -z "$(docker rm -f -v "$1" 2>/dev/null)" ] || exit 0
    sleep 1
done
