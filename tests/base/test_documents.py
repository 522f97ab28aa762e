# SPDX-License-Identifier: BSD-3-Clause
"""
What comments and documents point at is there: every file that they name, every path below a folder of the repository, every section of a document
(`README.md "Names"`), and every relative link with its anchor. What they name of other projects is listed below, and the list is held to what is
used.

Lists that documents keep are those of the code: rooms and what they may use, exit codes, fault points, labels of tests, commands
and keys.

Before that the search itself is tested: on a text that names what is not there it has to find all of it, and on one that is right nothing.
"""
import ast
import io
import os
import pathlib
import re
import subprocess
import sys
import tokenize

import yaml

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from harness import SOURCE, check, finish

ROOT = pathlib.Path(SOURCE).resolve()
FOLDERS = "src include tests tools jobs inputs .github .ci".split()

# Files of other projects, of a run or of the system, by the name that comments give them.
ELSEWHERE = {
    "input.yaml": "of a run folder",
    "file.yaml": "any input file",
    "a.c": "any source file",
    "b.c": "any source file",
    "dino_head.py": "DINOv2",
    "main_dino.py": "DINO",
    "dinov2/utils/utils.py": "DINOv2",
    "utils/param_groups.py": "DINOv2",
    "vision_transformer.py": "DINOv2",
    "masking.py": "DINOv2",
    "collate.py": "DINOv2",
    "data/masking.py": "DINOv2",
    "data/collate.py": "DINOv2",
    "astrodino/data/augmentations.py": "AstroCLIP",
    "astro_augmentations.py": "AstroCLIP",
    "decals_augmentations.py": "ssl-legacysurvey",
    "models/specformer.py": "AstroCLIP",
    "data/targetmask.yaml": "desitarget",
    "models.py": "provabgs",
    "brick.py": "desiutil",
    "survey.py": "legacypipe",
    "io.py": "desitarget",
    "targets.py": "desitarget",
    "map/views.py": "Legacy Survey viewer",
    "build_parent_sample.py": "Multimodal Universe",
    "asm/prctl.h": "Linux",
    "single/logf.c": "Cephes",
}

ENDINGS = "md|h|c|py|cmake|sbatch|sh|yaml"
NAME = re.compile(rf"(?<![\w/.@*<>{{}}$-])((?:[\w.+-]+/)*[\w+-]+(?:\.[\w+-]+)*\.(?:{ENDINGS}))(?![\w/*<({{-])")
PATH = re.compile(r"(?<![\w/.<>{}$-])((?:" + "|".join(re.escape(f) for f in FOLDERS) + r")/[\w./-]*[\w/])(?![\w<*{$-])")
SECTION = re.compile(r'([\w./-]+\.md)`?,? "([^"]+)"')
LINK = re.compile(r"\[[^\]]*\]\(([^)#\s]*)(#[^)\s]*)?\)")


def files():
    """Of the repository as it lies there, without what builds and runs leave."""
    found = [p for p in ROOT.iterdir() if p.is_file() and p.name != ".git"]
    for top in FOLDERS:
        for folder, below, names in os.walk(ROOT / top):
            below[:] = [d for d in below if d != "__pycache__"]
            found += [pathlib.Path(folder) / n for n in names]
    return found


ALL = files()
BASENAMES = {p.name for p in ALL}
PROGRAMS = {p.with_suffix("") for p in ALL if p.suffix in (".c", ".py")}  # of tests: named without an ending


def c_comments(text):
    token = re.compile(r'"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'|/\*.*?\*/|//[^\n]*', re.S)
    return "\n".join(re.sub(r"\n\s*\*(?!/)", "\n", m.group()) for m in token.finditer(text) if m.group()[0] == "/")


def python_comments(text):
    comments = [t.string.lstrip("#") for t in tokenize.generate_tokens(io.StringIO(text).readline) if t.type == tokenize.COMMENT]
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.Module, ast.FunctionDef, ast.ClassDef)):
            comments.append(ast.get_docstring(node) or "")
    return "\n".join(comments)


def said(path, text):
    """What a person reads in it: a document whole, of a source its comments."""
    if path.suffix == ".md":
        return text
    if path.suffix in (".c", ".h"):
        return c_comments(text)
    first = text.split("\n", 1)[0]
    if path.suffix == ".py" or first.startswith("#!") and "python" in first:
        return python_comments(text)
    return "\n".join(m.group(1) for m in re.finditer(r"(?:^|(?<=\s))#(.*)", text))


def resolve(name, where):
    """The file of that name, seen from the folder of `where`; None: there is none."""
    for base in (where.parent, ROOT, ROOT / "src", ROOT / "tests", ROOT / "include", ROOT / "include/syzygy"):
        path = (base / name).resolve()
        if path.is_file() and ROOT in path.parents:
            return path
    return name if "/" not in name and name in BASENAMES else None


def headings(path):
    return re.findall(r"^#+ +(.*?) *$", path.read_text(), re.M)


def slug(heading):
    return "#" + re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def problems(text, where, used=None):
    """What `text`, standing in the file `where`, points at and is not there."""
    text = re.sub(r"\s+", " ", text) if where.suffix != ".md" else text
    plain = re.sub(r"https?://\S+", " ", text)
    bad = []
    for name in NAME.findall(plain):
        if name in ELSEWHERE:
            used is None or used.add(name)
        elif not resolve(name, where):
            bad.append(f"no file {name}")
    for name in PATH.findall(plain):
        path = ROOT / name.rstrip(".")
        if not path.exists() and path not in PROGRAMS and not resolve(name, where) and name not in ELSEWHERE:
            bad.append(f"no path {name}")
    for name, section in SECTION.findall(re.sub(r"\s+", " ", plain)):
        path = resolve(name, where)
        if isinstance(path, pathlib.Path) and section not in headings(path):
            bad.append(f'no section "{section}" in {name}')
    if where.suffix == ".md":
        for target, anchor in LINK.findall(plain):
            path = (where.parent / target).resolve() if target else where
            if not path.exists():
                bad.append(f"no link {target}")
            elif anchor and path.suffix == ".md" and anchor not in [slug(h) for h in headings(path)]:
                bad.append(f"no anchor {target}{anchor}")
    return bad


