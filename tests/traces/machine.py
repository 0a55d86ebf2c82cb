"""The real kernel of the lab's machine, as the language of the traces sees it.

Everything that may sleep in the kernel runs in a child with a deadline.
"""
import errno
import fcntl
import glob
import os
import re
import select
import signal
import socket
import struct
import subprocess
import threading
import time

DEVICES, DRIVERS = "/sys/bus/pci/devices", "/sys/bus/pci/drivers"
RULES = "/etc/modprobe.d/trace.conf"
# A call that has not returned after this long sleeps; one that should return is given more time, because in software
# emulation on a busy host even a modprobe -r was seen to take 6 seconds.
BLOCKS_AFTER, SURELY_BLOCKS_AFTER = 6.0, 60.0
# udev, and nvme's probe in the background, are through after this long without an event.
QUIET, QUIET_AFTER_PLUGGING = 0.8, 2.0


def name_of(code):
    return errno.errorcode.get(code, str(code))


class Call:
    """A function run in a child: it may sleep for ever, and this process must not."""

    def __init__(self, function):
        self.end, writer = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                answer = function()
            except OSError as error:
                answer = name_of(error.errno)
            except Exception as error:  # a mistake in a trace must show, not hang
                answer = f"error: {error}"
            os.write(writer, answer.encode())
            os._exit(0)
        os.close(writer)
        self.answer = None

    def wait(self, seconds):
        if self.answer is None and select.select([self.end], [], [], seconds)[0]:
            self.answer = os.read(self.end, 4096).decode()
            os.waitpid(self.pid, 0)
        return "blocks" if self.answer is None else self.answer


class Uevents(threading.Thread):
    """Collects the kernel's own events about modules and PCI functions."""

    def __init__(self):
        super().__init__(daemon=True)
        self.socket = socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, 15)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 24)
        self.socket.bind((0, 1))
        self.seen, self.last = [], time.monotonic()
        self.start()

    def run(self):
        while True:
            data, (sender, _) = self.socket.recvfrom(1 << 16)
            if sender != 0:
                continue
            self.last = time.monotonic()
            fields = dict(part.split("=", 1) for part in data.decode(errors="replace").split("\0") if "=" in part)
            action, what = fields.get("ACTION"), os.path.basename(fields.get("DEVPATH", ""))
            if fields.get("SUBSYSTEM") == "module" and action in ("add", "remove"):
                self.seen.append(f"{action} module {what}")
            elif fields.get("SUBSYSTEM") == "pci" and action in ("add", "remove", "unbind"):
                self.seen.append(f"{action} {what}")
            elif fields.get("SUBSYSTEM") == "pci" and action == "bind":
                self.seen.append(f"bind {what} {fields.get('DRIVER')}")

    def settle(self, quiet=QUIET, longest=30.0):
        began = time.monotonic()
        while time.monotonic() < min(began + longest, max(began, self.last) + quiet):
            time.sleep(0.05)

    def take(self):
        self.settle(0.5)
        seen, self.seen = self.seen, []
        return "; ".join(sorted(seen)) or "none"


