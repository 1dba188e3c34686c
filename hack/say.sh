# Words for scripts: sourced.
started=$(date +%s)

# heading TEXT: what is done next, with the time since the script began.
heading() { printf '\n== %s (%ds)\n' "$1" "$(($(date +%s) - started))"; }

# fail TEXT: ends the script.
fail() {
    printf '%s: %s\n' "$(basename "$0")" "$1" >&2
    exit 1
}
