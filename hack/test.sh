#!/bin/bash
# All tests: lint, unit and kernel tests with the race detector, the demo, and the
# conformance suite. Needs root; installs what it needs. Its last line counts.
set -euo pipefail
cd "$(dirname "$0")/.."
. hack/say.sh
[ "$(id -u)" = 0 ] || fail "the kernel tests need root"

heading "packages"
hack/install-packages.sh
hack/install-packages.sh hack/packages-race

make --no-print-directory build
hack/lint.sh

results=$(mktemp)
trap 'rm -f "$results"' EXIT

# One package at a time: several look for what they have left on the host, and would find
# each other's.
heading "unit and kernel tests, race detector on"
CGO_ENABLED=1 go test -race -p 1 ./... | tee "$results"

heading "demo"
hack/demo.sh

heading "conformance: critest"
go -C test/cri test -count=1 -v . | tee -a "$results"

tested=$(grep -c '^ok' "$results")
untested=$(grep -c 'no test files' "$results" || true)
printf '\n== all passed in %ds: %d packages tested, %d without tests, demo, critest\n' \
    "$(($(date +%s) - started))" "$tested" "$untested"
