# Node.js: V8's compilers, leaving optimised code, collecting code; its interpreter says what is right.
. "$BENCH/commands/common.inc"
rounds 30
case $step in
prepare) node --jitless "$BENCH/commands/jit.js" "$n" >expected ;;
run)
    node --expose-gc --flush-bytecode "$BENCH/commands/jit.js" "$n" >printed
    cmp expected printed
    cat printed
    ;;
esac
