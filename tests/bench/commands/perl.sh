# Perl: regular expressions, hashes, sorting.
. "$BENCH/commands/common.inc"
rounds 1600000
case $step in
prepare)
    "$BENCH/generate" text "$n" >text
    head -c 1000 text | perl "$BENCH/commands/perl.pl"
    ;;
run) perl "$BENCH/commands/perl.pl" <text ;;
esac
