#!/usr/bin/env bash
# Prepares guests from Debian packages in .cache/guests: kernels, initial RAM disks with a static
# busybox and the drivers that the board needs. Nothing is downloaded twice.
# Usage: guests.sh [amd64] [i386] [grub] [bench] [luajit] [userland] [rescue] [installer]   (default: amd64)
set -euo pipefail
version=$(cksum <"$0") # guests are built anew when this script changes
cd "$(dirname "$0")/.."
cache=$PWD/.cache/guests
packages=$cache/packages
mkdir -p "$packages"

. tests/packages.sh

# The real package behind a metapackage, e.g. linux-image-amd64 -> linux-image-6.1.0-49-amd64.
kernel_package() { # kernel_package ARCH META
    apt-cache -o APT::Architecture="$1" -o APT::Architectures="$1" -o Dir::State="$cache/apt-$1" \
        -o Dir::State::lists="$cache/apt-$1/lists" -o Dir::Cache="$cache/apt-$1/cache" \
        -o Dir::State::status="$cache/apt-$1/status" depends "$2" |
        sed -n 's/^ *Depends: \(linux-image-[^ ]*\).*/\1/p' | head -n 1
}

# Copies a module and what it depends on, and appends its name to a list: the order of loading.
add_module() { # add_module KERNEL_FOLDER ROOT NAME [LIST]
    local file dependency list=${4:-order}
    file=$(find "$1/lib/modules" -name "$3.ko" | head -n 1)
    [ -n "$file" ] || return 0 # built in, or not of this kernel
    grep -qx "$3" "$2/modules/$list" 2>/dev/null && return 0
    for dependency in $(modinfo -F depends "$file" | tr ',' ' '); do
        add_module "$1" "$2" "$(module_name "$1" "$dependency")" "$list"
    done
    cp "$file" "$2/modules/"
    echo "$3" >>"$2/modules/$list"
}
module_name() { # depends lists underscores, files may have dashes
    if [ -n "$(find "$1/lib/modules" -name "$2.ko" | head -n 1)" ]; then echo "$2"; else echo "${2//_/-}"; fi
}

write_init() {
    cat >"$1/init" <<'INIT'
#!/bin/busybox sh
# First process of the demo guest: drivers, network, a shell on each console.
export PATH=/bin HOME=/ TERM=linux
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
while read -r module; do insmod /modules/$module.ko; done </modules/order 2>/dev/null
hostname guest
echo "doppel: user space after $(cut -d' ' -f1 /proc/uptime) s"
if [ -e /sys/class/net/eth0 ]; then
    ip link set eth0 up
    udhcpc -q -n -t 5 -i eth0 -s /bin/dhcp-event >/dev/null 2>&1 &&
        echo "Network: $(ip -4 -o addr show eth0 | sed 's/.*inet \([^ ]*\).*/\1/'), host at 10.0.2.2"
fi
for word in $(cat /proc/cmdline); do
    case $word in doppel.run=*) /bin/sh -c "$(echo "${word#*=}" | tr '~' ' ')" ;; esac
done
cat /etc/motd
shell_on() { while :; do setsid sh -c "exec sh -l <$1 >$1 2>&1"; done }
[ -c /dev/tty1 ] && shell_on /dev/tty1 &
dmesg -n 1
grep -q ttyS0 /proc/cmdline && shell_on /dev/ttyS0 &
wait
INIT
    cat >"$1/bin/dhcp-event" <<'DHCP'
#!/bin/sh
[ "$1" = bound ] || exit 0
ip addr add "$ip/${mask:-24}" dev "$interface"
ip route add default via "$router"
echo "nameserver $dns" >/etc/resolv.conf
DHCP
    cat >"$1/etc/motd" <<'MOTD'

This is a Linux guest in doppel. Try: uname -a, free, top, wget, poweroff
MOTD
    echo 'PS1="guest:\w# "' >"$1/etc/profile"
    chmod +x "$1/init" "$1/bin/dhcp-event"
}

