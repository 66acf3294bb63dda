# Sourced by the scripts here: how they speak, give up, become root and install packages.

say() { printf '\n==> %s\n' "$*"; }

give_up() {
    printf '\nerror: %s\n' "$*" >&2
    exit 1
}

# Debian gives /usr/sbin to root alone; some programs here run for others too.
export PATH=$PATH:/usr/sbin:/sbin

has() { command -v "$1" >/dev/null; }

# Without a terminal nobody can type a password: sudo must then not ask for one.
as_root() {
    if [[ $EUID -eq 0 ]]; then
        "$@"
    elif ! has sudo; then
        return 1
    elif [[ -t 0 ]]; then
        sudo "$@"
    else
        sudo -n "$@"
    fi
}

# The first of the packages that apt knows: their names differ between releases.
first_package() {
    local name
    for name; do
        if [[ -n $(apt-cache madison "$name" 2>/dev/null) ]]; then
            echo "$name"
            return
        fi
    done
}

update_packages() {
    has apt-get || return 1
    [[ -z ${packages_updated:-} ]] || return 0
    say "Updating apt's lists of packages"
    as_root apt-get update -q </dev/null && packages_updated=yes
}

install_packages() {
    update_packages || return 1
    say "Installing with apt-get: $*"
    as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get install -q -y --no-install-recommends "$@" </dev/null
}

# Debian starts what it installs as a service, now and at each boot. The tests only need programs.
# Who calls this calls `allow_services` at exit, too: it may be cut off in the middle.
install_without_services() {
    local before installed=0
    before=$(services)
    if [[ ! -e $policy ]]; then
        policy_is_ours=yes
        printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null || return 1
        as_root chmod 755 "$policy"
    fi
    install_packages "$@" || installed=$?
    allow_services
    disable_services_but "$before"
    return "$installed"
}

policy=/usr/sbin/policy-rc.d
policy_is_ours=

allow_services() {
    [[ -z $policy_is_ours ]] || as_root rm -f "$policy"
    policy_is_ours=
}

# What starts at boot, one a line.
services() {
    has systemctl || return 0
    systemctl list-unit-files --state=enabled --no-legend 2>/dev/null | cut -d ' ' -f 1 | sort
}

disable_services_but() {
    local new
    new=$(comm -13 <(echo "$1") <(services))
    # shellcheck disable=SC2086 # One argument a service.
    [[ -z $new ]] || as_root systemctl disable --quiet $new || true
}