# Planted: the search sees what is not there, and nothing else.
readme, source = ROOT / "src/README.md", ROOT / "src/train/loop.c"
check(problems("see gone.md, train/lost.c and src/train/lost_too.h", source) == ["no file gone.md", "no file train/lost.c",
      "no file src/train/lost_too.h", "no path src/train/lost_too.h"], "files that are not there are seen")
check(problems('src/model/README.md "No such section"; tools/no-such-tool', source) == ["no path tools/no-such-tool",
      'no section "No such section" in src/model/README.md'], "sections and tools that are not there are seen")
check(problems("[a](model/GONE.md) [b](model/README.md#gone)", readme) ==
      ["no file model/GONE.md", "no link model/GONE.md", "no anchor model/README.md#gone"], "links that lead nowhere are seen")
check(problems('[a](model/README.md#names) loop.c, objectives/align.c, tests/nn/speed_block, <name>.c, src/*.c, model/README.md "Names"', readme) == [],
      "what is there is not blamed")
planted = 'int f(void); /* see gone.md */\nconst char *s = "in_a_string.c"; // other.py\n'
check(problems(c_comments(planted), source) == ["no file gone.md", "no file other.py"], "comments are read, strings are not")

used, n_files = set(), 0
for path in sorted(ALL):
    if path == pathlib.Path(__file__).resolve():
        continue
    try:
        text = path.read_text()
        shown = said(path, text)
    except UnicodeDecodeError:
        continue
    n_files += 1
    for what in problems(shown, path, used):
        check(False, f"{path.relative_to(ROOT)}: {what}")
check(n_files > 300, f"{n_files} files read")


def section(path, title):
    return re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", (ROOT / path).read_text(), re.M | re.S).group(1)


def first_cells(text):
    return {n for line in text.split("\n") if line.startswith("| `") for n in re.findall(r"`([^`]+)`", line.split("|")[1])}


def same(what, code, document):
    check(code == document, f"{what}: not in the document {sorted(code - document)}, not in the code {sorted(document - code)}")


def text_of(pattern):
    return "\n".join(p.read_text() for p in sorted(ROOT.glob(pattern)))


uses = subprocess.run(["/usr/bin/python3", ROOT / "tools/check-rooms", "--uses"], capture_output=True, text=True, check=True).stdout
rooms = [[c.strip(" `") for c in line.split("|")] for line in section("src/README.md", "Rooms").split("\n") if line.startswith("| `")]
check([f"{r[1]} {r[3]}" for r in rooms] == [re.sub(r"^(\w+)$", r"\1 nothing", re.sub(r"^app .*", "app all", line)) for line in uses.splitlines()],
      "rooms: their order and what each may use is what tools/check-rooms allows")
same("exit codes", set(re.findall(r"^  X\(SYZ_\w+, (\d+),", (ROOT / "include/syzygy/base.h").read_text(), re.M)),
     set(re.findall(r"(?:^|;)\s*(\d+)\s[a-z]", section("src/README.md", "Exit codes"))))
same("fault points", set(re.findall(r'syz_fault\("(\w+)"\)', text_of("src/*/*.c"))), first_cells(section("tests/README.md", "Fault points")))
labels = " ".join(re.findall(r"LABELS ([a-z ]+)", re.sub(r"#.*", "", text_of("tests/*/CMakeLists.txt") + text_of("tests/*/*.cmake")))).split()
same("labels", set(labels), first_cells(section("tests/README.md", "Labels")))


def keys_of(node, prefix=""):
    for name, value in node.items():
        yield from keys_of(value, f"{prefix}{name}.") if isinstance(value, dict) else [prefix + name]


# What README.md tells users is what the program has.
commands = set(re.findall(r"^  X\((\w+),", (ROOT / "src/app/app.h").read_text(), re.M))
same("commands", {c.replace("_", "-") for c in commands}, first_cells(section("README.md", "Commands")))
same("exit codes for users", set(re.findall(r"^  X\(SYZ_\w+, (\d+),", (ROOT / "include/syzygy/base.h").read_text(), re.M)),
     set(re.findall(r"\| (\d+) (?=\|)", section("README.md", "Stop and continue"))))
inputs = yaml.safe_load((ROOT / "inputs/reference.yaml").read_text())
keys = set(keys_of(inputs))
for path in ("README.md", "tools/MEASUREMENTS.md"):
    told = re.findall(r"(?:`|--set '?)((?:%s)\.\w+)[=`]" % "|".join(k for k, v in inputs.items() if isinstance(v, dict)), (ROOT / path).read_text())
    check(len(told) > 5 and set(told) <= keys, f"{path}: {len(set(told))} keys are named; not in inputs/reference.yaml: {sorted(set(told) - keys)}")

for name in sorted(set(ELSEWHERE) - used):
    check(False, f"nobody names {name} any longer: take it out of ELSEWHERE")
for name in sorted(n for n in ELSEWHERE if resolve(n, ROOT / "README.md")):
    check(False, f"{name} is a file of the repository: take it out of ELSEWHERE")
finish()
