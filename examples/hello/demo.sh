#!/usr/bin/env bash
# From nothing to a running program: see README.md beside this. Needs root, and what `make deps-demo` installs.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
top=$(cd "$here/../.." && pwd)
# shellcheck source=scripts/registry.sh
source "$top/scripts/registry.sh"

say() { printf '\n\033[1m== %s\033[0m\n' "$*"; }
show() { printf '\033[2m$ %s\033[0m\n' "$*"; }

work=$(mktemp -d "${TMPDIR:-/var/tmp}/kairn-demo.XXXXXX")
trap 'stop_registry; rm -rf "$work"' EXIT
export KAIRN_ROOT=$work/root

if [ -z "${KAIRN-}" ]; then
    say "Building kairn"
    (cd "$top" && cargo build --profile demo --locked --bin kairn)
    KAIRN=$(cd "$top" && cargo metadata --no-deps --offline --format-version 1 | jq -r .target_directory)/demo/kairn
fi
started=$(date +%s)

say "A small base image, made by kairn itself and pushed to a registry on this machine"
start_registry "$work/registry"
mkdir "$work/base"
busybox_rootfs "$work/base/rootfs.tar"
printf 'FROM scratch\nADD rootfs.tar /\nCMD ["/bin/sh"]\n' >"$work/base/Dockerfile"
show "kairn build --push -t $REGISTRY/busybox base/"
"$KAIRN" build --push --insecure-registry "$REGISTRY" -t "$REGISTRY/busybox" "$work/base"

arguments=(--build-arg "BASE=$REGISTRY/busybox" --insecure-registry "$REGISTRY")
say "What is there to do: the graph"
show "kairn graph -f examples/hello/Dockerfile examples/hello"
"$KAIRN" graph -f "$here/Dockerfile" "${arguments[@]}" "$here"

say "Building it: watch words and banner at the same time"
show "kairn build -t hello -o type=oci,dest=hello,tar=false examples/hello"
digest=$("$KAIRN" build --progress plain --jobs 2 -t hello -o "type=oci,dest=$work/hello,tar=false" "${arguments[@]}" "$here" |
    tee >(cat >&2) | awk 'NR == 1 { print $1 }')

say "When each step ran (built once more without the cache)"
"$KAIRN" build --no-cache --progress json --jobs 2 "${arguments[@]}" "$here" >/dev/null 2>"$work/events"
grep '^{' "$work/events" | jq -rs '
    [.[] | select(.step and .time_ns)] | group_by(.step)
    | map({ stage: (.[0].stage // ""), name: (.[0].name // ""),
            start: ([.[] | select(.event == "step-started") | .time_ns] | min),
            end: ([.[] | select(.event == "step-finished") | .time_ns] | max) })
    | map(select(.start and .end and (.end - .start) > 0)) | sort_by(.start)
    | (map(.start) | min) as $t0 | (((map(.end) | max) - $t0) / 40) as $cell
    | .[] | (((.start - $t0) / $cell) | floor) as $before | ([((.end - .start) / $cell) | floor, 1] | max) as $length
    | [.stage, (.name | gsub("\\s+"; " ") | .[0:34]), (" " * $before // "") + ("#" * $length),
       (((.end - .start) / 1e7 | floor) / 100 | tostring) + " s"] | join("\t")' |
    awk -F '\t' '{ printf "  %-8s %-34s |%-41s| %8s\n", $1, $2, $3, $4 }'

say "Building it again: nothing runs"
show "kairn build -t hello examples/hello"
time "$KAIRN" build --progress plain -t hello "${arguments[@]}" "$here"

say "Running the image's program with runc"
manifest=$work/hello/blobs/${digest/://}
config=$work/hello/blobs/$(jq -r .config.digest "$manifest" | tr : /)
mkdir -p "$work/bundle/rootfs"
jq -r '.layers[].digest' "$manifest" | tr : / | while read -r layer; do
    tar -C "$work/bundle/rootfs" --numeric-owner -xpf "$work/hello/blobs/$layer"
done
(cd "$work/bundle" && runc spec)
jq --slurpfile image "$config" '
    .process.terminal = false | .process.args = $image[0].config.Entrypoint + ($image[0].config.Cmd // [])
    | .process.env = $image[0].config.Env | .process.user = { uid: 1000, gid: 1000 }' \
    "$work/bundle/config.json" >"$work/bundle/new.json"
mv "$work/bundle/new.json" "$work/bundle/config.json"
runc --root "$work/runc" run --bundle "$work/bundle" "kairn-demo-$$"

say "Done in $(($(date +%s) - started)) s after kairn itself was built. What to try next"
cat <<EOF
  kairn is $KAIRN
  kairn build -t registry.example/you/app:1 --push .      your own Dockerfile, to your own registry
  kairn build -o type=oci,dest=app.tar .                  ... or to a file
  kairn graph --format mermaid .                          the graph of it, for a README
  edit examples/hello/poem.txt, then make demo            and see what runs again
EOF
