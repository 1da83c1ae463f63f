#!/usr/bin/env bash
# Memory, wake-ups and CPU time of an idle agent beside HashiCorp's, alone and in a cluster of three (one of each and one
# more of theirs), all at once:
#
#   benches/idle.sh target/release/serf /usr/bin/serf [SECONDS]
#
# "Of it, own" leaves out the pages of program and libraries, which the kernel can drop and shares between processes.
# Wake-ups are voluntary context switches of all threads: each is a thread that had slept. Loopback only.
set -euo pipefail
ours=$1 theirs=$2 seconds=${3:-60}
pids=() names=()
start() { # name program host [flags]
    local name=$1 program=$2 host=$3
    shift 3
    "$program" agent -node="$name" -bind="$host:7946" -rpc-addr="$host:7373" "$@" >/dev/null 2>&1 &
    pids+=($!) names+=("$name")
}
trap 'kill -9 "${pids[@]}" 2>/dev/null' EXIT
start ours-alone "$ours" 127.0.90.1
start theirs-alone "$theirs" 127.0.90.2
start ours-of-three "$ours" 127.0.91.1
start theirs-of-three "$theirs" 127.0.91.2 -retry-join=127.0.91.1 -retry-interval=1s
start another "$theirs" 127.0.91.3 -retry-join=127.0.91.1 -retry-interval=1s
sleep 20 # until the news is old
switches() { cat /proc/"$1"/task/*/status | awk '/^voluntary/ {n += $2} END {print n}'; }
# Nanoseconds on a processor, of all threads: exact, unlike the ticks of /proc/PID/stat.
cpu() { cat /proc/"$1"/task/*/schedstat | awk '{n += $1} END {printf "%d", n}'; }
declare -A before_switches before_cpu
for i in "${!pids[@]}"; do
    before_switches[$i]=$(switches "${pids[$i]}") before_cpu[$i]=$(cpu "${pids[$i]}")
done
sleep "$seconds"
printf '%-16s %9s %13s %9s %11s %8s\n' agent 'RSS MiB' 'of it, own' 'wakes/s' 'CPU s/min' threads
for i in "${!pids[@]}"; do
    p=${pids[$i]}
    awk -v name="${names[$i]}" -v rss="$(awk '/^VmRSS/ {print $2}' /proc/"$p"/status)" \
        -v s=$(($(switches "$p") - before_switches[$i])) -v t=$(($(cpu "$p") - before_cpu[$i])) \
        -v n="$seconds" -v anon="$(awk '/^RssAnon/ {print $2}' /proc/"$p"/status)" -v th="$(ls /proc/"$p"/task | wc -l)" \
        'BEGIN {printf "%-16s %9.1f %13.1f %9.2f %11.4f %8d\n", name, rss / 1024, anon / 1024, s / n, t / 1e9 * 60 / n, th}'
done
