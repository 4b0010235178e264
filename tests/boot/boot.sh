#!/usr/bin/env bash
# Boots real guests and looks at what they print. Usage: boot.sh BUILD CASE; see the cases below.
set -euo pipefail
build=$1 test=$2
cd "$(dirname "$0")/../.."
doppel=$build/doppel console=$build/tests/boot/console guests=.cache/guests
quiet="console=ttyS0 quiet"

linux() { # linux ARCH APPEND [OPTION...]
    local arch=$1 append=$2
    shift 2
    guest=("$doppel" run --kernel "$guests/$arch/vmlinuz" --initrd "$guests/$arch/initrd.gz"
        --append "$append" --memory 256M --headless --no-reboot "$@")
}

# A shell on the serial line: prompt, typing, an answer, power off.
shell_steps=(expect:"user space after" expect:"guest:" send:'echo $((6*7))-$(uname -m)\n')
power_off=(expect:"guest:" send:'poweroff -f\n' expect:"Power down" status:0)

# Linux's driver plays 600 periods of 400 Hz on the card, and once more after a suspend to RAM; the file must hold
# them all, without a gap.
sound() { # sound ARCH CARD MODULES [OPTION...]
    local arch=$1 card=$2 modules=$3 port=$((20000 + ($$ + 3) % 20000)) settings=
    shift 3
    [ $card != sb16 ] || settings="isapnp=0 port=0x220 irq=5 dma8=1 dma16=5" # known to one module only
    folder=$(mktemp -d)
    trap 'kill $server 2>/dev/null || true; rm -rf "$folder"' EXIT
    "$build/tests/boot/file_server" "$port" "$build/tests/programs/tone-$arch" &
    server=$!
    linux $arch "$quiet" --net user --audio "wav:$folder/out.wav,card=$card" "$@"
    "$console" expect:"Network: 10.0.2.15" expect:"guest:" \
        send:"for m in \$(cat /modules/$modules); do insmod /modules/\$m.ko $settings; done; until [ -e /dev/dsp ]; do sleep 0.1; done; echo fo\"\"und"'\n' expect:"found" \
        send:"wget -q -O /tmp/tone http://10.0.2.2:$port/tone; chmod +x /tmp/tone; /tmp/tone"'\n' expect:"played" \
        send:'echo +2 > /sys/class/rtc/rtc0/wakealarm; echo mem > /sys/power/state; echo a""wake\n' expect:"awake" \
        send:'/tmp/tone\n' expect:"played" "${power_off[@]}" -- "${guest[@]}"
    # Left samples: rising edges, and how often more than a period's time of 48 kHz lies between two of them.
    od -An -v -t d2 -w4 -j 44 "$folder/out.wav" | awk '
        $1 > 100 && last <= 100 { rises++; gaps += rises > 1 && NR - at > 130; at = NR } { last = $1 }
        END { print rises " waves, " gaps " gaps"; exit !(rises >= 1198 && rises <= 1202 && gaps <= 1) }'
}

case $test in
amd64-translator)
    linux amd64 "$quiet" --net none --accel translator
    "$console" "${shell_steps[@]}" expect:"42-x86_64" "${power_off[@]}" -- "${guest[@]}"
    ;;
amd64-interpreter)
    linux amd64 "$quiet" --net none --accel interpreter
    "$console" timeout:600 "${shell_steps[@]}" expect:"42-x86_64" "${power_off[@]}" -- "${guest[@]}"
    ;;
i386-translator)
    linux i386 "$quiet" --net none --accel translator
    "$console" "${shell_steps[@]}" expect:"42-i686" "${power_off[@]}" -- "${guest[@]}"
    ;;
i386-interpreter)
    linux i386 "$quiet" --net none --accel interpreter
    "$console" timeout:600 "${shell_steps[@]}" expect:"42-i686" "${power_off[@]}" -- "${guest[@]}"
    ;;
amd64-verify)
    linux amd64 "$quiet" --net none --accel translator --verify --kernel-unpack guest
    "$console" timeout:1200 "${shell_steps[@]}" expect:"42-x86_64" "${power_off[@]}" -- "${guest[@]}"
    ;;
