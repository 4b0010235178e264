# Debian packages of any architecture, unpacked into .cache/guests/packages without installing them.
# Sourced; the caller sets `cache` to the folder .cache/guests and has `packages=$cache/packages`.

say() { echo "$(basename "$0" .sh): $*"; }

# apt with a state of its own, so that another architecture needs no change to the system.
apt_private() { # apt_private ARCH COMMAND...
    local arch=$1 state=$cache/apt-$1
    shift
    mkdir -p "$state/lists/partial" "$state/cache/archives/partial"
    : >"$state/status"
    apt-get -qq -o APT::Architecture="$arch" -o APT::Architectures="$arch" \
        -o Dir::State="$state" -o Dir::State::lists="$state/lists" -o Dir::Cache="$state/cache" \
        -o Dir::State::status="$state/status" -o Debug::NoLocking=1 -o APT::Sandbox::User=root "$@"
}

update_once() { # update_once ARCH
    [ -e "$cache/apt-$1/updated" ] && return
    say "reading the $1 package index"
    apt_private "$1" update 2>/dev/null || say "some package indexes could not be read; going on with the others"
    touch "$cache/apt-$1/updated"
}

# Downloads and unpacks a package into packages/NAME-ARCH; prints that folder.
unpack() { # unpack ARCH PACKAGE
    local folder=$packages/$2-$1
    if [ ! -e "$folder/.complete" ]; then
        update_once "$1" >&2
        say "fetching $2 ($1)" >&2
        rm -rf "$folder" && mkdir -p "$folder"
        (cd "$packages" && apt_private "$1" download "$2")
        dpkg-deb -x "$(ls -t "$packages/$2"_*.deb | head -n 1)" "$folder"
        rm -f "$packages/$2"_*.deb
        touch "$folder/.complete"
    fi
    echo "$folder"
}
