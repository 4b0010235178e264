#!/usr/bin/env bash
# The ACPI tables of both boards as a guest sees them: disassembled and compiled again by iasl without
# errors or warnings. Usage: acpi.sh BUILD
set -euo pipefail
build=$1
cd "$(dirname "$0")/../.."
guests=.cache/guests
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
for board in pc q35; do
    # Every table as hexadecimal text on the console.
    "$build/tests/boot/console" expect:"guest:" send:'dmesg -n 1; cd /sys/firmware; for t in acpi/tables/[A-Z]*; do echo "TABLE ${t##*/}"; xxd -p $t; done; echo a""ll\n' expect:"all" -- \
        "$build/doppel" run --board $board --kernel $guests/amd64/vmlinuz --initrd $guests/amd64/initrd.gz \
        --append "console=ttyS0 quiet" --memory 256M --net none --headless --no-reboot >"$folder/$board.log"
    mkdir "$folder/$board"
    tr -d '\r' <"$folder/$board.log" | awk -v folder="$folder/$board" \
        '/^TABLE / { name = $2; next } /^[0-9a-f]+$/ && name { print > (folder "/" name ".hex") } /^all/ { exit }'
    cd "$folder/$board"
    for hex in *.hex; do xxd -r -p "$hex" >"${hex%.hex}.dat"; done
    for table in DSDT FACP FACS APIC HPET $([ $board = q35 ] && echo MCFG); do
        [ -e "$table.dat" ] || { echo "$board: $table is not there"; exit 1; }
    done
    for table in *.dat; do
        table=${table%.dat}
        iasl -d "$table.dat" >"$table.log" 2>&1
        iasl -p "$table.again" "$table.dsl" >>"$table.log" 2>&1 || { cat "$table.log"; exit 1; }
        if grep -qE "(Warning|Error) +[0-9]" "$table.log"; then cat "$table.log"; exit 1; fi
        echo "$board: $table compiles again"
    done
    cd - >/dev/null
done