i386-verify)
    linux i386 "$quiet" --net none --accel translator --verify
    "$console" timeout:1200 "${shell_steps[@]}" expect:"42-i686" "${power_off[@]}" -- "${guest[@]}"
    ;;
network)
    # A file from a server on the host through slirp, and back into a forwarded port.
    folder=$(mktemp -d)
    trap 'kill $server 2>/dev/null || true; rm -rf "$folder"' EXIT
    head -c 3000000 /dev/urandom >"$folder/data"
    sum=$(md5sum <"$folder/data" | cut -d' ' -f1)
    port=$((20000 + $$ % 20000)) forwarded=$((20000 + ($$ + 1) % 20000))
    "$build/tests/boot/file_server" "$port" "$folder/data" &
    server=$!
    linux amd64 "$quiet" --net "user,forward=tcp:$forwarded:7777"
    "$console" expect:"Network: 10.0.2.15" expect:"guest:" \
        send:"wget -q -O /tmp/data http://10.0.2.2:$port/data; md5sum < /tmp/data"'\n' expect:"$sum" \
        expect:"guest:" send:'echo from-the-guest | nc -l -p 7777\n' pause:1500 \
        run:"bash -c 'exec 3<>/dev/tcp/127.0.0.1/$forwarded && timeout 20 head -n 1 <&3 | grep -q from-the-guest'" \
        "${power_off[@]}" -- "${guest[@]}"
    ;;
cards)
    # Linux's driver of every other card gets an address and a file; none of them complains.
    folder=$(mktemp -d)
    trap 'kill $server 2>/dev/null || true; rm -rf "$folder"' EXIT
    head -c 1000000 /dev/urandom >"$folder/data"
    sum=$(md5sum <"$folder/data" | cut -d' ' -f1)
    port=$((20000 + ($$ + 4) % 20000))
    "$build/tests/boot/file_server" "$port" "$folder/data" &
    server=$!
    for card in rtl8139:8139cp rtl8139c:8139too ne2k:ne2k-pci; do
        linux amd64 "$quiet" --net "user,model=${card%:*}"
        "$console" expect:"Network: 10.0.2.15" expect:"guest:" \
            send:"wget -q -O /tmp/data http://10.0.2.2:$port/data; md5sum < /tmp/data"'\n' expect:"$sum" expect:"guest:" \
            send:'basename $(readlink /sys/class/net/eth0/device/driver); set -- $(grep eth0 /proc/net/dev); echo $(($4+$5+${12}+${13})) er""rors\n' \
            expect:"${card#*:}" expect:"0 errors" "${power_off[@]}" -- "${guest[@]}"
    done
    ;;
ethtool)
    # The driver's self-test of the e1000: registers, EEPROM, interrupts, loopback, link. The card sleeps with the
    # machine (suspended to idle: no firmware resets it) and is there again.
    port=$((20000 + ($$ + 5) % 20000))
    trap 'kill $server 2>/dev/null || true' EXIT
    "$build/tests/boot/file_server" "$port" "$guests/ethtool/ethtool.tar.gz" &
    server=$!
    linux amd64 "$quiet" --net user
    "$console" expect:"Network: 10.0.2.15" expect:"guest:" \
        send:"wget -q -O- http://10.0.2.2:$port/ethtool | tar xz -C /"'\n' expect:"guest:" \
        send:'/sbin/ethtool -t eth0 offline\n' expect:"test result is PASS" expect:"Link test" expect:"guest:" \
        send:'echo +2 > /sys/class/rtc/rtc0/wakealarm; echo freeze > /sys/power/state; echo a""wake\n' expect:"awake" expect:"guest:" \
        send:"sleep 2; wget -q -O- http://10.0.2.2:$port/ethtool | md5sum"'\n' \
        expect:"$(md5sum <"$guests/ethtool/ethtool.tar.gz" | cut -d' ' -f1)" "${power_off[@]}" -- "${guest[@]}"
    ;;
netboot)
    # A card's PXE ROM gets an address, finds the TFTP server and runs the script there.
    "$build/tests/boot/screen" expect:"fetched by rtl8029 from 10.0.2.2" print -- \
        --boot net --net "user,model=ne2k,tftp=$guests/netboot/tftp,bootfile=hello.ipxe"
    ;;
