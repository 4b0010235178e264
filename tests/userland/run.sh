#!/bin/sh
# Programs of a Debian system whose output is known: run natively and in a guest, each part's checksum must be the
# same (userland.sh). In a root with openssl, python3 and gcc; /bench is the folder that this is in. What a part
# prints has no times, addresses or random numbers in it.
# Usage: run.sh WORK [PART...]
set -eu
export LC_ALL=C PYTHONPATH=/bench/python PYTHONDONTWRITEBYTECODE=1 PYTHONHASHSEED=0
work=$1
shift
mkdir -p "$work" && cd "$work"

# The same bytes everywhere.
data() { # data BYTES
    openssl enc -aes-128-ctr -K 000102030405060708090a0b0c0d0e0f -iv 00000000000000000000000000000000 -in /dev/zero 2>/dev/null | head -c "$1"
}

digests() {
    for size in 0 1 63 64 65 1000 100000; do
        data $size >bytes
        for digest in $(openssl list -digest-commands); do
            case $digest in shake*) continue ;; esac
            echo "$size $digest $(openssl dgst "-$digest" <bytes 2>&1 | sed 's/.*= *//')"
        done
        echo "$size hmac $(openssl dgst -sha256 -hmac key <bytes)"
    done
}

ciphers() {
    data 10000 >bytes
    for cipher in $(openssl enc -list | tr ' ' '\n' | sed -n 's/^-\([a-z0-9].*\)/\1/p'); do
        case $cipher in *wrap* | *-gcm | *-ccm | *-xts | *-ocb) continue ;; esac
        key=000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f
        if openssl enc "-$cipher" -K $key -iv ${key#????????????????????????????????} -in bytes -out sealed 2>/dev/null; then
            openssl enc -d "-$cipher" -K $key -iv ${key#????????????????????????????????} -in sealed -out opened 2>/dev/null
            cmp bytes opened && echo "$cipher $(openssl dgst -sha256 <sealed)"
        fi
    done
}

# Signatures that are not random are compared; those that are, verified: also the other system's.
keys() {
    data 5000 >bytes
    for digest in sha1 sha256 sha512 sha3-256; do
        openssl dgst -$digest -sign /bench/keys/rsa.pem -out signature bytes
        openssl dgst -sha256 <signature
        openssl dgst -$digest -verify /bench/keys/rsa.pub -signature signature bytes
    done
    head -c 200 bytes >short
    openssl pkeyutl -encrypt -pubin -inkey /bench/keys/rsa.pub -pkeyopt rsa_padding_mode:oaep -in short -out sealed
    openssl pkeyutl -decrypt -inkey /bench/keys/rsa.pem -pkeyopt rsa_padding_mode:oaep -in sealed | cmp - short && echo "rsa-oaep"
    openssl pkeyutl -decrypt -inkey /bench/keys/rsa.pem -pkeyopt rsa_padding_mode:oaep -in /bench/keys/sealed | openssl dgst -sha256
    for curve in p256 p384 p521; do
        openssl dgst -sha256 -sign /bench/keys/$curve.pem -out signature bytes
        openssl dgst -sha256 -verify /bench/keys/$curve.pub -signature signature bytes
        openssl dgst -sha256 -verify /bench/keys/$curve.pub -signature /bench/keys/$curve.signature /bench/run.sh
        openssl pkeyutl -derive -inkey /bench/keys/$curve.pem -peerkey /bench/keys/$curve.pub | openssl dgst -sha256
    done
    openssl pkeyutl -sign -rawin -inkey /bench/keys/ed25519.pem -in bytes | openssl dgst -sha256
    openssl pkeyutl -derive -inkey /bench/keys/x25519.pem -peerkey /bench/keys/x25519.pub | openssl dgst -sha256
    openssl prime -checks 64 170141183460469231731687303715884105727 170141183460469231731687303715884105729
}

# Every figure is another each time: that it ends well is the test, and which lines there are.
speed() {
    openssl speed -seconds 1 -bytes 8192 -evp aes-256-gcm 2>/dev/null | sed -n 's/^\(AES-256-GCM\) .*/\1/p'
    openssl speed -seconds 1 -bytes 8192 sha256 sha512 2>/dev/null | sed -n 's/^\(sha[0-9]*\) .*/\1/p'
    openssl speed -seconds 1 rsa2048 ecdsap256 2>/dev/null | sed -n 's/^\(rsa 2048\|.*ecdsa\).*/\1/p'
}

python() {
    for test in test_math test_cmath test_float test_struct test_decimal test_ctypes; do
        echo "$test"
        python3 -m test -v $test >output 2>&1 || echo "it failed"
        sed -n 's/^\(test[A-Za-z0-9_]* (.*\) \.\.\. \(ok\|skipped.*\|FAIL\|ERROR\)$/\1 \2/p' output | sort
        sed -n 's/^\(Ran [0-9]* tests\).*/\1/p; /^Tests result/p' output
    done
    python3 /bench/numbers.py
}

# The compiler's output is compared too: the assembler text that it makes of the same source.
compiled() {
    for level in "-O3 -march=x86-64-v3" "-O3 -march=x86-64-v3 -ffast-math" "-O2 -march=x86-64-v2" "-O1"; do
        case $level in *v3*) source=/bench/vectors.c ;; *) source=/bench/numbers.c ;; esac
        # shellcheck disable=SC2086
        gcc -std=gnu11 $level -S -o program.s $source
        echo "$level $(cksum <program.s)"
        # shellcheck disable=SC2086
        gcc -std=gnu11 $level -o program $source -lm
        ./program
    done
    gcc -std=gnu11 -O3 -march=x86-64-v3 -o program /bench/numbers.c -lm
    ./program
}

for part in ${*:-digests ciphers keys speed python compiled}; do
    $part >"$work.$part" 2>&1 </dev/null || echo "$part ended with an error" >>"$work.$part"
    echo "$part: $(wc -l <"$work.$part") lines, $(cksum <"$work.$part")"
done
