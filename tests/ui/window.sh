#!/usr/bin/env bash
# The window on a desktop of its own (Xvfb with a small window manager), driven as a person would:
# keys, full screen, sizes, closing. What a guest notices comes back on its serial line.
# Usage: window.sh BUILD keyboard | linux | graphics | tablet | vmmouse | installer | system (after tests/boot/system.sh BUILD install)
# SHOTS=FOLDER keeps the screenshots of the last two there.
set -u
build=$1 part=$2
cd "$(dirname "$0")/../.."
doppel=$(realpath "$build/doppel")
guests=$PWD/.cache/guests
folder=$(mktemp -d)
display=$((100 + $$ % 20000))
export DISPLAY=:$display
unset WAYLAND_DISPLAY SDL_VIDEODRIVER
screen_width=1280 screen_height=1024
failures=0 checks=0 machine=

cleanup() {
    [ -z "$machine" ] || kill -9 "$machine" 2>/dev/null
    kill "$manager" "$server" 2>/dev/null
    wait 2>/dev/null
    [ "$failures" -ne 0 ] && [ -n "${KEEP:-}" ] && echo "kept: $folder" || rm -rf "$folder"
}
trap cleanup EXIT

fail() {
    failures=$((failures + 1))
    echo "FAIL: $1"
}

# until SECONDS COMMAND...: waits until the command succeeds.
until_true() {
    local end=$((SECONDS + $1))
    shift
    until "$@"; do
        [ $SECONDS -lt $end ] || return 1
        sleep 0.03
    done
}

check() { # check WHAT COMMAND...: must become true within some seconds
    local what=$1
    shift
    checks=$((checks + 1))
    until_true 20 "$@" || fail "$what"
}

screen_is_up() { xdotool getdisplaygeometry >/dev/null 2>&1; }
manager_is_up() { xdotool get_num_desktops >/dev/null 2>&1; }

Xvfb $DISPLAY -screen 0 ${screen_width}x${screen_height}x24 -nolisten tcp >/dev/null 2>&1 &
server=$!
until_true 20 screen_is_up || { echo "Xvfb does not start"; exit 1; }
cat >"$folder/jwmrc" <<'JWM'
<?xml version="1.0"?>
<JWM><Key mask="A" key="F4">close</Key><FocusModel>click</FocusModel></JWM>
JWM
manager=
manager_runs() { # it gives up at once if the server is not quite ready
    [ -n "$manager" ] && kill -0 "$manager" 2>/dev/null || { jwm -f "$folder/jwmrc" >/dev/null 2>&1 & manager=$!; }
    manager_is_up
}
until_true 40 manager_runs || { echo "the window manager does not start"; exit 1; }

open_machine() { # open_machine OPTION...: sets `machine` and `window`
    "$doppel" run --name "Window test" --net none --serial "file:$folder/serial" "$@" \
        2>"$folder/stderr" &
    machine=$!
    window=
    until_true 20 find_window || { echo "no window appears"; cat "$folder/stderr"; exit 1; }
    xdotool windowactivate --sync "$window" 2>/dev/null
}
find_window() {
    window=$(xdotool search --onlyvisible --name 'Window test - doppel' 2>/dev/null | head -n 1)
    [ -n "$window" ]
}

serial_has() { grep -qF -- "$1" "$folder/serial" 2>/dev/null; }

ends_with() { # ends_with STATUS: the machine's process ends by itself
    checks=$((checks + 1))
    until_true 20 gone || { fail "the process does not end"; return; }
    wait "$machine"
    local status=$?
    machine=
    [ $status -eq "$1" ] || fail "the process ends with status $status, not $1"
}
gone() { ! kill -0 "$machine" 2>/dev/null; }

size_of_window() { xdotool getwindowgeometry "$window" | sed -n 's/.*Geometry: //p'; }
has_size() { [ "$(size_of_window)" = "$1" ]; }

# The box around everything on the screen that is not black, as WxH+X+Y.
lit_box() {
    import -silent -window "${1:-$window}" "$folder/shot.png" &&
        convert "$folder/shot.png" -fuzz 10% -trim -format '%wx%h%O' info: 2>/dev/null
}

# -- Every key of a PC-105 keyboard gives the bytes of scan code set 1 --

