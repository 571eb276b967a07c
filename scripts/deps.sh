#!/usr/bin/env bash
# Installs what is missing on a Debian or Ubuntu machine, as root; says what to do where it cannot.
#   deps.sh rust               a C linker and rustup's cargo; rust-toolchain.toml says which Rust
#   deps.sh packages NAME...   Debian packages
set -euo pipefail

install_packages() {
    local missing=() name
    for name in "$@"; do
        [ "$(dpkg-query -W -f '${db:Status-Status}' "$name" 2>/dev/null)" = installed ] || missing+=("$name")
    done
    [ ${#missing[@]} -eq 0 ] && return
    if ! command -v apt-get >/dev/null; then
        echo "these Debian packages, or what they are called here, have to be installed: ${missing[*]}" >&2
        exit 1
    fi
    if [ "$(id -u)" != 0 ]; then
        echo "as root: apt-get install ${missing[*]}" >&2
        exit 1
    fi
    echo "installing ${missing[*]}"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

install_rust() {
    if ! command -v cc >/dev/null; then
        install_packages gcc libc6-dev
    fi
    command -v cargo >/dev/null && return
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get update -qq && apt-cache show rustup >/dev/null 2>&1; then
        install_packages ca-certificates rustup
        return
    fi
    echo "cargo is missing: install rustup (the Rust project's installer), then run this again;" >&2
    echo "rust-toolchain.toml makes it fetch the right Rust by itself" >&2
    exit 1
}

case ${1-} in
    rust) install_rust ;;
    packages) install_packages "${@:2}" ;;
    *) echo "usage: deps.sh rust | deps.sh packages NAME..." >&2; exit 2 ;;
esac