netboot-all)
    # The other cards; Linux by an iPXE script and by PXELINUX; iPXE in UEFI and from its CD.
    tftp=user,tftp=$guests/netboot/tftp
    for card in rtl8139 rtl8139c:rtl8139 virtio:virtio-net; do
        "$build/tests/boot/screen" expect:"fetched by ${card#*:} from 10.0.2.2" -- \
            --boot net --net "$tftp,model=${card%:*},bootfile=hello.ipxe"
    done
    for way in "ipxe:linux.ipxe pc" "pxelinux:pxelinux.0 q35"; do
        set -- ${way#*:}
        "$console" timeout:120 expect:"Network: 10.0.2.15" expect:"guest:" send:'cat /proc/cmdline\n' expect:"by=${way%%:*}" \
            "${power_off[@]}" -- "$doppel" run --boot net --net "$tftp,bootfile=$1" --board "$2" --memory 256M --headless --no-reboot
    done
    "$console" timeout:120 expect:"fetched by" expect:"82540em from 10.0.2.2" -- "$doppel" run --firmware uefi --boot net \
        --net "$tftp,bootfile=hello.ipxe" --memory 512M --headless
    "$build/tests/boot/screen" expect:"iPXE initialising" expect:"gw 10.0.2.2" expect:"Nothing to boot" print -- \
        --cdrom "$guests/netboot/ipxe.iso" --boot cdrom --net user
    ;;
disk | ahci | nvme)
    # An ext4 file system on a disk of each bus: written in one run, found in the next.
    bus=${test/disk/ide} device=/dev/sda
    [ "$test" = nvme ] && device=/dev/nvme0n1
    folder=$(mktemp -d)
    trap 'rm -rf "$folder"' EXIT
    truncate -s 64M "$folder/disk.img"
    linux amd64 "$quiet" --net none --disk "$folder/disk.img,bus=$bus"
    "$console" expect:"guest:" send:"until [ -b $device ]; do sleep 0.1; done; mke2fs -q $device && mount -t ext4 $device /tmp && dd if=/dev/urandom of=/tmp/f bs=64k count=256 2>/dev/null; md5sum /tmp/f > /tmp/s; sync; umount /tmp; echo wr\"\"itten\n" \
        expect:"written" "${power_off[@]}" -- "${guest[@]}"
    "$console" expect:"guest:" send:"until [ -b $device ]; do sleep 0.1; done; mount -t ext4 $device /tmp && md5sum -c /tmp/s; umount /tmp\n" \
        expect:"/tmp/f: OK" "${power_off[@]}" -- "${guest[@]}"
    ;;
usb-grub)
    # GRUB by SeaBIOS's own drivers: from a CD-ROM drive and a disk, with a USB keyboard, on both controllers.
    iso=$guests/grub-rescue.iso
    for options in "--usb xhci,keyboard --cdrom $iso,bus=usb --boot cdrom" "--usb uhci,keyboard --disk $iso,readonly,bus=usb"; do
        "$build/tests/boot/screen" expect:"GNU GRUB" type:c expect:"grub>" 'type:echo it works\n' expect:"it works" -- $options --net none
    done
    ;;
