#!/usr/bin/env bash
# Two Ray nodes on one machine, and a study submitted to them: everything that a real cluster needs, on one machine.
#
#   clusters/local/two_nodes.sh try                # everything: up, submit, stop half-way, resume, result, down
#   clusters/local/two_nodes.sh isolated           # the same in namespaces of its own, beside another running Ray
#
#   clusters/local/two_nodes.sh up                 # step by step: start a head and a worker
#   clusters/local/two_nodes.sh submit [SETTING...]   # a small study; settings as in tune_dkd.py, such as --resume
#   clusters/local/two_nodes.sh follow             # its log, until it ends
#   clusters/local/two_nodes.sh stop               # ends it in order: every finished epoch is kept
#   clusters/local/two_nodes.sh status             # nodes, resources, jobs
#   clusters/local/two_nodes.sh down               # ends exactly the processes that `up` started
#
# Two Ray clusters on one host interfere with each other, and `ray stop` ends all of them: this script avoids both.
set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
STATE=${RAYKD_TWO_NODES:-/tmp/raykd-two-nodes-$(id -u)}  # short: Ray puts Unix sockets below it
OUTPUT=${RAYKD_OUTPUT:-$ROOT/outputs}                    # both nodes see it, like a shared folder
PORT=6379
DASHBOARD=http://127.0.0.1:8265

command -v ray >/dev/null || PATH=$ROOT/.venv/bin:$PATH  # as `make` sets it up
command -v ray >/dev/null || { echo "no ray on PATH: run \`make demo\` first, or activate an environment with raykd"; exit 1; }

# Every node and every client needs the same token; it is in a file of its own, so ~/.ray/auth_token stays as it is.
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=$STATE/token
export RAY_ADDRESS=$DASHBOARD RAY_USAGE_STATS_ENABLED=0
# `ray job stop` kills after 3 seconds by default: too early for epochs to end and for the last lines to reach MLflow.
export RAY_JOB_STOP_WAIT_TIME_S=60

# node NAME ray-start-option...: one node in the background, with its process id, its log and a folder of its own. With a
# common folder each node would remove the other's copy of the uploaded code in the middle of a study.
node() {
    local name=$1
    shift
    setsid ray start --block --num-cpus=1 --node-ip-address=127.0.0.1 --temp-dir="$STATE/$name" "$@" >"$STATE/$name.log" 2>&1 </dev/null &
    echo $! >"$STATE/$name.pid"
    disown
    echo "$name: process $!, log $STATE/$name.log"
}

until_ready() {  # until_ready SECONDS WHAT command...
    local end=$((SECONDS + $1)) what=$2
    shift 2
    until "$@" >"$STATE/wait.log" 2>&1; do
        ((SECONDS < end)) || { echo "no $what; the last answer was:"; tail -5 "$STATE/wait.log"; return 1; }
        sleep 1
    done
}

both_nodes() { [[ $(ray status --address "127.0.0.1:$PORT" | grep -c ' node_') == 2 ]]; }

up() {
    if [[ -e $STATE ]]; then
        echo "$STATE exists: the cluster is up, or its last run ended in a crash; run \`$0 down\`"
        return 1
    fi
    if pgrep -x gcs_server >/dev/null; then
        echo "another Ray runs on this machine, and two interfere with each other: end it, or run \`$0 isolated\`"
        return 1
    fi
    (umask 077 && mkdir "$STATE" && python -c 'import secrets; print(secrets.token_hex(32))' >"$STATE/token")
    node head --head --port=$PORT --dashboard-host=127.0.0.1
    until_ready 120 "answer from the head" ray status --address "127.0.0.1:$PORT"
    node worker --address="127.0.0.1:$PORT"
    until_ready 120 "second node" both_nodes
    echo "two nodes are up; dashboard: $DASHBOARD (it asks for the token: cat $STATE/token)"
}

send() {  # send ID SETTING...: right after the start no agent accepts jobs yet, and Ray refuses instead of waiting
    local id=$1
    shift
    ray job submit --no-wait --submission-id "$id" --working-dir "$ROOT" -- python experiments/tune_dkd.py \
        --study.name two-nodes --study.output "$OUTPUT" --teacher.cache "$STATE/cache" \
        --teacher.training.epochs 8 --study.trials 12 "$@"
}

submit() {
    local id
    id=study-$(date +%s)
    until_ready 120 "job agent" send "$id" "$@"
    echo "$id" >"$STATE/job"
    echo "submitted $id: \`$0 follow\` shows its log, \`$0 stop\` ends it"
}

job() { cat "$STATE/job"; }
state() { ray job status "$(job)" | grep -Eo 'PENDING|RUNNING|STOPPED|SUCCEEDED|FAILED' | head -1; }
stop() { ray job stop "$(job)"; }

follow() {  # ends with an error unless the study succeeded
    ray job logs --follow "$(job)"
    [[ $(state) == SUCCEEDED ]]
}

status() {
    ray status --address "127.0.0.1:$PORT"
    ray job list
}

down() {
    local name pid
    for name in worker head; do  # the worker first: otherwise it would report the loss of its head
        [[ -e $STATE/$name.pid ]] || continue
        pid=$(<"$STATE/$name.pid")
        kill -TERM "$pid" 2>/dev/null || continue
        for _ in {1..60}; do kill -0 "$pid" 2>/dev/null || break; sleep 0.5; done
        kill -KILL -- "-$pid" 2>/dev/null || true  # the node's session: processes that did not end in time
        echo "$name: ended"
    done
    rm -rf "$STATE"
}

half_way() {  # reads the driver's log on the head, because asking Ray for it takes seconds
    grep -q '^search:' "$STATE/head/session_latest/logs/job-driver-$(job).log"
}

try() {
    trap down EXIT
    trap 'exit 130' INT TERM
    OUTPUT=$STATE/outputs  # nothing is left behind
    up
    submit
    until_ready 300 "epoch of a search" half_way
    echo "--- ray job stop, half-way ---"
    stop
    follow || true
    echo "--- the same study again, with --resume ---"
    submit --resume
    follow
}

isolated() {  # without docker: a network with ports of its own, and processes of its own
    local as_root=()
    [[ $(id -u) == 0 ]] || as_root=(--user --map-root-user)
    # shellcheck disable=SC2016  # $0 is this script, and the inner shell expands it
    RAYKD_TWO_NODES=$STATE-$$ exec unshare "${as_root[@]}" --net --pid --fork --mount-proc --kill-child \
        bash -c 'ip link set lo up && exec "$0" try' "$ROOT/clusters/local/two_nodes.sh"
}

case ${1:-} in
    up | submit | follow | stop | status | down | try | isolated) "$@" ;;
    *) sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"; exit 2 ;;
esac
