#!/bin/bash
# Tests in a virtual machine what the machines of CI lack: cgroup v2, systemd as process 1,
# AppArmor, SELinux. Each file of hack/vm/parts is a part, booted on its own:
#
#   hack/test-vm.sh [PART...]      all of them, or those named; after make build
#
# A part is a bash file that this script sources outside, and the guest inside. It sets
#
#   title     what is tested, for people
#   limit     seconds for boot and tests together
#   boot      options of hack/vm/run.sh, e.g. (-s)
#   outside() builds what the part needs into $share; the words for it are below
#   inside()  runs in the guest, in /mnt/host, which is $share; its words are in hack/vm/words.sh;
#             its status is the part's
#
# $share has the tree's layout, so that tests find testdata and ../../bin where they expect them.
set -euo pipefail
cd "$(dirname "$0")/.."
. hack/say.sh
export CGO_ENABLED=0
VM=$PWD/.vm
export VM

# tests PACKAGE...: the packages' test binaries, with their test data.
tests() {
    local package
    for package in "$@"; do
        mkdir -p "$share/$package"
        go test -c -trimpath -o "$share/$package/this.test" "./$package"
        [ ! -d "$package/testdata" ] || cp -R "$package/testdata" "$share/$package/"
    done
}

# binaries: what make build has made.
binaries() {
    mkdir -p "$share/bin"
    cp bin/tare bin/keeper bin/tare-bridge bin/registry bin/leak "$share/bin/"
}

# critest: the conformance suite's judge, and what it needs beside the binaries.
critest() {
    mkdir -p "$share/test/cri"
    go -C test/cri test -c -trimpath -o "$share/test/cri/this.test" .
    cp test/cri/allow.txt "$share/test/cri/"
    go -C test/cri test -c -trimpath -o "$share/bin/critest" sigs.k8s.io/cri-tools/cmd/critest
    go build -trimpath -o "$share/bin/" ./test/enclose/cmd/enclose
}

# run_part NAME: in a subshell, as each part defines the same names.
run_part() (
    set -e
    share=$VM/share/$1
    limit=300 boot=()
    rm -rf "$share"
    mkdir -p "$share"
    . "hack/vm/parts/$1.sh"
    heading "$1: $title"
    cp "hack/vm/parts/$1.sh" "$share/part.sh"
    cp hack/vm/words.sh "$share/"
    outside
    hack/vm/run.sh -d "$share" -t "$limit" "${boot[@]}" -- 'cd /mnt/host && . ./words.sh && . ./part.sh && inside'
    rm -rf "$share"
)

parts=("$@")
[ $# -gt 0 ] || parts=($(cd hack/vm/parts && ls | sed 's/\.sh$//'))
for part in "${parts[@]}"; do
    [ -f "hack/vm/parts/$part.sh" ] || fail "there is no part $part; there are: $(cd hack/vm/parts && ls | sed 's/\.sh$//' | paste -sd' ')"
done

heading "machine"
hack/vm/build.sh
failed=
for part in "${parts[@]}"; do
    began=$(date +%s)
    set +e # on the left of || it would be off in the part too
    run_part "$part"
    code=$?
    set -e
    took=$(($(date +%s) - began))
    if [ "$code" = 0 ]; then
        printf 'ok   %s (%ds)\n' "$part" "$took"
    else
        printf 'FAIL %s: status %s (%ds)\n' "$part" "$code" "$took"
        failed="$failed $part"
    fi
done
[ -z "$failed" ] || fail "failed:$failed"
printf '\n== all parts passed in %ds: %s\n' "$(($(date +%s) - started))" "${parts[*]}"