usb-xhci | usb-uhci)
    # A disk and a tablet, on xHCI also a CD-ROM drive, by Linux's drivers: written in one run, found in the
    # next, nothing to complain about.
    folder=$(mktemp -d)
    trap 'rm -rf "$folder"' EXIT
    truncate -s 64M "$folder/disk.img"
    drives=(--disk "$folder/disk.img,bus=usb") speeds="12" kilobytes=2048
    [ "$test" = usb-xhci ] && drives+=(--cdrom "$guests/grub-rescue.iso,bus=usb") speeds="480 5000" kilobytes=16384
    load='while read -r m; do insmod /modules/$m.ko; done </modules/usb 2>/dev/null; until [ -b /dev/sda ] && [ -e /dev/input/event1 ]; do sleep 0.1; done'
    linux amd64 "$quiet" --net none --usb "${test#usb-},tablet" "${drives[@]}"
    "$console" expect:"guest:" send:"$load"'\n' expect:"guest:" \
        send:'until [ -b /dev/sr0 ]; do grep -q 5000 /sys/bus/usb/devices/*/speed || break; sleep 0.1; done; mount -t iso9660 -o ro /dev/sr0 /tmp && ls /tmp/boot; umount /tmp; cat /sys/bus/usb/devices/*/speed | sort -n | uniq | tr "\\n" " "; echo Mb/s\n' \
        expect:"$speeds Mb/s" expect:"guest:" \
        send:'mke2fs -q /dev/sda && mount -t ext4 /dev/sda /tmp && dd if=/dev/urandom of=/tmp/f bs=1k count='$kilobytes' 2>/dev/null; md5sum /tmp/f > /tmp/s; sync; umount /tmp; echo wr""itten\n' \
        expect:"written" expect:"guest:" \
        send:'dmesg | grep -i -E "usb|hci|sd|sr0|hid" | grep -i -E "error|warn|fail|timeout|reset|BUG" || echo cl""ean\n' \
        expect:"clean" "${power_off[@]}" -- "${guest[@]}"
    "$console" expect:"guest:" send:"$load"'; mount -t ext4 /dev/sda /tmp && md5sum -c /tmp/s; umount /tmp\n' \
        expect:"/tmp/f: OK" "${power_off[@]}" -- "${guest[@]}"
    ;;
vectors)
    # A program for x86-64-v3 prints the same checksums in the guest as on the host.
    grep -q -w avx2 /proc/cpuinfo || { echo "the host has no AVX2 to compare with"; exit 77; }
    folder=$(mktemp -d)
    trap 'kill $server 2>/dev/null || true; rm -rf "$folder"' EXIT
    port=$((20000 + ($$ + 2) % 20000))
    sum=$("$build/tests/programs/vectors" | md5sum | cut -d' ' -f1)
    "$build/tests/boot/file_server" "$port" "$build/tests/programs/vectors" &
    server=$!
    linux amd64 "$quiet" --net user --cpu x86-64-v3
    "$console" expect:"Network: 10.0.2.15" expect:"guest:" \
        send:"wget -q -O /tmp/vectors http://10.0.2.2:$port/vectors; chmod +x /tmp/vectors; for i in 1 2 3; do /tmp/vectors; done | md5sum"'\n' \
        expect:"guest:" send:"/tmp/vectors | md5sum"'\n' expect:"$sum" "${power_off[@]}" -- "${guest[@]}"
    ;;
pentium3)
    # Debian's i386 kernel on a Pentium III, where a program finds each instruction that is not its; then on others.
    folder=$(mktemp -d)
    trap 'rm -rf "$folder"' EXIT
    cp "$build/tests/programs/illegal" "$folder/illegal"
    (cd "$folder" && echo illegal | cpio --quiet -o -H newc | gzip -n | cat "$OLDPWD/$guests/i386/initrd.gz" - >initrd)
    base="cmov mmx sse sfence prefetch pause nop endbr32 lzcnt-as-bsr"
    v1=" sse2 sse2-scalar sse2-integer sse2-move sse2-mmx movnti clflush lfence mfence sse3"
    v2=" ssse3 ssse3-mmx sse4.1 crc32 sse4.2 popcnt"
    for model in pentium3 x86-64-v1 x86-64-v2 x86-64-v3; do
        case $model in
        pentium3) ran="$base" undefined="${v1# }$v2 aes pclmulqdq sha movbe rdrand rdtscp adx avx avx2 fma f16c bmi1 bmi2" ;;
        x86-64-v1) ran="$base$v1" undefined="${v2# } aes pclmulqdq sha movbe rdrand rdtscp adx avx avx2 fma f16c bmi1 bmi2" ;;
        x86-64-v2) ran="$base$v1$v2 rdtscp" undefined="aes pclmulqdq sha movbe rdrand adx avx avx2 fma f16c bmi1 bmi2" ;;
        x86-64-v3) ran="$base$v1$v2 movbe rdtscp avx avx2 fma f16c bmi1 bmi2" undefined="aes pclmulqdq sha rdrand adx" ;;
        esac
        linux i386 "$quiet" --net none --cpu $model --initrd "$folder/initrd"
        "$console" timeout:60 expect:"guest:" send:'uname -m; /illegal\n' expect:"i686" expect:"ran: $ran." expect:"undefined: $undefined 3dnow ud2." \
            "${power_off[@]}" -- "${guest[@]}"
    done
    ;;
