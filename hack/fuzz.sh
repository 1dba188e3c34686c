#!/bin/sh
# Runs every fuzz target, one after the other, for as many seconds each as the argument says (default 30). What is
# found is in the package's testdata/fuzz: fix it, and keep the file as a seed.
#
#   hack/fuzz.sh [SECONDS [PACKAGE...]]
set -eu
cd "$(dirname "$0")/.."
. hack/say.sh
seconds=${1:-30}

# In memory: the image store syncs its file system, which on a disk waits for all that anybody has written there.
scratch=$(mktemp -d /dev/shm/tare-fuzz-XXXXXX)
trap 'rm -rf "$scratch"' EXIT
export GOTMPDIR="${TMPDIR:-/tmp}"
[ $# -eq 0 ] || shift
for package in ${*:-$(grep -rl --include='*_test.go' '^func Fuzz' . | xargs -n1 dirname | sort -u)}; do
    for target in $(grep -ho '^func Fuzz[A-Za-z]*' "$package"/*_test.go | cut -c6-); do
        heading "$package $target"
        TMPDIR=$scratch nice -n 10 go test -run '^$' -fuzz "^$target\$" -fuzztime "${seconds}s" -fuzzminimizetime 1s -parallel 1 "$package"
    done
done
