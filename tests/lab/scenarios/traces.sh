#!/bin/bash
# Runs the traces, all or those named, on this kernel: the answers that the simulation of src/host/sim gives must be the kernel's.
# tests/lab/run --with tests/traces tests/lab/scenarios/traces.sh [--record] [NAME…]
cd /lab/with/traces || exit
record=()
if [[ ${1:-} == --record ]]; then record=(--record); shift; fi
(($#)) || set -- [0-9]*.trace
exec ./replay "${record[@]}" "$@"
