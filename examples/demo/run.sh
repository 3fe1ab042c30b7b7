#!/usr/bin/env bash
# The main job, end to end: a multi-stage Dockerfile is built in containers, pushed to a registry, rebuilt from the
# cache, and rebuilt on a second, empty daemon from the cache in the registry, without running a single step again.
#   examples/demo/run.sh        (make demo prepares everything it needs)
# BUILDKIT_BIN: folder with buildkitd and buildctl, instead of bin/.   DEMO_KEEP=1: leave the files there.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
bin=${BUILDKIT_BIN:-$here/../../bin}
temp=$(mktemp -d -t buildkit-demo.XXXXXX)
processes=()

stop() {
    local pid
    for pid in "${processes[@]}"; do kill "$pid" 2>/dev/null || true; done
    for pid in "${processes[@]}"; do
        for _ in $(seq 100); do
            kill -0 "$pid" 2>/dev/null || break
            sleep 0.1
        done
        kill -KILL "$pid" 2>/dev/null || true
    done
    processes=()
}

clean() {
    local status=$?
    trap - EXIT
    stop 2>/dev/null
    local mount
    while read -r mount; do umount -l "$mount" || true; done < <(awk -v t="$temp/" 'index($2, t) == 1 { print $2 }' /proc/mounts | sort -r)
    if [ -n "${DEMO_KEEP:-}" ]; then
        echo "files are left in $temp" >&2
    else
        rm -rf --one-file-system "$temp"
    fi
    exit "$status"
}
trap clean EXIT
trap 'exit 130' INT TERM

fail() {
    echo "demo failed: $1" >&2
    if [ -n "${2:-}" ] && [ -f "$2" ]; then
        echo "--- last lines of ${2##*/}:" >&2
        tail -n 20 "$2" >&2
    fi
    exit 1
}

say() { printf '\n== %s\n' "$1"; }

[ "$(id -u)" -eq 0 ] || fail "buildkitd needs root to run containers; run: sudo make demo"
for program in buildkitd buildctl; do
    [ -x "$bin/$program" ] || fail "$bin/$program is missing; run: make build"
done

# start_daemon NAME: a daemon with a state folder and a socket of its own.
start_daemon() {
    local name=$1 log=$temp/$1.log pid
    mkdir -p "$temp/$name"
    echo '# The defaults.' >"$temp/$name/buildkitd.toml"
    "$bin/buildkitd" --config "$temp/$name/buildkitd.toml" --root "$temp/$name/state" \
        --addr "unix://$temp/$name.sock" --otel-socket-path "$temp/$name/otel.sock" >"$log" 2>&1 &
    pid=$!
    processes+=("$pid")
    for _ in $(seq 300); do
        if "$bin/buildctl" --addr "unix://$temp/$name.sock" debug workers >/dev/null 2>&1; then return; fi
        kill -0 "$pid" 2>/dev/null || fail "buildkitd did not start" "$log"
        sleep 0.1
    done
    fail "buildkitd was not ready within 30 seconds" "$log"
}

# build DAEMON LABEL ARGUMENTS...: runs a build, leaves its duration in $seconds and its number of executed steps in $steps.
build() {
    local daemon=$1 label=$2 trace=$temp/$2.trace begin end
    shift 2
    begin=$(date +%s%N)
    "$bin/buildctl" --addr "unix://$temp/$daemon.sock" build --frontend dockerfile.v0 --progress plain --trace "$trace" "$@" \
        2> >(grep -v 'tracing logs to' >&2) || fail "the build '$label' failed" "$temp/$daemon.log"
    end=$(date +%s%N)
    seconds=$(printf '%d.%03d' $(((end - begin) / 1000000000)) $(((end - begin) / 1000000 % 1000)))
    steps=$(python3 "$here/steps.py" "$trace" 2>"$trace.steps")
}

say "A registry on a free port of this machine"
cat >"$temp/registry.yml" <<YML
version: 0.1
log: { level: info, accesslog: { disabled: true } }
storage:
  filesystem: { rootdirectory: $temp/registry }
  delete: { enabled: true }
