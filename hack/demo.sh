#!/bin/sh
# Runs the demo to its end, in a directory of its own: whatever else runs here is not disturbed.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
"$(dirname "$0")/../bin/demo" --once --dir "$dir"
left=$(find "$dir" -mindepth 1)
[ -z "$left" ] || {
    echo "the demo left: $left" >&2
    exit 1
}
