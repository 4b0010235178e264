# 7-Zip: LZMA there and back with one thread.
. "$BENCH/commands/common.inc"
rounds 900000
case $step in
prepare)
    "$BENCH/generate" text "$n" >text
    head -c 1000 text >little
    7zz a -mmt1 -mtm- little.7z little
    ;;
run)
    7zz a -bd -mmt1 -mtm- -mx5 text.7z text >/dev/null
    7zz e -bd -so -mmt1 text.7z | cksum
    cksum <text.7z
    ;;
esac