# Keycodes are those of X's evdev map (Linux key + 8); bytes are make and break.
key_table() {
    local code
    # The block of single-byte codes is the same numbers in Linux.
    echo Escape 01 81 # its keycode is a digit, which would be a name
    for code in $(seq 2 68) 86 87 88; do # 1 to F10, 102nd key, F11, F12
        case $code in 55 | 69 | 70) continue ;; esac
        printf '%d %02x %02x\n' $((code + 8)) "$code" $((code + 128))
    done
    cat <<'KEYS'
63 37 b7
77 45 c5
78 46 c6
79 47 c7
80 48 c8
81 49 c9
82 4a ca
83 4b cb
84 4c cc
85 4d cd
86 4e ce
87 4f cf
88 50 d0
89 51 d1
90 52 d2
91 53 d3
104 e0 1c e0 9c
105 e0 1d e0 9d
106 e0 35 e0 b5
107 e0 2a e0 37 e0 b7 e0 aa
108 e0 38 e0 b8
110 e0 47 e0 c7
111 e0 48 e0 c8
112 e0 49 e0 c9
113 e0 4b e0 cb
114 e0 4d e0 cd
115 e0 4f e0 cf
116 e0 50 e0 d0
117 e0 51 e0 d1
118 e0 52 e0 d2
119 e0 53 e0 d3
127 e1 1d 45 e1 9d c5
133 e0 5b e0 db
134 e0 5c e0 dc
135 e0 5d e0 dd
66 3a ba
77 45 c5
78 46 c6
KEYS
}

# Bytes that came since line `seen`, in one line.
new_bytes() { tail -n +$((seen + 1)) "$folder/serial" | tr '\n' ' ' | sed 's/ $//'; }
got_bytes() { [ "$(new_bytes)" = "$1" ]; }

# press BYTES KEY...: the keys together give the guest these bytes.
press() {
    local bytes=$1
    shift
    checks=$((checks + 1))
    local try
    for try in 1 2 3; do
        seen=$(wc -l <"$folder/serial")
        xdotool key "$@"
        until_true 10 got_bytes "$bytes" && return
        # While the machine is too busy to read, a keyboard's 16 bytes overflow: it says ff.
        case $(new_bytes) in *ff*) sleep 1 ;; *) break ;; esac
    done
    fail "$* gives '$(new_bytes)', not '$bytes' (try $try)"
}

keyboard() {
    gcc -m32 -c -o "$folder/keys.o" tests/ui/keys.S &&
        ld -m elf_i386 -Ttext 0x7c00 --oformat binary -o "$folder/keys.img" "$folder/keys.o" || exit 1
    truncate -s 1M "$folder/keys.img"
    open_machine --memory 16M --disk "$folder/keys.img"
    check "the boot sector runs" serial_has '!'
    local keys
    keys=$(key_table | cut -d' ' -f1)
    key_table | cut -d' ' -f2- | tr '\n' ' ' | sed 's/ $//' >"$folder/wanted"
    # All at once, which is quick; one by one only to name what is wrong.
    seen=$(wc -l <"$folder/serial")
    checks=$((checks + $(key_table | wc -l)))
    xdotool key --delay 25 $keys
    if ! until_true 10 got_bytes "$(cat "$folder/wanted")"; then
        while read -r code bytes; do press "$bytes" "$code"; done < <(key_table)
        [ $failures -gt 0 ] || fail "keys typed fast give '$(new_bytes)'"
    fi
    # Of the window's own combinations the guest keeps no half held down.
    press "1d 38 9d b8" ctrl+alt+g
    press "1d 38 9d b8 1d 38 e0 53 e0 d3 b8 9d" ctrl+alt+End
    xdotool key alt+F4
    ends_with 0
}

# -- A Linux guest --

centred() { # centred WIDTH HEIGHT: the guest's picture lies in the middle of a window of this size
    local box left top
    box=$(lit_box) || return 1
    left=$((($1 - 720) / 2)) top=$((($2 - 400) / 2))
    [[ $box =~ ^([0-9]+)x([0-9]+)\+([0-9]+)\+([0-9]+)$ ]] || return 1
    # Text begins at the picture's left edge, in its first rows.
    [ "${BASH_REMATCH[3]}" -ge $left ] && [ "${BASH_REMATCH[3]}" -lt $((left + 9)) ] &&
        [ "${BASH_REMATCH[4]}" -ge $top ] && [ "${BASH_REMATCH[4]}" -lt $((top + 100)) ] &&
        [ "${BASH_REMATCH[1]}" -gt 100 ]
}

