#!/bin/sh
# Runs a program of the benchmark in the guest's root folder, with the mounts that the guest has.
# Usage: native.sh ROOT PROGRAMS COMMAND...   PROGRAMS: the folder that is /bench there.
# Needs no privileges where user namespaces may be made.
set -eu
root=$1 programs=$2
shift 2
map=--map-root-user
[ "$(id -u)" -ne 0 ] || map=
# shellcheck disable=SC2016,SC2086
exec unshare $map --mount -- sh -eu -c '
    root=$1 programs=$2
    shift 2
    mount --rbind /dev "$root/dev"
    mount --rbind /proc "$root/proc"
    mount -t tmpfs tmpfs "$root/tmp"
    mount --bind "$programs" "$root/bench"
    exec chroot "$root" "$@"' sh "$root" "$programs" "$@"
