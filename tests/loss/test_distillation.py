# SPDX-License-Identifier: BSD-3-Clause
"""The losses of DINO and iBOT with both centrings against PyTorch in float64, written crop by crop as the papers have them: losses, gradients by
rows and by weight_v, entropies, and the centre over several steps; on any number of ranks, with rows shared out unevenly.

argv: distillation_driver (the C side), what, rank counts. what: mean, sinkhorn, empty, engines-mean,
engines-sinkhorn."""
import os
import sys
import tempfile

import numpy as np
import torch

AUTO, REFERENCE, BLIS, ONEDNN, NATIVE = range(5)
TARGETS, TERMS = 8, 4
GLOBAL, LOCAL, PATCH = 0, 1, 2
N_GLOBAL, N_LOCAL = 2, 4
MOMENTUM, STUDENT_T = 0.9, 0.1
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from harness import check, finish, launch


class Step:
    """One step's numbers for the whole batch: class tokens of all crops and masked patches, of both networks, as float32."""

    def __init__(self, objects, k, width, temperature, seed, has_patches=True):
        g = torch.Generator().manual_seed(seed)
        n = lambda *s: torch.randn(*s, generator=g, dtype=torch.float64)
        unit = lambda x: (x / x.norm(dim=-1, keepdim=True)).float().double()
        self.temperature = temperature
        self.w_student, self.w_teacher = (0.1 * n(k, width)).float().double(), (0.1 * n(k, width)).float().double()
        # Student and teacher have something in common, and so have the rows: targets are far from uniform and the mean is not zero.
        common = n(width)
        teacher = n(objects, N_GLOBAL, width) + 0.5 * common
        self.z_teacher = unit(teacher)
        self.z_global = unit(teacher + 0.7 * n(objects, N_GLOBAL, width))
        self.z_local = unit(teacher.mean(1, keepdim=True) + 0.7 * n(objects, N_LOCAL, width))
        self.masked = torch.randint(0, 6, (objects, N_GLOBAL), generator=g) if has_patches else torch.zeros(objects, N_GLOBAL, dtype=torch.int64)
        patches = [n(int(m), width) - 0.3 * common for m in self.masked.sum(1)]
        self.z_patch_teacher = [unit(p) for p in patches]
        self.z_patch = [unit(p + 0.5 * n(*p.shape)) for p in patches]
        self.student = [self.z_global, self.z_local, *self.z_patch]

    def weights(self):
        objects = len(self.z_global)
        pairs = N_GLOBAL + N_GLOBAL * N_LOCAL
        return 1 / pairs / objects, 1 / pairs / objects, 1.0 / objects


def sinkhorn(logits, temperature, iterations):
    """As DINOv2 does it, in the log domain where its exponentials would leave float64."""
    if logits.abs().max() / temperature < 300:
        q = torch.exp(logits / temperature).t()
        k, b = q.shape
        q = q / q.sum()
        for _ in range(iterations):
            q = q / q.sum(1, keepdim=True) / k
            q = q / q.sum(0, keepdim=True) / b
        return (q * b).t()
    a = (logits / temperature).t()
    for _ in range(iterations):
        a = a - a.logsumexp(1, keepdim=True)
        a = a - a.logsumexp(0, keepdim=True)
    return torch.exp(a).t()


