#!/usr/bin/env bash
# Three agents find each other by name; one is killed, one is stopped, and both come back. The story of README.md from its
# beginning to its end, each step seen from the other agents:
#
#   deploy/compose/demo.sh [-with=compose|docker|netns] [PATH/TO/serf]
#
#   compose   the services of compose.yaml, by `docker compose` or `docker-compose`
#   docker    the same containers, by `docker` alone
#   netns     the same agents in network namespaces, where there is no Docker; for root
#
# Without -with, the first of these that can be had. Containers need a static program (README.md), the namespaces any;
# without a path one is built. Ends with 0 if everything was seen, 1 if not, 2 for arguments that are none, and 77 if
# nothing can be had. Whatever it made it takes away again.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
nodes=(one two three)
patience=60 # seconds for each thing that is to be seen; most take less than ten

usage() { echo "usage: demo.sh [-with=compose|docker|netns] [PATH/TO/serf]" >&2; exit 2; }
stage='' program=''
for argument; do
    case $argument in
        -with=compose | -with=docker | -with=netns) stage=${argument#-with=} ;;
        -* | '') usage ;;
        *) [ -z "$program" ] || usage; program=$argument ;;
    esac
done

# Everything that is made here bears this name.
name=serf-demo-$$
scratch=$(mktemp -d) || exit 1
fail() { printf '\n%s\n' "$*" >&2; exit 1; }
# Shows a command, and runs it. What it prints is told only if it fails.
run() {
    echo "\$ $*"
    "$@" >"$scratch/output" 2>&1 </dev/null || fail "$(cat "$scratch/output")"
}
quietly() { "$@" >"$scratch/output" 2>&1 </dev/null || fail "$*: $(cat "$scratch/output")"; }

# ---- what differs: each stage can be had, up, kill, stop, start, ask, health, log, down

has_docker() { command -v docker >/dev/null && docker info >/dev/null 2>&1; }
make_image() {
    mkdir "$scratch/image" && cp "$here/Dockerfile" "$scratch/image/" && cp "$program" "$scratch/image/serf" || exit 1
    quietly docker build -q -t "$name" "$scratch/image"
    has_image=yes
    # The only way to know: the kernel looks for the loader of a program that is not static, and there is none.
    docker run --rm "$name" version >"$scratch/output" 2>&1 ||
        fail "$program does not run on an empty base. Is it static? README.md says how to build one.
$(cat "$scratch/output")"
}
drop_image() { [ -z "${has_image-}" ] || docker rmi -f "$name" >/dev/null; }
health_of() { docker inspect -f '{{.State.Health.Status}}' "$1"; }

compose_can() {
    has_docker || return
    if docker compose version >/dev/null 2>&1; then
        compose=(docker compose)
    elif docker-compose version >/dev/null 2>&1; then
        compose=(docker-compose)
    else
        return 1
    fi
    # In place of what one sets when typing the same.
    export SERF_IMAGE=$name COMPOSE_PROJECT_NAME=$name COMPOSE_FILE=$here/compose.yaml
}
compose_up() { make_image && run "${compose[@]}" up -d; }
compose_kill() { run "${compose[@]}" kill -s SIGKILL "$1"; }
compose_stop() { run "${compose[@]}" stop "$1"; }
compose_start() { run "${compose[@]}" start "$1"; }
compose_ask() { timeout "$patience" "${compose[@]}" exec -T "$@" </dev/null; }
compose_health() { health_of "$("${compose[@]}" ps -q "$1")"; }
compose_log() { "${compose[@]}" logs --no-color "$1"; }
compose_down() { "${compose[@]}" down -v -t 1 >/dev/null 2>&1; drop_image; }

docker_can() { has_docker; }
docker_up() {
    make_image
    run docker network create "$name"
    local node
    for node in "${nodes[@]}"; do
        seed "$node"
        run docker run -d --name "$name-$node" --hostname "$node" --network "$name" --network-alias "$node" \
            --health-interval 2s --read-only --cap-drop ALL --security-opt no-new-privileges \
            -v "$here/serf.json:/etc/serf/serf.json:ro" "$name" agent -config-dir=/etc/serf "${seeds[@]}"
    done
}
docker_kill() { run docker kill "$name-$1"; }
docker_stop() { run docker stop "$name-$1"; }
docker_start() { run docker start "$name-$1"; }
docker_ask() { timeout "$patience" docker exec "$name-$1" "${@:2}"; }
docker_health() { health_of "$name-$1"; }
docker_log() { docker logs "$name-$1" 2>&1; }
docker_down() {
    docker rm -f "${nodes[@]/#/$name-}" >/dev/null 2>&1
    docker network rm "$name" >/dev/null 2>&1
    drop_image
}

