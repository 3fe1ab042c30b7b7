#!/usr/bin/env bash
# Benchmarks bin/ against a peer and prints one table of ratios, then the solver at large sizes; see bench/README.md.
#   SCALE=0: without the large sizes      SCALE=only: nothing else
set -euo pipefail
cd "$(dirname "$0")/.."
if [ "${SCALE:-1}" != only ]; then
    python3 bench/bench.py "$@"
fi
if [ "${SCALE:-1}" != 0 ] && [ -z "${ONLY:-}" ]; then
    export DOTNET_CLI_TELEMETRY_OPTOUT=1 DOTNET_NOLOGO=1
    log=$(mktemp)
    if ! dotnet build bench/scale -c Release -p:RunAnalyzers=false -v q >"$log" 2>&1; then
        cat "$log" >&2
        exit 1
    fi
    rm -f "$log"
    echo
    exec dotnet artifacts/net10.0/bin/BuildKit.Scale/release/scale.dll
fi
