# A shell script that starts many small programs, as configure scripts and builds do.
. "$BENCH/commands/common.inc"
rounds 15
work() { # work COUNT
    i=0
    while [ $i -lt "$1" ]; do
        i=$((i + 1))
        echo "name$i=$((i * i))" >"file$i"
        word=$(sed -n "s/name\([0-9]*\)=\(.*\)/\\2-\\1/p" "file$i" | tr 0-9 a-j)
        grep -q "name$i" "file$i" && expr "$word" : '\([a-e]*\)' || true
        cat "file$i" text | sort | uniq -c | head -n 3 | cut -c 5-
        mv "file$i" "old$i"
    done
    ls | wc -l
    rm -f old*
}
case $step in
prepare)
    "$BENCH/generate" text 3000 >text
    work 1
    ;;
run) work "$n" ;;
esac
