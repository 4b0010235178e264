#!/usr/bin/env bash
# Kernel logs of the same kernel with the like devices in doppel and in QEMU: what is a warning or an error, or sounds
# like one, and stands in doppel's log only, is a failure. Usage: logs.sh BUILD [KERNEL-BOARD...]
# The kernels are those of amd64 and i386, and `debian`, the system that system.sh has installed.
set -euo pipefail
build=$1
shift
cd "$(dirname "$0")/../.."
console=$build/tests/boot/console guests=.cache/guests
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
truncate -s 16M "$folder/disk.img"

# Every message with its level, from the drivers for all that the board has.
modules='while read -r m; do insmod /modules/$m.ko; done 2>/dev/null </modules/usb; for c in snd-intel8x0 snd-hda-intel bochs psmouse; do while read -r m; do insmod /modules/$m.ko; done 2>/dev/null </modules/$c; done; for m in watchdog intel_pmc_bxt iTCO_vendor_support iTCO_wdt lpc_ich; do insmod /modules/$m.ko 2>/dev/null; done'
log='dmesg -n 1; dmesg -r > /tmp/log; echo log beg""ins; cat /tmp/log; echo log en""ds\n'
own_steps=(timeout:300 expect:"guest:" send:"$modules; sleep 3; $log" expect:"log ends" send:'poweroff -f\n' pause:1000)
debian_steps=(timeout:300 expect:"lives login:" send:'root\n' expect:"Password:" send:'secret\n' expect:"root@lives:~#" send:"sleep 3; $log"
    expect:"log ends" expect:"root@lives:~#" send:'poweroff\n' expect:"Power down")

# Messages that may differ although nothing is wrong, and what in a message is no part of its meaning.
wanted() {
    tr -d '\r' <"$1" | sed -n '/log begins$/,/log ends$/p' | sed -n -E '
        s/^<([0-9]+)>\[ *[0-9.]+\] /\1 /
        /^([0-4]|1[01]) |^[0-9]+ .*(error|fail|warn|bug|bogus|invalid|conflict|timeout|timed out|unable|cannot|not supported|lost|spurious|oops|taint)/I {
            s/^[0-9]+ //
            s/0x[0-9a-f]+|[0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-9]|[0-9]+/N/gI
            p
        }' | sort -u
}

log_of() { # log_of MACHINE COMMAND...: its log goes to FOLDER/MACHINE
    local machine=$1
    shift
    "$console" "${steps[@]}" -- "$@" >"$folder/$machine" 2>&1 || { tail "$folder/$machine"; exit 1; }
    [ -z "${KEEP:-}" ] || cp "$folder/$machine" "$KEEP/$arch-$board-$machine.log"
    [ "$(grep -c "^<[0-9]*>\[" "$folder/$machine")" -gt 200 ] || { echo "$machine's log is not whole"; exit 1; }
    wanted "$folder/$machine" >"$folder/$machine.kinds"
}

compare() { # compare ARCH BOARD
    local arch=$1 board=$2 sound=(-device AC97) try
    local image=$folder/disk.img
    local start=(-kernel "$guests/$arch/vmlinuz" -initrd "$guests/$arch/initrd.gz" -append "console=ttyS0 quiet") steps=("${own_steps[@]}")
    [ "$board" = pc ] || sound=(-device ich9-intel-hda -device hda-duplex)
    [ "$arch" != debian ] || start=() steps=("${debian_steps[@]}") image=$build/system.img
    log_of qemu qemu-system-x86_64 -machine "$board,accel=tcg" -cpu Icelake-Server -m 512M -nographic -no-reboot -vga std \
        -nic user,model=e1000 -device qemu-xhci -device usb-tablet "${sound[@]}" \
        -drive "file=$image,format=raw,if=none,id=d,snapshot=on" -device ide-hd,drive=d "${start[@]}"
    # A host that stops a machine for a while makes the kernel complain of its clocks: that log does not count.
    for try in 1 2 3; do
        log_of doppel "$build/doppel" run --board "$board" --memory 512M --headless --no-reboot --net user \
            --disk "$image,temporary" "${start[@]/#-/--}"
        if grep -qE "Long readout interval|soft lockup|rcu.*(stall|starved)" "$folder/doppel.kinds"; then
            echo "$arch on $board: the machine stood still, which its kernel noticed"
            continue
        fi
        comm -23 "$folder/doppel.kinds" "$folder/qemu.kinds" >"$folder/only"
        echo "$arch on $board: $(wc -l <"$folder/doppel.kinds") kinds of messages, $(wc -l <"$folder/qemu.kinds") in QEMU; only here:"
        cat "$folder/only"
        [ ! -s "$folder/only" ]
        return
    done
    return 1
}

status=0
for case in ${*:-amd64-pc amd64-q35 i386-pc i386-q35 debian-pc debian-q35}; do
    compare "${case%-*}" "${case#*-}" || status=1
done
exit $status
