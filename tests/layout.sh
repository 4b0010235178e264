#!/usr/bin/env bash
# Dependencies between rooms run one way: ui, net, bios -> hw -> cpu <- translator.
set -u
cd "$(dirname "$0")/.."
! {
    grep -rnE '#include "(hw|ui|net|bios|translator)/' cpu
    grep -rnE '#include "(hw|ui|net|bios)/' translator
    grep -rnE '#include "(ui|net|bios|translator)/' hw
    grep -rnE '#include "(ui|bios|translator)/' net
    grep -rnE '#include "(ui|net|translator)/' bios
}