make_linux() { # make_linux ARCH METAPACKAGE
    local arch=$1 kernel busybox root=$cache/$1/root name
    [ "$(cat "$cache/$arch/complete" 2>/dev/null)" = "$version" ] && return
    update_once "$arch"
    name=$(kernel_package "$arch" "$2")
    kernel=$(unpack "$arch" "$name")
    if [ -z "$(find "$kernel/lib/modules" -name bochs.ko)" ]; then # an earlier script removed more
        rm -rf "$kernel"
        kernel=$(unpack "$arch" "$name")
    fi
    busybox=$(unpack "$arch" busybox-static)
    say "building the $arch initial RAM disk"
    rm -rf "$root" && mkdir -p "$root"/{bin,dev,proc,sys,etc,tmp,modules}
    cp "$busybox/bin/busybox" "$root/bin/busybox"
    for module in e1000 8139cp 8139too ne2k-pci virtio_pci virtio_net ata_piix ahci nvme virtio_blk virtio_scsi sd_mod sr_mod isofs crc32c_generic ext4 \
        virtio_console virtio_balloon virtio-rng; do add_module "$kernel" "$root" "$module"; done
    # For tests that load them themselves: all in /modules/LIST, or single ones.
    for module in snd-mixer-oss snd-pcm-oss; do
        for card in snd-intel8x0 snd-hda-intel snd-sb16; do add_module "$kernel" "$root" $module $card; done
    done
    for module in snd-intel8x0 snd-sb16 bochs; do add_module "$kernel" "$root" $module $module; done
    for module in snd-hda-codec-generic snd-hda-intel; do add_module "$kernel" "$root" $module snd-hda-intel; done
    for module in xhci-pci uhci-hcd usbhid hid-generic usb-storage evdev; do add_module "$kernel" "$root" $module usb; done
    for module in psmouse evdev; do add_module "$kernel" "$root" $module psmouse; done
    for module in \
        efivarfs i6300esb lpc_ich mfd-core intel_pmc_bxt watchdog iTCO_wdt iTCO_vendor_support pvpanic pvpanic-mmio \
        fat vfat nls_ascii nls_cp437; do
        find "$kernel/lib/modules" -name "$module.ko" -exec cp {} "$root/modules/" \;
        [ -e "$root/modules/$module.ko" ] || grep -q "/$module.ko\$" "$kernel"/lib/modules/*/modules.builtin ||
            { say "$name has no module $module"; exit 1; }
    done
    write_init "$root"
    cp "$kernel"/boot/vmlinuz-* "$cache/$arch/vmlinuz"
    (cd "$root" && find . | LC_ALL=C sort | cpio --quiet -o -H newc | gzip -9n) >"$cache/$arch/initrd.gz"
    rm -rf "$kernel/lib/modules"/*/kernel/drivers/{media,net/wireless,gpu/drm/{amd,i915,nouveau,radeon}} # large, unused
    echo "$version" >"$cache/$arch/complete"
}

# The mirror that this machine's own apt takes Debian's packages from.
mirror() {
    local site
    site=$(apt-get indextargets --format '$(ORIGIN) $(CODENAME) $(SITE)' 2>/dev/null | sed -n 's/^Debian bookworm //p' | head -n 1)
    echo "${site:-http://deb.debian.org/debian}"
}

# A Debian root with these packages, as FOLDER/root and as the file system FOLDER/disk.img.
make_root() { # make_root FOLDER VARIANT PACKAGES FREE_MEGABYTES
    local folder=$1
    [ ! -e "$folder" ] || chmod -R u+w "$folder"
    rm -rf "$folder" && mkdir -p "$folder/root"
    mmdebstrap --quiet --variant="$2" --architectures=amd64 --include="$(echo "$3" | tr ' ' ,)" \
        --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
        --dpkgopt='path-exclude=/usr/share/locale/*' bookworm "$folder/root.tar" "$(mirror)"
    tar -C "$folder/root" -xf "$folder/root.tar" --exclude='./dev/*'
    rm "$folder/root.tar"
    mkdir "$folder/root/bench"
    mke2fs -q -t ext4 -O ^has_journal -m 0 -d "$folder/root" "$folder/disk.img" \
        "$(($(du -sm "$folder/root" | cut -f1) * 5 / 4 + $4))M"
}

# A small Debian root, as a folder and on a disk, and the drivers that mount it. The benchmark's
# programs are not in it: it is made anew only when the list of packages changes.
make_bench() {
    local folder=$cache/bench kernel list
    list="1 python3 sqlite3 gcc libc6-dev xz-utils openssl perl 7zip luajit nodejs"
    [ "$(cat "$folder/complete" 2>/dev/null)" = "$list" ] && return
    update_once amd64
    kernel=$(unpack amd64 "$(kernel_package amd64 linux-image-amd64)")
    say "building the benchmark's root from packages (some minutes)"
    make_root "$folder" minbase "${list#* }" 64
    mkdir "$folder/modules"
    for module in ata_piix sd_mod crc32c_generic ext4; do add_module "$kernel" "$folder" "$module"; done
    echo "$list" >"$folder/complete"
}

