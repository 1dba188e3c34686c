#!/bin/bash
# Tests in a virtual machine what the machines of CI lack: cgroup v2, systemd as process 1,
# AppArmor, SELinux. Each file of hack/vm/parts is a part, booted on its own:
#
#   hack/test-vm.sh [-b SECONDS] [PART...]      all of them, or those named
#
# With -b, parts whose turn comes later than that are left out, and named at the end. A test that fails
# fails its part, and the others are run; what cannot be built ends it all.
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
    cp bin/tare bin/keeper bin/tare-bridge bin/attack bin/registry bin/leak "$share/bin/"
}

# critest: the conformance suite's judge, and what it needs beside the binaries.
critest() {
    mkdir -p "$share/test/cri"
    go -C test/cri test -c -trimpath -o "$share/test/cri/this.test" .
    cp test/cri/allow.txt "$share/test/cri/"
    go -C test/cri test -c -trimpath -o "$share/bin/critest" sigs.k8s.io/cri-tools/cmd/critest
    go build -trimpath -o "$share/bin/" ./test/enclose/cmd/enclose
}

# kubelet: a kubelet and the tests of its pods, which need the binaries.
kubelet() {
    go -C test/kubelet test -c -trimpath -o "$share/test/kubelet/this.test" .
    go -C test/kubelet build -trimpath -ldflags='-s -w' -o "$share/bin/" k8s.io/kubernetes/cmd/kubelet
    go build -trimpath -o "$share/bin/" ./test/enclose/cmd/enclose
}

# part NAME: what the part says. In a subshell, as each defines the same names.
part() {
    limit=300 boot=()
    . "hack/vm/parts/$1.sh"
}

# build_part NAME: fills $share.
build_part() (
    part "$1"
    heading "$1: $title"
    rm -rf "$share"
    mkdir -p "$share"
    cp "hack/vm/parts/$1.sh" "$share/part.sh"
    cp hack/vm/words.sh "$share/"
    outside
)

# run_part NAME: its status is the part's.
run_part() (
    part "$1"
    hack/vm/run.sh -d "$share" -t "$limit" "${boot[@]}" -- 'cd /mnt/host && . ./words.sh && . ./part.sh && inside'
)

budget=
while getopts b: option; do
    case $option in
    b) budget=$OPTARG ;;
    *) exit 2 ;;
    esac
done
shift $((OPTIND - 1))
parts=("$@")
[ $# -gt 0 ] || parts=($(cd hack/vm/parts && ls | sed 's/\.sh$//'))
for part in "${parts[@]}"; do
    [ -f "hack/vm/parts/$part.sh" ] || fail "there is no part $part; there are: $(cd hack/vm/parts && ls | sed 's/\.sh$//' | paste -sd' ')"
done

make --no-print-directory build
heading "machine"
hack/vm/build.sh
exec 9<"$VM" # build.sh empties no directory that somebody has locked
flock -s 9
share=$(mktemp -d "$VM/share.XXXXXX")
trap 'rm -rf "$share"' EXIT
passed='' failed='' late=''
crashed=251 # hack/vm/run.sh
for part in "${parts[@]}"; do
    began=$(date +%s)
    if [ -n "$budget" ] && [ $((began - started)) -gt "$budget" ]; then
        late="$late $part"
        continue
    fi
    build_part "$part" # by itself: beside || or if, it would go on after what fails
    code=0
    run_part "$part" || code=$?
    if [ "$code" = "$crashed" ]; then
        # Emulation's own fault, seldom. Twice in a row it is not.
        printf 'CRASH %s: the guest'"'"'s kernel, not a test: once more\n' "$part"
        code=0
        run_part "$part" || code=$?
    fi
    took=$(($(date +%s) - began))
    if [ "$code" = 0 ]; then
        printf 'ok   %s (%ds)\n' "$part" "$took"
        passed="$passed $part"
    else
        printf 'FAIL %s: status %s (%ds)\n' "$part" "$code" "$took"
        failed="$failed $part"
    fi
done
[ -z "$failed" ] || fail "failed:$failed"
printf '\n== all passed in %ds of:%s\n' "$(($(date +%s) - started))" "$passed"
[ -z "$late" ] || printf '== left out, as %ds were over:%s\n' "$budget" "$late"
