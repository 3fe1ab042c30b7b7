#!/usr/bin/env bash
# Installs into artifacts/stores, at fixed versions, the object stores that tests of the s3 and azblob caches run against, and
# GitHub's cache client, which the stand-in for GitHub's cache service must serve (it speaks both versions of the protocol).
# Without them (no npm, no network) those tests are skipped and say so.
set -euo pipefail
cd "$(dirname "$0")/.."
stores=(azurite@3.35.0 s3rver@3.7.1 @actions/cache@4.0.3)
directory=artifacts/stores
wanted="${stores[*]}"
[ "$(cat "$directory/.installed" 2>/dev/null)" = "$wanted" ] && exit 0
rm -rf "$directory"
mkdir -p "$directory"
echo "installing $wanted"
if ! (cd "$directory" && echo '{"private":true}' >package.json && npm install --no-audit --no-fund --no-update-notifier --ignore-scripts --save-exact "${stores[@]}") >"$directory/npm.log" 2>&1; then
    tail -20 "$directory/npm.log" >&2
    echo "npm could not install $wanted: the tests that need them are skipped" >&2
    exit 0
fi
echo "$wanted" >"$directory/.installed"
