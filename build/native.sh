#!/usr/bin/env bash
# Compiles bin/buildkitd and bin/buildctl to native code. The framework is chosen here: net10.0 where its native
# compiler package can be restored (BUILDKIT_NATIVE_FRAMEWORK=net10.0), else net9.0.
set -euo pipefail
cd "$(dirname "$0")/.."
framework=${BUILDKIT_NATIVE_FRAMEWORK:-net9.0}
case "$(uname -m)" in
    x86_64) rid=linux-x64 ;;
    aarch64) rid=linux-arm64 ;;
    *) echo "no native compiler for $(uname -m)" >&2; exit 1 ;;
esac

# Nothing to do when no source is newer than the programs.
if [ -x bin/buildkitd ] && [ -x bin/buildctl ] && [ -f "bin/.built-$framework" ] &&
    [ -z "$(find src Directory.Build.props Directory.Packages.props build/native.sh -newer "bin/.built-$framework" -type f -print -quit)" ]; then
    exit 0
fi
mkdir -p bin
export DOTNET_CLI_TELEMETRY_OPTOUT=1 DOTNET_NOLOGO=1
for program in Daemon:buildkitd Cli:buildctl; do
    project=src/BuildKit.${program%%:*}/BuildKit.${program%%:*}.csproj name=${program##*:}
    out=artifacts/native/$name
    log=$(mktemp)
    if ! dotnet publish "$project" -c Release -r "$rid" -p:BuildKitFramework="$framework" -p:PublishAot=true \
        -p:RunAnalyzers=false -o "$out" -v q >"$log" 2>&1; then
        cat "$log" >&2
        echo "native compilation of $name failed" >&2
        exit 1
    fi
    grep -E "warning (IL|AOT)" "$log" | sort -u >&2 || true
    rm -f "$log"
    install -m 0755 "$out/$name" "bin/.$name.new"
    mv "bin/.$name.new" "bin/$name"
done
touch "bin/.built-$framework"
