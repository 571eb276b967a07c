#!/usr/bin/env bash
# Builds kairn's own images with kairn, as OCI archives in the build folder, and runs `kairn --version` in both.
# Root; what `make deps-image` installs.
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/static.sh
host=$(rustc -vV | sed -n 's/^host: //p')
target=$(cargo metadata --no-deps --offline --format-version 1 | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')
kairn=$target/$host/release/kairn
work=$(mktemp -d "$target/image-XXXXXX")
trap 'rm -rf "$work"' EXIT

mkdir -p "$work/context/empty"
cp "$kairn" "$work/context/kairn"
cp /etc/ssl/certs/ca-certificates.crt "$work/context/"
mmdebstrap --quiet --variant=minbase --include=git,ca-certificates --aptopt='Acquire::Languages "none"' \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' "$(. /etc/os-release; echo "$VERSION_CODENAME")" "$work/context/root.tar"

for image in slim shell; do
    out=$target/kairn-$image.oci.tar
    "$kairn" build -f examples/image/Dockerfile --target "$image" --kairn-root "$work/store" \
        -o "type=oci,dest=$out" -o "type=oci,dest=$work/$image,tar=false" "$work/context" >"$work/digest"
    # Its layers are small and few: a container of them, to see that the program starts.
    mkdir "$work/$image.root"
    jq -r '.manifests[0].digest' "$work/$image/index.json" | tr : / | xargs -I{} jq -r '.layers[].digest' "$work/$image/blobs/{}" |
        tr : / | xargs -I{} tar -C "$work/$image.root" -xpf "$work/$image/blobs/{}"
    chroot "$work/$image.root" /usr/bin/kairn --version
    [ "$image" = slim ] || chroot "$work/$image.root" /bin/sh -c 'git --version'
    echo "$out: $(cut -d' ' -f1 "$work/digest"), $(stat -c %s "$out" | awk '{ printf "%.1f MB", $1 / 1e6 }')"
done
