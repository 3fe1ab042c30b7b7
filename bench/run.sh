#!/usr/bin/env bash
# Benchmarks bin/ against a peer and prints one table of ratios; see bench/README.md.
set -euo pipefail
exec python3 "$(dirname "$0")/bench.py" "$@"
