#!/usr/bin/env python3
"""named.py DIRECTORY NAME READY: have a file NAME of a FUSE mount of one's own open, at DIRECTORY, until killed; nobody serves it then.

Run in a user and mount namespace of its own (unshare --user --map-root-user --mount), without any right outside: what anybody may do.
The file is a plain one. Once it is open no question about the file system is answered any more: whoever asks waits. READY is written
once it is open; on an error it holds the error. Numbers: linux/fuse.h.
"""
import ctypes
import os
import signal
import stat
import struct
import sys
import threading

LOOKUP, GETATTR, OPEN, INIT = 1, 3, 14, 26
ROOT, FILE = 1, 2


def attributes(node):
    """struct fuse_attr"""
    mode = stat.S_IFDIR | 0o755 if node == ROOT else stat.S_IFREG | 0o644
    return struct.pack("<QQQQQQIIIIIIIIII", node, 0, 0, 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, 0, 512, 0)


def answer(code, node):
    if code == INIT:
        return struct.pack("<IIIIHHIIHHI7I", 7, 31, 0, 0, 0, 0, 4096, 1, 0, 0, 0, *[0] * 7)
    if code == LOOKUP:
        return struct.pack("<QQQQII", FILE, 0, 0, 0, 0, 0) + attributes(FILE)
    if code == GETATTR:
        return struct.pack("<QII", 0, 0, 0) + attributes(node)
    if code == OPEN:
        return struct.pack("<QII", 1, 0, 0)
    return None


def serve(device, open_now):
    while not open_now.is_set():
        request = os.read(device, 1 << 17)
        if open_now.is_set():
            return
        _, code, unique, node = struct.unpack_from("<IIQQ", request)
        body = answer(code, node)
        error = 0 if body is not None else -38
        os.write(device, struct.pack("<IiQ", 16 + len(body or b""), error, unique) + (body or b""))


def main():
    directory, name, ready = sys.argv[1:4]
    said = os.open(ready, os.O_WRONLY | os.O_CREAT)
    try:
        device = os.open("/dev/fuse", os.O_RDWR)
        libc = ctypes.CDLL(None, use_errno=True)
        options = f"fd={device},rootmode=40000,user_id=0,group_id=0".encode()
        if libc.mount(b"named", directory.encode(), b"fuse", 6, options) != 0:
            raise OSError(ctypes.get_errno(), "mount")
        open_now = threading.Event()
        threading.Thread(target=serve, args=(device, open_now), daemon=True).start()
        os.open(f"{directory}/{name}", os.O_RDONLY)
        open_now.set()
    except OSError as error:
        os.write(said, f"error: {error}\n".encode())
        return 1
    os.write(said, b"held\n")
    while True:
        signal.pause()


sys.exit(main())
