#!/bin/bash
# Runs as root: loads the container image $1, tagged $2, with podman, and does what the operator guide says with
# it: start, sign in, create a workspace, stop, start again with the same volume, remove. Everything of podman is
# below the directory $3. The network is the host's, because a nested host may not create bridges, and workspaces
# are plain processes (the fake runtime).
set -euo pipefail
archive=$1 tag=$2 directory=$3

podman() {
    command podman --root "$directory/storage" --runroot "$directory/run" --tmpdir "$directory/tmp" \
        --storage-driver vfs --runtime runc --cgroup-manager cgroupfs --events-backend none "$@"
}
# A command in the container, with the login of its owner.
inside() {
    podman exec burrow "$@"
}
wait_for_server() {
    for _ in $(seq 600); do
        if inside burrow login --local >/dev/null 2>&1; then
            return
        fi
        [ "$(podman inspect --format '{{.State.Running}}' burrow)" = true ] || break
        sleep 0.1
    done
    podman logs burrow
    exit 1
}
remove() {
    podman rm --force --time 0 burrow >/dev/null 2>&1 || true
    podman volume rm burrow >/dev/null 2>&1 || true
}
trap remove EXIT

echo "--- load"
podman load --quiet --input "$archive"
test "$(podman image inspect --format '{{.Config.StopSignal}}' "$tag")" = SIGINT

echo "--- start"
# Podman raises the limits of containers, which a nested host may not allow.
podman run --detach --name burrow --privileged --network host --ulimit nofile=4096:4096 --ulimit nproc=4096:4096 \
    --volume burrow:/var/lib/burrow "$tag" up --runtime fake --port 0 >/dev/null
wait_for_server
inside burrow admin sign-in-link | grep -q '/welcome#'

echo "--- create a workspace"
inside burrow create demo --timeout 2m
inside burrow exec demo -- sh -c 'echo kept > file'

echo "--- stop"
podman stop --time 120 burrow >/dev/null
status=$(podman inspect --format '{{.State.ExitCode}}' burrow)
if [ "$status" != 0 ]; then
    podman logs burrow
    echo "The container ended with status $status"
    exit 1
fi

echo "--- start again"
podman start burrow >/dev/null
wait_for_server
inside burrow start demo --timeout 2m
test "$(inside burrow exec demo -- cat file)" = kept
inside burrow delete demo --yes
podman stop --time 120 burrow >/dev/null
echo "ok"
