#!/bin/sh
# A SLURM of one node on this very machine, to test against:  one_node.sh start [DIR] | one_node.sh stop [DIR]
#
# Needs root and Debian or Ubuntu, whose packages it installs where they are absent. Keys, state, logs and configuration
# stay in DIR (/var/tmp/one-node-slurm unless given), nothing is written to /etc. "start" prints the line that points
# sbatch and its kind at it:  export SLURM_CONF=DIR/slurm.conf
# There is no accounting: sacct does not answer, and jobs that ended are known to squeue for an hour.
set -eu
action=${1:-} folder=${2:-/var/tmp/one-node-slurm}
PATH=$PATH:/usr/sbin:/sbin
name=$(uname -n); short=${name%%.*}

fail() { echo "one_node.sh: $*" >&2; exit 1; }

install_packages() {
    for tool in munged slurmctld slurmd sbatch; do command -v $tool >/dev/null || missing=yes; done
    [ -n "${missing:-}" ] || return 0
    command -v apt-get >/dev/null || fail "SLURM is not installed, and there is no apt-get to install it with"
    export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 # at run level 1 the packages do not start their own services
    { timeout 120 apt-get -q update && timeout 300 apt-get -q install -y --no-install-recommends munge slurmctld slurmd slurm-client; } \
        >"$folder/packages.log" 2>&1 || fail "the packages cannot be installed, see $folder/packages.log"
}

write_configuration() {
    dd if=/dev/urandom of="$folder/key" bs=64 count=2 2>/dev/null
    chmod 400 "$folder/key"
    echo "CgroupPlugin=cgroup/v1" >"$folder/cgroup.conf" # no cgroups are used, but slurmd looks for them where nothing is said
    local_only= # where the machine's own name means 127.0.0.1, nobody else needs to reach the daemons
    case $(getent ahostsv4 "$name") in "127.0.0.1 "*) local_only=CommunicationParameters=NoInAddrAny,NoCtldInAddrAny ;; esac
    cat >"$folder/slurm.conf" <<END
ClusterName=one
SlurmctldHost=$short(127.0.0.1)
SlurmctldPort=${SLURM_PORT:-16817}
SlurmdPort=$((${SLURM_PORT:-16817} + 1))
SlurmUser=root
$local_only
AuthType=auth/munge
# A requeued job waits until its credential has expired: 120 s unless told otherwise.
AuthInfo=socket=$folder/munge.socket,cred_expire=5
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
MailProg=/bin/true
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=sched_interval=1,bf_interval=1,batch_sched_delay=0
KillWait=5
MinJobAge=3600
ReturnToService=2
SlurmdParameters=config_overrides
NodeName=$short NodeAddr=127.0.0.1 CPUs=$(getconf _NPROCESSORS_ONLN) RealMemory=$(($(getconf _PHYS_PAGES) / 1024 * $(getconf PAGE_SIZE) / 1024)) State=UNKNOWN
PartitionName=tests Nodes=ALL Default=YES
END
}

alive() { # whether the process in a daemon's file of its number is that daemon, and works in our folder
    [ -s "$folder/$1.pid" ] && grep -qa "$folder" "/proc/$(cat "$folder/$1.pid")/cmdline" 2>/dev/null
}

await() { # await SECONDS COMMAND...
    left=$1; shift
    until "$@" >/dev/null 2>&1; do
        [ "$left" -gt 0 ] || return 1
        left=$((left - 1)); sleep 1
    done
}

ready() { sinfo --noheader --format=%T | grep -Eq '^(idle|mixed|allocated)'; }
quiet() { [ -z "$(squeue --noheader)" ]; }
dead() { ! alive "$1"; }

begin() { # begin DAEMON ARGUMENTS...
    alive "$1" || "$@" >"$folder/$1.start.log" 2>&1 </dev/null || fail "$1 does not start, see $folder/$1.start.log and $folder/$1.log"
}

export SLURM_CONF="$folder/slurm.conf"
[ "$(id -u)" = 0 ] || fail "must be run by root"
case $action in
start)
    umask 022
    mkdir -p "$folder/state" "$folder/spool"
    install_packages
    alive slurmctld || write_configuration
    begin munged --force --key-file="$folder/key" --socket="$folder/munge.socket" --pid-file="$folder/munged.pid" --log-file="$folder/munged.log" --seed-file="$folder/munge.seed"
    begin slurmctld -f "$SLURM_CONF"
    begin slurmd -f "$SLURM_CONF"
    await 30 ready || fail "the node does not come up, see $folder/slurmctld.log and $folder/slurmd.log"
    echo "export SLURM_CONF=$SLURM_CONF"
    ;;
stop)
    if alive slurmctld; then
        squeue --noheader --format=%A | sort -u | xargs -r scancel || :
        await 20 quiet || echo "one_node.sh: some jobs have not ended" >&2
    fi
    for daemon in slurmd slurmctld munged; do
        alive $daemon || continue
        kill "$(cat "$folder/$daemon.pid")"
        await 20 dead $daemon || fail "$daemon does not end"
    done
    ;;
*) fail "usage: one_node.sh start|stop [DIR]" ;;
esac
