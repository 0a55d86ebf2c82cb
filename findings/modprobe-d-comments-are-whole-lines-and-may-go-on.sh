#!/bin/bash
# kmod 34.2, modprobe.d: a "#" behind an options line begins no comment; "# text" is handed to the kernel as parameters of the module. And
# a comment line that ends with a backslash goes on: the line below it is comment, too, so that what somebody wrote there does not count.
# Files of all directories are taken in the order of their names alone, whatever the directory.
#
# Seen: kmod 34.2-2 of Debian 13.
set -euo pipefail
. "$(dirname "$0")/debian"
. "$(dirname "$0")/machine"

extract trixie "$work/system" kmod liblzma5 libzstd1 zlib1g
mkdir -p "$work/system"/{etc,run,usr/lib}/modprobe.d "$work/system/proc"
printf 'options m a=1   # b=2\n' >"$work/system/usr/lib/modprobe.d/1.conf"
printf '# was: \\\noptions m c=3\noptions m d=4\n' >"$work/system/etc/modprobe.d/2.conf"
printf 'options m e=5' >"$work/system/run/modprobe.d/3.conf"
seen=$(chroot "$work/system" /usr/sbin/modprobe -c 2>/dev/null | grep '^options m ')
expect "$(chroot "$work/system" /usr/bin/kmod --version | head -n 1)" "$seen" 'options m a=1   # b=2
options m d=4
options m e=5'