netns_can() {
    [ "$(id -u)" = 0 ] && command -v ip >/dev/null || return
    ip netns add "$name" 2>/dev/null && ip netns del "$name"
}
# A namespace for each agent and one with the switch between them: nothing of it touches the machine's own network.
netns_up() {
    local node host=0
    [ -d /etc/netns ] || made_netns=yes
    quietly ip netns add "$name"
    quietly ip -n "$name" link add switch type bridge
    quietly ip -n "$name" link set switch up
    for node in "${nodes[@]}"; do
        host=$((host + 1))
        quietly ip netns add "$name-$node"
        quietly ip link add eth0 netns "$name-$node" type veth peer name "$node" netns "$name"
        quietly ip -n "$name" link set "$node" master switch up
        quietly ip -n "$name-$node" addr add "10.79.46.$host/24" dev eth0
        quietly ip -n "$name-$node" link set lo up
        quietly ip -n "$name-$node" link set eth0 up
        echo "10.79.46.$host $node" >>"$scratch/hosts"
    done
    # What `ip netns exec` shows as /etc/hosts: the names of services.
    for node in "${nodes[@]}"; do
        quietly mkdir -p "/etc/netns/$name-$node"
        quietly cp "$scratch/hosts" "/etc/netns/$name-$node/hosts"
    done
    for node in "${nodes[@]}"; do netns_start "$node"; done
}
declare -A pid=()
netns_start() {
    seed "$1"
    set -- "$1" ip netns exec "$name-$1" "$program" agent -node="$1" -config-file="$here/serf.json" "${seeds[@]}"
    echo "\$ ${*:2} &"
    "${@:2}" >>"$scratch/$1.log" 2>&1 </dev/null &
    pid[$1]=$!
    disown # the shell need not tell how it ended
}
netns_end() { # how, whom: until it is gone
    run kill "$1" "${pid[$2]}"
    until_true "$2 is gone" gone "$2"
    unset "pid[$2]"
}
gone() { ! kill -0 "${pid[$1]}" 2>/dev/null; }
netns_kill() { netns_end -KILL "$1"; }
netns_stop() { netns_end -TERM "$1"; }
netns_ask() { timeout "$patience" ip netns exec "$name-$1" "$program" "${@:3}"; }
netns_health() { netns_ask "$1" serf info >/dev/null && echo healthy; }
netns_log() { cat "$scratch/$1.log"; }
netns_down() {
    local node
    [ "${#pid[@]}" = 0 ] || kill -KILL "${pid[@]}" 2>/dev/null
    for node in "${nodes[@]}"; do
        ip netns del "$name-$node" 2>/dev/null
        rm -rf "/etc/netns/$name-$node"
    done
    ip netns del "$name" 2>/dev/null
    [ -z "${made_netns-}" ] || rmdir /etc/netns 2>/dev/null
}

# ---- what all of them share

# The flags that say whom a node is to join: the others.
seed() {
    local node
    seeds=()
    for node in "${nodes[@]}"; do [ "$node" = "$1" ] || seeds+=("-retry-join=$node"); done
}

# Tries until something is so, with a dot for each time that it is not.
until_true() { # what, command...
    local what=$1 end=$((SECONDS + patience))
    shift
    printf '  %s ' "$what"
    until "$@"; do
        [ "$SECONDS" -lt "$end" ] || fail "not within $patience s: $what"
        printf .
        sleep 0.5
    done
    echo ok
}
# Whether a node tells that another one is in a state.
tells() { # who, of whom, state
    "${stage}_ask" "$1" serf members 2>/dev/null >"$scratch/members" &&
        awk -v node="$2" -v state="$3" '$1 == node && $3 == state {seen = 1} END {exit !seen}' "$scratch/members"
}
# Waits until these nodes tell that another one is in a state, then shows what the first of them tells.
seen() { # of whom, state, who...
    local whom=$1 state=$2 who
    shift 2
    for who; do until_true "$who tells that $whom is $state" tells "$who" "$whom" "$state"; done
    show "$1"
}
show() { # who
    echo "  members, as $1 tells:"
    "${stage}_ask" "$1" serf members | sed 's/^/    /'
}
all_alive() {
    local who whom
    for who in "${nodes[@]}"; do
        for whom in "${nodes[@]}"; do tells "$who" "$whom" alive || return; done
    done
}
together() { until_true "each tells that all three are alive" all_alive; show one; }
healthy() { [ "$("${stage}_health" "$1")" = healthy ]; }

finish() {
    local code=$? node
    trap - EXIT
    trap '' INT TERM
    if [ "$code" != 0 ] && [ "$code" != 130 ] && [ -n "${is_up-}" ]; then
        for node in "${nodes[@]}"; do
            echo "---- the end of the log of $node"
            "${stage}_log" "$node" 2>&1 | tail -n 20
        done
    fi
    [ -z "${begun-}" ] || "${stage}_down"
    rm -rf "$scratch"
    exit "$code"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

if [ -n "$stage" ]; then
    if ! "${stage}_can"; then
        echo "cannot be had here: $stage" >&2
        exit 77
    fi
else
    for stage in compose docker netns ''; do
        [ -n "$stage" ] || { echo "neither Docker nor network namespaces can be had here" >&2; exit 77; }
        ! "${stage}_can" || break
    done
fi

if [ -z "$program" ]; then
    root=$here/../..
    target=${CARGO_TARGET_DIR:-$root/target}
    build=(cargo build --release -p serf-cli --manifest-path "$root/Cargo.toml")
    case $stage in
        netns) program=$target/release/serf ;;
        *)
            static=$(uname -m)-unknown-linux-musl
            build+=(--target "$static")
            rustup target list --installed 2>/dev/null | grep -qx "$static" || quietly rustup target add "$static"
            program=$target/$static/release/serf
            ;;
    esac
    echo "\$ ${build[*]}"
    "${build[@]}" || fail "the program could not be built"
fi
[ -x "$program" ] || fail "no program: $program"
program=$(realpath "$program")

begun=yes
echo "[1/5] Three agents start, and find each other by name ($stage)"
"${stage}_up"
is_up=yes
together
for node in "${nodes[@]}"; do until_true "$node is healthy" healthy "$node"; done

echo "[2/5] Two is killed: the others find out"
"${stage}_kill" two
seen two failed one three

echo "[3/5] Two starts again, and finds its cluster"
"${stage}_start" two
together

echo "[4/5] Three is stopped: it says goodbye"
"${stage}_stop" three
seen three left one two

echo "[5/5] Three starts again"
"${stage}_start" three
together
echo "All of it was seen."
