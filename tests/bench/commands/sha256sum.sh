# sha256sum of coreutils: additions and rotations without table or memory.
. "$BENCH/commands/common.inc"
rounds 100
case $step in
prepare)
    "$BENCH/generate" text 1000000 >text
    head -c 1000 text | sha256sum
    ;;
run)
    i=0
    while [ $i -lt "$n" ]; do
        cat text
        i=$((i + 1))
    done | sha256sum
    ;;
esac