boot_linux() { # boot_linux APPEND OPTION...: to the prompt
    [ -e "$guests/amd64/vmlinuz" ] || { echo "no guest prepared, see 'make guests'"; exit 77; }
    open_machine --memory 256M --kernel "$guests/amd64/vmlinuz" --initrd "$guests/amd64/initrd.gz" \
        --append "$1" --no-reboot --scale 1 "${@:2}"
    checks=$((checks + 1))
    until_true 120 serial_has 'guest:' || { fail "no prompt"; tail "$folder/serial"; return 1; }
    sleep 1
    xdotool windowactivate --sync "$window"
}

enter() { # enter COMMAND: types it
    xdotool type --delay 30 "$1"
    xdotool key Return
}

# Linux in 1024x768 with 16 bits a pixel: its console, and pixels that it writes itself.
graphics() {
    boot_linux "quiet vga=791 console=tty0 console=ttyS0" || return
    check "the window has the size of the mode" has_size 1024x768
    enter "cat /sys/class/graphics/fb0/name > /dev/ttyS0"
    check "the kernel has a VESA frame buffer" serial_has "VESA VGA"
    # 16 KiB of 0xf8f8 are 8 rows at the top: red 31, green 7, blue 24.
    enter "dd if=/dev/zero bs=16k count=1 | tr '\\0' '\\370' > /dev/fb0; echo -n dr; echo awn > /dev/ttyS0"
    check "the guest has written to it" serial_has awn
    pixel_is() {
        import -silent -window "$window" "$folder/shot.png" &&
            [ "$(convert "$folder/shot.png" -format "%[hex:p{$1,$2}]" info: | cut -c1-6)" = "$3" ]
    }
    check "the colour shows at the left" pixel_is 0 0 FF1CC6
    check "the colour shows at the right" pixel_is 1023 7 FF1CC6
    check "below it nothing changed" pixel_is 1023 8 000000
    xdotool key alt+F4
    ends_with 0
}

# shot NAME: keeps a screenshot where a person can look at it.
shot() {
    [ -z "${SHOTS:-}" ] || import -silent -window "$window" "$SHOTS/$1.png"
}

# The screen has changed since the last call, and stays as it is.
settled() {
    local now
    now=$(import -silent -window "$window" rgb:- | md5sum)
    sleep 2
    [ "$now" != "$last_screen" ] && [ "$now" = "$(import -silent -window "$window" rgb:- | md5sum)" ] && last_screen=$now
}

next_screen() { # next_screen NAME: waits for it
    checks=$((checks + 1))
    until_true 120 settled || fail "no screen '$1'"
    shot "$1"
}

# Debian's installer in graphics: some screens, by mouse and by keyboard. Its log on the serial line tells
# where it is. The button "Continue" lies at the right below.
installer() {
    local files=$guests/installer/amd64-gtk
    [ -e "$files/logging.gz" ] || { echo "no installer prepared, see tests/guests.sh"; exit 77; }
    continue_button() { xdotool mousemove --window "$window" 1200 769 sleep 0.5 click 1; } # of a window about 1280x800
    open_machine --memory 1G --net user --kernel "$files/linux" --initrd "$files/logging.gz" --append "quiet vga=788"
    until_true 200 serial_has "'localechooser' selected" || { fail "no log"; return; }
    last_screen=
    sleep 10
    next_screen 1-language
    continue_button
    next_screen 2-location
    xdotool key Return
    next_screen 3-keyboard
    xdotool mousemove --window "$window" 400 420 sleep 0.5 click 1 # British English
    next_screen 4-keyboard-chosen
    continue_button
    until_true 200 serial_has "'netcfg' selected" || { fail "no network configuration"; return; }
    sleep 5
    next_screen 5-host-name
    enter typed
    next_screen 6-domain
    xdotool key Return
    checks=$((checks + 1))
    until_true 100 serial_has "'choose-mirror' selected" || fail "the name is not accepted"
    next_screen 7-mirror
    xdotool key alt+F4
    ends_with 0
}

