#!/usr/bin/env python3
"""hold.py ADDRESS device|group|container READY: hold a VFIO device open the way a VM does, until killed.

group opens /dev/vfio/N and nothing else, container also gives the group to a container with an IOMMU, device (what QEMU does)
opens the device too. READY is a file that is written once all that is open; on an error it holds the error. Numbers: linux/vfio.h.
"""
import fcntl
import os
import signal
import struct
import sys

SET_IOMMU, GROUP_GET_STATUS, GROUP_SET_CONTAINER, GROUP_GET_DEVICE_FD = 0x3B66, 0x3B67, 0x3B68, 0x3B6A
TYPE1V2 = 3
VIABLE = 1


def hold(address, depth):
    number = os.path.basename(os.readlink(f"/sys/bus/pci/devices/{address}/iommu_group"))
    group = os.open(f"/dev/vfio/{number}", os.O_RDWR)
    if depth == "group":
        return
    status = bytearray(struct.pack("II", 8, 0))
    fcntl.ioctl(group, GROUP_GET_STATUS, status)
    if not struct.unpack("II", status)[1] & VIABLE:
        raise OSError(f"group {number} is not viable")
    container = os.open("/dev/vfio/vfio", os.O_RDWR)
    fcntl.ioctl(group, GROUP_SET_CONTAINER, struct.pack("i", container))
    fcntl.ioctl(container, SET_IOMMU, TYPE1V2)
    if depth == "device":
        fcntl.ioctl(group, GROUP_GET_DEVICE_FD, address.encode() + b"\0")


def main():
    address, depth, ready = sys.argv[1:]
    try:
        hold(address, depth)
    except OSError as error:
        with open(ready, "w") as file:
            file.write(f"error: {error}\n")
        return 1
    with open(ready, "w") as file:
        file.write("held\n")
    while True:
        signal.pause()


sys.exit(main())