virtio | virtio-i386)
    # Every virtio device with its driver: disks written in one run and found in the next, network both
    # ways, random numbers, a console port with an echo, memory given back, and no complaint in the log.
    folder=$(mktemp -d)
    trap 'kill $server 2>/dev/null || true; rm -rf "$folder"' EXIT
    arch=amd64
    [ "$test" = virtio ] || arch=i386
    truncate -s 64M "$folder/blk.img" "$folder/scsi.img"
    head -c 3000000 /dev/urandom >"$folder/data"
    sum=$(md5sum <"$folder/data" | cut -d' ' -f1)
    port=$((20000 + $$ % 20000)) echo_port=$((20000 + ($$ + 1) % 20000))
    "$build/tests/boot/file_server" "$port" "$folder/data" &
    server=$!
    linux $arch "$quiet" --net user,model=virtio --disk "$folder/blk.img,bus=virtio" \
        --disk "$folder/scsi.img,bus=virtio-scsi" --cdrom "$guests/grub-rescue.iso,bus=virtio-scsi" \
        --rng --balloon 160M --console "file:$folder/console" --console "tcp:127.0.0.1:$echo_port,name=test.echo"
    files='for d in vda sda; do mke2fs -q /dev/$d && mount -t ext4 -o discard /dev/$d /tmp && dd if=/dev/urandom of=/tmp/f bs=64k count=256 2>/dev/null; md5sum /tmp/f > /tmp/s; sync; umount /tmp; done; echo wr""itten\n'
    "$console" expect:"Network: 10.0.2.15" expect:"guest:" send:"$files" expect:"written" \
        expect:"guest:" send:"wget -q -O /tmp/data http://10.0.2.2:$port/data; md5sum < /tmp/data"'\n' expect:"$sum" \
        expect:"guest:" send:'mount -t iso9660 -o ro /dev/sr0 /tmp && ls /tmp/boot; umount /tmp\n' expect:"grub" \
        expect:"guest:" send:'cat /sys/class/misc/hw_random/rng_current; head -c 50000 /dev/hwrng | wc -c\n' expect:"virtio_rng" expect:"50000" \
        expect:"guest:" send:'sh -c "exec 3<>$(ls /dev/vport*p1); cat <&3 >&3" & sleep 1; echo on the console > /dev/hvc0; cat /sys/class/virtio-ports/*/name\n' expect:"test.echo" \
        run:"bash -c 'exec 3<>/dev/tcp/127.0.0.1/$echo_port && echo there-and-back >&3 && timeout 20 head -n 1 <&3 | grep -q there-and-back'" \
        run:"grep -q 'on the console' $folder/console" \
        send:'set -- $(free | grep Mem:); [ $3 -gt 90000 ] && echo ta""ken\n' expect:"taken" \
        expect:"guest:" send:'dmesg | grep -i -E "virtio|vda|sda|balloon|I/O error" | grep -i -E "error|warn|fail|timeout|bogus|BUG" || echo cl""ean\n' expect:"clean" \
        "${power_off[@]}" -- "${guest[@]}"
    "$console" expect:"guest:" send:'for d in vda sda; do mount -t ext4 /dev/$d /tmp && md5sum -c /tmp/s; umount /tmp; done; echo do""ne\n' \
        expect:"/tmp/f: OK" expect:"/tmp/f: OK" expect:"done" "${power_off[@]}" -- "${guest[@]}"
    ;;
