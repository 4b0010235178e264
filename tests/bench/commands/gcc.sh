# gcc -O2 on a C file of a thousand lines and more.
. "$BENCH/commands/common.inc"
rounds 75
case $step in
prepare)
    "$BENCH/generate" code "$n" >code.c
    "$BENCH/generate" code 3 >little.c
    gcc -O2 -c -o little.o little.c
    ;;
run)
    gcc -O2 -c -o code.o code.c
    cksum <code.o
    ;;
esac