class Holder:
    """A process that is not root and has devices open, as a virtual machine has."""

    GROUP_SET_CONTAINER, SET_IOMMU, GET_DEVICE_FD = 0x3B68, 0x3B66, 0x3B6A

    def __init__(self):
        self.ours, theirs = socket.socketpair()
        self.pid = os.fork()
        if self.pid == 0:
            self.ours.close()
            self.serve(theirs)
            os._exit(0)
        theirs.close()

    def ask(self, *words):
        self.ours.sendall(" ".join(words).encode())
        return self.ours.recv(4096).decode()

    def serve(self, line):
        self.container, self.groups, self.open = None, {}, {}
        os.setgroups([])
        while words := line.recv(4096).decode().split():
            try:
                answer = getattr(self, words[0].replace("-", "_"))(words[1])
            except OSError as error:
                answer = name_of(error.errno)
            line.sendall(answer.encode())

    def open_group(self, address):
        group = group_of(address)
        if group in self.groups:
            return "ok"
        descriptor = os.open(f"/dev/vfio/{group}", os.O_RDWR)
        fresh = self.container is None
        if fresh:
            self.container = os.open("/dev/vfio/vfio", os.O_RDWR)
        try:
            fcntl.ioctl(descriptor, self.GROUP_SET_CONTAINER, struct.pack("i", self.container))
            if fresh:
                fcntl.ioctl(self.container, self.SET_IOMMU, 1)
        except OSError:
            os.close(descriptor)
            if fresh:
                os.close(self.container)
                self.container = None
            raise
        self.groups[group] = descriptor
        return "ok"

    def open_device(self, address):
        group = group_of(address)
        fresh = group not in self.groups
        self.open_group(address)
        try:
            self.open[address] = fcntl.ioctl(self.groups[group], self.GET_DEVICE_FD, bytearray(address.encode() + b"\0"))
        except OSError:
            if fresh:
                os.close(self.groups.pop(group))
                os.close(self.container)
                self.container = None
            raise
        return "ok"


def group_of(address):
    return os.path.basename(os.readlink(f"{DEVICES}/{address}/iommu_group"))


def write(path, text):
    """A function that writes, for a Call. A missing file is an errno like any other."""

    def call():
        descriptor = os.open(path, os.O_WRONLY)
        os.write(descriptor, text.encode())
        return "ok"

    return call


def read(path):
    with open(path) as file:
        return file.read().strip()


def link(path):
    try:
        return os.path.basename(os.readlink(path))
    except FileNotFoundError:
        return "none"