# Python's test suite beside that root: the packages test and ctypes, whole.
make_userland() {
    local folder=$cache/userland python=usr/lib/python3.11 suite
    make_bench
    [ "$(cat "$folder/complete" 2>/dev/null)" = "$version" ] && return
    suite=$(unpack amd64 libpython3.11-testsuite)
    rm -rf "$folder" && mkdir -p "$folder/python"
    cp -r "$cache/bench/root/$python/test" "$cache/bench/root/$python/ctypes" "$folder/python/"
    cp -r "$suite/$python/test" "$suite/$python/ctypes" "$folder/python/"
    echo "$version" >"$folder/complete"
}

# What an administrator installs a system with: a root with the tools that make partitions, file systems
# and a Debian root.
make_rescue() {
    local folder=$cache/rescue list
    list="1 mmdebstrap mount fdisk dosfstools e2fsprogs"
    [ "$(cat "$folder/complete" 2>/dev/null)" = "$list" ] && return
    say "building the rescue root from packages (a minute)"
    make_root "$folder" apt "${list#* }" 300
    rm -rf "$folder/root"
    echo "$list" >"$folder/complete"
}

# A shell and LuaJIT with its libraries, as the root of an initial RAM disk.
make_luajit() {
    local folder=$cache/luajit package unpacked
    [ "$(cat "$folder/complete" 2>/dev/null)" = "$version" ] && return
    rm -rf "$folder" && mkdir -p "$folder/root"/{bench,bin,dev,etc,proc,root,sys,tmp}
    for package in luajit libc6 libgcc-s1 busybox-static; do
        unpacked=$(unpack amd64 "$package")
        (cd "$unpacked" && find . -path ./usr/share -prune -o ! -type d ! -name '.complete' \
            ! -path './usr/lib/x86_64-linux-gnu/gconv/*' -print | cpio --quiet -pd "$folder/root")
    done
    for name in sh cat cksum cmp rm; do ln -s busybox "$folder/root/bin/$name"; done
    echo "$version" >"$folder/complete"
}

# ethtool and its libraries, for a guest that fetches them.
make_ethtool() {
    local folder=$cache/ethtool package unpacked
    [ "$(cat "$folder/complete" 2>/dev/null)" = "$version" ] && return
    rm -rf "$folder" && mkdir -p "$folder/root"
    for package in ethtool libmnl0 libc6; do
        unpacked=$(unpack amd64 "$package")
        (cd "$unpacked" && find . \( -path '*/sbin/ethtool' -o -name 'libmnl.so*' -o -name libc.so.6 -o -name libm.so.6 -o \
            -name 'ld-linux-x86-64.so.2' -o -name 'ld-*.so' \) -print | cpio --quiet -pd "$folder/root")
    done
    tar -C "$folder/root" -czf "$folder/ethtool.tar.gz" .
    echo "$version" >"$folder/complete"
}

# A folder that a machine boots from by TFTP, with an iPXE script and with PXELINUX, and iPXE's own CD.
make_netboot() {
    local folder=$cache/netboot
    [ "$(cat "$folder/complete" 2>/dev/null)" = "$version" ] && return
    make_linux amd64 linux-image-amd64
    rm -rf "$folder" && mkdir -p "$folder/tftp/pxelinux.cfg"
    cp "$cache/amd64/vmlinuz" "$cache/amd64/initrd.gz" "$folder/tftp/"
    cp "$(unpack amd64 pxelinux)/usr/lib/PXELINUX/pxelinux.0" "$folder/tftp/"
    cp "$(unpack amd64 syslinux-common)/usr/lib/syslinux/modules/bios/ldlinux.c32" "$folder/tftp/"
    cp "$(unpack amd64 ipxe)/usr/lib/ipxe/ipxe.iso" "$folder/"
    cat >"$folder/tftp/pxelinux.cfg/default" <<'PXELINUX'
default linux
label linux
  kernel vmlinuz
  append initrd=initrd.gz console=ttyS0 quiet by=pxelinux
PXELINUX
    cat >"$folder/tftp/linux.ipxe" <<'IPXE'
#!ipxe
kernel tftp://${next-server}/vmlinuz console=ttyS0 quiet by=ipxe
initrd tftp://${next-server}/initrd.gz
boot
IPXE
    cat >"$folder/tftp/hello.ipxe" <<'IPXE'
#!ipxe
echo fetched by ${net0/chip} from ${next-server}
sleep 60
IPXE
    echo "$version" >"$folder/complete"
}