class Rounded(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.bfloat16().double()

    @staticmethod
    def backward(ctx, dx):
        return dx


def reference(step, centre, centring, iterations, is_bf16=False, fault=None):
    """Losses by term, entropies, gradients; moves `centre` ([2][K], torch)."""
    fault = fault or {}
    rounded = Rounded.apply if is_bf16 else lambda x: x
    leaf = lambda x: x.clone().requires_grad_()
    w_s = leaf(step.w_student)
    z_global, z_local, z_patch = leaf(step.z_global), leaf(step.z_local), [leaf(p) for p in step.z_patch]
    unit = lambda w: rounded(w / w.norm(dim=1, keepdim=True))
    logits_s = lambda z: rounded(z) @ unit(w_s).t()
    logits_t = lambda z: rounded(z) @ unit(step.w_teacher).t()
    temperature = step.temperature * fault.get("temperature", 1)
    objects, width = step.z_global.shape[0], step.z_global.shape[2]
    teacher = [step.z_teacher.reshape(-1, width), torch.cat([torch.zeros(0, width, dtype=torch.float64), *step.z_patch_teacher])]
    target, target_entropy, mean_entropy = [], [], []
    for s in range(2):
        if len(teacher[s]) == 0:
            target.append(None), target_entropy.append(0.0), mean_entropy.append(0.0)
            continue
        logits = logits_t(teacher[s])
        if centring == "mean":
            q = torch.softmax((logits - centre[s]) / temperature, -1)
            centre[s] = MOMENTUM * centre[s] + (1 - MOMENTUM) * logits.mean(0) * fault.get("centre", 1)
        else:
            q = sinkhorn(logits, temperature, iterations + fault.get("iterations", 0))
        plogp = lambda p: -torch.where(p > 0, p * torch.log(p.clamp_min(1e-300)), torch.zeros_like(p)).sum(-1)
        target.append(q), target_entropy.append(float(plogp(q).mean())), mean_entropy.append(float(plogp(q.mean(0))))
    cross = lambda q, logits: -(q * torch.log_softmax(logits / STUDENT_T, -1)).sum(-1)
    q_class = target[0].reshape(objects, N_GLOBAL, -1)
    weight_global, weight_local, weight_patch = step.weights()
    term = [torch.zeros((), dtype=torch.float64) for _ in range(TERMS)]
    for i in range(N_GLOBAL):
        for j in range(N_GLOBAL):
            if i != j:  # a global crop never against itself
                term[GLOBAL] = term[GLOBAL] + weight_global * cross(q_class[:, j], logits_s(z_global[:, i])).sum()
        for j in range(N_LOCAL):
            term[LOCAL] = term[LOCAL] + weight_local * fault.get("local", 1) * cross(q_class[:, i], logits_s(z_local[:, j])).sum()
    at = 0
    for o in range(objects):
        first = 0
        for c in range(N_GLOBAL):
            m = int(step.masked[o, c])
            if m:
                rows = cross(target[1][at:at + m], logits_s(z_patch[o][first:first + m]))
                term[PATCH] = term[PATCH] + weight_patch * rows.sum() / m
            at, first = at + m, first + m
    sum(term).backward()
    out = {"term": np.array([float(t) for t in term]), "target_entropy": np.array(target_entropy), "mean_entropy": np.array(mean_entropy),
           "dw": w_s.grad.numpy(), "dglobal": z_global.grad.numpy(), "dlocal": z_local.grad.numpy(),
           "dpatch": np.concatenate([np.zeros((0, width))] + [p.grad.numpy() for p in z_patch if p.grad is not None])}
    if centring == "mean":
        out["centre"] = torch.stack(centre).numpy().copy()
    if "projection" in fault:  # the part of dw along w is left in
        along = 0.01 * (out["dw"] * 0 + w_s.detach().numpy()) * np.abs(out["dw"]).mean() / w_s.detach().abs().mean().item()
        out["dw"] = out["dw"] + along
    return out


def shares(objects, ranks, seed):
    """Contiguous, uneven; some ranks have nothing when there are more than two."""
    rng = np.random.default_rng(seed)
    cuts = np.sort(rng.integers(0, objects + 1, ranks - 1)) if ranks != 2 else np.array([1])
    return np.split(np.arange(objects), cuts)


def write_rank(path, steps, own, is_extra, k, width, centring, iterations, most):
    f32, i64 = (lambda x: np.asarray(x, np.float32).tobytes()), (lambda x: np.asarray(x, np.int64).tobytes())
    with open(path, "wb") as f:
        f.write(i64([k, width, 2, centring == "sinkhorn", iterations, len(steps), *most]))
        f.write(np.array([MOMENTUM, STUDENT_T]).tobytes())
        for s in steps:
            patches = int(s.masked[own].sum()) if len(own) else 0
            n_class = N_GLOBAL * len(own)
            target, weight, term, z = [], [], [], []
            for i, o in enumerate(own):
                for c in range(N_GLOBAL):
                    z.append(s.z_global[o, c])
                    target.append([N_GLOBAL * i + j for j in range(N_GLOBAL) if j != c])
                    weight.append(s.weights()[0]), term.append(GLOBAL)
                for c in range(N_LOCAL):
                    z.append(s.z_local[o, c])
                    target.append([N_GLOBAL * i + j for j in range(N_GLOBAL)])
                    weight.append(s.weights()[1]), term.append(LOCAL)
            at = n_class
            for o in own:
                first = 0
                for c in range(N_GLOBAL):
                    for m in range(int(s.masked[o, c])):
                        z.append(s.z_patch[o][first])
                        target.append([at])
                        weight.append(s.weights()[2] / int(s.masked[o, c])), term.append(PATCH)
                        at, first = at + 1, first + 1
            if is_extra:  # a row without targets has no part in anything; the other ranks may have no rows at all
                z.append(s.z_global[0, 0]), target.append([]), weight.append(3.0), term.append(3)
            target = [t + [-1] * (TARGETS - len(t)) for t in target]
            f.write(i64([n_class, patches, len(z)]))
            f.write(np.float64(s.temperature).tobytes())
            f.write(f32(s.w_student) + f32(s.w_teacher))
            f.write(f32(s.z_teacher[own].reshape(-1, width)))
            for o in own:
                f.write(f32(s.z_patch_teacher[o]))
            f.write(f32(torch.stack(z) if z else z) + i64(target) + f32(weight) + np.asarray(term, np.int32).tobytes())


def run(program, steps, ranks, k, width, centring, iterations, act="f32", engine=AUTO, threads=1, seed=0):
    """The steps on so many ranks; results in the form of reference(). None: this build lacks the engine."""
    objects = len(steps[0].z_global)
    own = shares(objects, ranks, seed)
    student = max(int(s.masked.sum()) for s in steps) + objects * (N_GLOBAL + N_LOCAL) + 1
    teacher = max(int(s.masked.sum()) for s in steps) + objects * N_GLOBAL
    with tempfile.TemporaryDirectory() as folder:
        for r in range(ranks):
            write_rank(os.path.join(folder, f"in.{r}"), steps, own[r], r % 2 == 0, k, width, centring, iterations, (student, teacher))
        p = launch(ranks, program, folder, act, engine, threads, timeout=100, OMP_NUM_THREADS="2")
        if p.returncode == 77:
            return None
        if p.returncode:
            raise RuntimeError(p.stderr)
        files = [open(os.path.join(folder, f"out.{r}"), "rb").read() for r in range(ranks)]
    at, results = [0] * ranks, []
    for s in steps:
        out = {"dw": 0.0, "dglobal": [], "dlocal": [], "dpatch": []}
        for r in range(ranks):
            def take(n, dtype):
                x = np.frombuffer(files[r], dtype, n, at[r])
                at[r] += x.nbytes
                return x
            numbers = take(8, np.float64)
            loss = {"term": numbers[:4], "target_entropy": numbers[4:6], "mean_entropy": numbers[6:]}
            for name, x in loss.items():
                if name in out and not np.array_equal(out[name], x, equal_nan=True):
                    raise RuntimeError(f"{name} differs between ranks: {out[name]}, {x}")
                out[name] = x
            n_class = len(own[r]) * (N_GLOBAL + N_LOCAL)
            n_patch = int(s.masked[own[r]].sum()) if len(own[r]) else 0
            dz = take((n_class + n_patch + (r % 2 == 0)) * width, np.float32).reshape(-1, width)
            if dz[n_class + n_patch:].any():
                raise RuntimeError("a row without targets has a gradient")
            of_class = dz[:n_class].reshape(-1, N_GLOBAL + N_LOCAL, width)
            out["dglobal"].append(of_class[:, :N_GLOBAL]), out["dlocal"].append(of_class[:, N_GLOBAL:])
            out["dpatch"].append(dz[n_class:n_class + n_patch])
            out["dw"] = out["dw"] + take(k * width, np.float32).reshape(k, width).astype(np.float64)
            centre = take(2 * k, np.float32).reshape(2, k)
            if centring == "mean":
                if "centre" in out and not np.array_equal(out["centre"], centre):
                    raise RuntimeError("the centre differs between ranks")
                out["centre"] = centre
        for name in ("dglobal", "dlocal", "dpatch"):
            out[name] = np.concatenate(out[name])
        results.append(out)
    return results


def differences(out, expected):
    """Root mean square differences, relative to the array's own; the numbers of a loss each relative to itself."""
    d = {}
    for name, e in expected.items():
        x = np.asarray(out[name], np.float64)
        if name in ("term", "target_entropy", "mean_entropy"):
            d[name] = float(np.max(np.abs(x - e) / np.maximum(np.abs(e), 1e-3)))
        elif e.size:
            d[name] = float(np.sqrt(np.mean((x - e) ** 2) / max(np.mean(e ** 2), 1e-30)))
    return d


def expect(label, out, expected, tolerance):
    """Over all steps."""
    d = {}
    for o, e in zip(out, expected):
        for name, v in differences(o, e).items():
            d[name] = v if not v <= d.get(name, 0) else d.get(name, 0)
    worst = max(d, key=lambda n: d[n] / tolerance[n])
    check(all(d[n] < tolerance[n] for n in d), f"{label}: worst {worst} {d[worst]:.1e} of {tolerance[worst]:.0e}; "
          + ", ".join(f"{n} {v:.1e}" for n, v in d.items() if n != worst))


def tolerances(value, gradient, centre=1e-6):
    return {"term": value, "target_entropy": value, "mean_entropy": value, "dw": gradient, "dglobal": gradient, "dlocal": gradient, "dpatch": gradient,
            "centre": centre}


FAULTS = ({"temperature": 1.01}, {"centre": 1.01}, {"local": 1.01}, {"iterations": -1}, {"projection": 1})


def case(program, centring, ranks, temperatures, k, width, objects, tolerance, seed, act="f32", engines=((AUTO, 1),), has_patches=(True, True, True),
         iterations=3):
    steps = [Step(objects, k, width, t, seed + i, has_patches[i]) for i, t in enumerate(temperatures)]
    expected = []
    centre = [torch.zeros(k, dtype=torch.float64) for _ in range(2)]
    for s in steps:
        expected.append(reference(s, centre, centring, iterations, act == "bf16"))
    single = None
    for engine, threads in engines:
        for n in ranks:
            out = run(program, steps, n, k, width, centring, iterations, act, engine, threads, seed)
            label = f"{centring} {act} engine {engine} threads {threads} ranks {n} T {temperatures} K {k} width {width}"
            if out is None:
                check(engine != AUTO or act != "f32", f"{label}: not there")
                continue
            expect(label, out, expected, tolerance)
            if single is None or (engine, threads) != single[0]:
                single = ((engine, threads), out)
                continue
            d, is_same = 0.0, []
            for i in range(len(steps)):
                for t in ("term", "target_entropy", "mean_entropy"):
                    d = max(d, float(np.max(np.abs(out[i][t] - single[1][i][t]) / np.maximum(np.abs(single[1][i][t]), 1e-3))))
                is_same.append(all(np.array_equal(out[i][g], single[1][i][g]) for g in ("dglobal", "dlocal", "dpatch")))
            # Bits may differ where a sum over ranks, rounded to float32, has met a tie: the centre from step 1 on, potentials.
            good = d < 1e-6 and (centring != "mean" or is_same[0])
            check(good, f"  losses within {d:.1e} of those of {ranks[0]} rank(s); gradients of rows have the same bits in {sum(is_same)} "
                        f"of {len(steps)} steps")
    # The gate has teeth: each of these faults of one per cent must be seen.
    for fault in FAULTS if act == "f32" and single else ():
        if ("iterations" in fault) != (centring == "sinkhorn") and ("iterations" in fault or "centre" in fault):
            continue
        centre = [torch.zeros(k, dtype=torch.float64) for _ in range(2)]
        d = {}
        for i, s in enumerate(steps):
            for name, v in differences(single[1][i], reference(s, centre, centring, iterations, fault=fault)).items():
                d[name] = max(d.get(name, 0), v / tolerance[name])
        check(max(d.values()) > 1, f"planted {fault}: seen at {max(d.values()):.1f} times the tolerance ({max(d, key=d.get)})")


def main():
    program, what = sys.argv[1:3]
    ranks = [int(r) for r in sys.argv[3:]] or [1]
    # Measured in float32: losses 1e-7, gradients 3e-7 to 3e-6.
    fine = tolerances(1e-6, 1e-5)
    # At temperature 0.001 the last bit of a float32 logit, 6e-8, is 1e-4 of an exponential: so much can be asked of a target and no more.
    sharp = tolerances(3e-4, 3e-4)
    if what in ("mean", "sinkhorn"):
        case(program, what, ranks, (0.04, 0.055, 0.07), 1300, 24, 7, fine, 1)
        case(program, what, ranks[:3], (0.001, 0.001, 0.01), 700, 16, 5, sharp, 20)
    elif what.startswith("engines-"):
        centring = what[len("engines-"):]
        case(program, centring, [1], (0.05, 0.06), 517, 33, 4, fine, 40, engines=((AUTO, 2), (BLIS, 1), (ONEDNN, 1), (REFERENCE, 1)))
        # The reference rounds what the program rounds, except gradients of logits (8 bits) and parts of dz.
        coarse = tolerances(2e-4, 6e-3, 5e-3)
        case(program, centring, [1, 3], (0.05, 0.06), 517, 33, 4, coarse, 50, act="bf16", engines=((AUTO, 1), (ONEDNN, 1)))
    elif what == "empty":
        # No masked patch anywhere in some steps: their centre stays; and one object on more ranks than there are.
        for centring in ("mean", "sinkhorn"):
            case(program, centring, ranks, (0.05, 0.05, 0.05), 96, 8, 1, fine, 60, has_patches=(True, False, True))
    else:
        check(False, f"no case {what}")


if __name__ == "__main__":
    main()
    finish()
