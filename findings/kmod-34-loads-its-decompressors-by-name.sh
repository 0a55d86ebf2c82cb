#!/bin/bash
# kmod 34.2 (Debian 13 and later): liblzma and libzstd are opened at run time, by name. `ldd` does not list them and the package does not
# depend on them. An initramfs or a container that got modprobe with the libraries that ldd names cannot read one .ko.xz: the message "can't
# load and resolve symbols" names no library, and "Invalid argument" follows. kmod 30 (Debian 12) was linked with both.
#
# Seen: kmod 34.2-2 of Debian 13.
set -euo pipefail
. "$(dirname "$0")/debian"
. "$(dirname "$0")/machine"

extract trixie "$work/root" kmod
module=/usr/lib/modules/1.0/kernel/some.ko
mkdir -p "$work/root$(dirname $module)"
# To modinfo an ELF file is a module.
cp "$work/root/usr/bin/kmod" "$work/root$module" && xz "$work/root$module"
expect 'liblzma among what it is linked with' \
    "$(chroot "$work/root" /usr/lib64/ld-linux-x86-64.so.2 --list /usr/bin/kmod | grep -c lzma || true)" 0
rm -f "$work"/root/usr/lib/x86_64-linux-gnu/liblzma.so.5*
expect "modinfo of $(chroot "$work/root" /usr/bin/kmod --version | head -n 1)" \
    "$(chroot "$work/root" /usr/sbin/modinfo "$module.xz" 2>&1 | grep -o "can't load and resolve symbols\|Invalid argument" | xargs -d '\n' || true)" \
    "can't load and resolve symbols Invalid argument"
