#!/usr/bin/env bash
# Disk and network throughput of the same guest on doppel and on QEMU, both without hardware help.
# Usage: io.sh BUILD [ROUNDS]; DISK=ahci|nvme|virtio-scsi measures another bus (doppel alone).
set -euo pipefail
build=$1 rounds=${2:-3} bus=${DISK:-virtio}
cd "$(dirname "$0")/../../.."
guests=.cache/guests/amd64 folder=$(mktemp -d) port=$((20000 + $$ % 20000))
systems=(doppel qemu)
[ "$bus" = virtio ] || systems=(doppel)
trap 'kill $server 2>/dev/null || true; rm -rf "$folder"' EXIT

head -c 268435456 /dev/zero | tr '\0' '\132' >"$folder/disk.img" # real blocks, in the page cache
mkdir -p "$folder/root/bin"
cp "$build/tests/bench/io/guest" "$folder/root/bin/io-guest"
(cd "$folder/root" && find . | cpio --quiet -o -H newc) | cat - "$guests/initrd.gz" >"$folder/initrd"
"$build/tests/bench/io/host" "$port" &
server=$!
device=/dev/vda
case $bus in ahci | virtio-scsi) device=/dev/sda ;; nvme) device=/dev/nvme0n1 ;; esac
append="console=ttyS0 quiet doppel.run=io-guest~$device~10.0.2.2~$port;poweroff~-f"

run_doppel() {
    "$build/doppel" run --kernel "$guests/vmlinuz" --initrd "$folder/initrd" --append "$append" --memory 512M \
        --headless --no-reboot --disk "$folder/disk.img,bus=$bus" --net user,model=virtio
}
run_qemu() {
    qemu-system-x86_64 -accel tcg,thread=multi -cpu max -m 512 -machine pc -nodefaults -display none -no-reboot \
        -serial stdio -kernel "$guests/vmlinuz" -initrd "$folder/initrd" -append "$append" \
        -drive "file=$folder/disk.img,format=raw,if=none,id=d" -device virtio-blk-pci,drive=d \
        -netdev user,id=n -device virtio-net-pci,netdev=n
}

for ((round = 1; round <= rounds; round++)); do
    for system in "${systems[@]}"; do
        run_$system </dev/null 2>&1 | tr -d '\r' | sed -n "s/^io \([a-z-]*\) \([0-9.]*\)$/\1 $system \2/p" >>"$folder/results"
    done
done

awk -v systems="${systems[*]}" '
    function median(list,    n, v, i, j, t) {
        n = split(list, v, " ")
        for (i = 1; i <= n; i++) for (j = i + 1; j <= n; j++) if (v[j] < v[i]) { t = v[i]; v[i] = v[j]; v[j] = t }
        return v[int((n + 1) / 2)]
    }
    { if (!($1 in seen)) { order[++count] = $1; seen[$1] } all[$1, $2] = all[$1, $2] " " $3 }
    END {
        n = split(systems, name, " ")
        printf "%-18s", "MB/s, medians"
        for (i = 1; i <= n; i++) printf "%10s", name[i]
        print (n > 1 ? "     ratio" : "")
        for (k = 1; k <= count; k++) {
            printf "%-18s", order[k]
            for (i = 1; i <= n; i++) printf "%10.1f", median(all[order[k], name[i]])
            if (n > 1) printf "%10.2f", median(all[order[k], name[1]]) / median(all[order[k], name[2]])
            print ""
        }
    }' "$folder/results"
