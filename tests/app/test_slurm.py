# SPDX-License-Identifier: BSD-3-Clause
"""The scripts of jobs/ in a real Slurm that lives for this test: own munged, slurmctld and four slurmd in a scratch folder, on ports of their own.

A training run on one node by mpirun; one by srun that Slurm tells to save before its time limit, that is queued again by its script and ends
with the numbers of an uninterrupted one, bit for bit; an interrupted one on four nodes (mpirun over TCP); embed; a scaling study
over 1 and 2 nodes with its merging job. Skipped only where Slurm is not installed.
"""
import contextlib
import getpass
import glob
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from harness import BINARY, RANKS_ENV, SOURCE, Work, check, failed, finish, skip
from common import metrics, numbers, relative, write_input, write_shards

NODES = 4
PATH = os.environ["PATH"] + ":/usr/sbin:/sbin"
STEPS = 80
# Bit by bit the same on the same ranks; other numbers of ranks add in another order: src/README.md "What holds".
ACROSS_RANKS = 1e-5

CONFIG = """
ClusterName=syzygytest
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={d}/munge.socket
StateSaveLocation={d}/state
SlurmdSpoolDir={d}/spool/%n
SlurmctldPidFile={d}/slurmctld.pid
SlurmdPidFile={d}/slurmd.%n.pid
SlurmctldLogFile={d}/slurmctld.log
SlurmdLogFile={d}/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
MpiDefault=none
ReturnToService=2
SlurmdParameters=config_overrides
KillWait=5
NodeName=n[0-{last}] NodeHostName={host} NodeAddr=127.0.0.1 Port=[{ports[1]}-{ports[4]}] CPUs=2 RealMemory=1000
PartitionName=main Nodes=ALL Default=YES State=UP
"""


def free_ports(n):
    """The first of n ports in a row that nobody uses."""
    for first in range(20000 + os.getpid() % 10000, 60000, n):
        with contextlib.ExitStack() as stack:
            try:
                for port in range(first, first + n):
                    stack.enter_context(socket.socket()).bind(("127.0.0.1", port))
                return list(range(first, first + n))
            except OSError:
                pass
    raise RuntimeError("no free ports")


def read_pid(path):
    try:
        return int(open(path).read())
    except (OSError, ValueError):
        return None


class Cluster:
    """Four nodes on this machine. Whatever happens, its daemons and what they started end with it."""

    def __init__(self, folder):
        self.folder = d = folder
        os.chmod(d, 0o755)
        for name in ("state", "spool", *(f"spool/n{i}" for i in range(NODES))):
            os.mkdir(f"{d}/{name}")
        with open(f"{d}/munge.key", "wb", opener=lambda p, f: os.open(p, f, 0o600)) as f:
            f.write(os.urandom(1024))
        with open(f"{d}/slurm.conf", "w") as f:
            f.write(CONFIG.format(d=d, host=socket.gethostname().split(".")[0], user=getpass.getuser(), ports=free_ports(NODES + 1), last=NODES - 1))
        self.env = dict(os.environ, PATH=PATH, SLURM_CONF=f"{d}/slurm.conf")

    def __enter__(self):
        d = self.folder
        try:
            self.call("munged", "--force", f"--key-file={d}/munge.key", f"--socket={d}/munge.socket", f"--pid-file={d}/munge.pid", f"--log-file={d}/munge.log",
                      f"--seed-file={d}/munge.seed")
            self.call("slurmctld")
            for i in range(NODES):
                self.call("slurmd", "-N", f"n{i}")
            wait_for(lambda: self.call("sinfo", "-h", "-o", "%t %D").split() == ["idle", str(NODES)], 30, "four idle nodes")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        with contextlib.suppress(Exception):
            self.call("scancel", "--user", getpass.getuser(), timeout=10)
            wait_for(lambda: not self.call("squeue", "-h", timeout=5).strip(), 10, "")
        d = self.folder
        pids = [p for p in map(read_pid, [*sorted(glob.glob(f"{d}/slurmd.*.pid")), f"{d}/slurmctld.pid", f"{d}/munge.pid"]) if p]
        for number in (signal.SIGTERM, signal.SIGKILL):
            for pid in pids + (processes_about(d) if number == signal.SIGKILL else []):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
            with contextlib.suppress(AssertionError):
                wait_for(lambda: not any(os.path.exists(f"/proc/{p}") for p in pids), 5, "")

    def call(self, *words, timeout=30, **more):
        done = subprocess.run(words, env={**self.env, **more}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=timeout, cwd=SOURCE)
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(words)}: exit code {done.returncode}\n{done.stdout}")
        return done.stdout

    def submit(self, log, *words, **more):
        """Number of the job."""
        return self.call("sbatch", "--parsable", f"--output={log}", *words, **more).split(";")[0].strip()

    def state(self, job):
        """Fields of a job: JobState, Restarts, ExitCode, ..."""
        return dict(f.split("=", 1) for f in self.call("scontrol", "show", "job", "-o", job).split() if "=" in f)

    def wait(self, job, limit):
        """
        Until the job has ended; its fields. One that was queued again starts after 4 s instead of the two minutes that Slurm gives it; much sooner
        a node still refuses it ("already killed").
        """
        queued = {}  # clock by number of restarts

        def has_ended():
            fields = self.state(job)
            if fields["JobState"] == "PENDING" and fields["Restarts"] != "0":
                if time.time() > queued.setdefault(fields["Restarts"], time.time()) + 4:
                    with contextlib.suppress(RuntimeError):
                        self.call("scontrol", "update", f"JobId={job}", "StartTime=now")
            return fields["JobState"] not in ("PENDING", "RUNNING", "COMPLETING", "CONFIGURING", "REQUEUED", "SUSPENDED")

        wait_for(has_ended, limit, f"the end of job {job}")
        return self.state(job)


