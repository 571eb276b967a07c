#!/usr/bin/env bash
# Builds a release binary that needs no library of the machine it runs on, and checks that it is one.
set -euo pipefail
cd "$(dirname "$0")/.."

target=$(rustc -vV | sed -n 's/^host: //p')
RUSTFLAGS="${RUSTFLAGS-} -C target-feature=+crt-static" cargo build --release --locked --features object-store --bin kairn --target "$target"
binary=$(cargo metadata --no-deps --offline --format-version 1 | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')/$target/release/kairn

if readelf --program-headers "$binary" | grep -q INTERP; then
    echo "$binary asks for a dynamic loader: it is not static" >&2
    exit 1
fi
"$binary" --version
echo "$binary: static, $(stat -c %s "$binary" | awk '{ printf "%.1f MB", $1 / 1e6 }')"
