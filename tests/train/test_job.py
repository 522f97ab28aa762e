# SPDX-License-Identifier: BSD-3-Clause
"""jobs/run.sbatch, run by bash as Slurm would: a signal to the script stops the run with a checkpoint and queues the job again; only a run that was
asked by Slurm and ended with 75 does, and only so many times. `scontrol` is a stand-in that writes down what it was given; the real one is in
tests/app/test_slurm.py."""

from common import *

SCRIPT = os.path.join(os.environ.get("SYZYGY_SOURCE", "."), "jobs", "run.sbatch")
with Work() as work:
    write_shards(f"{work}/shards", 20)
    write_input(work, f"""
data: {{path: [{work}/shards], split: all}}
train: {{steps: 100000, global_batch: 6, lr: 5.0e-4, warmup_steps: 5, validate_objects: 0}}
""")
    os.makedirs(f"{work}/bin")
    with open(f"{work}/bin/scontrol", "w") as f:
        f.write(f'#!/bin/sh\necho "$@" >> {work}/queued\n')
    os.chmod(f"{work}/bin/scontrol", 0o755)
    env = environment(SYZYGY=BINARY, PATH=f"{work}/bin:" + os.environ["PATH"], SLURM_NTASKS_PER_NODE="2", SLURM_CPUS_PER_TASK="1",
               SLURM_JOB_ID="17", SYZYGY_LAUNCHER="mpirun -n 2")

    def queued():
        return open(f"{work}/queued").read().split("\n")[:-1] if os.path.exists(f"{work}/queued") else []

    def steps(folder):
        """Whole lines of metrics.jsonl, which a run may be writing just now."""
        path = f"{work}/{folder}/metrics.jsonl"
        if not os.path.exists(path):
            return 0
        with open(path) as f:
            return f.read().count("\n")

    def run_until(ask, folder, **more):
        """Exit code of the script that is asked to stop by ask(its process) while it trains."""
        before = steps(folder)
        with open(f"{work}/log", "w") as log:
            p = subprocess.Popen(["bash", SCRIPT, "align", f"{work}/input.yaml", "--set", f"output.dir={work}/{folder}"], env=dict(env, **more), stdout=log,
                                 stderr=subprocess.STDOUT)
            end = time.time() + 30
            while time.time() < end and steps(folder) == before:
                time.sleep(0.02)
            ask(p)
            code = p.wait(30)
        if code != 75:
            print(open(f"{work}/log").read())
        return code

    usr1 = lambda p: p.send_signal(signal.SIGUSR1)
    code = run_until(usr1, "run")
    check(code == 75 and queued() == ["requeue 17"], f"asked by Slurm, the script ends with {code} (75) and queues its job again: {queued()}")
    check(len(os.listdir(f"{work}/run/checkpoints")) >= 1, "there is a checkpoint")
    code = run_until(usr1, "run", SLURM_RESTART_COUNT="3", SYZYGY_RESTARTS="3")
    check(code == 75 and len(queued()) == 1, f"after three times it no longer does ({code})")
    check("continuing from step" in open(f"{work}/run/log.txt").read(), "the same command went on")
    def hold_and_ask(p):
        """One rank stopped, so that no step ends; then Slurm asks."""
        mpirun = int(subprocess.run(["pgrep", "-P", str(p.pid)], stdout=subprocess.PIPE, text=True).stdout.split()[0])
        os.kill(int(subprocess.run(["pgrep", "-P", str(mpirun)], stdout=subprocess.PIPE, text=True).stdout.split()[-1]), signal.SIGSTOP)
        p.send_signal(signal.SIGUSR1)

    code = run_until(hold_and_ask, "held", SYZYGY_PATIENCE="3")
    check(code == 75 and len(queued()) == 2, f"a run that hangs as Slurm asks is ended by a second signal: {code} (75), and queued again")
    code = run_until(lambda p: open(f"{work}/stop/STOP", "w").close(), "stop")
    check(code == 75 and len(queued()) == 2, f"a STOP file of the user ends it with {code} (75) and queues nothing")

    # A rank that died or hung: a stand-in for the launcher ends with the code. At most so many times in a row.
    with open(f"{work}/bin/ends", "w") as f:
        f.write('#!/bin/sh\nexit "$ENDS"\n')
    os.chmod(f"{work}/bin/ends", 0o755)

    def ends(number, command="align", **more):
        """Exit code of the script, and how often it queued its job again."""
        before = len(queued())
        done = subprocess.run(["bash", SCRIPT, command], env=dict(env, SYZYGY_LAUNCHER="ends", ENDS=str(number), **more), cwd=work, stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL)
        return done.returncode, len(queued()) - before

    check([ends(7) for _ in range(5)] == [(7, 1)] * 3 + [(7, 0), (7, 1)], "a hang queues the job again three times in a row, then stops; by hand it starts anew")
    check(ends(10) == (10, 0) and [ends(137), ends(139), ends(134), ends(7)] == [(7, 1)] * 3 + [(7, 0)],
          "ranks that die of a signal end the script with 7; another end begins a new count")
    check(ends(143) == (143, 0) and ends(75) == (75, 0) and ends(7, "bench") == (7, 0), "nothing of the kind after TERM, a STOP file, or for bench")
    check(ends(7, SYZYGY_RETRIES="0") == (7, 0), "SYZYGY_RETRIES=0: never")
    with open(f"{work}/bin/starts", "w") as f:  # long in starting: it has no handler yet
        f.write('#!/bin/sh\nexec sleep 60\n')
    os.chmod(f"{work}/bin/starts", 0o755)
    before = len(queued())
    p = subprocess.Popen(["bash", SCRIPT, "align"], env=dict(env, SYZYGY_LAUNCHER="starts"), cwd=work, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(1)
    p.send_signal(signal.SIGUSR1)
    code = p.wait(60)
    check(code == 75 and len(queued()) == before + 1, f"a launcher that dies of Slurm's signal because it still starts: {code} (75), and queued again")
    once = len(queued())
    p = subprocess.run(["bash", SCRIPT, "align", f"{work}/missing.yaml"], env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    check(p.returncode == 2 and len(queued()) == once, f"a mistake in the input ends with {p.returncode} and queues nothing")
finish()
