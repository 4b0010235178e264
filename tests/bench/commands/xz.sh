# xz: an LZ77 match finder and a range coder, there and back.
. "$BENCH/commands/common.inc"
rounds 1000000
case $step in
prepare)
    "$BENCH/generate" text "$n" >text
    head -c 1000 text | xz -T1 | xz -dc >/dev/null
    ;;
run)
    xz -T1 -4 -c text >text.xz
    xz -T1 -dc text.xz | cksum
    cksum <text.xz
    ;;
esac