http: { addr: "127.0.0.1:0" }
YML
docker-registry serve "$temp/registry.yml" >"$temp/registry.log" 2>&1 &
processes+=("$!")
port=
for _ in $(seq 100); do
    port=$(sed -nE 's/.*listening on 127\.0\.0\.1:([0-9]+).*/\1/p' "$temp/registry.log" | head -1)
    [ -z "$port" ] || break
    sleep 0.1
done
[ -n "$port" ] || fail "the registry did not start" "$temp/registry.log"
registry=localhost:$port
echo "$registry"

say "Two daemons, each with an empty state folder"
start_daemon first
start_daemon second
"$bin/buildctl" --addr "unix://$temp/first.sock" debug workers

say "A base image with a C compiler, from Debian packages"
mkdir "$temp/base"
"$here/toolchain.sh" "$temp/base/rootfs.tar"
printf 'FROM scratch\nADD rootfs.tar /\nENV PATH=/usr/sbin:/usr/bin:/sbin:/bin\nCMD ["/bin/sh"]\n' >"$temp/base/Dockerfile"
build first base --local "context=$temp/base" --local "dockerfile=$temp/base" \
    --output "type=image,name=$registry/toolchain:latest,push=true"
base_seconds=$seconds
rm -rf "$temp/base"

app=(--local "context=$here/app" --local "dockerfile=$here/app" --opt "build-arg:TOOLCHAIN=$registry/toolchain:latest")
cache=type=registry,ref=$registry/cache:latest

say "Cold build: compile, test, ship; push the image and the cache of every stage"
build first cold "${app[@]}" --output "type=image,name=$registry/sha256:cold,push=true" --export-cache "$cache,mode=max"
cold_seconds=$seconds cold_steps=$steps

say "The same build again"
build first cached "${app[@]}" --output "type=image,name=$registry/sha256:cached,push=true"
cached_seconds=$seconds cached_steps=$steps

say "The same build on the second, empty daemon, with the cache from the registry"
build second imported "${app[@]}" --output "type=image,name=$registry/sha256:imported,push=true" --import-cache "$cache"
imported_seconds=$seconds imported_steps=$steps

say "What other programs read"
for tag in cold cached imported; do
    skopeo inspect --tls-verify=false "docker://$registry/sha256:$tag" >"$temp/$tag.json" || fail "skopeo cannot read $registry/sha256:$tag"
    python3 -c 'import json, sys; print("\n".join(json.load(open(sys.argv[1]))["Layers"]))' "$temp/$tag.json" >"$temp/$tag.layers"
done
echo "layers:"
sed 's/^/  /' "$temp/cold.layers"
skopeo copy -q --src-tls-verify=false "docker://$registry/sha256:imported" "oci:$temp/layout:imported" || fail "skopeo cannot copy the image"
umoci unpack --image "$temp/layout:imported" "$temp/bundle" >"$temp/umoci.log" 2>&1 || fail "umoci cannot unpack the image" "$temp/umoci.log"
(cd "$temp/bundle/rootfs" && find . -type f -printf '%10s %P\n')
printf 'abc' >"$temp/bundle/rootfs/message"
output=$(chroot "$temp/bundle/rootfs" /bin/sha256 /message) || fail "the program does not run"
expected="$(printf 'abc' | sha256sum | cut -d' ' -f1)  /message"
echo "sha256 /message: $output"

stop

echo
echo "                                        time     steps executed"
printf '%-34s %8s s   %14s\n' \
    "base image" "$base_seconds" "" \
    "cold build, push, cache export" "$cold_seconds" "$cold_steps" \
    "cached rebuild" "$cached_seconds" "$cached_steps" \
    "rebuild from imported cache" "$imported_seconds" "$imported_steps"
echo

[ "$output" = "$expected" ] || fail "the program printed '$output' instead of '$expected'"
grep -q '205 tests, 0 failed' "$temp/bundle/rootfs/share/sha256/report.txt" || fail "the image holds no report of passed tests"
[ "$cold_steps" -gt 0 ] || fail "the cold build executed no step"
for rebuild in cached imported; do
    count=${rebuild}_steps
    [ "${!count}" -eq 0 ] || fail "the $rebuild rebuild executed ${!count} steps instead of none:" "$temp/$rebuild.trace.steps"
    cmp -s "$temp/cold.layers" "$temp/$rebuild.layers" || fail "the $rebuild rebuild gave other layers than the cold build"
done
echo "demo passed: nothing was built twice"
