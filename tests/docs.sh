#!/usr/bin/env bash
# Is docs/isa.md what the instruction table says? Usage: docs.sh BUILD.
set -u
cd "$(dirname "$0")/.."
now=$("$1/tests/cpu/isa_doc") || { echo "$now"; exit 77; }
diff <(echo "$now") docs/isa.md >/dev/null || { echo "docs/isa.md is out of date: make docs"; exit 1; }
