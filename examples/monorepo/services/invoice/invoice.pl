#!/usr/bin/perl
# Prints lines of number, name and cents as an invoice.
use strict;
use warnings;

my @rows = map { chomp; [split /\t/] } <STDIN>;
my @amounts = map { chomp; $_ } qx(money @{[map { $_->[2] } @rows]});
print "INVOICE\n", '-' x 36, "\n";
for my $row (@rows) {
    my ($number, $name) = @$row;
    print '-' x 36, "\n" if $name =~ /^tax/;
    printf "%3s %-18s %13s\n", $number, $name, shift @amounts;
}
