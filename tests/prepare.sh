# Sourced by scripts that build: makes sure that a C compiler and Rust are there, and says what to
# do where it cannot. Meant for Debian and Ubuntu; elsewhere it only checks.

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

install_packages() {
    command -v apt-get >/dev/null || return 1
    say "Installing with apt-get: $*"
    as_root apt-get update -q </dev/null &&
        as_root env DEBIAN_FRONTEND=noninteractive \
            apt-get install -q -y --no-install-recommends "$@" </dev/null
}

# SQLite is compiled from its source, and Rust links with the C compiler.
need_c_compiler() {
    command -v cc >/dev/null && return
    install_packages gcc libc6-dev ||
        give_up "there is no C compiler; install one, such as with: apt-get install gcc libc6-dev"
}

# The oldest Rust that builds this project, from Cargo.toml.
wanted_rust() { sed -n 's/^rust-version = "\(.*\)"$/\1/p' Cargo.toml; }

rust_is_new_enough() {
    local present
    present=$(cargo --version 2>/dev/null | cut -d ' ' -f 2) && [[ -n $present ]] &&
        [[ $(printf '%s\n' "$(wanted_rust)" "$present" | sort -V | head -n 1) == "$(wanted_rust)" ]]
}

install_rustup() {
    command -v curl >/dev/null || install_packages curl ca-certificates || return 1
    say "Installing Rust with rustup"
    curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y --no-modify-path
}

need_rust() {
    export PATH="$PATH:${CARGO_HOME:-$HOME/.cargo}/bin"
    rust_is_new_enough && return
    if command -v rustup >/dev/null; then
        say "Updating Rust with rustup"
        rustup toolchain install stable --profile default && export RUSTUP_TOOLCHAIN=stable
    elif ! command -v cargo >/dev/null; then
        install_rustup
    fi || true
    rust_is_new_enough ||
        give_up "Rust $(wanted_rust) or newer is needed; install it as https://rustup.rs says"
}

need_c_compiler
need_rust
