#!/usr/bin/env bash
# The command line: everything a user can get wrong is one sentence on stderr and status 1, at once,
# and no file is harmed; the ends of a run have the statuses that they should. Usage: cli.sh BUILD
set -u
build=$1
cd "$(dirname "$0")/../.."
doppel=$(realpath "$build/doppel")
guests=$PWD/.cache/guests
folder=$(mktemp -d)
trap 'rm -rf "$folder"; [ -z "${listener:-}" ] || kill "$listener" 2>/dev/null' EXIT
cd "$folder"
failures=0 checks=0
unset DISPLAY WAYLAND_DISPLAY SDL_VIDEODRIVER

fail() { # fail WHAT
    failures=$((failures + 1))
    echo "FAIL: $1"
    sed 's/^/    out: /' out | head -n 5
    sed 's/^/    err: /' err | head -n 5
}

# Seconds that a refusal may take: one, on an idle machine.
limit=10

# refuse WORD OPTION...: the command must refuse and name WORD in its one sentence.
refuse() {
    local word=$1 status
    shift
    checks=$((checks + 1))
    timeout $limit "$doppel" "$@" >out 2>err </dev/null
    status=$?
    if [ $status -ne 1 ]; then
        fail "doppel $*: status $status instead of 1"
    elif [ -s out ] || [ "$(wc -l <err)" -ne 1 ] || ! grep -q '^doppel: ' err; then
        fail "doppel $*: not one sentence on stderr"
    elif ! grep -qF -- "$word" err; then
        fail "doppel $*: does not mention '$word'"
    fi
}

# ends STATUS OPTION...: the run must end by itself with STATUS.
ends() {
    local wanted=$1 status
    shift
    checks=$((checks + 1))
    timeout 60 "$doppel" "$@" >out 2>err </dev/null
    status=$?
    [ $status -eq "$wanted" ] || fail "doppel $*: status $status instead of $wanted"
}

says() { # says WORD: the last command printed it
    checks=$((checks + 1))
    grep -qF -- "$1" out || fail "the output lacks '$1'"
}

# -- Help and versions --

ends 0 --version
says "doppel "
ends 0 help
says "doppel run"
ends 0 --help
says "Usage"
ends 0 help run
for option in memory accel disk cdrom kernel initrd append kernel-unpack boot net display serial headless \
    no-reboot exit-port code-cache verify log stats; do
    says "--$option"
done
ends 0 help doctor
checks=$((checks + 1))
timeout $limit "$doppel" >out 2>err
[ $? -eq 1 ] && [ ! -s out ] && grep -q Usage err || fail "doppel without a command explains itself"
timeout $limit "$doppel" doctor >out 2>err </dev/null
for word in translator firmware display libslirp; do says "$word"; done

# -- Commands and options --

refuse "'frobnicate' is no command" frobnicate
refuse "'frobnicate' is no command" help frobnicate
refuse "not built yet" list
refuse "not built yet" snapshot
refuse "not built yet" help image
refuse "no arguments" doctor now
refuse "'--frobnicate'" run --frobnicate
refuse "'-x'" run -x
refuse "'stray'" run stray
refuse "''" run ""
refuse "--memory needs a value" run --memory
refuse "--name needs a value" run --headless --name
refuse "--headless takes no value" run --headless=yes
refuse "exclude" run --headless --display window
for option in cpus share control gdb; do
    refuse "--$option is not built yet" run --$option value
done
refuse "-c" run -c 2 2>/dev/null
refuse "'usb4'" run --usb usb4
refuse "--usb none" run --headless --usb none,tablet
refuse "--usb none" run --headless --usb none --disk /dev/null,bus=usb
refuse "kvm is not built yet" run --accel kvm
refuse "'warp'" run --accel warp
refuse "needs --accel translator" run --headless --accel interpreter --verify
refuse "'z80'" run --headless --cpu z80
refuse "warp" run --headless --cpu default,+warp
refuse "vnc is not built yet" run --display vnc
refuse "'hologram'" run --display hologram
refuse "'0'" run --scale 0
refuse "'9'" run --scale 9
refuse "'tape'" run --boot tape
refuse "--boot" run --boot ""
refuse "'everything'" run --log everything
refuse "file name" run --log io:
refuse "no/such/folder/log" run --headless --log io:no/such/folder/log
refuse "--kernel" run --headless --initrd x
refuse "--kernel" run --headless --append x
refuse "--kernel" run --headless --kernel-unpack guest
refuse "'firmware'" run --headless --kernel x --kernel-unpack firmware

# -- Memory --

for size in 0 1K 3M -5 -1G garbage 12X 1.5G 512MM 99999999T 18446744073709551616 0x1000 "" " 1G"; do
    refuse "--memory" run --headless --memory "$size"
done
for size in 0 3M 2G garbage ""; do
    refuse "--code-cache" run --headless --code-cache "$size"
done
refuse "memory" run --headless --memory 1T
refuse "memory" run --headless -m 1T

# -- Serial lines and network --

