#!/usr/bin/env bash
# The second compiler's opinion: every C file must pass clang without a warning.
set -u
cd "$(dirname "$0")/.."
flags=$(make -s print-flags) || exit 1
failed=0
while read -r file; do
    # shellcheck disable=SC2086
    clang -fsyntax-only $flags -Werror "$file" || failed=1
done < <(git ls-files 'cpu/*.c' 'translator/*.c' 'hw/*.c' 'net/*.c' 'bios/*.c' 'ui/*.c' 'tests/*.c' | grep -v '^tests/bench/')
exit $failed
