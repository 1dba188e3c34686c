# Words for the inside of a part: sourced in the guest.
set -uo pipefail

# run_tests PACKAGE [FLAG...]: runs the test binary that "tests PACKAGE" made, shows a line per
# test, and after a failure the end of all it wrote; of one that hangs, before the part's limit ends it. What a
# guest has to offer is known here, so a test that is skipped is a failure, unless $may_skip, a pattern, is in its line.
run_tests() {
    local package=$1 log=/tmp/tests.log code skipped
    shift
    (cd "$package" && exec ./this.test -test.v -test.timeout=$((limit - 60))s "$@" 2>&1) |
        tee "$log" | grep --line-buffered '^--- '
    code=${PIPESTATUS[0]}
    [ "$code" = 0 ] || tail -n 200 "$log"
    if skipped=$(grep '^ *--- SKIP' "$log" | grep -Ev "${may_skip:-^$}"); then
        printf 'skipped in %s:\n%s\n' "$package" "$skipped"
        return 1
    fi
    return "$code"
}

# run_critest [FLAG...]: runs specs of critest, all of them unless flags of test/cri say otherwise, which "binaries"
# and "critest" made. The guest has AppArmor, so the specs about it are no exceptions here; $exceptions are, lines as in
# test/cri/allow.txt.
run_critest() {
    {
        grep -v 'the kernel has no AppArmor' test/cri/allow.txt
        printf '%s\n' "${exceptions:-}"
    } >/tmp/allow.txt
    # Some load their profiles with sudo.
    printf '#!/bin/sh\nexec "$@"\n' >/usr/local/bin/sudo
    chmod 755 /usr/local/bin/sudo
    run_tests test/cri -test.run 'TestCRI$' -critest ../../bin/critest -limit 15m -allow /tmp/allow.txt "$@"
}
