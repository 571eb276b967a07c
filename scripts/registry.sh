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

# busybox_rootfs TAR    writes the files of a small system: one busybox under all its names
busybox_rootfs() {
    local root
    root=$(mktemp -d)
    mkdir -p "$root"/{bin,dev,etc,home/app,proc,root,sys,tmp,usr,var}
    chmod 1777 "$root/tmp"
    cp "$(command -v busybox)" "$root/bin/busybox"
    busybox --list | grep -vx busybox | while read -r applet; do ln -s busybox "$root/bin/$applet"; done
    printf 'root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000::/home/app:/bin/sh\n' >"$root/etc/passwd"
    printf 'root:x:0:\napp:x:1000:\n' >"$root/etc/group"
    tar --sort=name --owner=0 --group=0 --numeric-owner --mtime=@0 -C "$root" -cf "$1" .
    rm -rf "$root"
}