virtio-grub)
    # GRUB by SeaBIOS's own virtio drivers: from a block device, and from a SCSI CD-ROM and disk.
    iso=$guests/grub-rescue.iso
    for drive in "--disk $iso,readonly,bus=virtio" "--cdrom $iso,bus=virtio-scsi"; do
        "$build/tests/boot/screen" expect:"GNU GRUB" expect:"*GNU/Linux" type:c expect:"grub>" 'type:echo it works\n' \
            expect:"it works" -- $drive --net none
    done
    "$build/tests/boot/screen" expect:"GRUB loading" -- --disk "$(dirname "$(readlink -f "$iso")")/grub-rescue-floppy.img,readonly,bus=virtio-scsi" --net none
    ;;
display)
    # Linux's driver finds the monitor's EDID and takes the mode that it prefers; the largest is there too.
    linux amd64 "$quiet" --net none
    "$console" expect:"guest:" send:'for m in $(cat /modules/bochs); do insmod /modules/$m.ko; done; until [ -e /dev/fb0 ]; do sleep 0.1; done; cat /sys/class/graphics/fb0/virtual_size\n' \
        expect:"1280,800" send:'cat /sys/class/drm/card0-*/modes; cat /sys/class/drm/card0-*/edid | wc -c; dmesg | grep -i -E "bochs.*(error|warn|fail)" || echo cl""ean\n' \
        expect:"2560x1600" expect:"128" expect:"clean" "${power_off[@]}" -- "${guest[@]}"
    ;;
sound-ac97) sound amd64 ac97 snd-intel8x0 ;;
sound-hda) sound amd64 hda snd-hda-intel --board q35 ;;
sound-sb16) sound i386 sb16 snd-sb16 ;;
grub-floppy)
    # GRUB's rescue floppy: SeaBIOS reads it by DMA; the command line answers.
    "$build/tests/boot/screen" expect:"GNU GRUB" type:c expect:"grub>" 'type:echo it works\n' expect:"it works" print -- \
        --floppy "$guests/grub-rescue-floppy.img,temporary" --boot floppy --net none
    ;;
q35)
    # The other board: its SATA disk, suspend to RAM with the clock's alarm, power off.
    folder=$(mktemp -d)
    trap 'rm -rf "$folder"' EXIT
    truncate -s 8M "$folder/disk.img"
    linux amd64 "$quiet" --net none --board q35 --disk "$folder/disk.img"
    "$console" expect:"guest:" send:'insmod /modules/libahci.ko; insmod /modules/ahci.ko; until [ -b /dev/sda ]; do sleep 0.1; done; echo +2 > /sys/class/rtc/rtc0/wakealarm; echo mem > /sys/power/state; dd if=/dev/sda bs=1M 2>/dev/null | wc -c\n' \
        expect:"8388608" "${power_off[@]}" -- "${guest[@]}"
    ;;
hotplug)
    # A network card comes into a slot and leaves it again, twice: by ACPI, and by PCI Express itself.
    for board in pc q35; do
        "$build/tests/boot/hotplug" --board $board --kernel "$guests/amd64/vmlinuz" --initrd "$guests/amd64/initrd.gz" \
            --append "$quiet" --memory 256M --net none
    done
    ;;
resets)
    # Linux restarts by the keyboard controller, a triple fault, the ACPI reset register and port 0xcf9; the 32-bit
    # kernel also by a jump to the firmware in real mode.
    for way in amd64:k amd64:t amd64:a amd64:p i386:b; do
        guest=("$doppel" run --kernel "$guests/${way%:*}/vmlinuz" --initrd "$guests/${way%:*}/initrd.gz"
            --append "$quiet reboot=${way#*:}" --memory 256M --headless --net none)
        "$console" expect:"guest:" send:'reboot -f\n' expect:"Restarting" expect:"user space after" "${power_off[@]}" -- "${guest[@]}"
    done
    ;;
suspend)
    linux amd64 "$quiet" --net none
    "$console" expect:"guest:" send:'echo +2 > /sys/class/rtc/rtc0/wakealarm; echo mem > /sys/power/state; echo a""wake\n' \
        expect:"awake" "${power_off[@]}" -- "${guest[@]}"
    # Woken by a key, and by the power button.
    folder=$(mktemp -d)
    trap 'rm -rf "$folder"' EXIT
    for waker in type:a power; do
        "$build/tests/boot/screen" expect:"Suspending console" pause:3 $waker ended -- --net none --memory 256M \
            --kernel "$guests/amd64/vmlinuz" --initrd "$guests/amd64/initrd.gz" --serial "file:$folder/serial" \
            --append "doppel.run=echo~mem~>~/sys/power/state;echo~aw''ake~>~/dev/ttyS0;sleep~1;poweroff~-f"
        grep awake "$folder/serial"
    done
    ;;