def run(*command):
    return lambda: str(subprocess.run(command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode)


def driver_in_uevent(address):
    found = re.search(r"^DRIVER=(.*)$", read(f"{DEVICES}/{address}/uevent"), re.M)
    return found.group(1) if found else "none"


class Machine:
    """The real kernel; each verb of the language is a method `do_<verb>`."""

    def __init__(self, events):
        self.events, self.holders, self.jobs, self.objects = events, {}, {}, {}
        self.patience = SURELY_BLOCKS_AFTER

    def call(self, function, job=None, settle=None):
        call = Call(function)
        answer = call.wait(self.patience)
        if job:
            self.jobs[job] = call
        if settle and answer != "blocks":
            self.events.settle(settle)
        return answer

    def do_modprobe(self, *words, job=None):
        return self.call(run("/sbin/modprobe", *words), job, settle=QUIET)

    def do_rmmod(self, module, job=None):
        return self.call(run("/sbin/rmmod", module), job, settle=QUIET)

    def do_override(self, address, driver, job=None):
        return self.call(write(f"{DEVICES}/{address}/driver_override", "\n" if driver == "-" else driver), job)

    def do_pin(self, address, job=None):
        return self.call(lambda: read(f"{DEVICES}/{address}/driver_override"), job)

    def do_uevent(self, address, job=None):
        return self.call(lambda: driver_in_uevent(address), job)

    def do_probe(self, address, job=None):
        return self.call(write("/sys/bus/pci/drivers_probe", address), job, settle=QUIET)

    def do_bind(self, address, driver, job=None):
        return self.call(write(f"{DRIVERS}/{driver}/bind", address), job)

    def do_unbind(self, address, driver, job=None):
        return self.call(write(f"{DRIVERS}/{driver}/unbind", address), job)

    def do_new_id(self, driver, ids):
        return self.call(write(f"{DRIVERS}/{driver}/new_id", ids.replace(":", " ")), settle=QUIET)

    def do_remove(self, address, job=None):
        return self.call(write(f"{DEVICES}/{address}/remove", "1"), job, settle=QUIET_AFTER_PLUGGING)

    def do_rescan(self, job=None):
        return self.call(write("/sys/bus/pci/rescan", "1"), job, settle=QUIET_AFTER_PLUGGING)

    def do_vfs(self, address, number, job=None):
        return self.call(write(f"{DEVICES}/{address}/sriov_numvfs", number), job, settle=QUIET_AFTER_PLUGGING)

    def do_autoprobe(self, value):
        return self.call(write("/sys/bus/pci/drivers_autoprobe", value))

    def do_open(self, address, who):
        return self.holder(who).ask("open-device", address)

    def do_open_group(self, address, who):
        return self.holder(who).ask("open-group", address)

    def do_exit(self, who):
        holder = self.holders.pop(who)
        os.kill(holder.pid, signal.SIGKILL)
        os.waitpid(holder.pid, 0)
        self.events.settle(0.5)
        return "ok"

    def holder(self, who):
        if who not in self.holders:
            self.holders[who] = Holder()
        return self.holders[who]

    def do_driver(self, address):
        return link(f"{DEVICES}/{address}/driver")

    def do_exists(self, address):
        return "yes" if os.path.exists(f"{DEVICES}/{address}") else "no"

    def do_object(self, address):
        """Whether it is another device object than when last asked."""
        inode = os.stat(f"{DEVICES}/{address}").st_ino
        before = self.objects.get(address)
        self.objects[address] = inode
        return "same" if before == inode else "new"

    def do_node(self, address):
        return "present" if os.path.exists(f"/dev/vfio/{group_of(address)}") else "absent"

    def do_vfio_dev(self, address):
        return "present" if glob.glob(f"{DEVICES}/{address}/vfio-dev/vfio*") else "absent"

    def do_members(self, address):
        return " ".join(sorted(os.listdir(f"{DEVICES}/{address}/iommu_group/devices")))

    def do_ids(self, address):
        path = f"{DEVICES}/{address}"
        vendor, device, kind = (read(f"{path}/{file}")[2:] for file in ("vendor", "device", "class"))
        return f"{vendor}:{device} {kind}"

    def do_functions(self):
        return " ".join(sorted(os.listdir(DEVICES)))

    def do_module(self, module):
        for line in open("/proc/modules"):
            fields = line.split()
            if fields[0] == module:
                users = "" if fields[3] == "-" else " " + fields[3].strip(",")
                return f"{fields[4].lower()} {fields[2]}{users}"
        return "absent"

    def do_rule(self, module, kind):
        """The one line that modprobe.d/trace.conf has."""
        rules = {
            "none": "",
            "refuse": f"install {module} /bin/false\n",
            "run": f"install {module} /sbin/modprobe -i {module}\n",
            "blacklist": f"blacklist {module}\n",
        }
        with open(RULES, "w") as file:
            file.write(rules[kind])
        return "ok"

    def do_modules_disabled(self, value):
        return self.call(write("/proc/sys/kernel/modules_disabled", value))

    def do_tree(self, what):
        here, away = f"/usr/lib/modules/{os.uname().release}", "/usr/lib/modules/.away"
        os.rename(*((here, away) if what == "away" else (away, here)))
        return "ok"

    def do_uevents(self):
        return self.events.take()

    def reset(self):
        """As after boot: for the next trace."""
        self.patience = SURELY_BLOCKS_AFTER
        for who in list(self.holders):
            self.do_exit(who)
        for job in self.jobs.values():
            job.wait(self.patience)
        if os.path.exists(RULES):
            os.unlink(RULES)
        self.do_autoprobe("1")
        for path in glob.glob(f"{DEVICES}/*/sriov_numvfs"):
            if read(path) != "0":
                self.call(write(path, "0"))
        self.do_rescan()
        for path in glob.glob(f"{DEVICES}/*/driver_override"):
            if read(path) != "(null)":
                self.call(write(path, "\n"))
        for module in ("vfio_pci", "vfio_pci_core", "vfio_virqfd", "vfio_iommu_type1", "vfio"):
            if self.do_module(module) != "absent":
                self.call(run("/sbin/rmmod", module))
        for address in sorted(os.listdir(DEVICES)):
            self.call(write("/sys/bus/pci/drivers_probe", address))
        self.events.settle(QUIET_AFTER_PLUGGING)
        self.__init__(self.events)
        self.events.take()
