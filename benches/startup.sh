#!/usr/bin/env bash
# How soon an agent answers after it was started, how long `serf members` takes, and what a fresh agent takes of the
# machine, beside HashiCorp's:
#
#   cargo build --release && benches/startup.sh target/release/serf /usr/bin/serf [RUNS]
#
# Each run starts one agent of each, and each command is given to one of each, in turns: whatever else the machine does hits
# both alike. "First answer" is from the start of the process to the answer to an RPC handshake, asked for again and again;
# "members" is the whole command, process and all, against an agent of its own kind that is alone. Medians, and between
# what eight in ten of them were. Memory and threads are those after a hundred commands. Loopback only.
set -euo pipefail
export LC_ALL=C
ours=$1 theirs=$2 runs=${3:-50}
commands=100
declare -A program=([ours]=$ours [theirs]=$theirs) host=([ours]=127.0.94.1 [theirs]=127.0.94.2) agent=()
log=$(mktemp)
trap 'rm -f "$log"; kill -9 "${agent[@]}" 2>/dev/null' EXIT

start() { # ours or theirs
    "${program[$1]}" agent -node="$1" -bind="${host[$1]}:7946" -rpc-addr="${host[$1]}:7373" >"$log" 2>&1 &
    agent[$1]=$!
}

end() { # without a goodbye, and without a word of the shell about it
    kill -9 "${agent[$1]}"
    wait "${agent[$1]}" 2>/dev/null || true
    unset "agent[$1]"
}

# Until the answer to a handshake is here. Nothing is forked meanwhile.
await_answer() {
    local answer
    while kill -0 "${agent[$1]}"; do
        if { exec 3<>"/dev/tcp/${host[$1]}/7373"; } 2>/dev/null; then
            printf '\x82\xa7Command\xa9handshake\xa3Seq\x01\x81\xa7Version\x01' >&3
            IFS= read -r -N 13 -u 3 answer && exec 3>&- && return
            exec 3>&-
        fi
    done
    cat "$log" >&2
    exit 1
}

# Of microseconds on standard input: the median in milliseconds, with the tenth and the ninetieth percentile.
percentiles() {
    tr ' ' '\n' | sort -n | awk '
        {n[NR] = $1 / 1000}
        function at(share) {return n[int((NR - 1) * share + 0.5) + 1]}
        END {printf "%.1f (%.1f to %.1f)", at(0.5), at(0.1), at(0.9)}'
}

declare -A first members
for ((run = 0; run < runs; run++)); do
    for name in ours theirs; do
        before=$EPOCHREALTIME
        start $name
        await_answer $name
        after=$EPOCHREALTIME
        first[$name]+="$((${after/./} - ${before/./})) "
        end $name
    done
done
for name in ours theirs; do
    start $name
    await_answer $name
done
for ((command = 0; command < commands; command++)); do
    for name in ours theirs; do
        before=$EPOCHREALTIME
        "${program[$name]}" members -rpc-addr="${host[$name]}:7373" >/dev/null
        after=$EPOCHREALTIME
        members[$name]+="$((${after/./} - ${before/./})) "
    done
done

printf '%-8s %22s %22s %9s %8s\n' agent 'first answer ms' 'members ms' 'RSS MiB' threads
for name in ours theirs; do
    figures=()
    for list in "${first[$name]}" "${members[$name]}"; do
        figures+=("$(percentiles <<<"${list% }")")
    done
    figures+=($(awk '/^VmRSS/ {rss = $2 / 1024} /^Threads/ {n = $2} END {printf "%.1f %d", rss, n}' "/proc/${agent[$name]}/status"))
    printf '%-8s %22s %22s %9s %8s\n' $name "${figures[@]}"
done