unpack)
    # The amd64 kernel unpacked by doppel: at a random place, another after a restart; with nokaslr where it is linked
    # for, as when it unpacks itself; and with a payload for doppel that is good, or damaged in several ways.
    folder=$(mktemp -d)
    trap 'rm -rf "$folder"' EXIT
    where='echo a""t $(grep -w _text /proc/kallsyms) $(grep "Kernel code" /proc/iomem)\n'
    kernel=$guests/amd64/vmlinuz
    unpacks() { # unpacks [REASON]: what doppel said: that the kernel has to do it itself, for this reason, or nothing
        cat "$folder/err"
        if [ "${1:-}" ]; then grep -q "unpack itself: $1" "$folder/err"; else ! grep -q "unpack itself" "$folder/err"; fi
    }
    "$console" expect:"guest:" send:"$where" expect:"Kernel code" send:'reboot -f\n' expect:"Restarting" expect:"guest:" \
        send:"$where" expect:"Kernel code" "${power_off[@]}" -- "$doppel" run --kernel "$kernel" \
        --initrd "$guests/amd64/initrd.gz" --append "$quiet" --memory 256M --headless --net none 2>"$folder/err" |
        tr -d '\r' | grep "^at " | tee "$folder/places"
    unpacks
    [ "$(sort -u "$folder/places" | wc -l)" -eq 2 ]
    for who in host guest; do
        linux amd64 "$quiet nokaslr" --net none --kernel-unpack $who
        "$console" expect:"guest:" send:"$where" expect:"at ffffffff81000000 T _text 01000000-" "${power_off[@]}" \
            -- "${guest[@]}" 2>"$folder/err"
        unpacks
    done

    number() { od -An -v -t u4 -j "$1" -N 4 "$kernel" | tr -d ' '; } # number OFFSET: a field of the setup header
    setup=$((($(od -An -t u1 -j $((0x1f1)) -N 1 "$kernel") + 1) * 512)) offset=$(number $((0x248))) size=$(number $((0x24c)))
    dd if="$kernel" of="$folder/payload" iflag=skip_bytes,count_bytes skip=$((setup + offset)) count="$size" status=none
    head -c -4 "$folder/payload" | xz -dc >"$folder/plain"
    bytes() { printf "$(printf '%08x' "$1" | sed 's/\(..\)\(..\)\(..\)\(..\)/\\x\4\\x\3\\x\2\\x\1/')"; } # of a number
    boots() { # boots PAYLOAD [REASON]: whether the kernel starts with this payload behind its own
        cat "$kernel" "$1" >"$folder/kernel"
        { bytes $(($(stat -Lc %s "$kernel") - setup)) && bytes "$(stat -c %s "$1")"; } |
            dd of="$folder/kernel" bs=1 seek=$((0x248)) conv=notrunc status=none
        linux amd64 "$quiet" --net none --kernel "$folder/kernel"
        "$console" "${shell_steps[@]}" expect:"42-x86_64" "${power_off[@]}" -- "${guest[@]}" 2>"$folder/err"
        unpacks "${2:-}"
    }
    gzip -1 <"$folder/plain" >"$folder/new"
    boots "$folder/new"
    { head -c $((size - 16)) "$folder/payload" && head -c 12 /dev/zero && tail -c 4 "$folder/payload"; } >"$folder/new"
    boots "$folder/new" "its packed data is damaged"
    { head -c -4 "$folder/plain" && bytes 1; } | gzip -1 >"$folder/new"
    boots "$folder/new" "one of its relocations lies outside"
    ;;
