# OpenSSL: AES, SHA-512, ChaCha20 and the long multiplications of public keys, each in assembler for the
# processor that it finds.
. "$BENCH/commands/common.inc"
rounds 8000000
key=00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff
iv=0f1e2d3c4b5a69788796a5b4c3d2e1f0
prime=7$(head -c 319 /dev/zero | tr '\0' F) # 2^1279 - 1: tested to the last round
work() { # work DATA NUMBER...
    openssl enc -aes-256-cbc -K $key -iv $iv -in "$1" -out cipher
    openssl dgst -sha512 cipher
    openssl enc -chacha20 -K $key -iv $iv -in "$1" | openssl dgst -sha512
    shift
    openssl prime -hex "$@"
}
case $step in
prepare)
    "$BENCH/generate" text "$n" >text
    head -c 1000 text >little
    work little 7F
    ;;
run)
    numbers=
    while [ "$n" -gt 0 ]; do
        numbers="$numbers $prime"
        n=$((n - 1200000))
    done
    # shellcheck disable=SC2086
    work text $numbers
    ;;
esac
