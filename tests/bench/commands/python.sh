# CPython: an interpreter's loop, objects, dictionaries, strings, JSON.
. "$BENCH/commands/common.inc"
rounds 200
case $step in
prepare) python3 "$BENCH/commands/python.py" 1 >/dev/null ;;
run) python3 "$BENCH/commands/python.py" "$n" ;;
esac