def wait_for(condition, limit, what):
    end = time.time() + limit
    while not condition():
        assert time.time() < end, f"waited {limit} s for {what}"
        time.sleep(0.1)


def processes_about(*words):
    """Processes with all of the words in their command line or environment: those that this test or its Slurm started."""
    found = []
    for entry in glob.glob("/proc/[0-9]*"):
        with contextlib.suppress(OSError):
            text = open(f"{entry}/cmdline", "rb").read() + open(f"{entry}/environ", "rb").read()
            if int(entry[6:]) != os.getpid() and all(w.encode() in text for w in words):
                found.append(int(entry[6:]))
    return found


def ranks_of(folder):
    """Ranks of the program that write there, without the processes that read HDF5 files for them."""
    return [
        p
        for p in processes_about(folder)
        if os.path.basename(os.readlink(f"/proc/{p}/exe")) == os.path.basename(BINARY) and not open(f"/proc/{p}/comm").read().startswith("HDF5")
    ]


def has_pending(pid, number):
    fields = dict(line.split(":\t") for line in open(f"/proc/{pid}/status").read().split("\n") if ":\t" in line)
    return any(int(fields[k], 16) >> (number - 1) & 1 for k in ("SigPnd", "ShdPnd"))


def steps_done(folder):
    with contextlib.suppress(OSError):
        return open(f"{folder}/metrics.jsonl").read().count("\n")
    return 0


class Held:
    """The ranks that write to a folder, stopped after their fifth step until SIGUSR1 has come to all of them."""

    def __init__(self, folder, ranks):
        wait_for(lambda: steps_done(folder) >= 5, 60, f"five steps in {folder}")
        self.pids = ranks_of(folder)
        for pid in self.pids:
            os.kill(pid, signal.SIGSTOP)
        assert len(self.pids) == ranks and steps_done(folder) < STEPS, f"{len(self.pids)} ranks, {steps_done(folder)} steps"
        self.thread = threading.Thread(target=self.release, daemon=True)
        self.is_told = False
        self.thread.start()

    def release(self):
        try:
            wait_for(lambda: all(has_pending(p, signal.SIGUSR1) for p in self.pids), 55, "SIGUSR1")
            self.is_told = True
        finally:
            for pid in self.pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)


def ended_well(fields, restarts):
    return fields["JobState"] == "COMPLETED" and fields["ExitCode"] == "0:0" and fields["Restarts"] == str(restarts)


def text_of(fields):
    return ", ".join(f"{k} {fields[k]}" for k in ("JobState", "ExitCode", "Restarts"))


