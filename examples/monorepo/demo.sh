#!/usr/bin/env bash
# Many images from one kairn.toml, from nothing to running programs: see README.md beside this. Needs root, and what
# `make deps-demo` installs.
#   demo.sh            shows everything, then removes it
#   demo.sh --shell    builds all, then opens a shell to try things by hand
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
top=$(cd "$here/../.." && pwd)
# shellcheck source=scripts/registry.sh
source "$top/scripts/registry.sh"

PACKAGES=busybox-static,libc6-dev,lua5.4,python3-minimal,tcc

say() { printf '\n\033[1m== %s\033[0m\n' "$*"; }
note() { printf '\033[2m   %s\033[0m\n' "$*"; }
show() { printf '\033[1m$ %s\033[0m\n' "$*"; }
fail() { printf '\033[1mthe demo is not as it should be: %s\033[0m\n' "$*" >&2; exit 1; }

# try EXIT-CODE COMMAND    shows the command, runs it, says how long it took
try() {
    local expected=$1 code=0 start=$EPOCHREALTIME
    shift
    show "$@"
    "$@" || code=$?
    note "exit code $code, $(awk -v a="$start" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.1f", b - a }') s"
    [ "$code" = "$expected" ] || fail "the exit code is not $expected"
}

# The log of a build is shown without what says nothing new: what LEFT_OUT matches.
QUICK='done 0\.0s|pushed the layer |copied '
KNOWN='cached: |because |done |\| |copied |pushed '
kairn() {
    if [ "$1" = build ]; then
        "$KAIRN" "$@" 2>&1 >/dev/null | { grep -vE "^\[[^]]*\] ($LEFT_OUT)" || true; }
    else
        "$KAIRN" "$@"
    fi
}

# The registry is asked as any client asks it.
registry() {
    busybox wget -q -O - --header 'Accept: application/vnd.oci.image.manifest.v1+json' "http://$REGISTRY/v2/shop/$1"
}
is_published() { registry "$1/manifests/$2" >/dev/null 2>&1; }

