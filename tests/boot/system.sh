#!/usr/bin/env bash
# A Debian system that is installed in doppel and lives there. Usage: system.sh BUILD PART...
#   install  an empty disk becomes BUILD/system.img: partitions, packages from the mirror through slirp, GRUB
#   life     boots from it, logs in on the serial line, installs a package, powers off; the file systems are clean
#   buses    the same disk on every bus that SeaBIOS boots from
#   efi      the same disk started by OVMF and GRUB for EFI
#   window   logs in on the display
#   logs     compares kernel logs with QEMU's, see logs.sh
# Parts run in the given order; they leave the disk as it was, except install and life.
set -euo pipefail
build=$1
shift
cd "$(dirname "$0")/../.."
doppel=$build/doppel console=$build/tests/boot/console guests=.cache/guests image=$build/system.img
folder=$(mktemp -d)
trap 'kill $server 2>/dev/null || true; rm -rf "$folder"' EXIT
server=

# What this machine's apt does to read the mirror, for the guest's apt.
mirror=$(apt-get indextargets --format '$(ORIGIN) $(CODENAME) $(SITE)' 2>/dev/null | sed -n 's/^Debian bookworm //p' | head -n 1)
mapfile -t apt_options < <(apt-config dump | sed -n -E 's/^(Acquire::(Check-Valid-Until|Check-Date|http::Proxy) "[^"]*");$/\1/p')

system() { # system OPTION...: the machine with the installed disk goes to `guest`
    guest=("$doppel" run --memory 512M --headless --no-reboot "$@")
}
login=(timeout:180 expect:"lives login:" send:'root\n' expect:"Password:" send:'secret\n' expect:"root@lives:~#")
power_off=(expect:"root@lives:~#" send:'poweroff\n' expect:"Power down" status:0)

install() {
    local port=$((20000 + $$ % 20000)) options
    options=$(printf " '%s'" "${apt_options[@]}")
    "$build/tests/boot/file_server" "$port" tests/boot/install.sh &
    server=$!
    rm -f "$image"
    truncate -s 3G "$image"
    "$console" expect:"Network: 10.0.2.15" expect:"guest:" \
        send:'until [ -b /dev/vda ]; do sleep 0.1; done; mkdir /mnt; mount -t ext4 /dev/vda /mnt; for f in dev proc sys; do mount --bind /$f /mnt/$f; done; for m in fat vfat nls_cp437 nls_ascii; do insmod /modules/$m.ko; done; cp /etc/resolv.conf /mnt/etc/\n' \
        expect:"guest:" send:"wget -q -O /mnt/install.sh http://10.0.2.2:$port/install.sh; chroot /mnt /bin/bash /install.sh /dev/vdb $mirror$options"' && echo sys""tem is there || poweroff -f\n' \
        timeout:5000 expect:"system is there" timeout:60 expect:"guest:" send:'poweroff -f\n' expect:"Power down" status:0 -- \
        "$doppel" run --kernel "$guests/amd64/vmlinuz" --initrd "$guests/amd64/initrd.gz" --append "console=ttyS0 quiet" \
        --memory 1G --headless --no-reboot --net user,model=virtio \
        --disk "$guests/rescue/disk.img,bus=virtio,temporary" --disk "$image,bus=virtio"
    kill $server
    check_image
}

# The root file system on the image, as this machine's own tools see it, is clean.
check_image() {
    e2fsck -f -n "$image?offset=$((66 << 20))" # behind the boot and EFI partitions
}

life() {
    system --disk "$image,bus=virtio" --net user,model=virtio
    "$console" "${login[@]}" send:'apt-get -qq update && apt-get -qq -y install hello 2>&1 | tail -n 3; hello\n' expect:"Hello, world!" \
        expect:"root@lives:~#" send:'systemctl --failed --no-legend --plain | wc -l; systemctl is-system-running\n' expect:"running" \
        send:'dmidecode -s system-product-name; dmidecode | grep -i -E "out of spec|bad index|broken|invalid|wrong" || echo sa""ne\n' \
        expect:"doppel PC" expect:"sane" "${power_off[@]}" -- "${guest[@]}"
    check_image
}

# boots DEVICE OPTION...: from a copy-on-write view of the disk, to a login; the root is where it should be.
boots() {
    local device=$1
    shift
    system --net none "$@"
    "$console" "${login[@]}" send:'findmnt -n -o SOURCE /; ls -d /sys/firmware/*\n' expect:"$device" ${firmware:+expect:$firmware} \
        "${power_off[@]}" -- "${guest[@]}" >"$folder/log" 2>&1 || { tail -n 40 "$folder/log"; echo "FAILED: $*"; exit 1; }
    echo "boots: $* ($(tail -n 1 "$folder/log"))"
}

buses() {
    local disk=$image,temporary
    boots /dev/sda3 --disk "$disk,bus=ide"
    boots /dev/sda3 --disk "$disk,bus=ahci"
    boots /dev/nvme0n1p3 --disk "$disk,bus=nvme"
    boots /dev/vda3 --disk "$disk,bus=virtio"
    boots /dev/sda3 --disk "$disk,bus=virtio-scsi"
    boots /dev/sda3 --board q35 --disk "$disk"
}

efi() {
    local firmware=/sys/firmware/efi
    boots /dev/sda3 --board q35 --firmware "uefi,vars=$folder/vars.fd" --disk "$image,temporary"
}

for part in "$@"; do
    case $part in
    install | life | buses | efi) "$part" ;;
    window) tests/ui/window.sh "$build" system ;;
    logs) tests/boot/logs.sh "$build" ;;
    *) echo "system.sh: unknown part '$part'"; exit 1 ;;
    esac
done
