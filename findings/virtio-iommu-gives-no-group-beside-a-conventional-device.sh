#!/bin/bash
# Linux 7.2 on x86-64: where one conventional PCI device sits behind a PCIe-to-PCI bridge, virtio-iommu serves no device at all. The log
# says "Adding to iommu group" for each, the driver is loaded and stands in /sys/class/iommu, and /sys/kernel/iommu_groups is empty; no
# line says that anything failed. Without that device there are groups, and on Linux 6.12 there are with it as well.
#
# Seen: Debian's linux 7.2.13-1 and 6.12.117-1, QEMU 11.1.2 (Debian 1:11.1.2+ds-3), -M q35.
set -euo pipefail
. "$(dirname "$0")/debian"
. "$(dirname "$0")/machine"

# shellcheck disable=SC2016
script='
modprobe virtio-iommu
sleep 1
echo "$(ls /sys/class/iommu), added: $(dmesg | grep -c "Adding to iommu group"), groups: $(ls /sys/kernel/iommu_groups | wc -l)" >&3
'
# shellcheck disable=SC2054
beside=(-device pcie-pci-bridge,id=bridge,addr=5.0)
# shellcheck disable=SC2054
conventional=(-device e1000,bus=bridge,addr=1.0,netdev=n -netdev user,id=n)
groups() { boot virtio-iommu -- -M q35 -device virtio-iommu-pci,addr=2.0 "$@" <<<"$script"; }

emulator forky
system sid 7.2.13+deb14-amd64 linux-{base,binary,modules}-7.2.13+deb14-amd64=7.2.13-1
expect '7.2, bridge alone' "$(groups "${beside[@]}")" '0000:00:02.0, added: 5, groups: 3'
expect '7.2, bridge and device' "$(groups "${beside[@]}" "${conventional[@]}")" '0000:00:02.0, added: 5, groups: 0'

system trixie 6.12.117+deb13-amd64 linux-image-6.12.117+deb13-amd64=6.12.117-1
# There a device gets its group when its driver is probed: how many have one by now is a matter of time.
seen=$(groups "${beside[@]}" "${conventional[@]}")
expect '6.12, bridge and device: any group' "$([[ $seen == *'groups: 0' ]] && echo no || echo yes)" yes
