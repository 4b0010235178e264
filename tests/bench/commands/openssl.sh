# OpenSSL: AES, SHA-512, ChaCha20 and the long multiplications of public keys, each in assembler for the
# processor that it finds.
. "$BENCH/commands/common.inc"
rounds 10000000
key=00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff
iv=0f1e2d3c4b5a69788796a5b4c3d2e1f0
work() {
    openssl enc -aes-256-cbc -K $key -iv $iv -in "$1" -out cipher
    openssl dgst -sha512 cipher
    openssl enc -chacha20 -K $key -iv $iv -in "$1" | openssl dgst -sha512
    openssl prime -checks "$2" -hex "$3"
}
case $step in
prepare)
    "$BENCH/generate" text "$n" >text
    head -c 1000 text >little
    work little 1 7F
    ;;
run) # 2^2203 - 1 is prime, so that each check is done
    work text $((n / 700000 + 1)) "7$(head -c 550 /dev/zero | tr '\0' F)"
    ;;
esac
