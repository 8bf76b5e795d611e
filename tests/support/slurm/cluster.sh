#!/usr/bin/env bash
# A Slurm cluster of several nodes on this one machine, each with cards of a type that no card is behind, for tests.
# Needs Debian's slurm-wlm and munge, and root, whose slurmd makes the nodes' processes.
#
#   cluster.sh start DIR NODE=TYPE:COUNT…   starts the daemons with all their files in DIR, waits until the nodes are
#                                           idle, and prints the configuration's path, which SLURM_CONF is to be
#   cluster.sh down DIR NODE                kills the node's daemon and its jobs: what a lost node does
#   cluster.sh stop DIR                     ends the daemons that it started, by number
set -euo pipefail
PATH=$PATH:/usr/sbin:/sbin
verb=$1 dir=$(mkdir -p "$2" && cd "$2" && pwd)
shift 2

# Ends what a file says the number of.
end() {
    [ -f "$1" ] || return 0
    kill "-${2:-TERM}" "$(cat "$1")" 2> /dev/null || true
}

case $verb in
stop)
    numbers=$(cat "$dir"/slurmd-*.pid "$dir"/slurmctld.pid "$dir"/munged.pid 2> /dev/null || true)
    for pid in "$dir"/slurmd-*.pid "$dir"/slurmctld.pid "$dir"/munged.pid; do end "$pid"; done
    for number in $numbers; do
        for _ in $(seq 50); do kill -0 "$number" 2> /dev/null && sleep 0.1 || break; done
    done
    exit 0
    ;;
down)
    # The steps' own daemons first, so that none is left to say how its job ended. A job has its cluster's configuration
    # and its node in its environment.
    for proc in /proc/[0-9]*; do
        words=$(tr '\0' ' ' 2> /dev/null < "$proc/cmdline") || continue
        case $words in "slurmstepd: "*) ;; *) continue ;; esac
        children=$(cat "$proc/task/${proc#/proc/}/children" 2> /dev/null || true)
        for child in $children; do
            own=$(tr '\0' '\n' 2> /dev/null < "/proc/$child/environ" || true)
            if grep -qx "SLURMD_NODENAME=$1" <<< "$own" && grep -qx "SLURM_CONF=$dir/slurm.conf" <<< "$own"; then
                kill -KILL "${proc#/proc/}" "$child" 2> /dev/null || true
            fi
        done
    done
    end "$dir/slurmd-$1.pid" KILL
    exit 0
    ;;
esac

host=$(hostname -s)
mkdir -p "$dir"/munge "$dir"/state "$dir"/log
chmod 700 "$dir/munge"
head -c 1024 /dev/urandom > "$dir/munge/key"
chmod 400 "$dir/munge/key"
munged --force --key-file="$dir/munge/key" --socket="$dir/munge/munge.sock" --pid-file="$dir/munged.pid" \
    --log-file="$dir/munge/munged.log" --seed-file="$dir/munge/seed"

port=$((20000 + $$ % 20000))
: > "$dir/gres.conf"
nodes='' card=0 n=0 names=''
for node in "$@"; do
    name=${node%%=*} cards=${node#*=}
    type=${cards%%:*} count=${cards##*:}
    mkdir -p "$dir/spool-$name"
    for _ in $(seq "$count"); do
        mknod "$dir/nvidia$card" c 195 "$card"
        echo "NodeName=$name Name=gpu Type=$type File=$dir/nvidia$card" >> "$dir/gres.conf"
        card=$((card + 1))
    done
    n=$((n + 1))
    nodes+="NodeName=$name NodeHostname=$host NodeAddr=127.0.0.1 Port=$((port + n)) CPUs=2 RealMemory=2000"
    nodes+=" Gres=gpu:$type:$count Feature=driver-550.54.15 State=UNKNOWN"$'\n'
    names+=${names:+,}$name
done
cat > "$dir/slurm.conf" << CONF
ClusterName=test
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$port
AuthType=auth/munge
AuthInfo=socket=$dir/munge/munge.sock,cred_expire=5
CryptoType=crypto/munge
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
ReturnToService=2
SlurmUser=root
SlurmdUser=root
SlurmctldPidFile=$dir/slurmctld.pid
SlurmdPidFile=$dir/slurmd-%n.pid
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool-%n
SlurmctldLogFile=$dir/log/slurmctld.log
SlurmdLogFile=$dir/log/slurmd-%n.log
SlurmdTimeout=5
KillWait=2
MinJobAge=3600
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=5,bf_interval=5
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
GresTypes=gpu
${nodes}PartitionName=test Nodes=$names Default=YES MaxTime=INFINITE State=UP
CONF
export SLURM_CONF=$dir/slurm.conf
slurmctld -f "$SLURM_CONF"
for node in "$@"; do slurmd -f "$SLURM_CONF" -N "${node%%=*}"; done
for _ in $(seq 120); do
    idle=$(sinfo -h -N -o %T 2> /dev/null | grep -c '^idle$' || true)
    [ "$idle" = "$n" ] && { echo "$SLURM_CONF"; exit 0; }
    sleep 0.5
done
echo "the nodes did not come up; see $dir/log" >&2
exit 1