def main(check, work):
    write_shards(f"{work}/shards", 24)
    write_input(work, f"""
data: {{path: [{work}/shards], split: all}}
train: {{freeze_backbones: false, steps: {STEPS}, global_batch: 8, lr: 5.0e-4, warmup_steps: 5, validate_objects: 0}}
""")
    # The script's own ten minutes are more than these jobs have: they would be told to stop as soon as Slurm looks.
    script, two_ranks, at_the_end = "jobs/run.sbatch", ["--ntasks-per-node=2", "--cpus-per-task=1"], "--signal=B:USR1@1"
    train = lambda folder: [script, "align", f"{work}/input.yaml", "--set", f"output.dir={work}/{folder}"]
    tcp = dict(OMPI_MCA_pml="ob1", OMPI_MCA_btl="tcp,self", OMPI_MCA_btl_tcp_if_include="lo")
    os.environ.update({k: v for k, v in RANKS_ENV.items() if k.startswith("OMPI_ALLOW") or "yield" in k}, SYZYGY=os.path.abspath(BINARY))
    os.mkdir(f"{work}/slurm")
    with Cluster(f"{work}/slurm") as slurm:
        # Slurm looks at time limits every 30 s: this one waits for its signal while the others run.
        late = slurm.submit(f"{work}/late.log", *two_ranks, "--time=1", "--signal=B:USR1@50", *train("late"), SYZYGY_LAUNCHER="srun")
        held = Held(f"{work}/late", 2)

        whole = slurm.wait(slurm.submit(f"{work}/whole.log", *two_ranks, "--time=2", at_the_end, *train("whole")), 60)
        check(ended_well(whole, 0), f"a training run on one node: {text_of(whole)}")
        check("2 ranks x 1 thread," in open(f"{work}/whole.log").read(), "it has the ranks and threads that sbatch was asked for")
        check(len(metrics(f"{work}/whole")) == STEPS and os.path.exists(f"{work}/whole/model.h5"), "and all its steps, and a model")

        embed = slurm.submit(f"{work}/embed.log", "--time=2", at_the_end, script, "embed", "--set", f"model.file={work}/whole/model.h5", "--set", f"data.path={work}/shards", "--set",
                             f"output.dir={work}/embed")
        study = slurm.call("bash", "jobs/scaling.sh", "1,2", "align", f"{work}/input.yaml", "--output", f"{work}/study", "--ranks", "1", "--threads", "1", "--repeats",
                           "1", "--warmup", "2", "--steps", "3", SBATCH_TIMELIMIT="3", SBATCH_OUTPUT=f"{work}/study-%x.log", **tcp)
        fields = slurm.wait(embed, 60)
        check(ended_well(fields, 0) and os.path.exists(f"{work}/embed/embedding.h5"), f"embed: {text_of(fields)}")
        cores = len({tuple(line.split(",")) for line in subprocess.check_output(["lscpu", "-p=CORE,SOCKET"], text=True).split("\n") if line and line[0] != "#"})
        check(f"1 rank x {min(cores, 2)} thread" in open(f"{work}/embed.log").read(), "without being asked it takes the cores of the node")

        held.thread.join(60)
        check(held.is_told, "Slurm tells a job of its time limit")
        fields = slurm.wait(late, 60)
        check(ended_well(fields, 1), f"told by its time limit, under srun: {text_of(fields)}")
        log = open(f"{work}/late.log").read()
        check(log.count("(exit code 75)") == 1 and log.count("(exit code 0)") == 1, "it ended with 75, queued again, and ended with 0, all in one log")
        check(numbers(f"{work}/late") == numbers(f"{work}/whole"), "its numbers are those of the uninterrupted run, bit for bit")

        fields = slurm.wait(study.split("merge: job ")[1].split(",")[0], 90)
        rows = open(f"{work}/study/scaling.csv").read().split("\n")[1:-1]
        check(sorted(r.split(",")[:3] for r in rows) == [["strong", "1", "1"], ["strong", "2", "1"]], f"a study over 1 and 2 nodes: {rows}")
        check(fields["ExitCode"] == "1:0" and open(f"{work}/study/scaling.txt").read().split("\n")[-2].startswith("INVALID: 3 steps counted"),
              f"its last line says what 3 steps are worth, {text_of(fields)}")
        check(all(r.split(",")[-3] == "0" for r in rows), "and no point of it failed")

        four = slurm.submit(f"{work}/four.log", "--nodes=4", "--ntasks-per-node=1", "--cpus-per-task=1", "--time=3", at_the_end, *train("four"), **tcp)
        held = Held(f"{work}/four", 4)
        slurm.call("scancel", "--batch", "--signal=USR1", four)
        held.thread.join(60)
        fields = slurm.wait(four, 60)
        check(held.is_told and ended_well(fields, 1), f"four nodes, told to stop, under mpirun: {text_of(fields)}")
        difference = relative(numbers(f"{work}/four"), numbers(f"{work}/whole"))
        check(len(metrics(f"{work}/four")) == STEPS and difference < ACROSS_RANKS, f"its losses are those of one node to {difference:.1e}")


if __name__ == "__main__":
    if not all(shutil.which(program, path=PATH) for program in ("munged", "slurmctld", "slurmd", "sbatch", "scontrol")):
        skip("no Slurm here (tools/install-deps --tests)")

    def leave(number, frame):
        raise SystemExit(f"ended by signal {number}")  # through Cluster.__exit__: daemons outlive whoever does not end them

    for number in (signal.SIGALRM, signal.SIGTERM, signal.SIGINT):
        signal.signal(number, leave)
    signal.alarm(280)
    with Work() as place:
        try:
            main(check, place)
        finally:
            if failed() or sys.exc_info()[0]:
                for path in sorted(glob.glob(f"{place}/*.log") + glob.glob(f"{place}/slurm/slurm*.log")):
                    print(f"--- {path}\n{open(path, errors='replace').read()[-6000:]}")
    finish()
