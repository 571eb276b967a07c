#!/usr/bin/env bash
# Measures kairn beside plain tools that do the same work, in one run, on this machine.
#   benches/run.sh           root; what `make deps-bench` installs; prints a table, exits 1 where memory is over its bound
#   KAIRN=path RUNS=n        another binary, another number of runs (the median is shown)
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
top=$(cd "$here/.." && pwd)
# shellcheck source=scripts/registry.sh
source "$top/scripts/registry.sh"

runs=${RUNS-3}
level=5 # that of kairn's layers
bound_kib=$((256 * 1024))
work=$(mktemp -d "${TMPDIR:-/var/tmp}/kairn-bench.XXXXXX")
trap 'stop_registry; rm -rf "$work"' EXIT
failed=0

if [ -z "${KAIRN-}" ]; then
    (cd "$top" && cargo build --release --locked --bin kairn)
    KAIRN=$(cd "$top" && cargo metadata --no-deps --offline --format-version 1 | jq -r .target_directory)/release/kairn
fi

# measure SETUP COMMAND: runs COMMAND (a line of shell) several times, SETUP before each; sets SECONDS_ to the median
# wall time and PEAK to the largest resident size of one of its processes, in KiB.
measure() {
    local run times=() peak=0
    for run in $(seq "$runs"); do
        bash -ec "$1" >"$work/setup.log" 2>&1 || { cat "$work/setup.log" >&2; exit 1; }
        if ! /usr/bin/time -f '%e %M' -o "$work/time" bash -ec "$2" >"$work/log" 2>&1; then
            echo "failed: $2" >&2
            tail -n 30 "$work/log" >&2
            exit 1
        fi
        times+=("$(awk 'END { print $1 }' "$work/time")")
        peak=$(awk -v peak="$peak" 'END { print ($2 > peak) ? $2 : peak }' "$work/time")
    done
    SECONDS_=$(printf '%s\n' "${times[@]}" | sort -n | sed -n "$(((runs + 1) / 2))p")
    PEAK=$peak
}

row() { printf '%-44s %-34s %8s s %8s s %7s\n' "$1" "$2" "$3" "$4" "$(awk -v a="$3" -v b="$4" 'BEGIN { printf "%.2fx", a / b }')"; }

memory() {
    local verdict=ok
    if [ "$2" -gt "$bound_kib" ]; then
        verdict=FAIL
        failed=1
    fi
    peaks+="$(printf '%-44s %6d MiB of %d MiB  %s' "$1" $(($2 / 1024)) $((bound_kib / 1024)) "$verdict")"$'\n'
}

make_small_files() {
    awk -v dir="$1" 'BEGIN {
        srand(1)
        for (n = 0; n < 20000; n++) {
            if (n % 100 == 0) system("mkdir -p " dir "/" int(n / 100))
            file = dir "/" int(n / 100) "/" n ".txt"
            lines = 5 + int(rand() * 80)
            for (line = 0; line < lines; line++) printf "%d %s %f\n", line, "some text of file " n, rand() > file
            close(file)
        }
    }'
}

# Bytes as images have them: programs, libraries and text of this machine, in other parts for each file.
make_large_files() {
    mkdir -p "$1"
    tar -C / -cf - usr/lib usr/bin usr/share 2>/dev/null | head -c 150M >"$1/first" || true
    tar -C / -cf - usr/lib usr/bin usr/share 2>/dev/null | tail -c +150000001 | head -c 150M >"$1/second" || true
    [ "$(stat -c %s "$1/second")" = 157286400 ] || cat "$1/first" | rev | head -c 150M >"$1/second"
}

copies() {
    local name=$1 what=$2 context=$work/$1
    printf 'FROM scratch\nCOPY tree /tree\n' >"$context/Dockerfile"
    export KAIRN_ROOT=$work/root
    local push="$KAIRN build --push --insecure-registry $REGISTRY -t $REGISTRY/$name:1 $context"
    measure "rm -rf $work/root $work/registry/storage/docker/registry/v2/repositories $work/registry/storage/docker/registry/v2/blobs" "$push"
    local kairn=$SECONDS_
    memory "COPY of $what, pushed" "$PEAK"
    measure true "$push"
    local again=$SECONDS_
    measure true "tar -C $context -cf - tree | gzip -$level >$work/out.tar.gz"
    row "COPY of $what, cold, pushed" "tar | gzip -$level, to a file" "$kairn" "$SECONDS_"
    measure true "tar -C $context -cf - tree | pigz -$level -p 2 >$work/out.tar.gz"
    row "" "tar | pigz -$level -p 2, to a file" "$kairn" "$SECONDS_"
    row "the same again, nothing changed" "tar | pigz -$level -p 2, to a file" "$again" "$SECONDS_"
}

runs_on_debian() {
    mkdir -p "$work/debian" "$work/ten" "$work/bare"
    mmdebstrap --quiet --variant=minbase --mode=root --format=tar "$(. /etc/os-release && echo "$VERSION_CODENAME")" \
        "$work/debian/rootfs.tar" 2>"$work/log" || { cat "$work/log" >&2; exit 1; }
    tar -C "$work/bare" --exclude='./dev/*' -xpf "$work/debian/rootfs.tar"
    printf 'FROM scratch\nADD rootfs.tar /\n' >"$work/debian/Dockerfile"
    export KAIRN_ROOT=$work/root
    "$KAIRN" build --push --insecure-registry "$REGISTRY" -t "$REGISTRY/debian" "$work/debian" >"$work/log" 2>&1
    local n bare=""
    echo "FROM $REGISTRY/debian" >"$work/ten/Dockerfile"
    for n in $(seq 10); do
        echo "RUN echo $n > /file-$n" >>"$work/ten/Dockerfile"
        bare+="unshare --mount --pid --fork chroot $work/bare /bin/sh -c 'echo $n > /file-$n'; "
    done
    printf 'FROM %s/debian\nRUN true\n' "$REGISTRY" >"$work/warm.Dockerfile"
    local build="$KAIRN build --insecure-registry $REGISTRY"
    measure "rm -rf $work/root; $build -f $work/warm.Dockerfile $work/ten" "$build $work/ten"
    local kairn=$SECONDS_
    memory "ten RUNs on Debian" "$PEAK"
    measure true "$bare"
    row "ten one-file RUNs on Debian, base in the store" "ten times unshare + chroot" "$kairn" "$SECONDS_"
    overhead=$(awk -v a="$kairn" -v b="$SECONDS_" 'BEGIN { printf "%.0f ms", (a - b) * 100 }')
    measure "rm -rf $work/root" "$build -f $work/warm.Dockerfile $work/ten"
    memory "pull and unpack of Debian, one RUN" "$PEAK"
}

start_registry "$work/registry"
peaks=""
overhead=""
make_small_files "$work/small/tree"
make_large_files "$work/large/tree"
echo "$(nproc) cores, $(uname -r), median of $runs runs, the page cache warm"
printf '%-44s %-34s %10s %10s %7s\n' kairn "beside it" kairn other ratio
copies small "20,000 small files"
copies large "2 x 150 MB"
runs_on_debian
printf '\noverhead of one RUN: %s\n\npeak memory of the largest process\n%s' "$overhead" "$peaks"
exit $failed
