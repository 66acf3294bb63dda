# Sourced by the scripts here: how they speak, give up, become root and install packages.

say() { printf '\n==> %s\n' "$*"; }

give_up() {
    printf '\nerror: %s\n' "$*" >&2
    exit 1
}

# Without a terminal nobody can type a password: sudo must then not ask for one.
as_root() {
    if [[ $EUID -eq 0 ]]; then
        "$@"
    elif ! command -v sudo >/dev/null; then
        return 1
    elif [[ -t 0 ]]; then
        sudo "$@"
    else
        sudo -n "$@"
    fi
}
