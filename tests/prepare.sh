# Sourced by scripts that build: makes sure that C and C++ compilers, libclang and Rust are there,
# and says what to do where it cannot. Meant for Debian and Ubuntu; elsewhere it only checks.

source tests/shell.sh

# RocksDB is C++, compiled from its source like SQLite; its Rust bindings are made with libclang.
need_compilers() {
    local missing=()
    has cc || missing+=(gcc libc6-dev)
    has c++ || missing+=(g++)
    has_libclang || missing+=(libclang-dev)
    [[ ${#missing[@]} -gt 0 ]] || return 0
    install_packages "${missing[@]}" ||
        give_up "C and C++ compilers and libclang are needed; install them, such as with:" \
            "apt-get install ${missing[*]}"
}

has_libclang() {
    [[ -n ${LIBCLANG_PATH:-} ]] || has llvm-config ||
        compgen -G '/usr/lib/llvm-*/lib/libclang*.so*' >/dev/null ||
        compgen -G '/usr/lib*/libclang*.so*' >/dev/null ||
        compgen -G '/usr/lib/*-linux-gnu/libclang-[0-9]*.so*' >/dev/null ||
        [[ $(uname) == Darwin ]]
}

# RocksDB takes long to compile. What the compiler is called is part of what cargo compares.
use_ccache() {
    if has ccache && [[ -z ${CXX:-} ]]; then export CXX="ccache c++"; fi
}

# The oldest Rust that builds this project, from Cargo.toml.
wanted_rust() { sed -n 's/^rust-version = "\(.*\)"$/\1/p' Cargo.toml; }

rust_is_new_enough() {
    local present
    present=$(cargo --version 2>/dev/null | cut -d ' ' -f 2) && [[ -n $present ]] &&
        [[ $(printf '%s\n' "$(wanted_rust)" "$present" | sort -V | head -n 1) == "$(wanted_rust)" ]]
}

install_rustup() {
    has curl || install_packages curl ca-certificates || return 1
    say "Installing Rust with rustup"
    curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y --no-modify-path
}

need_rust() {
    export PATH="$PATH:${CARGO_HOME:-$HOME/.cargo}/bin"
    rust_is_new_enough && return
    if has rustup; then
        say "Updating Rust with rustup"
        rustup toolchain install stable --profile default && export RUSTUP_TOOLCHAIN=stable
    elif ! has cargo; then
        install_rustup
    fi || true
    rust_is_new_enough ||
        give_up "Rust $(wanted_rust) or newer is needed; install it as https://rustup.rs says"
}

need_compilers
use_ccache
need_rust