multiboot)
    # A game by Multiboot 1: the cannon goes where the keys say. A Linux kernel's ELF file by its PVH entry.
    "$build/tests/boot/screen" timeout:30 expect:"-*-" 'type:\n' expect:"/ \\" print 'type:\r\r\r\r\r\r\r\r\r\r\r\r\r\r\r\r' pause:1 print \
        'type:\l\l\l\l\l\l\l\l\l\l\l\l\l\l\l\l\l\l\l\l\l\l\l\l\l\l\l\l\l\l\l\l' pause:1 print -- --kernel "$guests/invaders.exec" --net none --memory 64M |
        awk '{ print } /^ *_$/ { at[++n] = length($0) } END { exit !(n == 3 && at[2] > at[1] && at[3] < at[1]) }'
    "$console" "${shell_steps[@]}" expect:"42-x86_64" "${power_off[@]}" -- "$doppel" run --kernel "$guests/amd64/vmlinux" \
        --initrd "$guests/amd64/initrd.gz" --append "$quiet" --net none --memory 512M --headless --no-reboot
    ;;
installer)
    # Debian's installer for both architectures, as text on the serial line: two dialogs.
    for arch in amd64 i386; do
        "$console" timeout:200 expect:"Select a language" expect:"English" send:'\n' expect:"Select your location" -- \
            "$doppel" run --kernel "$guests/installer/$arch-text/linux" --initrd "$guests/installer/$arch-text/initrd.gz" \
            --append "$quiet" --memory 1G --headless --no-reboot
    done
    ;;
xen)
    # A hypervisor by Multiboot 2, with two modules: a Linux kernel and its initial RAM disk.
    # Both take the first word of their command lines for the kernel's name.
    "$console" expect:"Xen version 4.17" expect:"Command line: com1=115200" expect:"Serial input to DOM0" \
        expect:"user space after" -- "$doppel" run \
        --kernel "$guests/xen.gz" --append "com1=115200,8n1 console=com1 noreboot" --memory 1G --net none --headless \
        --module "$guests/amd64/vmlinuz console=hvc0 quiet" --module "$guests/amd64/initrd.gz"
    ;;
memtest)
    # A whole pass of both programs, with no error.
    for kind in ia32 x64; do
        "$build/tests/boot/screen" timeout:1500 expect:"Memtest86+" expect:"Testing" expect:"Pass:  1" expect:"Errors: 0" print -- \
            --kernel "$guests/memtest86+$kind.bin" --net none --memory 16M
    done
    ;;
uefi)
    # OVMF, GRUB from a FAT disk, and the kernel as an EFI program; the variables are there the next time.
    folder=$(mktemp -d)
    trap 'rm -rf "$folder"' EXIT
    guest=("$doppel" run --firmware "uefi,vars=$folder/vars.fd" --disk "$guests/uefi.img,temporary" --net none
        --memory 512M --headless --no-reboot)
    variable=/sys/firmware/efi/efivars/Doppel-6f1f5a52-0c0e-4b5e-9d6b-5c1a6f3b7e10
    "$console" expect:"Press enter to boot" send:s expect:"guest:" \
        send:'insmod /modules/efivarfs.ko; grep -o by=.* /proc/cmdline; mount -t efivarfs e /sys/firmware/efi/efivars; ''printf "\\007\\000\\000\\000kept" > '"$variable"'\n' \
        expect:"by=stub" "${power_off[@]}" -- "${guest[@]}" --board q35
    "$console" expect:"Press enter to boot" send:l expect:"guest:" \
        send:'insmod /modules/efivarfs.ko; grep -o by=.* /proc/cmdline; mount -t efivarfs e /sys/firmware/efi/efivars; '"cat $variable"'; echo\n' \
        expect:"by=grub" expect:"kept" "${power_off[@]}" -- "${guest[@]}" --board q35
    ;;
grub-iso)
    # GRUB's rescue CD through SeaBIOS and El Torito: its menu, keys that move in it, its command line.
    "$build/tests/boot/screen" expect:"GNU GRUB" expect:"*GNU/Linux" 'type:\d' absent:"*GNU/Linux" \
        'type:\u' expect:"*GNU/Linux" type:c expect:"grub>" 'type:echo it works\n' expect:"it works" print -- \
        --cdrom "$guests/grub-rescue.iso" --boot cdrom --net none
    ;;
*)
    echo "boot.sh: unknown case '$test'"
    exit 1
    ;;
esac