# A disk with a FAT file system: GRUB for EFI starts the amd64 kernel itself, or as an EFI program.
make_uefi() {
    local image=$cache/uefi.img work
    [ "$(cat "$cache/uefi.complete" 2>/dev/null)" = "$version" ] && return
    make_linux amd64 linux-image-amd64
    say "building the UEFI disk"
    work=$(mktemp -d)
    cat >"$work/grub.cfg" <<'GRUB'
search --no-floppy --file --set=root /vmlinuz
set timeout=3
menuentry "linux" --hotkey=l { linux /vmlinuz console=ttyS0 quiet by=grub; initrd /initrd.gz }
menuentry "stub" --hotkey=s { chainloader /vmlinuz console=ttyS0 quiet by=stub initrd=/initrd.gz }
GRUB
    grub-mkstandalone -O x86_64-efi -o "$work/bootx64.efi" --themes= --locales= --fonts= \
        --install-modules="linux chain fat part_msdos part_gpt search normal test echo" \
        "boot/grub/grub.cfg=$work/grub.cfg"
    rm -f "$image"
    truncate -s 64M "$image"
    mformat -i "$image" -v UEFI -F ::
    mmd -i "$image" ::/EFI ::/EFI/BOOT
    mcopy -i "$image" "$work/bootx64.efi" ::/EFI/BOOT/BOOTX64.EFI
    mcopy -i "$image" "$cache/amd64/vmlinuz" "$cache/amd64/initrd.gz" ::/
    rm -rf "$work"
    echo "$version" >"$cache/uefi.complete"
}

# Kernels for other ways to start: a Multiboot game, a hypervisor, a memory test, and the ELF file within
# the amd64 kernel (its place and length are fields of the setup header, boot.rst "payload_offset").
make_multiboot() {
    local kernel=$cache/amd64/vmlinuz setup offset length
    ln -sf "$(unpack amd64 grub-invaders)/boot/invaders.exec" "$cache/invaders.exec"
    ln -sf "$(unpack amd64 xen-hypervisor-4.17-amd64)/boot/xen-4.17-amd64.gz" "$cache/xen.gz"
    ln -sf "$(unpack amd64 memtest86+)/boot/memtest86+"{ia32,x64}.bin "$cache/"
    make_linux amd64 linux-image-amd64
    setup=$((($(od -An -tu1 -j 497 -N 1 "$kernel") + 1) * 512))
    offset=$(od -An -tu4 -j 584 -N 4 "$kernel") length=$(od -An -tu4 -j 588 -N 4 "$kernel")
    [ "$cache/amd64/vmlinux" -nt "$kernel" ] ||
        tail -c +$((setup + offset + 1)) "$kernel" | head -c "$length" | xz -dc --single-stream >"$cache/amd64/vmlinux" 2>/dev/null || true
}

# Debian's installer: kernels and initial RAM disks, for text and graphics; one more of these puts its log
# on the serial line.
make_installer() {
    local arch folder kind work image
    for arch in amd64 i386; do
        folder=$(unpack amd64 debian-installer-12-netboot-$arch)/usr/lib/debian-installer/images/12/$arch
        for kind in text gtk; do
            mkdir -p "$cache/installer/$arch-$kind"
            ln -sf "$folder/$kind/debian-installer/$arch"/{linux,initrd.gz} "$cache/installer/$arch-$kind/"
        done
    done
    image=$cache/installer/amd64-gtk
    work=$(mktemp -d)
    mkdir -p "$work/lib/debian-installer-startup.d"
    echo "tail -f /var/log/syslog >/dev/ttyS0 2>&1 </dev/null &" >"$work/lib/debian-installer-startup.d/S11log"
    chmod +x "$work/lib/debian-installer-startup.d/S11log"
    (cd "$work" && find lib | cpio --quiet -o -H newc | gzip -9n | cat "$image/initrd.gz" - >"$image/logging.gz")
    rm -rf "$work"
}

for guest in "${@:-amd64}"; do
    case $guest in
    amd64) make_linux amd64 linux-image-amd64 ;;
    i386) make_linux i386 linux-image-686 ;;
    grub)
        folder=$(unpack amd64 grub-rescue-pc)
        ln -sf "$folder/usr/lib/grub-rescue/grub-rescue-cdrom.iso" "$cache/grub-rescue.iso"
        ln -sf "$folder/usr/lib/grub-rescue/grub-rescue-floppy.img" "$cache/grub-rescue-floppy.img"
        ;;
    uefi) make_uefi ;;
    multiboot) make_multiboot ;;
    ethtool) make_ethtool ;;
    netboot) make_netboot ;;
    bench) make_bench ;;
    rescue) make_rescue ;;
    installer) make_installer ;;
    luajit) make_luajit ;;
    userland) make_userland ;;
    *) echo "guests: '$guest' is unknown; use amd64, i386, grub, uefi, multiboot, ethtool, netboot, bench, luajit, userland, rescue, installer" >&2; exit 1 ;;
    esac
done
