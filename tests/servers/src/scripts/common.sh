# What every server's script begins with, in a container and locally. FILES is where the test
# process put files for the server, DIR a directory of the server's own that may not exist yet.
set -e
umask 077
# The newest PostgreSQL first. `directories()` in local.rs looks in the same places.
more=/usr/sbin
for bin in /usr/lib/postgresql/?/bin /usr/lib/postgresql/??/bin; do more=$bin:$more; done
PATH=$PATH:$more
if [ ! -d "$DIR" ]; then
    mkdir -p "$DIR"
    # Copies belong to the server's user; it may rewrite them, as Sentinel does.
    for file in "$FILES"/*; do
        [ ! -f "$file" ] || cp "$file" "$DIR"
    done
fi
cd "$DIR"

# exec_first NAME[,NAME...] [ARGUMENT...]: becomes the first of these programs that is there.
exec_first() {
    names=$1
    shift
    for name in $(echo "$names" | tr , ' '); do
        if command -v "$name" >/dev/null; then exec "$name" "$@"; fi
    done
    echo "there is no $names in $PATH" >&2
    exit 127
}
