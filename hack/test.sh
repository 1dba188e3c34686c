#!/bin/bash
# All tests: lint, unit and kernel tests (with the race detector where processes are
# not forked by hand), the demo, and the conformance suite. Needs root; installs what
# it needs. Its last line counts.
set -euo pipefail
cd "$(dirname "$0")/.."
. hack/say.sh
[ "$(id -u)" = 0 ] || fail "the kernel tests need root"

heading "packages"
hack/install-packages.sh

make --no-print-directory build
hack/lint.sh

# A race-detecting program keeps shadow memory that a forked child cannot use: the packages
# that fork by hand, and those that test with a keeper in their own process, do without.
forking='^tare/(nsutil|keeper/server|keeper|lifecycle|sandbox|container|cmd/keeper|test/.*)$'
results=$(mktemp)
trap 'rm -f "$results"' EXIT

heading "unit and kernel tests, race detector on"
CGO_ENABLED=1 go test -race $(go list ./... | grep -Ev "$forking") | tee -a "$results"

heading "unit and kernel tests of what forks"
go test $(go list ./... | grep -E "$forking") | tee -a "$results"

heading "demo"
hack/demo.sh

heading "conformance: critest"
go -C test/cri test -count=1 -v . | tee -a "$results"

passed=$(grep -c '^ok' "$results")
untested=$(grep -c 'no test files' "$results" || true)
printf '\n== all passed in %ds: %d packages tested, %d without tests, demo, critest\n' "$(($(date +%s) - started))" "$passed" "$untested"
