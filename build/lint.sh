#!/usr/bin/env bash
# What the analyzers and the formatter object to; warnings are errors. The compiled tests are what build/test.sh runs next.
set -euo pipefail
cd "$(dirname "$0")/.."
export DOTNET_CLI_TELEMETRY_OPTOUT=1 DOTNET_NOLOGO=1
dotnet build BuildKit.slnx -v q --nologo -p:RunAnalyzers=true
dotnet format whitespace BuildKit.slnx --verify-no-changes --no-restore