# An installed Debian: a login on the display, in the graphics mode of its kernel's own driver.
system() {
    [ -e "$build/system.img" ] || { echo "no system installed, see tests/boot/system.sh"; exit 77; }
    open_machine --memory 512M --disk "$build/system.img,temporary,bus=virtio"
    checks=$((checks + 1))
    until_true 180 serial_has 'lives login:' || { fail "no login"; tail "$folder/serial"; return; }
    sleep 2
    xdotool windowactivate --sync "$window"
    enter root
    sleep 3
    enter secret
    sleep 5
    enter "cat /sys/class/graphics/fb0/name > /dev/ttyS0; echo -n win; echo dow-\$((6*7)) > /dev/ttyS0; ls /"
    check "what was typed after the login is done" serial_has dow-42
    sleep 1
    shot system
    enter poweroff
    until_true 60 gone
    ends_with 0
}

linux() {
    boot_linux "quiet console=tty0 console=ttyS0" || return
    enter "echo typed-\$((6*7)) > /dev/ttyS0"
    check "what was typed reaches the shell" serial_has typed-42

    check "the window has the size of text mode" has_size 720x400
    check "text shows in the window" centred 720 400
    xdotool key ctrl+alt+f
    check "Ctrl+Alt+F fills the screen" has_size ${screen_width}x${screen_height}
    check "the picture is in the middle of the screen" centred $screen_width $screen_height
    xdotool key ctrl+alt+f
    check "Ctrl+Alt+F again gives the window back" has_size 720x400
    xdotool windowsize --sync "$window" 1001 701
    check "the window can be resized" has_size 1001x701
    check "the picture stays in the middle" centred 1001 701
    xdotool windowsize --sync "$window" 500 300
    check "a window too small is filled by a smaller picture" has_size 500x300
    checks=$((checks + 1))
    [[ $(lit_box) =~ x.*\+0\+ ]] || [[ $(lit_box) =~ x.*\+[0-9]\+ ]] || fail "small picture: $(lit_box)"

    xdotool key ctrl+alt+p
    paused() { xdotool getwindowname "$window" | grep -q paused; }
    check "Ctrl+Alt+P pauses, and the title says so" paused
    xdotool key ctrl+alt+p
    running() { xdotool getwindowname "$window" | grep -q running; }
    check "Ctrl+Alt+P goes on" running

    xdotool key ctrl+alt+Delete
    check "Ctrl+Alt+Delete reaches the guest" serial_has "reboot: Restarting"
    ends_with 0 # --no-reboot
}

# Where the guest's driver takes positions it hears where the mouse is, and nothing is captured.
positions() { # positions MODULES NAME X1 Y1 X2 Y2 OPTION...: what the device of that name reports
    local script='while read -r m; do insmod /modules/$m.ko; done </modules/'$1' 2>/dev/null; e=; (until [ $e ]; do sleep 0.2; e=$(grep -l '$2' /sys/class/input/event*/device/name | head -n 1 | cut -d/ -f5); done; od -An -v -t d2 -w24 /dev/input/$e > /dev/ttyS0) &'
    boot_linux "quiet console=tty0 console=ttyS0 doppel.run=${script// /\~}" "${@:7}" || return
    no_capture() { ! xdotool getwindowname "$window" | grep -q mouse; }
    check "the title no longer speaks of capturing" no_capture
    event() { tr -d '\r' <"$folder/serial" | tr -s ' ' | grep -q " $1 $2 $3 -\?[01]\$"; } # TYPE CODE VALUE
    sleep 0.5
    # Text mode of 720x400, at the middles of two points of its picture.
    xdotool mousemove --window "$window" 180 100
    check "X of a position arrives" event 3 0 "$3"
    check "Y of a position arrives" event 3 1 "$4"
    xdotool mousemove --window "$window" 719 399
    check "the right edge" event 3 0 "$5"
    check "the lower edge" event 3 1 "$6"
    xdotool click 1
    check "the left button is pressed" event 1 272 1
    check "and released" event 1 272 0
}

tablet() {
    positions usb Tablet 8215 8233 32744 32726
    xdotool click 4
    check "the wheel turns" event 2 8 1
    xdotool key alt+F4
    ends_with 0
}

vmmouse() { # X and Y go to 65535, which od shows as -1
    positions psmouse VMMouse 16430 16466 -48 -84 --usb none
    xdotool key alt+F4
    ends_with 0
}

"$part"
echo "$checks checks, $failures failures"
[ $failures -eq 0 ]
