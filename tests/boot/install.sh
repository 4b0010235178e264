#!/bin/bash
# Runs in the guest: installs Debian on an empty disk as an administrator does from a rescue system. Partitions, file
# systems, the base system from the mirror, kernel, and GRUB for BIOS and for UEFI.
# Usage: install.sh DISK MIRROR [APT_OPTION...]
set -euo pipefail
disk=$1 mirror=$2 target=/target
shift 2
export DEBIAN_FRONTEND=noninteractive LC_ALL=C PATH=/usr/sbin:/usr/bin:/sbin:/bin
case $disk in *[0-9]) part=${disk}p ;; *) part=$disk ;; esac
step() { echo "install: $* (after $(cut -d. -f1 /proc/uptime) s)"; }

step "partitions"
sfdisk --quiet --label gpt "$disk" <<'TABLE'
size=1M, type=21686148-6449-6E6F-744E-656564454649
size=64M, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B
type=0FC63DAF-8483-4772-8E79-3D69D8477DE4
TABLE
mkfs.vfat -F 32 "${part}2" >/dev/null
mkfs.ext4 -q "${part}3"
# Without udev: GRUB's configuration names the root by its UUID only if this is there.
root_id=$(blkid -s UUID -o value "${part}3")
mkdir -p /dev/disk/by-uuid $target
ln -sf "${part}3" "/dev/disk/by-uuid/$root_id"
mount "${part}3" $target

step "base system"
options=()
for option in "$@"; do options+=(--aptopt="$option"); done
mmdebstrap --quiet --mode=root --skip=cleanup/tmp --variant=important "${options[@]}" --include=systemd-resolved bookworm $target "$mirror"

step "settings"
mkdir -p $target/boot/efi
mount -t vfat "${part}2" $target/boot/efi
for folder in dev proc sys; do mount --rbind /$folder $target/$folder; done
rm -f $target/etc/resolv.conf && cp /etc/resolv.conf $target/etc/resolv.conf
cat >$target/etc/fstab <<FSTAB
UUID=$root_id / ext4 errors=remount-ro 0 1
UUID=$(blkid -s UUID -o value "${part}2") /boot/efi vfat umask=0077,nofail 0 2
FSTAB
echo lives >$target/etc/hostname
echo "127.0.0.1 localhost lives" >$target/etc/hosts
printf '%s\n' "$@" | sed 's/.*/&;/' >$target/etc/apt/apt.conf.d/90host
printf '[Match]\nName=en* eth*\n[Network]\nDHCP=yes\n' >$target/etc/systemd/network/card.network
chroot $target systemctl --quiet enable systemd-networkd
echo root:secret | chroot $target chpasswd

step "kernel"
chroot $target apt-get -qq update
chroot $target apt-get -qq -y install --no-install-recommends linux-image-amd64 initramfs-tools zstd grub-pc grub-efi-amd64-bin >/dev/null

step "boot loaders"
sed -i -e 's/^GRUB_CMDLINE_LINUX=.*/GRUB_CMDLINE_LINUX="console=tty0 console=ttyS0"/' -e 's/^GRUB_TIMEOUT=.*/GRUB_TIMEOUT=1/' \
    $target/etc/default/grub
chroot $target grub-install --target=i386-pc "$disk"
chroot $target grub-install --target=x86_64-efi --efi-directory=/boot/efi --removable --no-nvram
chroot $target update-grub

ln -sf ../run/systemd/resolve/stub-resolv.conf $target/etc/resolv.conf
step "unmounting"
umount -R $target
step "complete"
