# LuaJIT compiles, leaves, flushes and compiles again; its interpreter says what is right.
. "$BENCH/commands/common.inc"
rounds 100
case $step in
prepare) luajit -joff "$BENCH/commands/jit.lua" "$n" >expected ;;
run)
    luajit "$BENCH/commands/jit.lua" "$n" >printed
    cmp expected printed
    cat printed
    ;;
esac
