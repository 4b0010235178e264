#!/usr/bin/env bash
# A Debian system in a guest with an x86-64-v3 processor: OpenSSL, Python's tests of numbers and gcc give what they
# give natively, in the same root folder. Usage: userland.sh BUILD [PART...]; parts: run.sh.
set -euo pipefail
build=$1
shift
cd "$(dirname "$0")/../.."
guests=$PWD/.cache/guests
grep -q -w avx2 /proc/cpuinfo || { echo "the host has no AVX2 to compare with"; exit 77; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

# /bench of both sides: this folder, Python's test suite, keys, and what the host made with them.
mkdir "$folder/bench" && bench=$folder/bench
cp tests/userland/run.sh tests/userland/numbers.* tests/programs/vectors.c "$bench"
cp -a "$guests/userland/python" "$bench"
mkdir "$bench/keys"
(
    cd "$bench/keys"
    openssl genrsa -out rsa.pem 3072
    for curve in 256:prime256v1 384:secp384r1 521:secp521r1; do
        openssl ecparam -name "${curve#*:}" -genkey -noout -out "p${curve%:*}.pem"
    done
    openssl genpkey -algorithm ed25519 -out ed25519.pem
    openssl genpkey -algorithm x25519 -out x25519.pem
    for key in *.pem; do openssl pkey -in "$key" -pubout -out "${key%.pem}.pub"; done
    for curve in p256 p384 p521; do openssl dgst -sha256 -sign $curve.pem -out $curve.signature ../run.sh; done
    head -c 200 ../run.sh | openssl pkeyutl -encrypt -pubin -inkey rsa.pub -pkeyopt rsa_padding_mode:oaep -out sealed
) 2>/dev/null
mke2fs -q -t ext4 -O ^has_journal -m 0 -d "$bench" "$folder/bench.img" 64M

echo "natively:"
tests/bench/native.sh "$guests/bench/root" "$bench" sh -c 'sh /bench/run.sh /tmp/work "$@"; for f in /tmp/work.*; do echo "== $f"; cat $f; done >/bench/native' \
    sh "$@" | tee "$folder/expected"

# What the guest has: two disks on IDE, the second at /bench of the first.
mounts='until [ -b /dev/sdb ]; do sleep 0.1; done; mkdir /tmp/r; mount -t ext4 /dev/sda /tmp/r && mount -t ext4 /dev/sdb /tmp/r/bench'
mounts+='; mount -t proc proc /tmp/r/proc; mount -o bind /dev /tmp/r/dev; mount -t tmpfs tmpfs /tmp/r/tmp; cd /tmp'
status=0
"$build/tests/boot/console" timeout:1800 expect:"guest:" send:"$mounts\n" expect:"guest:" \
    send:'chroot /tmp/r /lib64/ld-linux-x86-64.so.2 --help | grep x86-64-v3\n' expect:"v3 (supported, searched)" expect:"guest:" \
    send:"chroot /tmp/r sh /bench/run.sh /tmp/work $*; echo do\"\"ne\n" expect:"done" expect:"guest:" \
    send:'grep -c avx2 /proc/cpuinfo; poweroff -f\n' status:0 -- \
    "$build/doppel" run --cpu x86-64-v3 --kernel "$guests/amd64/vmlinuz" --initrd "$guests/amd64/initrd.gz" --append "console=ttyS0 quiet" \
    --memory 1G --net none --headless --no-reboot --disk "$guests/bench/disk.img,temporary" --disk "$folder/bench.img,temporary" |
    tee "$folder/console" || status=$?
echo
[ $status -eq 0 ] || { echo "the guest did not come to its end"; exit 1; }
while read -r line; do
    grep -qF "$line" "$folder/console" || { echo "another result in the guest, natively: $line"; status=1; }
done <"$folder/expected"
exit $status
