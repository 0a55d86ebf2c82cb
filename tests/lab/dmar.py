#!/usr/bin/env python3
"""dmar.py ADDRESS on|off [amd]: an uncompressed cpio with a table that reserves a 1:1 region for the device: a DMAR with an RMRR, or,
with amd, an IVRS with an IVMD.

Linux takes such a table instead of the firmware's when signature and OEM ids are the same and the OEM revision is greater.
The second argument is whether the IOMMU remaps interrupts. The region lies in the range above 0xfffc0000 that the firmware
reserves anyway, so that the kernel does not complain about a firmware bug.
"""
import os
import re
import struct
import sys

# How the lab's buses are reached: device and function of each bridge on the way from bus 0 (see README.md).
BRIDGES = {0: [], 1: [(5, 0)], 2: [(6, 0)], 3: [(7, 0)], 4: [(7, 0), (0, 0)], 5: [(13, 0)]}


def scope(bus, device, function):
    path = BRIDGES[bus] + [(device, function)]
    return struct.pack("<BBHBB", 1, 6 + 2 * len(path), 0, 0, 0) + b"".join(bytes(step) for step in path)


def table(bus, device, function, remap):
    ioapic = bytes([3, 8, 0, 0, 0, 0xFF, 0, 0])
    drhd = struct.pack("<HHBBHQ", 0, 16 + len(ioapic), 1, 0, 0, 0xFED90000) + ioapic
    scopes = scope(bus, device, function)
    rmrr = struct.pack("<HHHHQQ", 1, 24 + len(scopes), 0, 0, 0xFFFC0000, 0xFFFFFFFF) + scopes
    body = bytes([0x26, 1 if remap else 0]) + bytes(10) + drhd + rmrr
    header = struct.pack("<4sIBB6s8sI4sI", b"DMAR", 36 + len(body), 1, 0, b"BOCHS ", b"BXPC    ", 2, b"BXPC", 1)
    whole = bytearray(header + body)
    whole[9] = -sum(whole) % 256
    return bytes(whole)


def with_definition(bus, device, function):
    """QEMU's own table of this machine, with a memory definition for the function behind its blocks: 1:1, read and write."""
    captured = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../corpus/ivrs/qemu")
    with open(captured, "rb") as file:
        whole = bytearray(file.read())
    number = bus << 8 | device << 3 | function
    whole += struct.pack("<BBHHHQQQ", 0x21, 7, 32, number, 0, 0, 0xFFFC0000, 0x40000)
    whole[4:8] = struct.pack("<I", len(whole))
    whole[24:28] = struct.pack("<I", struct.unpack("<I", whole[24:28])[0] + 1)
    whole[9] = 0
    whole[9] = -sum(whole) % 256
    return bytes(whole)


def member(inode, name, data, mode):
    fields = (inode, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0)
    entry = b"070701" + b"".join(b"%08X" % field for field in fields) + name.encode() + b"\0"
    entry += bytes(-len(entry) % 4) + data
    return entry + bytes(-len(entry) % 4)


def main():
    found = re.fullmatch(r"([0-9a-f]{2}):([0-9a-f]{2})\.([0-7])", sys.argv[1])
    bus, device, function = (int(part, 16) for part in found.groups())
    if bus not in BRIDGES:
        sys.exit(f"dmar.py: the lab has no bus {bus:02x}")
    amd = sys.argv[3:] == ["amd"]
    data = with_definition(bus, device, function) if amd else table(bus, device, function, sys.argv[2] == "on")
    archive = b""
    path = ""
    for inode, part in enumerate(("kernel", "firmware", "acpi"), 1):
        path = f"{path}/{part}".lstrip("/")
        archive += member(inode, path, b"", 0o040755)
    archive += member(4, path + ("/ivrs.aml" if amd else "/dmar.aml"), data, 0o100644)
    archive += member(0, "TRAILER!!!", b"", 0)
    sys.stdout.buffer.write(archive + bytes(-len(archive) % 512))


main()
