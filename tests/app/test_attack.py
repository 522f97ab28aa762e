# SPDX-License-Identifier: BSD-3-Clause
"""tools/attack finds what it is for: a program that crashes, burns time, eats memory, ends oddly or names no file on one input of many, and one that
does not come back as it was after a kill. The program is a script that does each of these on purpose."""
import os
import shutil
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from harness import SOURCE, check_quietly as check, finish
sys.path.insert(0, os.path.join(SOURCE, "tools"))
from attacker import fits, fits_seeds, harness, kills  # noqa: E402


PROGRAM = """#!/usr/bin/python3
import os, signal, sys, time
for path in sys.argv[2:]:
    content = open(path, "rb").read()
    if b"CRASH" in content: os.kill(os.getpid(), signal.SIGSEGV)
    if b"BURN" in content:
        end = time.process_time() + 1.5
        while time.process_time() < end: pass
    if b"EAT" in content: eaten = bytearray(400_000_000); eaten[::4096] = bytes(len(eaten[::4096]))
    if b"ODD" in content: sys.exit(9)
    if b"SILENT" in content: sys.exit(3)
    print(path)
"""
# After a kill this one remembers that it was started before, and gives other results.
FORGETFUL = """#!/usr/bin/python3
import json, os, sys, time
given = dict(s.split("=", 1) for s in sys.argv if "=" in s)
folder, command, rank = given["output.dir"], sys.argv[1], os.environ["OMPI_COMM_WORLD_RANK"]
if os.environ.get("SYZ_FAULT"): time.sleep(0.3)
os.makedirs(folder, exist_ok=True)
mark = folder + "/started-" + rank
was_started = os.path.exists(mark)
open(mark, "w").close()
if command == "simulate":
    os.makedirs(folder + "/" + given["simulate.output"])if rank == "0" else None
    sys.exit(0)
time.sleep(0.6)
text = json.dumps({"loss": 1 if was_started and FORGETS else 0})
if rank == "0":
    for name in ("metrics.jsonl", "model.h5", "embedding.h5", "rejected.csv"):
        with open(folder + "/" + name, "w") as f: f.write(text)
    os.makedirs(folder + "/checkpoints", exist_ok=True)
"""

work = tempfile.mkdtemp(prefix="syzygy-test-")
try:
    def write(name, text, mode=0o644):
        with open(f"{work}/{name}", "w") as f:
            f.write(text)
        os.chmod(f"{work}/{name}", mode)
        return f"{work}/{name}"

    # One bad file among sixteen, of each kind.
    program = write("program", PROGRAM, 0o755)
    sound = [write(f"sound-{i}", "fine") for i in range(16)]
    attack = harness.Attack("test", lambda paths, scratch: [program, "info"] + paths, fits.info_complaint({}), f"{work}/kept")
    attack.measure(sound)
    attack.attack(sound)
    check(attack.failed == 0 and not os.path.exists(f"{work}/kept"), "sound files pass")
    for i, (fault, words) in enumerate((("CRASH", "exit code -11"), ("BURN", "processor time"), ("EAT", "MB"), ("ODD", "exit code 9"), ("SILENT", "not mentioned"))):
        harness.SLOW_S = 0.7 if fault == "BURN" else 30
        bad = write(f"bad-{fault}", fault)
        attack.attack(sound[:3 * i] + [bad] + sound[3 * i:])
        check(attack.failed == i + 1, f"{fault}: {attack.failed} failures, {i + 1} expected")
        said = f"{work}/kept/bad-{fault}.txt"
        check(os.path.exists(f"{work}/kept/bad-{fault}") and os.path.exists(said) and words in open(said).read(), f"{fault}: the input and what was said are kept")
    check(sorted(os.listdir(f"{work}/kept")) == sorted(n for fault in ("CRASH", "BURN", "EAT", "ODD", "SILENT") for n in (f"bad-{fault}", f"bad-{fault}.txt")), "nothing else is kept")

    # Damage is a function of seed and number, and of all kinds.
    seeds = fits_seeds.make(1)
    first = [fits.damaged(5, i, seeds) for i in range(150)]
    check(first[:60] == [fits.damaged(5, i, seeds) for i in range(60)] and first[:60] != [fits.damaged(6, i, seeds) for i in range(60)], "the same seed gives the same damage")
    originals = {content for _, content, *_ in seeds.values()}
    check(len({role for _, role, _ in first}) == 4 and sum(content in originals for _, _, content in first) == 0, "files of all roles, none of them sound")

    # Kills: results that are the same afterwards, and results that are not.
    for forgets in (False, True):
        program = write(f"forgetful-{forgets}", FORGETFUL.replace("FORGETS", str(forgets)), 0o755)
        found = kills.run(program, 3, 11, f"{work}/kept-{forgets}")
        check(found["kills"] >= 3, f"{found}")
        check((found["failed"] > 0) == forgets and os.path.exists(f"{work}/kept-{forgets}") == forgets, f"a program that {'forgets' if forgets else 'goes on'}: {found}")
finally:
    shutil.rmtree(work)
finish()
