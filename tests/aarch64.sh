#!/usr/bin/env bash
# Prepares libraries of AArch64 for linking tests statically: headers and archives of Debian packages
# in .cache/guests/packages, gathered in FOLDER. Usage: aarch64.sh FOLDER
set -euo pipefail
folder=$1
cd "$(dirname "$0")/.."
[ -e "$folder/complete" ] && exit 0
cache=$PWD/.cache/guests
packages=$cache/packages
mkdir -p "$packages" "$folder/include" "$folder/lib"
. tests/packages.sh

for package in check libsubunit-dev libcapstone-dev zlib1g-dev; do
    root=$(unpack arm64 $package)
    cp -r "$root/usr/include/." "$folder/include/"
    find "$root/usr/lib" -name '*.a' -exec cp {} "$folder/lib/" \;
done
cp -r "$folder/include/aarch64-linux-gnu/." "$folder/include/" 2>/dev/null || true
touch "$folder/complete"
