# Counts, rewrites and sorts the words of a text.
use strict;
use warnings;
my (%count, %after, $last, $numbers, $changed);
($last, $numbers, $changed) = ('', 0, 0);
while (my $line = <STDIN>) {
    chomp $line;
    $numbers += $1 while $line =~ /\b(\d+)\b/g;
    $changed += ($line =~ s/\b([bcdfg])([aeiou]+)(\w*?)([st])\b/$4$3-$2$1/g);
    $changed += ($line =~ tr/aeiou/eioua/);
    for my $word (split /[\s,]+/, $line) {
        $count{$word}++;
        $after{$last}{$word}++ if length $last > 3;
        $last = $word;
    }
}
my @words = sort { $count{$b} <=> $count{$a} || $a cmp $b } keys %count;
print "$numbers $changed ", scalar @words, "\n";
for my $word (@words[0 .. ($#words < 50 ? $#words : 50)]) {
    my $next = $after{$word} || {};
    my @most = sort { $next->{$b} <=> $next->{$a} || $a cmp $b } keys %$next;
    printf "%s %d %s\n", $word, $count{$word}, join ' ', @most[0 .. ($#most < 2 ? $#most : 2)];
}
