# To be sourced: a registry on a free loopback port, gone when the script that sources this ends.
#   start_registry DIR    keeps its storage in DIR and sets REGISTRY to 127.0.0.1:PORT

start_registry() {
    mkdir -p "$1"
    cat >"$1/config.yml" <<EOF
version: 0.1
log: { level: info, accesslog: { disabled: true } }
storage: { filesystem: { rootdirectory: $1/storage } }
http: { addr: 127.0.0.1:0 }
EOF
    docker-registry serve "$1/config.yml" >"$1/log" 2>&1 &
    REGISTRY_PID=$!
    local _
    for _ in $(seq 200); do
        REGISTRY=$(sed -n 's/.*listening on \(127\.0\.0\.1:[0-9]*\).*/\1/p' "$1/log")
        [ -n "$REGISTRY" ] && return
        sleep 0.05
    done
    cat "$1/log" >&2
    return 1
}

stop_registry() {
    [ -z "${REGISTRY_PID-}" ] || { kill "$REGISTRY_PID" && wait "$REGISTRY_PID"; } 2>/dev/null || true
}

# debian_rootfs TAR PACKAGES    writes the files of this machine's own Debian or Ubuntu: what is essential and PACKAGES,
# which are separated by commas. Root; takes the package sources of this machine's apt.
debian_rootfs() {
    local log
    log=$(mktemp)
    # Without the lists, apt does not know which of its sources are the distribution's.
    [ -n "$(debian_sources)" ] || apt-get update -qq
    # The hook merges /bin into /usr where the distribution does not do that by itself: the package that would do it
    # there brings all of Perl with it.
    debian_sources | mmdebstrap --quiet --variant=essential --mode=root --format=tar --include="$2" \
        --hook-dir=/usr/share/mmdebstrap/hooks/maybe-merged-usr --aptopt='Acquire::Languages "none"' \
        --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
        --dpkgopt='path-exclude=/usr/share/locale/*' "$(. /etc/os-release && echo "$VERSION_CODENAME")" "$1" - \
        >"$log" 2>&1 || { cat "$log" >&2; rm "$log"; return 1; }
    rm "$log"
}

debian_sources() {
    apt-get indextargets --format '$(ORIGIN)|$(REPO_URI)|$(RELEASE)|$(COMPONENT)|$(SIGNED_BY)' 'Created-By: Packages' |
        awk -F '|' '$1 ~ /^(Debian|Ubuntu)$/ {
            print "deb", ($5 ~ /^\// ? "[signed-by=" $5 "] " : "") $2, $3, $4 }'
}
