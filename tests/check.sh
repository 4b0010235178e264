#!/usr/bin/env bash
# Runs tests two at a time and sums up. Usage: check.sh BUILD NAME=COMMAND...
# T=WORD runs only the tests whose name contains WORD. A test that exits 77 is skipped; the last
# line that it printed is the reason. JOBS sets how many run at once.
set -u
build=$1
shift
logs=$build/check
mkdir -p "$logs"
jobs=${JOBS:-$(nproc)}
limit=${TEST_TIMEOUT:-900}
passed=0 failed=0 skipped=0
declare -A name_of=() started=()

finish() { # finish PID STATUS
    local name=${name_of[$1]} seconds=$((SECONDS - started[$1]))
    case $2 in
    0) passed=$((passed + 1)); echo "  ok    $name (${seconds}s)" ;;
    77) skipped=$((skipped + 1)); echo "  skip  $name: $(tail -n 1 "$logs/$name.log")" ;;
    *)
        failed=$((failed + 1))
        echo "  FAIL  $name (status $2, ${seconds}s); the end of its output:"
        tail -n 40 "$logs/$name.log" | sed 's/^/        /'
        ;;
    esac
    unset "name_of[$1]"
}

reap() {
    local pid status
    wait -n -p pid "${!name_of[@]}"
    status=$?
    finish "$pid" "$status"
}

for entry in "$@"; do
    name=${entry%%=*} command=${entry#*=}
    [[ -n ${T:-} && $name != *"$T"* ]] && continue
    while [ "${#name_of[@]}" -ge "$jobs" ]; do reap; done
    timeout --kill-after=10 "$limit" bash -c "$command" >"$logs/$name.log" 2>&1 </dev/null &
    name_of[$!]=$name
    started[$!]=$SECONDS
done
while [ "${#name_of[@]}" -gt 0 ]; do reap; done

[ $((passed + failed + skipped)) -gt 0 ] || { echo "no test is named like '${T:-}'"; exit 1; }
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
