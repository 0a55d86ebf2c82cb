#!/usr/bin/env python3
"""hold.py ADDRESS device|group|container READY: hold a VFIO device open the way a VM does, until killed.
hold.py ADDRESS handed READY OTHER DEPTH: the same without the device's group: another process opens it, hands it over and ends.
hold.py ADDRESS try: bind the device, open it as QEMU does, let go of it, and print how far that went.
hold.py - try: the same for each line "NUMBER ADDRESS" that is read, answered with "NUMBER OUTCOME", by a child each.

group opens /dev/vfio/N and nothing else, container also gives the group to a container with an IOMMU, device (what QEMU does)
opens the device too. With handed the holder itself has only OTHER's group open, to that DEPTH. READY is a file that is written
once all that is open; on an error it holds the error. Numbers: linux/vfio.h.
try prints "opens", or "fails at STEP (ERRNO)" in the words of a preflight report; the device stays on its VFIO driver.
"""
import errno
import fcntl
import os
import signal
import socket
import struct
import subprocess
import sys

SET_IOMMU, GROUP_GET_STATUS, GROUP_SET_CONTAINER, GROUP_GET_DEVICE_FD = 0x3B66, 0x3B67, 0x3B68, 0x3B6A
TYPE1V2 = 3
VIABLE = 1


def hold(address, depth):
    """Opens it, and returns the device's descriptor where it goes so deep. All descriptors stay open."""
    number = os.path.basename(os.readlink(f"/sys/bus/pci/devices/{address}/iommu_group"))
    group = os.open(f"/dev/vfio/{number}", os.O_RDWR)
    if depth == "group":
        return None
    status = bytearray(struct.pack("II", 8, 0))
    fcntl.ioctl(group, GROUP_GET_STATUS, status)
    if not struct.unpack("II", status)[1] & VIABLE:
        raise OSError(f"group {number} is not viable")
    container = os.open("/dev/vfio/vfio", os.O_RDWR)
    fcntl.ioctl(group, GROUP_SET_CONTAINER, struct.pack("i", container))
    fcntl.ioctl(container, SET_IOMMU, TYPE1V2)
    if depth == "container":
        return None
    # Only with a buffer that can be written does ioctl return what the call returned.
    return fcntl.ioctl(group, GROUP_GET_DEVICE_FD, bytearray(address.encode() + b"\0"))


def receive(address):
    """Has another process open it and hand it over. That one has ended when this returns."""
    ours, theirs = socket.socketpair()
    child = os.fork()
    if child == 0:
        try:
            socket.send_fds(theirs, [b"held"], [hold(address, "device")])
        except OSError as error:
            theirs.send(str(error).encode())
        os._exit(0)
    text, descriptors, _, _ = socket.recv_fds(ours, 200, 1)
    os.waitpid(child, 0)
    ours.close()
    theirs.close()
    if not descriptors:
        raise OSError(text.decode())


def bind(address):
    """Binds to vfio-pci by its own file, which gives the true error; drivers_probe says yes to everything."""
    device, driver = f"/sys/bus/pci/devices/{address}", "/sys/bus/pci/drivers/vfio-pci"

    def write(path, text):
        file = os.open(path, os.O_WRONLY)
        try:
            os.write(file, text.encode())
        finally:
            os.close(file)

    if os.path.exists(f"{device}/driver"):
        if os.path.basename(os.readlink(f"{device}/driver")) == "vfio-pci":
            return
        write(f"{device}/driver/unbind", address)
    write(f"{device}/driver_override", "vfio-pci")
    # A host driver is gone now, and udev or the override may have bound it already.
    if not os.path.exists(f"{device}/driver"):
        write(f"{driver}/bind", address)


def steps(address):
    """Each step to an open device, in order."""
    held = {}

    def load():
        subprocess.run(["modprobe", "vfio-pci"], stderr=subprocess.DEVNULL)
        os.stat("/sys/bus/pci/drivers/vfio-pci")

    def node():
        name = os.path.basename(os.readlink(f"/sys/bus/pci/devices/{address}/iommu_group"))
        path = f"/dev/vfio/{name}"
        held["group"] = os.open(path if os.path.exists(path) else f"/dev/vfio/noiommu-{name}", os.O_RDWR)

    def join():
        held["container"] = os.open("/dev/vfio/vfio", os.O_RDWR)
        fcntl.ioctl(held["group"], GROUP_SET_CONTAINER, struct.pack("i", held["container"]))

    yield "driver", load
    yield "bind", lambda: bind(address)
    yield "open", node
    yield "group", join
    yield "iommu", lambda: fcntl.ioctl(held["container"], SET_IOMMU, TYPE1V2)
    yield "device", lambda: fcntl.ioctl(held["group"], GROUP_GET_DEVICE_FD, address.encode() + b"\0")


def attempt(address):
    for step, do in steps(address):
        try:
            do()
        except OSError as error:
            if step == "driver":
                return "fails at driver"
            return f"fails at {step} ({errno.errorcode.get(error.errno, error.errno)})"
    return "opens"


def main():
    if sys.argv[1:] == ["-", "try"]:
        for line in iter(sys.stdin.readline, ""):
            number, address = line.split()
            if os.fork() == 0:
                print(number, attempt(address), flush=True)
                os._exit(0)
            os.wait()
        return 0
    if sys.argv[2:] == ["try"]:
        print(attempt(sys.argv[1]))
        return 0
    address, depth, ready = sys.argv[1:4]
    try:
        if depth == "handed":
            receive(address)
            hold(*sys.argv[4:6])
        else:
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