# bundle IMAGE    unpacks a published image as a folder that runc can run
bundle() {
    local manifest dir=$work/bundles/$1
    mkdir -p "$dir/rootfs"
    manifest=$(registry "$1/manifests/1.0")
    jq -r '.layers[].digest' <<<"$manifest" | while read -r layer; do
        registry "$1/blobs/$layer" | tar -C "$dir/rootfs" --numeric-owner -xzpf -
    done
    registry "$1/blobs/$(jq -r .config.digest <<<"$manifest")" >"$dir/image.json"
    (cd "$dir" && runc spec)
    jq --slurpfile image "$dir/image.json" '
        $image[0].config as $c | .process.args = ($c.Entrypoint + ($c.Cmd // [])) | .process.env = $c.Env
        | .process.terminal = false | .process.user = { uid: 1000, gid: 1000 } | .root.readonly = false' \
        "$dir/config.json" >"$dir/new.json"
    mv "$dir/new.json" "$dir/config.json"
}
run() { runc --root "$work/runc" "$@"; }

clean_up() {
    run delete --force "kairn-site-$$" 2>/dev/null || true
    stop_registry
    rm -rf "$work"
}

[ "$(id -u)" = 0 ] || { echo "as root, please: the base is made by mmdebstrap, the programs are run by runc" >&2; exit 1; }
work=$(mktemp -d "${TMPDIR:-/var/tmp}/kairn-demo.XXXXXX")
trap clean_up EXIT
export KAIRN_ROOT=$work/root

if [ -z "${KAIRN-}" ]; then
    say "Building kairn"
    (cd "$top" && cargo build --profile demo --locked --bin kairn)
    KAIRN=$(cd "$top" && cargo metadata --no-deps --offline --format-version 1 | jq -r .target_directory)/demo/kairn
fi
started=$SECONDS

say "A base with the languages of the shop, pushed to a registry on this machine"
start_registry "$work/registry"
unset SHOP_VERSION SHOP_DEBIAN
export SHOP_REGISTRY=$REGISTRY
note "mmdebstrap makes the files of a small Debian with ${PACKAGES//,/, } ..."
mkdir "$work/debian"
cd "$work"
debian_rootfs debian/rootfs.tar "$PACKAGES"
printf 'FROM scratch\nADD rootfs.tar /\nENV PATH=/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/bin\nCMD ["/bin/sh"]\n' \
    >debian/Dockerfile
note "$(stat -c %s debian/rootfs.tar | awk '{ printf "%d MB", $1 / 1e6 }'), $((SECONDS - started)) s"
note "(here and below, lines of the log that say nothing new are left out)"
LEFT_OUT=$QUICK
try 0 kairn build --push -t "$REGISTRY/debian" debian

# In a copy, which may be changed and is a Git repository of its own.
cp -r "$here" shop
cd shop
rm -rf reports kairn.lock
export GIT_CONFIG_GLOBAL=/dev/null
git init -q -b main
git config user.name demo
git config user.email demo@localhost
git add .
git commit -qm "the shop"

if [ "${1-}" = --shell ]; then
    LEFT_OUT=$KNOWN
    try 0 kairn build --push
    say "A shell in a copy of examples/monorepo; when it ends, everything is removed"
    mkdir "$work/bin"
    ln -s "$KAIRN" "$work/bin/kairn"
    PATH=$work/bin:$PATH "${SHELL:-bash}" || true
    exit
fi

say "Twelve images in one kairn.toml: what one of them needs, and why"
show "kairn graph site | grep ' needs '"
kairn graph site | grep ' needs '
note "without grep: every step of it"

say "Building all of them, publishing them together"
try 0 kairn build --push --progress grouped
is_published shop 1.0 && is_published tax-fr 1.0 || fail "not everything is published"

say "Again: nothing runs"
LEFT_OUT=$KNOWN
try 0 kairn build --push

say "One file is changed: there is honey now"
sed -i 's/^}$/    { id = "honey", name = "honey", cents = 680, stock = 5 },\n}/' services/catalog/goods.lua
git --no-pager diff --unified=0 | tail -n 1
try 0 kairn affected --since HEAD
affected=$(kairn affected --since HEAD --format names 2>/dev/null | xargs)
[ "$affected" = "catalog shop site" ] || fail "affected are $affected"
try 0 kairn build --push --affected-since HEAD
git commit -qam "honey"

say "A mistake: the cart takes an order of 0 pieces, and its test says so"
sed -i 's/number < 1/number < 0/' services/cart/cart.c
git --no-pager diff --unified=0 | tail -n 2
export SHOP_VERSION=1.1
rm -r reports
try 1 kairn build --push --keep-going
for image in base cart stock shop site; do
    ! is_published "$image" 1.1 || fail "$image:1.1 is published"
done
note "nothing has the tag 1.1 in the registry; what the tests said was copied out:"
show "grep -c '^not ok' reports/*"
grep -c '^not ok' reports/* || true
show "head -n 2 reports/cart.tap"
head -n 2 reports/cart.tap
grep -q '^not ok 1 - nothing' reports/cart.tap || fail "the report of the cart is another one"
git checkout -q services/cart/cart.c
unset SHOP_VERSION

say "The base is written down, so that nothing changes behind anyone's back"
try 0 kairn lock
try 0 kairn lock --check
note "somebody pushes another base under the same name:"
printf 'FROM %s/debian\nLABEL moved=yes\n' "$REGISTRY" | kairn build --push -t "$REGISTRY/debian" -
try 1 kairn lock --check
note "builds go on with the base that they had, until kairn lock --update:"
try 0 kairn build --push web

say "Running what was published, with runc"
bundle shop
bundle site
note "the shop's own order, taxed in Germany:"
run run --bundle "$work/bundles/shop" "kairn-shop-$$" 2>&1 | tee "$work/invoice"
diff shop/tests/order-de.out "$work/invoice" || fail "the invoice is another one"
note "the web page as the web server in the image of 1 MB sends it:"
run run --detach --bundle "$work/bundles/site" "kairn-site-$$" </dev/null >/dev/null 2>&1
for _ in $(seq 50); do
    run exec "kairn-site-$$" busybox wget -q -O - http://127.0.0.1:8080/ >"$work/page" 2>/dev/null && break
    sleep 0.1
done
cat "$work/page"
grep -q '<td>honey<td>6.80 EUR' "$work/page" || fail "the page has no honey"

say "Done in $((SECONDS - started)) s after kairn itself was built. What to try next"
cat <<EOF
  examples/monorepo/demo.sh --shell         builds all of this again, then opens a shell to try things in:
    kairn build web                           a group, or an image by its name
    kairn explain --dry-run shop              what would run, and why
    kairn graph --format mermaid tax-fr       a picture for a README
    SHOP_VERSION=2.0 kairn build --push       the same images under another tag
  examples/monorepo/kairn.toml              how it is written down
  kairn schema --format markdown            all that can be written there
  kairn convert docker-bake.hcl             a kairn.toml of what you have
EOF
