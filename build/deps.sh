#!/usr/bin/env bash
# Installs the Debian packages a make target needs, or says which to install when not root.
#   build/deps.sh build|demo|test|bench
set -euo pipefail

# program (or file) that shows a package is there : package
build_needs=(clang:clang /usr/include/zlib.h:zlib1g-dev /usr/lib/x86_64-linux-gnu/libsqlite3.so.0:libsqlite3-0 /usr/lib/x86_64-linux-gnu/libzstd.so.1:libzstd1)
run_needs=(runc:runc crun:crun setpriv:util-linux git:git)
demo_needs=(docker-registry:docker-registry skopeo:skopeo umoci:umoci /bin/busybox:busybox-static gcc:gcc /usr/include/stdio.h:libc6-dev make:make python3:python3)
test_needs=(debootstrap:debootstrap zstd:zstd dockerd:docker.io htpasswd:apache2-utils getfattr:attr ip:iproute2 fuse-overlayfs:fuse-overlayfs openssl:openssl node:nodejs npm:npm sshd:openssh-server ssh:openssh-client qemu-aarch64-static:qemu-user-static bzip2:bzip2 xz:xz-utils)

case "${1:-build}" in
    build) needs=("${build_needs[@]}") ;;
    demo) needs=("${build_needs[@]}" "${run_needs[@]}" "${demo_needs[@]}") ;;
    test | bench) needs=("${build_needs[@]}" "${run_needs[@]}" "${demo_needs[@]}" "${test_needs[@]}") ;;
    *) echo "usage: build/deps.sh build|demo|test|bench" >&2; exit 2 ;;
esac

if ! command -v dotnet >/dev/null; then
    echo "The .NET SDK 10 is needed (dotnet on PATH): see https://dotnet.microsoft.com/download" >&2
    exit 1
fi

missing=()
for need in "${needs[@]}"; do
    probe=${need%%:*} package=${need##*:}
    case "$probe" in
        /*) [ -e "$probe" ] || [ -e "${probe/x86_64-linux-gnu/$(uname -m)-linux-gnu}" ] || missing+=("$package") ;;
        *) command -v "$probe" >/dev/null || [ -x "/usr/sbin/$probe" ] || missing+=("$package") ;;
    esac
done
# What comes from npm, once there is an npm.
finish() {
    case "$1" in test | bench) "$(dirname "$0")/stores.sh" ;; esac
    exit 0
}
[ ${#missing[@]} -eq 0 ] && finish "${1:-build}"

if [ "$(id -u)" -ne 0 ]; then
    echo "Missing Debian packages; install them and run this again:" >&2
    echo "  apt-get install ${missing[*]}" >&2
    exit 1
fi
echo "installing ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
# Services that packages bring along (dockerd, the registry) must not start by themselves.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod +x "$policy"
    trap 'rm -f "$policy"' EXIT
fi
log=$(mktemp)
if ! { apt-get update -q && apt-get install -q -y --no-install-recommends "${missing[@]}"; } >"$log" 2>&1; then
    tail -30 "$log" >&2
    echo "apt-get could not install: ${missing[*]}" >&2
    exit 1
fi
rm -f "$log"
finish "${1:-build}"
