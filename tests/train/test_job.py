# SPDX-License-Identifier: BSD-3-Clause
"""jobs/train.sbatch, run by bash as Slurm would: a signal to the script stops the run with a checkpoint and submits the script again with the
same arguments; only exit code 75 does. `sbatch` is a stand-in that writes down what it was given."""
import sys

from common import *

check = Checks()
SCRIPT = os.path.join(os.environ.get("SYZYGY_SOURCE", "."), "jobs", "train.sbatch")
with Work() as work:
    write_shards(f"{work}/shards", 20)
    write_input(work, f"""
data: {{path: [{work}/shards], split: all}}
train: {{steps: 100000, global_batch: 6, lr: 5.0e-4, warmup_steps: 5, validate_objects: 0}}
""")
    os.makedirs(f"{work}/bin")
    with open(f"{work}/bin/sbatch", "w") as f:
        f.write(f'#!/bin/sh\necho "$@" >> {work}/submitted\n')
    os.chmod(f"{work}/bin/sbatch", 0o755)
    env = dict(os.environ, **RANKS_ENV, SYZYGY=BINARY, PATH=f"{work}/bin:" + os.environ["PATH"], SLURM_CPUS_PER_TASK="1")
    arguments_ = ["align", f"{work}/input.yaml", "--set", f"output.dir={work}/run"]
    with open(f"{work}/log", "w") as log:
        p = subprocess.Popen(["bash", SCRIPT] + arguments_, env=env, stdout=log, stderr=subprocess.STDOUT)
        end = time.time() + 30
        while time.time() < end and not os.path.exists(f"{work}/run/metrics.jsonl"):
            time.sleep(0.02)
        time.sleep(0.2)
        p.send_signal(signal.SIGUSR1)
        code = p.wait(30)
    submitted = open(f"{work}/submitted").read().split("\n")[:-1] if os.path.exists(f"{work}/submitted") else []
    check(code == 75, f"the script ends with {code} (75)")
    if code != 75:
        print(open(f"{work}/log").read())
    check(submitted == [" ".join([SCRIPT] + arguments_)], f"it submits itself once, with its arguments: {submitted}")
    check(len(os.listdir(f"{work}/run/checkpoints")) >= 1, "there is a checkpoint")
    p = subprocess.run(["bash", SCRIPT, "align", f"{work}/missing.yaml"], env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    check(p.returncode == 2 and open(f"{work}/submitted").read().count("\n") == 1, f"a mistake in the input ends with {p.returncode} and submits nothing")
sys.exit(check.result())
