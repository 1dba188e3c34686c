#!/bin/bash
# All tests: lint, unit and kernel tests with the race detector, the demo, the conformance suite, a kubelet's
# pods, and of those in a virtual machine what fits. Needs root; installs what it needs. Its last lines
# count, and say which tests were skipped and why.
set -euo pipefail
cd "$(dirname "$0")/.."
. hack/say.sh
[ "$(id -u)" = 0 ] || fail "the kernel tests need root"

heading "packages"
hack/install-packages.sh
hack/install-packages.sh hack/packages-race

make --no-print-directory build
hack/lint.sh

results=$(mktemp) skips=$(mktemp)
trap 'rm -f "$results" "$skips"' EXIT
go build -trimpath -o bin/ ./hack/tested

# One package at a time: several look for what they have left on the host, and would find
# each other's.
heading "unit and kernel tests, race detector on"
CGO_ENABLED=1 go test -json -race -p 1 -timeout 30m ./... | bin/tested -skips "$skips" | tee "$results"

heading "demo"
hack/demo.sh

heading "conformance: critest"
go -C test/cri test -json -count=1 . | bin/tested -v -skips "$skips" | tee -a "$results"

# A machine that waits for downloads most of the time, beside a kubelet that needs every processor.
heading "kubelet and virtual machine, built"
hack/vm/build.sh &
machine=$!
go -C test/kubelet build -trimpath -ldflags='-s -w' -o ../../bin/ k8s.io/kubernetes/cmd/kubelet
wait "$machine"

heading "pods by a kubelet"
go -C test/kubelet test -json -count=1 -timeout 20m . -args -slower 2 | bin/tested -v -skips "$skips" | tee -a "$results"

# CI ends what takes longer than half an hour; the rest is "make test-vm".
last=1440
hack/test-vm.sh -b $((last - ($(date +%s) - started))) critest-systemd kernel service

heading "skipped on this machine, $(wc -l <"$skips") tests"
cat "$skips"

tested=$(grep -c '^ok' "$results")
untested=$(grep -c 'no test files' "$results" || true)
printf '\n== all passed in %ds: %d packages tested, %d without tests, %d tests skipped, demo, critest, a virtual machine\n' \
    "$(($(date +%s) - started))" "$tested" "$untested" "$(wc -l <"$skips")"
