#!/usr/bin/env bash
# Fetches a static program for another CPU, for the tests of multi-platform builds:
#   artifacts/foreign/arm64/busybox, out of Debian's package. Where it cannot be had, those tests are skipped.
set -euo pipefail
cd "$(dirname "$0")/.."
program=artifacts/foreign/arm64/busybox
[ -x "$program" ] && exit 0
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/lists/partial" "$work/cache/archives/partial"
apt() { # its own package lists: this machine's are not touched
    (cd "$work" && apt-get -q -o APT::Architecture=arm64 -o APT::Architectures::=arm64 -o APT::Sandbox::User=root \
        -o Dir::State::Lists="$work/lists" -o Dir::State::status=/dev/null -o Dir::Cache="$work/cache" "$@") >>"$work/log" 2>&1
}
if ! { apt update && apt download busybox-static:arm64 && dpkg-deb -x "$work"/busybox-static_*.deb "$work/tree"; }; then
    echo "no busybox for arm64: tests of multi-platform builds will be skipped" >&2
    tail -3 "$work/log" >&2
    exit 0
fi
mkdir -p "$(dirname "$program")"
install -m 755 "$work/tree/bin/busybox" "$program.new"
mv "$program.new" "$program"
