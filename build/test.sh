#!/usr/bin/env bash
# Runs the tests and prints one closing line: N passed, N failed, N skipped (golden: N passed, N failed).
#   build/test.sh [golden|fast|integration]
# ANALYZE=true: with the same build as build/lint.sh, so that nothing is compiled twice.
# golden: whatever the sets in BUILDKIT_GOLDEN_DIR (else tests/golden) hold; a set that is not there has no tests.
set -uo pipefail
cd "$(dirname "$0")/.."
export DOTNET_CLI_TELEMETRY_OPTOUT=1 DOTNET_NOLOGO=1
which=${1:-all}
results=artifacts/test-results
rm -rf "$results"
mkdir -p "$results"
status=0

run() { # project, extra arguments
    local project=$1
    shift
    dotnet test "tests/$project/$project.csproj" -v q --nologo -p:RunAnalyzers="${ANALYZE:-false}" \
        --logger "trx;LogFileName=$PWD/$results/$project.trx" "$@" 2>&1 |
        { grep -vE '^\s*$|Passed!|Test run for|VSTest version|Starting test execution|A total of|Results File|\[xUnit.net|No test matches' || true; } ||
        status=1
}

case "$which" in
    golden) run BuildKit.Tests --filter Data=golden; run BuildKit.IntegrationTests --filter Data=golden ;;
    fast) run BuildKit.Tests ;;
    integration) run BuildKit.IntegrationTests ;;
    *) run BuildKit.Tests; run BuildKit.IntegrationTests ;;
esac

python3 - "$results" "$which" "$status" <<'PY'
import glob, sys
import xml.etree.ElementTree as ET
passed = failed = skipped = 0
files = glob.glob(sys.argv[1] + "/*.trx")
for path in files:
    root = ET.parse(path).getroot()
    for result in root.iter("{http://microsoft.com/schemas/VisualStudio/TeamTest/2010}UnitTestResult"):
        outcome = result.get("outcome")
        if outcome == "Passed":
            passed += 1
        elif outcome == "NotExecuted":
            skipped += 1
            if sys.argv[2] == "golden":
                print("left out:", result.get("testName"), " ".join(result.itertext()).strip(), file=sys.stderr)
        else:
            failed += 1
            message = result.find(".//{*}ErrorInfo/{*}Message")
            print("failed:", result.get("testName"), "\n   ", (message.text or "").strip() if message is not None else outcome, file=sys.stderr)
# A project without golden cases writes no results.
expected = {"fast": 1, "integration": 1, "golden": 0}.get(sys.argv[2], 2)
if len(files) < expected or (sys.argv[3] != "0" and not failed):
    print("a test project gave no results (it did not build or was cut off)", file=sys.stderr)
    failed += 1
if sys.argv[2] == "golden":
    print(f"{passed} passed, {failed} failed")
else:
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
sys.exit(1 if failed or passed == 0 else 0)
PY
