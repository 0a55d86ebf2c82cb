#!/bin/bash
# kmod 34.2: `modprobe -r vfio` removes vfio_iommu_type1 and vfio, which is all that was asked for, and yet exits 1 with "could not
# remove 'vfio': No such file or directory". The module's soft dependency (post: vfio_iommu_type1) depends on vfio itself, so that vfio
# comes twice in the list of what is to be removed. Whoever takes the exit status for the outcome believes that VFIO is still loaded.
#
# Seen: kmod 34.2-2+b2 of Debian sid, with Linux 7.2.13-1.
set -euo pipefail
. "$(dirname "$0")/debian"
. "$(dirname "$0")/machine"

emulator forky
system sid 7.2.13+deb14-amd64 linux-{base,binary,modules}-7.2.13+deb14-amd64=7.2.13-1
seen=$(boot vfio vfio_iommu_type1 -- -M q35 <<'SH'
modprobe vfio
cut -d' ' -f1 /proc/modules | sort | xargs echo loaded: >&3
modprobe -r -v vfio >&3 2>&3
echo "exit status $?" >&3
cut -d' ' -f1 /proc/modules | sort | xargs echo loaded: >&3
SH
)
expect 'modprobe -r vfio' "$seen" "loaded: vfio vfio_iommu_type1
rmmod vfio_iommu_type1
rmmod vfio
rmmod vfio
modprobe: ERROR: could not remove 'vfio': No such file or directory
exit status 1
loaded:"