refuse "'carrier-pigeon'" run --display none --serial carrier-pigeon
refuse "no/such/folder" run --display none --serial file:no/such/folder/log
refuse "no/such/folder" run --display none --serial unix:no/such/folder/socket
refuse "too long" run --display none --serial "unix:$(printf 'x%.0s' {1..200})"
refuse "tcp:HOST:PORT" run --display none --serial tcp:nothing
refuse "serial lines" run --display none --serial null --serial null --serial null
refuse "only one line" run --serial stdio --headless --serial stdio
refuse "'hyperspace'" run --headless --net hyperspace
refuse "nonsense" run --headless --net user,nonsense
refuse "forward" run --headless --net user,forward=tcp:99999:22
refuse "forward" run --headless --net user,forward=sctp:2222:22
refuse "mac" run --headless --net user,mac=12:34
refuse "no/such/folder" run --headless --net user,capture=no/such/folder/file
refuse "no/such/folder" run --headless --net user,tftp=no/such/folder
refuse "is no folder" run --headless --net user,tftp=/dev/null
refuse "'ne1000'" run --headless --net user,model=ne1000
refuse "--net none" run --headless --boot disk,net --net none

port=$((20000 + $$ % 10000))
while (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do port=$((port + 1)); done
"$doppel" run --paused --display none --net none --serial "tcp:127.0.0.1:$port" \
    --serial "unix:$folder/socket" &
listener=$!
for _ in $(seq 100); do (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null && [ -S socket ] && break; sleep 0.05; done
refuse "$port" run --headless --net "user,forward=tcp:$port:22"
refuse "$port" run --display none --serial "tcp:127.0.0.1:$port"
refuse "in use" run --display none --serial "unix:$folder/socket"
kill $listener && wait $listener
[ -e socket ] && fail "the socket's path stays behind"
listener=

# -- Images --

head -c 1048576 /dev/urandom >disk.img
head -c 1000 disk.img >short.img
head -c 3072 disk.img >short.iso
: >empty.img
cp disk.img unreadable.img
chmod 000 unreadable.img
mkdir directory
mkfifo pipe
before=$(md5sum disk.img short.img short.iso empty.img)
for option in disk cdrom; do
    refuse "'missing.img'" run --headless --$option missing.img
    refuse "'empty.img' is empty" run --headless --$option empty.img
    refuse "'short.img'" run --headless --$option short.img
    refuse "'directory' is a directory" run --headless --$option directory
    refuse "'pipe'" run --headless --$option pipe
    refuse "'directory/x/y'" run --headless --$option directory/x/y
    # Root reads everything, so somebody else must try.
    if [ "$(id -u)" -eq 0 ] && command -v setpriv >/dev/null; then
        chmod 755 "$folder"
        checks=$((checks + 1))
        timeout $limit setpriv --reuid 65534 --clear-groups "$doppel" run --headless \
            --$option unreadable.img >out 2>err </dev/null
        status=$?
        if [ $status -eq 126 ] || [ $status -eq 127 ]; then
            echo "(not tested: another user cannot run $doppel)"
        elif [ $status -ne 1 ] || [ "$(wc -l <err)" -ne 1 ] || ! grep -q unreadable.img err; then
            fail "an unreadable --$option: status $status"
        fi
    else
        refuse "'unreadable.img'" run --headless --$option unreadable.img
    fi
done
refuse "'short.iso'" run --headless --cdrom short.iso
refuse "file name" run --headless --disk ""
refuse "'floppy'" run --headless --disk disk.img,bus=floppy
refuse "'qcow2'" run --headless --disk disk.img,format=qcow2
refuse "'shiny'" run --headless --disk disk.img,shiny
refuse "4 drives" run --headless --disk a --disk b --disk c --disk d --disk e
refuse "4 drives" run --headless --disk a --disk b --disk c --disk d --cdrom e
refuse "'disk.img'" run --headless --disk disk.img --disk disk.img
[ "$before" = "$(md5sum disk.img short.img short.iso empty.img)" ] || fail "an image was changed"

# -- Kernels --

printf 'plain text, and more of it\n%.0s' {1..1000} >text
refuse "'missing'" run --headless --kernel missing
refuse "'directory' is a directory" run --headless --kernel directory
refuse "'empty.img' is empty" run --headless --kernel empty.img
refuse "bzImage" run --headless --kernel text
refuse "bzImage" run --headless --kernel disk.img
refuse "bzImage" run --headless --kernel "$doppel"
if [ -e "$guests/amd64/vmlinuz" ]; then
    kernel=$guests/amd64/vmlinuz
    head -c 10000 "$kernel" >cut
    truncate -s 300M large
    refuse "'cut'" run --headless --kernel cut
    refuse "'missing'" run --headless --kernel "$kernel" --initrd missing
    refuse "is empty" run --headless --kernel "$kernel" --initrd empty.img
    refuse "is a directory" run --headless --kernel "$kernel" --initrd directory
    refuse "does not fit" run --headless --memory 256M --kernel "$kernel" --initrd large
    refuse "does not fit" run --headless --memory 8M --kernel "$kernel"
    refuse "too long" run --headless --kernel "$kernel" --append "$(printf 'x%.0s' {1..5000})"
else
    echo "(not tested: no kernel prepared, see 'make guests')"
fi

# -- Display and firmware --

refuse "no display" run --net none
refuse "no display" run --net none --display window
DISPLAY=:987 refuse "no display" run --net none
SDL_VIDEODRIVER=nonsense refuse "no display" run --net none
if unshare --mount true 2>/dev/null; then
    checks=$((checks + 1))
    mkdir nothing
    unshare --mount bash -c '
        for path in /usr/share/seabios /usr/share/qemu /usr/share/seavgabios /usr/local/share/seabios; do
            [ -d $path ] && mount --bind nothing $path
        done
        exec "$0" run --headless' "$doppel" >out 2>err </dev/null
    status=$?
    [ $status -eq 1 ] && [ "$(wc -l <err)" -eq 1 ] && grep -q "package 'seabios'" err ||
        fail "missing firmware: status $status"
fi

# -- Guests that misbehave: boot sectors of a few bytes --

sector() { # sector FILE BYTES
    printf "$2" >code
    { cat code; head -c $((510 - $(stat -c %s code))) /dev/zero; printf '\x55\xaa'; } >"$1"
    truncate -s 1M "$1"
}
quiet=(--headless --net none --memory 16M --log guest:/dev/null)
for accel in interpreter translator; do
    run=(run "${quiet[@]}" --accel $accel)
    sector exit.img '\xb0\x10\xe6\xf4\xeb\xfe' # mov al, 10h; out 0f4h, al
    ends 33 "${run[@]}" --disk exit.img --exit-port
    sector triple.img '\x31\xc0\x8e\xd8\x0f\x01\x1e\x0c\x7c\xcd\x03\x90\x00\x00\x00\x00\x00\x00' # empty IDT; int 3
    ends 0 "${run[@]}" --disk triple.img --no-reboot
    sector reset.img '\xb0\xfe\xe6\x64\xeb\xfe' # mov al, 0feh; out 64h, al
    ends 0 "${run[@]}" --disk reset.img --no-reboot
    # GDT for flat 32-bit code, then a jump to 0xd0000000, where nothing is: no IDT, so it resets.
    sector nowhere.img '\xfa\x31\xc0\x8e\xd8\x0f\x01\x16\x20\x7c\x0f\x20\xc0\x40\x0f\x22\xc0\x66\xea\x00\x00\x00\xd0\x08\x00\x90\x90\x90\x90\x90\x90\x90\x0f\x00\x26\x7c\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xff\xff\x00\x00\x00\x9a\xcf\x00'
    ends 0 "${run[@]}" --disk nowhere.img --no-reboot
done

# stops NAME SIGNAL OPTION...: runs until the signal ends it, soon and with status 0.
stops() {
    local name=$1 signal=$2 status began
    shift 2
    checks=$((checks + 1))
    "$doppel" "$@" >out 2>err </dev/null &
    local pid=$!
    sleep 1
    kill -0 $pid 2>/dev/null || fail "$name: ended by itself"
    kill -"$signal" $pid
    began=$SECONDS
    wait $pid
    status=$?
    [ $status -eq 0 ] || fail "$name: status $status after SIG$signal"
    [ $((SECONDS - began)) -le 5 ] || fail "$name: ends only after $((SECONDS - began)) s"
}
truncate -s 1M blank.img
sector loop.img '\xeb\xfe'
sector halt.img '\xfa\xf4\xeb\xfd'
stops "a blank disk" TERM run "${quiet[@]}" --disk blank.img
stops "no disk" INT run "${quiet[@]}"
stops "a paused machine" HUP run "${quiet[@]}" --paused
stops "a loop" TERM run "${quiet[@]}" --disk loop.img
stops "a halted machine" TERM run "${quiet[@]}" --disk halt.img

# A reader that never reads must not keep the machine from ending.
checks=$((checks + 1))
sector talk.img '\xba\xf8\x03\xb0\x2e\xee\xeb\xfd' # mov dx, 3f8h; mov al, "."; out dx, al; jmp
"$doppel" run "${quiet[@]}" --disk talk.img > >(sleep 30) 2>err </dev/null &
talker=$!
sleep 2
kill -TERM $talker
for _ in $(seq 50); do kill -0 $talker 2>/dev/null || break; sleep 0.1; done
kill -0 $talker 2>/dev/null && { kill -9 $talker; fail "a stuck reader blocks the end"; }
wait $talker

# The terminal is as before after an end by a signal and after Ctrl-A X.
if command -v script >/dev/null; then
    for how in signal keys; do
        checks=$((checks + 1))
        cat >session.sh <<SESSION
stty -a >before
if [ $how = signal ]; then (sleep 1; pkill -TERM -P \$\$ doppel) & fi
"$doppel" run ${quiet[*]} --disk halt.img
echo \$? >status
stty -a >after
SESSION
        (sleep 1.5; printf '\001x'; sleep 1) | timeout 20 script -qec "bash session.sh" /dev/null >out 2>err
        cmp -s before after || fail "the terminal is left changed ($how)"
        [ "$(cat status)" = 0 ] || fail "the end by $how has status $(cat status)"
    done
fi

echo "$checks checks, $failures failures"
[ $failures -eq 0 ]
