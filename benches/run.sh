#!/usr/bin/env bash
# Measures kairn beside plain tools that do the same work, in one run, on this machine.
#   benches/run.sh [PART...] parts: copies runs caches images isolations packages schedule (all); root; what `make deps-bench` installs; prints a table, exits 1 where memory is over its bound
#   KAIRN=path RUNS=n        another binary, another number of runs (the median is shown)
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
top=$(cd "$here/.." && pwd)
# shellcheck source=scripts/registry.sh
source "$top/scripts/registry.sh"

runs=${RUNS-3}
parts=("$@")
[ $# -gt 0 ] || parts=(copies runs caches images isolations packages schedule)
level=5 # that of kairn's layers
bound_kib=$((256 * 1024))
work=$(mktemp -d "${TMPDIR:-/var/tmp}/kairn-bench.XXXXXX")
trap 'stop_registry; rm -rf --one-file-system "$work"' EXIT
failed=0

if [ -z "${KAIRN-}" ]; then
    (cd "$top" && cargo build --release --locked --bin kairn && cargo build --release --locked -p kairn-executor --example walk --example schedule)
    KAIRN=$(cd "$top" && cargo metadata --no-deps --offline --format-version 1 | jq -r .target_directory)/release/kairn
fi

# measure SETUP COMMAND: runs COMMAND (a line of shell) several times, SETUP before each; sets SECONDS_ to the median
# wall time and PEAK to the largest resident size of one of its processes, in KiB.
measure() {
    local run times=() peak=0 start
    for run in $(seq "$runs"); do
        bash -ec "$1" >"$work/setup.log" 2>&1 || { cat "$work/setup.log" >&2; exit 1; }
        start=$EPOCHREALTIME
        if ! /usr/bin/time -f '%M' -o "$work/time" bash -ec "$2" >"$work/log" 2>&1; then
            echo "failed: $2" >&2
            tail -n 30 "$work/log" >&2
            exit 1
        fi
        times+=("$(awk -v a="$start" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.3f", b - a }')")
        peak=$(awk -v peak="$peak" 'END { print ($1 > peak) ? $1 : peak }' "$work/time")
    done
    SECONDS_=$(printf '%s\n' "${times[@]}" | sort -n | sed -n "$(((runs + 1) / 2))p")
    PEAK=$peak
}

row() { printf '%-58s %-42s %8s s %8s s %7s\n' "$1" "$2" "$3" "$4" "$(awk -v a="$3" -v b="$4" 'BEGIN { printf "%.2fx", a / b }')"; }

memory() {
    local verdict=ok
    if [ "$2" -gt "$bound_kib" ]; then
        verdict=FAIL
        failed=1
    fi
    peaks+="$(printf '%-58s %6d MiB of %d MiB  %s' "$1" $(($2 / 1024)) $((bound_kib / 1024)) "$verdict")"$'\n'
}

make_small_files() {
    awk -v dir="$1" -v count="$2" 'BEGIN {
        srand(1)
        for (n = 0; n < count; n++) {
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

# A small Debian, in a folder and as a tar.
make_debian() {
    [ ! -d "$work/bare" ] || return 0
    mkdir -p "$work/debian" "$work/bare"
    mmdebstrap --quiet --variant=minbase --mode=root --format=tar "$(. /etc/os-release && echo "$VERSION_CODENAME")" \
        "$work/debian/rootfs.tar" 2>"$work/log" || { cat "$work/log" >&2; exit 1; }
    tar -C "$work/bare" --exclude='./dev/*' -xpf "$work/debian/rootfs.tar"
}

runs_on_debian() {
    make_debian
    mkdir -p "$work/ten"
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

# The same work on every isolation, beside a plain chroot into a copy of the root.
isolations() {
    local context=$work/many root=$work/many-root isolation n ten="" six="" build
    mkdir -p "$context/bin"
    make_small_files "$context/tree" 60000
    cp /bin/busybox "$context/bin/busybox"
    ln -s busybox "$context/bin/sh"
    printf 'FROM scratch\nCOPY . /\n' >"$context/Dockerfile"
    rm -rf "$work/root"
    export KAIRN_ROOT=$work/root
    "$KAIRN" build --push --insecure-registry "$REGISTRY" -t "$REGISTRY/many" "$context" >"$work/log" 2>&1
    echo "FROM $REGISTRY/many" >"$work/steps/ten"
    printf 'FROM %s/many AS base\n' "$REGISTRY" >"$work/steps/six"
    for n in $(seq 10); do
        echo "RUN echo $n > /file-$n" >>"$work/steps/ten"
        ten+="chroot $root /bin/sh -c 'echo $n > /file-$n'; "
    done
    for n in $(seq 6); do
        printf 'FROM base AS s%d\nRUN busybox sleep 2; echo %d > /file-%d\n' "$n" "$n" "$n" >>"$work/steps/six"
        six+="chroot $root /bin/sh -c 'busybox sleep 2; echo $n > /file-$n'; "
    done
    echo 'FROM scratch' >>"$work/steps/six"
    for n in $(seq 6); do echo "COPY --from=s$n /file-$n /" >>"$work/steps/six"; done
    printf 'FROM %s/many\nRUN true\n' "$REGISTRY" >"$work/steps/warm"
    measure "rm -rf $root" "cp -a $context $root; $ten"
    local plain_ten=$SECONDS_
    measure "rm -rf $root" "cp -a $context $root; $six"
    local plain_six=$SECONDS_
    for isolation in userns userns-single chroot; do
        build="$KAIRN build --isolation $isolation --insecure-registry $REGISTRY"
        measure "rm -rf $work/root; $build -f $work/steps/warm $work/steps" "$build -f $work/steps/ten $work/steps"
        row "ten one-file RUNs, base of 60,000 files, $isolation" "cp -a, ten times chroot" "$SECONDS_" "$plain_ten"
        memory "ten RUNs on 60,000 files, $isolation" "$PEAK"
        measure "rm -rf $work/root; $build -f $work/steps/warm $work/steps" "$build -f $work/steps/six $work/steps"
        row "six stages of 2 s, $isolation" "cp -a, one after another" "$SECONDS_" "$plain_six"
    done
}

# An installation of packages that are already downloaded, beside the same in a plain chroot with /proc.
packages() {
    make_debian
    local bare=$work/bare root=$work/apt-root isolation build
    local install="DEBIAN_FRONTEND=noninteractive apt-get install -yq --no-install-recommends --no-download"
    local list="procps cron sudo man-db vim-tiny less file curl ca-certificates python3"
    mkdir -m 1777 "$bare/dev/shm"
    cp -a /dev/null /dev/zero /dev/urandom /dev/random "$bare/dev/"
    cp /etc/resolv.conf "$bare/etc/"
    chroot "$bare" sh -c "apt-get update -q && apt-get install -yqd --no-install-recommends $list" >"$work/log" 2>&1 ||
        { tail -n 30 "$work/log" >&2; exit 1; }
    mkdir -p "$work/apt"
    tar -C "$bare" -cf "$work/apt/rootfs.tar" .
    printf 'FROM scratch\nADD rootfs.tar /\n' >"$work/apt/Dockerfile"
    export KAIRN_ROOT=$work/root
    "$KAIRN" build --push --insecure-registry "$REGISTRY" -t "$REGISTRY/apt" "$work/apt" >"$work/log" 2>&1
    printf 'FROM %s/apt\nRUN true\n' "$REGISTRY" >"$work/steps/warm"
    printf 'FROM %s/apt\nRUN %s %s\n' "$REGISTRY" "$install" "$list" >"$work/steps/apt"
    # In a mount namespace, so that nothing is ever removed through a mount.
    measure "rm -rf $root; cp -a $bare $root" \
        "unshare --mount sh -c \"mount -t proc proc $root/proc && chroot $root sh -c '$install $list'\""
    local plain=$SECONDS_ count
    count=$(grep -c '^Setting up' "$work/log")
    for isolation in userns userns-single chroot; do
        for sync in "" --sync; do
            build="$KAIRN build $sync --isolation $isolation --insecure-registry $REGISTRY"
            measure "rm -rf $work/root; $build -f $work/steps/warm $work/steps" "$build -f $work/steps/apt $work/steps"
            row "apt install of $count packages, $isolation $sync" "plain chroot" "$SECONDS_" "$plain"
            memory "apt install, $isolation $sync" "$PEAK"
        done
    done
}

# Builds that have nothing to do, and caches that go to a registry and come back.
caches() {
    local nothing=$work/nothing many=$work/hundred big=$work/big n build walk=${KAIRN%/*}/examples/walk
    local fresh="rm -rf $work/registry/storage/docker/registry/v2/repositories/{cache,skopeo} $work/registry/storage/docker/registry/v2/blobs"
    export KAIRN_ROOT=$work/root
    rm -rf "$work/root"
    mkdir -p "$nothing" "$many" "$big/tree"
    build="$KAIRN build --insecure-registry $REGISTRY"

    printf 'FROM scratch\nCOPY base /base\n' >"$nothing/Dockerfile"
    echo base >"$nothing/base"
    $build --push -t "$REGISTRY/base" "$nothing" >"$work/log" 2>&1
    make_small_files "$nothing/tree" 20000
    printf 'FROM %s/base\nCOPY tree /tree\nWORKDIR /tree\n' "$REGISTRY" >"$nothing/Dockerfile"
    measure "$build $nothing" "$build $nothing"
    memory "nothing to do, a context of 20,000 files" "$PEAK"
    local kairn=$SECONDS_
    measure true "$walk $nothing"
    row "nothing to do, a context of 20,000 files" "a bare stat of the files, parallel" "$kairn" "$SECONDS_"

    for n in $(seq 100); do
        mkdir -p "$many/$n"
        echo "$n" >"$many/$n/file"
        printf 'FROM %s/base AS s%d\nWORKDIR /app\nCOPY %d/file .\nCOPY %d /all\n' "$REGISTRY" "$n" "$n" "$n" >>"$many/Dockerfile"
    done
    echo "FROM scratch" >>"$many/Dockerfile"
    for n in $(seq 100); do echo "COPY --from=s$n /app /$n" >>"$many/Dockerfile"; done
    measure "$build $many" "$build $many"
    kairn=$SECONDS_
    measure true "$walk $many"
    row "nothing to do, 100 stages in one graph" "a bare stat of the files, parallel" "$kairn" "$SECONDS_"

    printf 'FROM %s/base\n' "$REGISTRY" >"$big/Dockerfile"
    for n in 1 2 3 4 5; do
        head -c 100M /dev/urandom >"$big/tree/$n"
        echo "COPY tree/$n /$n" >>"$big/Dockerfile"
    done
    local cache="type=registry,registry.insecure=true,ref=$REGISTRY/cache:main"
    $build -o "type=oci,dest=$work/layout,tar=false" "$big" >"$work/log" 2>&1
    local empty="$fresh; $build --push -t $REGISTRY/base -f $work/base.Dockerfile $nothing"
    printf 'FROM scratch\nCOPY base /base\n' >"$work/base.Dockerfile"
    measure "$empty" "$build --cache-to $cache,mode=max $big"
    kairn=$SECONDS_
    memory "a cache of 500 MB to a registry" "$PEAK"
    measure "$empty" "skopeo copy -q --insecure-policy --dest-tls-verify=false oci:$work/layout:latest docker://$REGISTRY/skopeo:1"
    row "a cache of 500 MB to a registry" "skopeo copy of the same blobs" "$kairn" "$SECONDS_"
    $build --cache-to "$cache,mode=max" "$big" >"$work/log" 2>&1
    measure "rm -rf $work/other" "$build --kairn-root $work/other --cache-from $cache $big"
    kairn=$SECONDS_
    memory "a cache of 500 MB from a registry" "$PEAK"
    measure "rm -rf $work/copied" "skopeo copy -q --insecure-policy --src-tls-verify=false docker://$REGISTRY/skopeo:1 oci:$work/copied:1"
    row "a cache of 500 MB from a registry, into the store" "skopeo copy of the same blobs to a layout" "$kairn" "$SECONDS_"
}

# limit NAME SECONDS: a row that says how much of a limit was used.
limit() { row "$1" "its limit" "$SECONDS_" "$2"; }

# A kairn.toml of 300 images in levels, two thousand steps: what BASE is the first goes on from.
make_spec() {
    awk -v base="$2" 'BEGIN {
        for (n = 0; n < 300; n++) {
            printf "[image.i%d.stage.s]\nfrom = \"%s\"\nsteps = [\n", n, (n < 3) ? base : "i" int((n - 3) / 3)
            for (step = 0; step < 7; step++) printf "  { write = { f%d = \"%d\" }, to = \"/d%d/\" },\n", step, n, n
            print "]"
        }
    }' >"$1"
}

# The images of one kairn.toml.
images() {
    local spec=$work/images n build="$KAIRN build --insecure-registry $REGISTRY" kairn
    export KAIRN_ROOT=$work/root
    rm -rf "$work/root"
    mkdir -p "$spec/large" "$spec/hundred" "$spec/twenty" "$spec/sleep"
    busybox_rootfs "$spec/rootfs.tar"
    printf 'FROM scratch\nADD rootfs.tar /\n' >"$spec/Dockerfile"
    $build --push -t "$REGISTRY/busybox" "$spec" >"$work/log" 2>&1

    make_spec "$spec/large/kairn.toml" scratch
    measure true "$KAIRN graph -f $spec/large/kairn.toml --format dot >/dev/null"
    limit "300 images with 2,100 steps compiled and drawn" 0.2
    measure "rm -rf $work/root" "$build -f $spec/large/kairn.toml"
    memory "300 images with 2,100 steps" "$PEAK"
    kairn=$SECONDS_
    measure true "$build -f $spec/large/kairn.toml"
    row "300 images with 2,100 steps, made" "the same again: nothing to do" "$kairn" "$SECONDS_"

    for n in $(seq 100); do
        mkdir -p "$spec/hundred/$n"
        for file in $(seq 20); do echo "$n $file" >"$spec/hundred/$n/$file"; done
        printf 'FROM %s/busybox\nWORKDIR /app\nCOPY . .\n' "$REGISTRY" >"$spec/hundred/$n/Dockerfile"
        printf '[image.i%d]\ncontext = "%d"\n' "$n" "$n" >>"$spec/hundred/kairn.toml"
    done
    $build -f "$spec/hundred/kairn.toml" >"$work/log" 2>&1
    measure true "$build -f $spec/hundred/kairn.toml"
    limit "nothing to do, 100 images of one kairn.toml" 1
    kairn=$SECONDS_
    measure true "${KAIRN%/*}/examples/walk $spec/hundred"
    row "nothing to do, 100 images of one kairn.toml" "a bare stat of the files, parallel" "$kairn" "$SECONDS_"

    # Commands that keep a core busy; what they share is a base.
    local work_of="dd if=/dev/zero bs=1M count=150 2>/dev/null | sha256sum >/out"
    for n in $(seq 20); do
        mkdir -p "$spec/twenty/$n"
        printf 'FROM %s/busybox\nRUN %s; echo %d >>/out\n' "$REGISTRY" "$work_of" "$n" >"$spec/twenty/$n/Dockerfile"
        printf '[image.i%d]\ncontext = "%d"\n' "$n" "$n" >>"$spec/twenty/kairn.toml"
    done
    measure "rm -rf $work/root" "$build -f $spec/twenty/kairn.toml"
    memory "20 images, one RUN each" "$PEAK"
    kairn=$SECONDS_
    measure "rm -rf $work/root" "for n in \$(seq 20); do $build $spec/twenty/\$n; done"
    row "20 images with a RUN each, cold, one kairn.toml" "20 calls of kairn build, one after another" "$kairn" "$SECONDS_"
    mkdir -p "$work/rootfs" && tar -C "$work/rootfs" -xf "$spec/rootfs.tar" --exclude='./dev/*'
    mknod -m 666 "$work/rootfs/dev/zero" c 1 5 2>/dev/null || true
    measure true "for n in \$(seq 20); do chroot $work/rootfs /bin/sh -c '$work_of'; done"
    row "20 images with a RUN each, cold, one kairn.toml" "their commands alone, one after another" "$kairn" "$SECONDS_"

    # Eight chains of three commands that sleep: no order is faster than the longest chain, nor than all by two.
    awk -v base="$REGISTRY/busybox" 'BEGIN {
        split("3 1 2 1 1 4 2 2 1 1 3 2 2 1 1 1 1 1 4 1 2 2 2 2", sleeps, " ")
        for (n = 0; n < 8; n++) {
            printf "[image.i%d.stage.s]\nfrom = \"%s\"\nsteps = [\n", n, base
            for (step = 1; step <= 3; step++) printf "  { run = \"sleep %d; echo %d\" },\n", sleeps[3 * n + step], n
            print "]"
        }
    }' >"$spec/sleep/kairn.toml"
    local jobs bound
    for jobs in 16 2; do
        bound=$([ "$jobs" = 16 ] && echo 7 || echo 22)
        # Once to learn how long they take; then again, with nothing of it cached.
        $build -f "$spec/sleep/kairn.toml" --no-cache --jobs "$jobs" >"$work/log" 2>&1
        measure true "$build -f $spec/sleep/kairn.toml --no-cache --jobs $jobs"
        row "24 sleeping commands of 8 images, $jobs jobs" "no order is faster" "$SECONDS_" "$bound"
    done
}

# Graphs of steps that only sleep, beside the least time that any order of them takes.
order_of_steps() {
    "${KAIRN%/*}/examples/schedule" || failed=1
}

start_registry "$work/registry"
peaks=""
overhead=""
echo "$(nproc) cores, $(uname -r), median of $runs runs, the page cache warm"
printf '%-58s %-42s %10s %10s %7s\n' kairn "beside it" kairn other ratio
mkdir -p "$work/steps"
for part in "${parts[@]}"; do
    case $part in
        copies)
            make_small_files "$work/small/tree" 20000
            make_large_files "$work/large/tree"
            copies small "20,000 small files"
            copies large "2 x 150 MB"
            ;;
        runs) runs_on_debian ;;
        caches) caches ;;
        images) images ;;
        isolations) isolations ;;
        packages) packages ;;
        schedule) order_of_steps ;;
        *) echo "no such part: $part" >&2; exit 2 ;;
    esac
done
printf '\noverhead of one RUN: %s\n\npeak memory of the largest process\n%s' "${overhead:-not measured}" "$peaks"
exit $failed
