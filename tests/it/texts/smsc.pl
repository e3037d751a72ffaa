# A short message centre of the Perl module Net::SMPP, which knows nothing of Roger: `perl smsc.pl PORT FOLDER`.
# FOLDER/mode says what it answers to a text: a command status in decimal, "hang" or "close". What it takes it appends to FOLDER/taken.
use strict;
use warnings;
use IO::Handle;
use Net::SMPP;

my ($port, $folder) = @ARGV;

sub mode {
    open(my $file, '<', "$folder/mode") or return 0;
    my $mode = <$file>;
    chomp $mode;
    return $mode;
}

my $centre = Net::SMPP->new_listen('127.0.0.1', port => $port, smpp_version => 0x34) or die "cannot listen: $!";
STDOUT->autoflush(1);
print "ready\n";
while (my $session = $centre->accept) {
    while (my $pdu = $session->read_pdu()) {
        if ($pdu->{cmd} == Net::SMPP::CMD_bind_transmitter) {
            my $status = $pdu->{password} eq 'open' && $pdu->{system_id} eq 'roger' ? 0 : 0x0e;
            $session->bind_transmitter_resp(system_id => 'centre', seq => $pdu->{seq}, status => $status);
        } elsif ($pdu->{cmd} == Net::SMPP::CMD_submit_sm) {
            my $mode = mode();
            last if $mode eq 'close';
            next if $mode eq 'hang';
            if ($mode == 0) {
                open(my $file, '>>', "$folder/taken") or die $!;
                print $file join("\t", @$pdu{qw(source_addr destination_addr esm_class data_coding)}, unpack('H*', $pdu->{short_message})), "\n";
                close $file;
            }
            $session->submit_sm_resp(message_id => 'm1', seq => $pdu->{seq}, status => $mode);
        } elsif ($pdu->{cmd} == Net::SMPP::CMD_unbind) {
            $session->unbind_resp(seq => $pdu->{seq});
            last;
        }
    }
    $session->close;
}
