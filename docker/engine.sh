# shellcheck shell=bash
# A Docker engine for docker/test: the one that is there, or one of its own. Its own lives in its own network, mount
# and process namespaces, so its ports meet nobody's, and nothing of it is left when it ends. Sourced.

engine_pid=
engine_dir=
engine_missing=

# An engine that answers, or why there is none in `engine_missing`.
engine_start() {
    if ! docker info >/dev/null 2>&1; then
        [ "$(uname -s)" = Linux ] || { engine_missing="no Docker engine answers"; return 1; }
        [ "$(id -u)" = 0 ] || { engine_missing="no Docker engine answers, and only root can start one"; return 1; }
        engine_install || return 1
        docker info >/dev/null 2>&1 || engine_start_own || return 1
    fi
    compose version >/dev/null 2>&1 || { engine_missing="there is no docker compose"; return 1; }
}

engine_install() {
    local packages=()
    command -v dockerd >/dev/null && command -v docker >/dev/null || packages+=(docker.io)
    compose version >/dev/null 2>&1 || packages+=(docker-compose)
    command -v kcat >/dev/null || packages+=(kcat)
    command -v ip >/dev/null || packages+=(iproute2)
    [ "${#packages[@]}" -gt 0 ] || return 0
    engine_missing="there is no ${packages[*]}"
    command -v apt-get >/dev/null || return 1
    echo "docker/test: install ${packages[*]}"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq && apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null
}

engine_start_own() {
    engine_dir="$(mktemp -d)"
    export DOCKER_HOST="unix://$engine_dir/socket"
    # dockerd writes a key to /etc/docker, whatever it is told.
    unshare --net --mount --pid --fork --kill-child --mount-proc sh -c '
        ip link set lo up
        mkdir -p /etc/docker && mount -t tmpfs none /etc/docker
        exec dockerd --host "unix://$0/socket" --data-root "$0/data" --exec-root "$0/run" --pidfile "$0/pid" \
            --cgroup-parent "/ottla-test-$1"
    ' "$engine_dir" "$$" >"$engine_dir/log" 2>&1 &
    engine_pid=$!
    local deadline=$((SECONDS + 60))
    until docker info >/dev/null 2>&1; do
        if [ $SECONDS -ge $deadline ] || ! kill -0 "$engine_pid" 2>/dev/null; then
            engine_missing="an engine of its own did not start: $(tail -n 3 "$engine_dir/log")"
            return 1
        fi
        sleep 0.2
    done
}

# Runs a command where the engine publishes its ports.
outside() {
    if [ -n "$engine_pid" ]; then
        nsenter --target "$engine_pid" --net "$@"
    else
        "$@"
    fi
}

compose() {
    if docker compose version >/dev/null 2>&1; then
        docker compose "$@"
    else
        docker-compose "$@"
    fi
}

# A base with what the image needs and nothing else, from Debian's packages; fails where there are none.
engine_import_base() {
    local name="$1" dir
    command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || return 1
    dir="$(mktemp -d)"
    if (
        cd "$dir"
        chmod 755 .
        apt-get download -qq bash-static busybox-static
        mkdir root
        for package in *.deb; do dpkg-deb --extract "$package" root; done
        ln -s busybox root/bin/sh
        tar --create --directory root . | docker import - "$name"
    ) >"$dir/log" 2>&1; then
        rm -rf "$dir"
    else
        cat "$dir/log" >&2
        rm -rf "$dir"
        return 1
    fi
}

# The engine is the first process of its namespace: its end is the end of every container, however it ends.
engine_stop() {
    [ -n "$engine_pid" ] || return 0
    local dockerd
    dockerd="$(ps -o pid= --ppid "$engine_pid" || true)"
    # shellcheck disable=SC2086
    [ -z "$dockerd" ] || kill -KILL $dockerd
    wait "$engine_pid" 2>/dev/null || true
    find /sys/fs/cgroup -depth -type d -path "*/ottla-test-$$*" -exec rmdir {} + 2>/dev/null || true
    rm -rf "$engine_dir"
}
