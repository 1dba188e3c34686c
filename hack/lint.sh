#!/bin/sh
# gofmt, vet and staticcheck, for both architectures where they can differ.
set -eu
cd "$(dirname "$0")/.."
. hack/say.sh

heading "gofmt"
unformatted=$(gofmt -l .)
[ -z "$unformatted" ] || fail "run gofmt -w on: $unformatted"

heading "go vet, amd64 and arm64"
for arch in amd64 arm64; do
    GOARCH=$arch go vet ./...
    GOARCH=$arch go build ./...
done
go -C test/cri vet ./...

heading "staticcheck"
go run honnef.co/go/tools/cmd/staticcheck@v0.8.2 ./...
