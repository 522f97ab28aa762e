# SPDX-License-Identifier: BSD-3-Clause
"""
The source keeps to the order of rooms (tools/check-rooms), and the tool sees what it is for: a small tree of three rooms is accepted, and each
violation that is planted in it is named.
"""
import os
import pathlib
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from harness import SOURCE, check, finish

ROOT = pathlib.Path(SOURCE).resolve()
TREE = {
    "CMakeLists.txt": "# The rooms.\nset(SYZ_ROOMS low middle\n  program) # in this order\n",
    "src/low/CMakeLists.txt": "syz_add_room(low SOURCES low.c USES m\n  HEADERS far.h wide) # its own\n",
    "src/middle/CMakeLists.txt": "syz_add_room(middle SOURCES middle.c near.c\n  USES low # and no more\n  BORROWS near:far.h)\n",
    "src/program/CMakeLists.txt": "syz_add_room(program PROGRAM run SOURCES run.c USES ${rooms})\n",
    "include/syzygy/low.h": "",
    "include/syzygy/middle.h": '#include "syzygy/low.h"\n',
    "src/low/low.c": '#include <far.h>\n#include <wide/deep.h>\n#include "syzygy/low.h"\n',
    "src/middle/middle.c": '#include <stdio.h>\n#include "syzygy/middle.h"\n',
    "src/middle/near.c": "#include <far.h>\n",
    "src/program/run.c": '#include "syzygy/low.h"\n#include "syzygy/middle.h"\n',
}
PLANTED = [
    ({"src/low/low.c": '#include "syzygy/middle.h"\n'}, "src/low/low.c:1: room low may not use middle"),
    ({"include/syzygy/low.h": '\n# include "syzygy/middle.h"\n'}, "include/syzygy/low.h:2: room low may not use middle"),
    ({"src/middle/CMakeLists.txt": "syz_add_room(middle SOURCES middle.c BORROWS near:far.h)\n"},
     "include/syzygy/middle.h:1: room middle may not use low"),
    ({"src/middle/middle.c": '#include "syzygy/program.h"\n'}, "src/middle/middle.c:1: room middle may not use program"),
    ({"src/middle/middle.c": "#include <far.h>\n"}, "src/middle/middle.c:1: far.h belongs to room low"),
    ({"src/middle/near.c": "#include <wide/deep.h>\n"}, "src/middle/near.c:1: wide/deep.h belongs to room low"),
    ({"src/low/CMakeLists.txt": "syz_add_room(low SOURCES low.c USES middle HEADERS far.h wide)\n"},
     "src/low/CMakeLists.txt: room low uses middle, which does not come before it in SYZ_ROOMS"),
    ({"src/other/other.c": ""}, "src/other is a folder but no room: SYZ_ROOMS of CMakeLists.txt does not name it"),
    ({"include/syzygy/other.h": ""}, "include/syzygy/other.h: there is no room other"),
    ({"src/low/CMakeLists.txt": "# syz_add_room(low SOURCES low.c HEADERS far.h wide)\n"},
     "src/low/CMakeLists.txt does not add the room low, which SYZ_ROOMS names"),
    ({"CMakeLists.txt": "# set(SYZ_ROOMS low middle program)\n"}, "no rooms found in "),
]

def run(folder):
    done = subprocess.run(["/usr/bin/python3", ROOT / "tools/check-rooms", folder], capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


def run_on(tree):
    with tempfile.TemporaryDirectory() as folder:
        for name, text in tree.items():
            path = pathlib.Path(folder, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return run(folder)


check(run_on(TREE) == (0, "6 files keep to the order of rooms\n"), "a tree that keeps to the order is accepted")
for change, message in PLANTED:
    code, said = run_on({**TREE, **change})
    check(code == 1 and (said == message + "\n" or (message.endswith(" ") and f"\n{message}" in said)), f"planted in {', '.join(change)}: {said.strip()}")
code, said = run(ROOT)
check(code == 0, said.strip())
finish()
