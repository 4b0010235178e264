# sha256sum of coreutils: additions and rotations without table or memory.
. "$BENCH/commands/common.inc"
rounds 100
case $step in
prepare)
    "$BENCH/generate" text 1000000 >text
    head -c 1000 text | sha256sum
    ;;
run)
    files=
    while [ "$n" -gt 0 ]; do
        files="$files text"
        n=$((n - 1))
    done
    # shellcheck disable=SC2086
    sha256sum $files
    ;;
esac
