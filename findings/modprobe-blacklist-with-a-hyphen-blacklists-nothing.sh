#!/bin/bash
# kmod 34.2: modprobe.blacklist=vfio-pci on the kernel command line blacklists nothing. The names in that list are not brought to the form
# with underscores, as those of modprobe.d are, and all modules' names have underscores to kmod. Written with an underscore it works. And
# modprobe does not stop at "--", behind which the kernel hands the words to init.
#
# Seen: kmod 34.2-2 of Debian 13; a line of modprobe.d with the hyphen is the control.
set -euo pipefail
. "$(dirname "$0")/debian"
. "$(dirname "$0")/machine"

extract trixie "$work/root" kmod liblzma5 libzstd1 zlib1g
mkdir -p "$work/root"/{proc,etc/modprobe.d} "$work/root/usr/lib/modules/$(uname -r)"
blacklisted() { # COMMAND LINE
    echo "$1" >"$work/root/proc/cmdline"
    chroot "$work/root" /usr/sbin/modprobe -c 2>/dev/null | grep '^blacklist' | xargs
}
version=$(chroot "$work/root" /usr/bin/kmod --version | head -n 1)
expect "$version, hyphen on the command line" "$(blacklisted 'quiet modprobe.blacklist=vfio-pci')" 'blacklist vfio-pci'
expect "$version, underscore behind --" "$(blacklisted 'quiet -- modprobe.blacklist=vfio_pci')" 'blacklist vfio_pci'
echo 'blacklist vfio-pci' >"$work/root/etc/modprobe.d/x.conf"
expect "$version, hyphen in modprobe.d" "$(blacklisted quiet)" 'blacklist vfio_pci'
