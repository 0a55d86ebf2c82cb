# shellcheck shell=bash
# What the scenarios share beside /lab/lib.sh: the daemon's life, its journal, a clean host between two scenarios.
# shellcheck source=../lib.sh
. /lab/lib.sh
# MESSAGE_IDs by the names they have in src/names.rs, as MSG_DRIFTED=…
# shellcheck disable=SC1091
. /lab/with/messages.sh

configure() { mkdir -p /etc/vfiod && cat >/etc/vfiod/vfiod.toml; } # the configuration, from stdin
status_text() { systemctl show -p StatusText --value vfiod; }
says() { [[ $(status_text) == *"$1"* ]]; } # WORDS in the status line
start_vfiod() { systemctl reset-failed vfiod 2>/dev/null; systemctl start vfiod && cursor=$(journal_cursor); }
stop_vfiod() { systemctl stop vfiod; }
main_pid() { systemctl show -p MainPID --value vfiod; }
is_active() { systemctl is-active --quiet vfiod; }
reload_vfiod() { systemctl reload vfiod; }

# ---- the journal ---------------------------------------------------------------------------------------------------------
journal_cursor() { journalctl -q -n 0 --show-cursor | sed -n 's/^-- cursor: //p'; }
mark() { journalctl --sync; cursor=$(journal_cursor); } # what comes from here on counts
# Entries of vfiod since the mark: FIELD=VALUE matches, or none for all.
entries() { journalctl --sync; journalctl -q -o cat --after-cursor="$cursor" -t vfiod "$@"; }
count() { entries "$@" | wc -l; }
told() { entries "$@" | grep -q .; } # FIELD=VALUE…: at least once
alerts() { journalctl --sync; journalctl -q -o cat --after-cursor="$cursor" -t vfiod -p err | wc -l; }
field() { # FIELD, then matches: that field of the newest such entry
    local name=$1
    shift
    journalctl --sync
    journalctl -q -o json --after-cursor="$cursor" -t vfiod "$@" | tail -n 1 | jq -r --arg name "$name" '.[$name] // ""'
}

# ---- who wrote what: the daemon's children are vfiod-act and the modprobe it runs -------------------------------------------
our_writes() { # ADDRESS: what vfiod wrote to it since trace_writes_start
    trace_writes | grep -F "$(full "$1")" | grep -E '^[0-9.]+ (vfiod|vfiod-act|vfiod-look)\['
}
untouched() { local said; said=$(our_writes "$1"); [[ -z $said ]] || { echo "$said"; return 1; }; } # ADDRESS
all_ours() { trace_writes | grep -E '^[0-9.]+ (vfiod|vfiod-act|vfiod-look)\['; }

not_ok_quiet() { ! "$@" >/dev/null 2>&1; }
not_empty() { [[ -n $1 ]]; }

# ---- a clean host ----------------------------------------------------------------------------------------------------------
lab_endpoints='00:03.0 00:04.0 00:04.1 01:00.0 02:00.0 04:01.0 04:02.0 05:00.0 05:00.1 00:08.0 00:09.0'
reset_host() { # vfiod stopped and forgotten, every endpoint back on its host driver, no vfio module, no VFs
    systemctl stop vfiod 2>/dev/null
    rm -rf /run/vfiod /var/lib/vfiod /etc/vfiod /usr/lib/vfiod/conf.d /etc/modprobe.d/lab*.conf /run/systemd/system/vfiod.service.d
    mkdir -p /etc/vfiod
    systemctl daemon-reload
    trace_writes_off
    destroy_vfs 2>/dev/null
    local address
    for address in $lab_endpoints; do
        [[ -e $(pci "$address") ]] || continue
        [[ $(override_of "$address") == '(null)' ]] || unpin "$address" 2>/dev/null
    done
    modprobe -r vfio_pci vfio_iommu_type1 vfio 2>/dev/null
    udevadm settle
    mark
}
