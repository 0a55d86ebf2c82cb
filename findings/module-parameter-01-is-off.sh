#!/bin/bash
# Linux: a module's boolean parameter is read by its first character (two for "on" and "off"). So 01 is off, 1x and yup are on, and 2 or
# nothing after the "=" is no value at all: the module is refused with EINVAL, and `modprobe` of it fails for as long as the line stands
# in modprobe.d. Linux 7.2 also takes e… and d… (enable, disable), which 6.12 refuses: a line written for a new kernel keeps the module out
# of an older one.
#
# Seen: vfio_pci's disable_idle_d3 on Debian's linux 7.2.13-1 and 6.12.117-1.
set -euo pipefail
. "$(dirname "$0")/debian"
. "$(dirname "$0")/machine"

values() {
    boot vfio-pci -- -M q35 <<'SH'
for value in 1x yup on 01 of enable disable o 2 ''; do
    modprobe vfio-pci disable_idle_d3="$value" 2>/dev/null
    echo "'$value' $(cat /sys/module/vfio_pci/parameters/disable_idle_d3 2>/dev/null || echo refused)" >&3
    modprobe -r vfio-pci 2>/dev/null
done
SH
}

emulator forky
system sid 7.2.13+deb14-amd64 linux-{base,binary,modules}-7.2.13+deb14-amd64=7.2.13-1
expect '7.2' "$(values | xargs -d '\n')" "'1x' Y 'yup' Y 'on' Y '01' N 'of' N 'enable' Y 'disable' N 'o' refused '2' refused '' refused"
system trixie 6.12.117+deb13-amd64 linux-image-6.12.117+deb13-amd64=6.12.117-1
expect '6.12' "$(values | xargs -d '\n')" "'1x' Y 'yup' Y 'on' Y '01' N 'of' N 'enable' refused 'disable' refused 'o' refused '2' refused '' refused"
