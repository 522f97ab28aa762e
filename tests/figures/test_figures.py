# SPDX-License-Identifier: BSD-3-Clause
"""
Every figure of include/syzygy/figures.h against its definition, in NumPy, SciPy and scikit-learn where they have it.

Tolerances: 1e-12 of the size of the figure (float64 sums of some hundred terms), 1e-9 for probabilities of test statistics, whose series stop there.
Each comparison also shows that a value that is off by 1 % would be seen, and `wrong definitions` that near misses of a definition would.
"""
import os
import subprocess
import sys

import numpy as np
import scipy.special
import scipy.stats
import sklearn.metrics
import sklearn.neighbors

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from harness import check, check_quietly, driver, environment, finish, Work

NAN, INF = np.nan, np.inf
rng = np.random.default_rng(20261130)
LEVELS = np.arange(1, 10) / 10
records = []  # name, arrays, expected, tolerance, text


def ask(name, *arrays, expect, tolerance=1e-12, text=""):
    """Add a record; `expect` is what its array should be. NaN is expected as NaN."""
    arrays = [np.atleast_1d(np.asarray(a, np.float64)).ravel() for a in arrays]
    records.append((name, arrays, np.atleast_1d(np.asarray(expect, np.float64)).ravel(), tolerance, text))


def agrees(got, expected, tolerance):
    if got.shape != expected.shape or (np.isnan(got) != np.isnan(expected)).any() or (got[np.isinf(got)] != expected[np.isinf(got)]).any():
        return False
    fine = np.isfinite(expected)
    return np.isfinite(got[fine]).all() and (np.abs(got[fine] - expected[fine]) <= tolerance * np.maximum(1, np.abs(expected[fine]))).all()


def off(got, expected):
    fine = np.isfinite(expected) & np.isfinite(got) if got.shape == expected.shape else np.zeros(0, bool)
    return np.max(np.abs(got - expected)[fine] / np.maximum(1, np.abs(expected[fine])), initial=0) if fine.any() else 0


def start_driver(folder, asked, **more):
    paths = [os.path.join(folder, name) for name in ("in", "out")]
    with open(paths[0], "wb") as f:
        for name, arrays, *_ in asked:
            f.write(name.encode().ljust(32, b"\0") + np.int64(len(arrays)).tobytes())
            for a in arrays:
                f.write(np.int64(a.size).tobytes() + a.tobytes())
    return paths, subprocess.run([driver("figures_driver"), *paths], env=environment(**more), capture_output=True, text=True, timeout=100)


def run():
    with Work() as folder:
        paths, done = start_driver(folder, records)
        print(done.stderr.strip())
        check(done.returncode == 0, f"the driver's own checks: exit code {done.returncode}")
        data, at, results = open(paths[1], "rb").read(), 0, []
    for _ in records:
        n = int(np.frombuffer(data, np.int64, 1, at)[0])
        results.append(np.frombuffer(data, np.float64, n, at + 8))
        at += 8 + 8 * n
    return results, done.stdout


# ---------------------------------------------------------------- arrays


def arrays():
    x = rng.integers(0, 20, 101) / 4
    gaps = x.copy()
    gaps[[3, 50]] = NAN, INF
    ask("known", gaps, np.where(np.arange(101) == 7, NAN, x), expect=[i for i in range(101) if i not in (3, 7, 50)])
    ask("bin_of", [-1, 0, 0.5, 1, 2.9, 3, 3.1, NAN], [0, 1, 2, 3], expect=[-1, 0, 0, 1, 2, 2, -1, -1])
    ask("order", x, expect=np.argsort(x, kind="stable"))
    ask("order", gaps, expect=np.argsort(gaps, kind="stable"), text="NaN last")
    ask("ranks", x, expect=scipy.stats.rankdata(x))
    ask("ranks", gaps, expect=np.full(101, NAN), text="with a NaN")
    levels = [0, 0.05, 0.16, 0.5, 0.84, 0.95, 1]
    for n in (1, 2, 100, 101):
        y = rng.normal(size=n)
        ask("quantiles", y, levels, expect=np.quantile(y, levels), text=f"n = {n}")
    ask("quantiles", [], levels, expect=np.full(7, NAN), text="of nothing")
    y = x + rng.integers(0, 12, 101)
    ask("spearman", x, y, expect=scipy.stats.spearmanr(x, y)[0], text="with ties")
    ask("spearman", x, -np.exp(x), expect=-1)
    ask("spearman", x, np.ones(101), expect=NAN, text="a constant score")
    ask("spearman", x, gaps, expect=NAN, text="with a NaN")
    ask("spearman", [1], [1], expect=NAN, text="n = 1")


# ------------------------------------------------------------ regression


def photoz(z, p):
    e = (p - z) / (1 + z)
    if len(e) < 2 or not np.isfinite(e).all():
        return [len(e)] + [NAN] * 6
    iqr = (np.quantile(e, 0.75) - np.quantile(e, 0.25)) / 1.349
    return [len(e), 1.4826 * np.median(np.abs(e - np.median(e))), e.mean(), np.mean(np.abs(e) > 0.15), iqr, np.median(e),
            np.mean(np.abs(e) > max(0.06, 3 * iqr))]


def redshifts(n):
    z = rng.uniform(0, 1, n)
    p = z + 0.03 * (1 + z) * rng.standard_t(2, n)
    return z, p


def regression():
    for n in (2, 3, 500):
        y, noise = rng.normal(100, 2, n), rng.normal(size=n)
        ask("r_squared", y, y + noise, expect=sklearn.metrics.r2_score(y, y + noise), tolerance=1e-11 if n < 4 else 1e-12, text=f"n = {n}")
    ask("r_squared", [0.1] * 3, [0.1, 0.2, 0.3], expect=NAN, text="constant truth, whose mean is rounded")
    ask("r_squared", [1], [1], expect=NAN, text="n = 1")
    ask("r_squared", [1, 2, NAN], [1, 2, 3], expect=NAN, text="with a NaN")
    for n in (0, 1, 2, 3, 4, 5, 999, 1000):
        z, p = redshifts(n)
        ask("photoz", z, p, expect=photoz(z, p), text=f"n = {n}")
    z, p = redshifts(300)
    tied = np.round(p, 1)
    ask("photoz", np.zeros(300), tied, expect=photoz(np.zeros(300), tied), text="with ties")
    ask("photoz", np.zeros(9), np.full(9, 0.2), expect=photoz(np.zeros(9), np.full(9, 0.2)), text="all equal")
    ask("photoz", np.append(z, -1), np.append(p, 0), expect=[301] + [NAN] * 6, text="z = -1")
    for limit in (0.15, 0.06):  # on the limit, and less than 1 % beyond it
        near = np.append(rng.normal(0, 0.001, 96), [limit, -limit, 1.005 * limit, -1.005 * limit])
        ask("photoz", np.zeros(100), near, expect=photoz(np.zeros(100), near), text=f"at {limit}")
    by, edges = rng.uniform(16, 22, 300), [17, 18, 19, 19.0001, 21]
    bins = [photoz(z[(by >= a) & (by < b)], p[(by >= a) & (by < b)]) for a, b in zip(edges, edges[1:])]
    ask("photoz_bins", z, p, by, edges, expect=np.concatenate(bins), text="by magnitude, one bin without objects")
    ask("photoz_bins", z, p, z, [0, 0.5, z.max()], expect=photoz(z[z < 0.5], p[z < 0.5]) + photoz(z[z >= 0.5], p[z >= 0.5]), text="the last edge inside")


# --------------------------------------------------------------- classes


def class_figures(t, p, K):
    present = np.union1d(t, p)
    kwargs = dict(labels=present, zero_division=0)
    M = sklearn.metrics.confusion_matrix(t, p, labels=range(K))
    f1 = [sklearn.metrics.f1_score(t, p, average=a, **kwargs) for a in ("macro", "weighted")]
    return M, [np.mean(t == p), sklearn.metrics.balanced_accuracy_score(t, p), *f1, np.bincount(t).max() / len(t),
               sklearn.metrics.jaccard_score(t, p, average="macro", **kwargs)]


def classes():
    import warnings
    warnings.simplefilter("ignore")  # a class that is only predicted has no recall
    t, p = rng.choice([0, 1, 3, 4], 400, p=[0.6, 0.2, 0.15, 0.05]), rng.choice([0, 1, 3, 5], 400)
    p = np.where(rng.uniform(size=400) < 0.5, t, p)
    M, f = class_figures(t, p, 7)
    ask("classes", t, p, [7], expect=[400, *M.ravel(), *f], text="a class only in truth, one only in prediction, two nowhere")
    ask("classes", np.append(t, [-1, 0, 9]), np.append(p, [0, -1, 0]), [7], expect=[400, *M.ravel(), *f], text="unknown classes left out")
    ask("classes", [1, 1], [1, 1], [2], expect=[2, 0, 0, 0, 2, 1, 1, 1, 1, 1, 1], text="one class only")
    ask("classes", [], [], [2], expect=[0] * 5 + [NAN] * 6, text="of nothing")
    T, P = rng.integers(0, 2, (200, 3)), rng.integers(0, 2, (200, 3))
    ask("exact_match", T, P, [3], expect=sklearn.metrics.accuracy_score(T, P))
    ask("exact_match", [], [], [3], expect=NAN, text="of nothing")
    q = np.concatenate([rng.beta(0.7, 2, 497), [0, 1, 0.3]])
    is_true = rng.uniform(size=500) < q ** 1.3
    for B in (10, 15, 1):
        at = np.minimum((q * B).astype(int), B - 1)
        bins = [(np.sum(at == b), q[at == b].mean(), is_true[at == b].mean()) for b in range(B)]
        ece = sum(n / 500 * abs(y - x) for n, x, y in bins)
        ask("reliability", q, is_true, [B], expect=[ece, sklearn.metrics.brier_score_loss(is_true, q),
                                                    *np.ravel([(n, x, y, np.sqrt(y * (1 - y) / n)) for n, x, y in bins])], text=f"{B} bins")
    ask("reliability", [0.2, 0.2], [1, 0], [2], expect=[0.3, (0.64 + 0.04) / 2, 2, 0.2, 0.5, np.sqrt(0.125), 0, NAN, NAN, NAN], text="an empty bin")
    ask("reliability", [0.2, 1.2], [1, 0], [1], expect=[NAN, 1.04, 0, NAN, NAN, NAN], text="no probability")
    ask("reliability", [0.2], [1], [1], expect=[NAN, NAN, 0, NAN, NAN, NAN], text="n = 1")
    Q = rng.dirichlet([1, 1, 2], 300)
    t = rng.integers(0, 3, 300)
    ask("top_class", Q, t, [3], expect=[np.mean(((Q - np.eye(3)[t]) ** 2).sum(1)), *Q.max(1), *(Q.argmax(1) == t)])
    ask("top_class", [0.5, 0.5, NAN, 0.5], [0, 1], [2], expect=[NAN, 0.5, NAN, 1, 0], text="a tie, a NaN")


# --------------------------------------------------------------- ranking


def ranking_figures(score, y, limit):
    """Completeness by its definition: all cuts score >= t, t any score."""
    if len(score) < 2 or np.isnan(score).any():
        return [NAN] * 5
    if not y.any():
        return [NAN] * 5
    ap = sklearn.metrics.average_precision_score(y, np.nan_to_num(score, posinf=1e300, neginf=-1e300))
    if y.all():
        return [NAN, ap, NAN, NAN, NAN]
    by_rank = scipy.stats.rankdata(score)
    P, N = y.sum(), (~y).sum()
    auc = (by_rank[y].sum() - P * (P + 1) / 2) / (P * N)
    cuts = [(0, 0, 0)]
    for t in np.unique(score):
        tp, fp = np.sum(y & (score >= t)), np.sum(~y & (score >= t))
        cuts.append((tp / P, fp / N, fp / (tp + fp)))
    good = [c for c in cuts if c[1] <= limit]
    best = max(c[0] for c in good)
    return [auc, ap, best, min(c[2] for c in good if c[0] == best), max(c[0] for c in cuts if c[2] <= limit)]


def ranking():
    y = rng.uniform(size=600) < 0.15
    smooth = rng.normal(size=600) + 1.5 * y
    for score, text in ((smooth, "no ties"), (np.round(2 * smooth) / 2, "ties"), (np.zeros(600), "all tied"), (-smooth, "the wrong way round")):
        for limit in (0, 0.05, 0.22, 1):
            ask("ranking", score, y, [limit], expect=ranking_figures(score, y, limit), text=f"{text}, limit {limit}")
    infinite = np.where(rng.uniform(size=600) < 0.1, -INF, smooth)
    ask("ranking", infinite, y, [0.22], expect=ranking_figures(infinite, y, 0.22), text="infinite scores")
    # Cuts of 78 true and 22 false (on the limit), 802 and 228 (less than 1 % beyond it), and all.
    steps, truth = np.repeat([3, 2, 1], [100, 930, 400]), np.repeat([1, 0, 1, 0, 1, 0], [78, 22, 724, 206, 10, 390])
    ask("ranking", steps, truth, [0.22], expect=ranking_figures(steps, truth > 0, 0.22), text="contamination on the limit")
    # Of 1,000 negatives 220 (on the limit), 222 and all.
    steps, truth = np.repeat([3, 2, 1], [300, 62, 800]), np.repeat([1, 0, 1, 0, 1, 0], [80, 220, 60, 2, 22, 778])
    ask("ranking", steps, truth, [0.22], expect=ranking_figures(steps, truth > 0, 0.22), text="false-positive rate on the limit")
    ask("ranking", smooth, np.ones(600), [0.22], expect=[NAN, 1, NAN, NAN, NAN], text="positives only")
    ask("ranking", smooth, np.zeros(600), [0.22], expect=[NAN] * 5, text="negatives only")
    ask("ranking", np.append(smooth, NAN), np.append(y, True), [0.22], expect=[NAN] * 5, text="with a NaN")
    ask("ranking", [1], [1], [0.22], expect=[NAN] * 5, text="n = 1")
    ask("ranking", [], [], [0.22], expect=[NAN] * 5, text="of nothing")
    check(abs(sklearn.metrics.roc_auc_score(y, np.round(smooth)) - ranking_figures(np.round(smooth), y, 0.22)[0]) < 1e-14, "the reference's AUC is scikit-learn's")
    gain, score = rng.uniform(size=50), np.round(rng.normal(size=50), 1)
    for k in (1, 10, 50, 80):
        ask("ndcg", score, gain, [k], expect=sklearn.metrics.ndcg_score([gain], [score], k=k), text=f"k = {k}, with ties")
        hit = gain > 0.7
        ask("ndcg", score, hit, [k], expect=sklearn.metrics.ndcg_score([hit], [score], k=k), text=f"k = {k}, gains 0 or 1")
    ask("ndcg", score, np.zeros(50), [10], expect=NAN, text="no gain")
    ask("ndcg", score, gain - 0.5, [10], expect=NAN, text="negative gains")


# ----------------------------------------------------------- calibration


def cvm_sf(n, x):
    """Csorgo & Faraway 1996, 1.2 and 1.8, all terms that count; scipy.stats stops at 1e-7."""
    if x <= 1 / (12 * n):
        return 1
    if x >= n / 3:
        return 0
    kv, gamma = scipy.special.kv, scipy.special.gamma

    def d2(y):
        return np.exp(-y ** 2 / 4) * (y / 2) ** 1.5 * (kv(0.25, y ** 2 / 4) + kv(0.75, y ** 2 / 4)) / np.sqrt(np.pi)

    def d3(y):
        return np.exp(-y ** 2 / 4) * (y / 2) ** 2.5 * (2 * kv(0.25, y ** 2 / 4) + 3 * kv(0.75, y ** 2 / 4) - kv(1.25, y ** 2 / 4)) / np.sqrt(np.pi)

    k = np.arange(100)
    q = (4 * k + 1) ** 2 / (16 * x)
    limit = np.sum(gamma(k + 0.5) / gamma(k + 1) / (np.pi ** 1.5 * np.sqrt(x)) * np.sqrt(4 * k + 1) * np.exp(-q) * kv(0.25, q))
    s, m = 2 * np.sqrt(x), 2 * k + 1
    a = (m * gamma(k + 0.5) * d2((4 * k + 3) / s) / (9 * x ** 0.75) + gamma(k + 0.5) * d3((4 * k + 1) / s) / (72 * x ** 1.25)
         + 2 * (m + 2) * gamma(k + 1.5) * d3((4 * k + 5) / s) / (12 * x ** 1.25) + 7 * m * gamma(k + 0.5) * d2((4 * k + 1) / s) / (144 * x ** 0.75)
         + 7 * m * gamma(k + 0.5) * d2((4 * k + 5) / s) / (144 * x ** 0.75))
    return np.clip(1 - (limit * (1 + 1 / (12 * n)) - np.sum(a / gamma(k + 1)) / np.pi / n), 0, 1)


def pit_figures(u, m):
    n, s, at = len(u), np.sort(u), np.arange(1, len(u) + 1)
    d = max(np.max(at / n - s), np.max(s - (at - 1) / n))
    w = 1 / (12 * n) + np.sum(((2 * at - 1) / (2 * n) - s) ** 2)
    count = np.histogram(u, np.linspace(0, 1, 21))[0]
    grid = np.arange(m + 1) / m if m else np.zeros(0)
    share = np.bincount(np.minimum((grid * 20).astype(int), 19), minlength=20) / (m + 1) if m else np.full(20, 0.05)
    reached = share > 0
    chi2 = np.sum((count - n * share)[reached] ** 2 / (n * share[reached]))
    outside = np.mean((grid < 1e-4) | (grid > 1 - 1e-4)) if m else 2e-4
    return [u.mean(), d, scipy.stats.kstwo.sf(d, n), w, cvm_sf(n, w), chi2, reached.sum() - 1,
            np.mean((u < 1e-4) | (u > 1 - 1e-4)), outside, np.sqrt(outside * (1 - outside) / n), *(n * share), *np.sqrt(n * share * (1 - share)), *count]


def calibration():
    for n, power, text in ((2, 1, ""), (150, 1, "uniform"), (2000, 1, "uniform"), (2000, 1.3, "not uniform"), (20000, 1.01, "nearly uniform")):
        u = rng.uniform(size=n) ** power
        ask("pit", u, [0], expect=pit_figures(u, 0), tolerance=1e-9, text=f"n = {n} {text}")
    u = np.append(rng.uniform(size=400), [1e-4, 1.005e-4, 0.9999 - 1e-7, 0.99990001, 0, 1])
    ask("pit", u, [0], expect=pit_figures(u, 0), tolerance=1e-9, text="at the limits of what is outside")
    exact = rng.integers(0, 101, 500) / 100
    exact = np.where(np.isclose(exact * 20 % 1, 0) & (exact < 1), exact + 0.003, exact)  # not on an edge of a bin, where rounding decides
    few = rng.integers(0, 8, 200) / 7
    ask("pit", few, [7], expect=pit_figures(few, 7), tolerance=1e-9, text="of 7 draws, which cannot reach every bin")
    ask("pit", exact, [100], expect=pit_figures(exact, 100), tolerance=1e-9, text="of 100 draws")
    nothing = [*[NAN] * 6, 0, *[NAN] * 43, *[0] * 20]
    ask("pit", [0.5, 1.1], [0], expect=nothing, text="beyond 1")
    ask("pit", [0.5, NAN], [0], expect=nothing, text="with a NaN")
    ask("pit", [0.5], [0], expect=nothing, text="n = 1")
    n, d = np.meshgrid([1, 2, 5, 20, 100, 140, 141, 500, 2000, 20000, 150000], [1e-5, 0.001, 0.003, 0.01, 0.03, 0.1, 0.2, 0.3, 0.5, 0.6, 0.9, 0.999, 1, 1.1])
    lambdas = np.array([0.3, 0.5, 0.8, 1, 1.2, 1.4, 1.6, 1.9, 2.5, 4])
    n, d = np.append(n.ravel(), np.repeat([20, 100, 140, 141, 500, 2000, 20000, 150000], 10)), np.append(
        d.ravel(), np.concatenate([lambdas / np.sqrt(k) for k in (20, 100, 140, 141, 500, 2000, 20000, 150000)]))
    ask("ks_p", n, d, expect=scipy.stats.kstwo.sf(d, n), tolerance=1e-9)
    n, x = np.meshgrid([4, 10, 100, 2000, 20000], [1e-6, 0.005, 0.02, 0.05, 0.12, 0.3, 0.46, 0.743, 1.2, 2, 5, 11, 20, 700])
    ask("cvm_p", n, x, expect=[cvm_sf(a, b) for a, b in zip(n.ravel(), x.ravel())], tolerance=1e-9)
    w = scipy.stats.cramervonmises(rng.uniform(size=300) ** 1.2, "uniform")
    check(abs(cvm_sf(300, w.statistic) - w.pvalue) < 1e-6, f"the reference's Cramer-von Mises p is SciPy's: {cvm_sf(300, w.statistic):.9f}, {w.pvalue:.9f}")


def draws():
    n, m, d = 60, 40, 3
    y, x = rng.integers(0, 30, n) / 2, rng.integers(0, 30, (n, m, d)) / 2
    for label in range(d):
        pit = (x[:, :, label] < y[:, None]).mean(1) + (x[:, :, label] == y[:, None]).mean(1) / 2
        ask("pit_of_draws", y, x, [d], [label], expect=pit, text=f"label {label}, with ties")
    bad = x.copy()
    bad[5, 3, 0] = NAN
    pit = (x[:, :, 0] < y[:, None]).mean(1) + (x[:, :, 0] == y[:, None]).mean(1) / 2
    ask("pit_of_draws", np.where(np.arange(n) == 9, NAN, y), bad, [d], [0], expect=np.where(np.isin(np.arange(n), (5, 9)), NAN, pit), text="with NaN")
    ask("pit_of_draws", y, [], [d], [0], expect=np.full(n, NAN), text="no draws")
    q = np.where(rng.uniform(size=(n, m)) < 0.1, -INF, -x[:, :, 0])
    ask("density_credibility", -y, q, expect=(q > -y[:, None]).mean(1) + (q == -y[:, None]).mean(1) / 2)
    u = rng.uniform(size=777)
    c = np.abs(2 * u - 1)
    ask("central_coverage", u, LEVELS, expect=[*c, *[(c <= a).mean() for a in LEVELS], *np.sqrt(LEVELS * (1 - LEVELS) / 777)])
    quantile = np.mean((u[:, None] >= (1 - LEVELS) / 2) & (u[:, None] <= (1 + LEVELS) / 2), 0)
    check(np.allclose(quantile, [(c <= a).mean() for a in LEVELS]), "central coverage is that of the interval between quantiles (1 -+ a)/2")
    ask("central_coverage", [0.25, 0.75, 0.5, 0.9], [0.5], expect=[0.5, 0.5, 0, 0.8, 0.75, 0.25], text="on the edge of the interval")
    ask("central_coverage", [0.5, NAN], LEVELS, expect=[0, NAN] + [NAN] * 18, text="with a NaN")
    normal = rng.normal(size=(n, m, d))
    truth = rng.normal(size=n)
    for label in (0, 2):
        p = normal[:, :, label]
        pairs = np.abs(p[:, :, None] - p[:, None, :]).sum((1, 2)) / (m * (m - 1))
        for shift in (0, 1e5):  # far from 0: the pairs must not cancel
            ask("crps", truth + shift, normal + shift, [d], [label], expect=[*(np.abs(p - truth[:, None]).mean(1) - pairs / 2), *(pairs / 2)],
                tolerance=1e-12 if not shift else 1e-10, text=f"label {label} at {shift:g}")
    ask("crps", [1, NAN, 1], [0, 2, 0, 2, NAN, 2], [1], [0], expect=[0, NAN, NAN, 1, 1, NAN], text="two draws, NaN")
    ask("crps", [1, 2], [0, 2], [1], [0], expect=[NAN] * 4, text="one draw")


def densities():
    grid = np.sort(rng.uniform(0, 2, 80))
    f, y = rng.gamma(1, size=(90, 80)), rng.uniform(-0.1, 2.1, 90)
    square = np.trapz(f ** 2, grid, axis=1)
    ask("cde", grid, f, y, [], expect=[*(square - 2 * f[np.arange(90), np.abs(y[:, None] - grid).argmin(1)]), *-square], text="nearest grid point")
    at = rng.uniform(size=90)
    ask("cde", grid, f, y, at, expect=[*(square - 2 * at), *-square], text="density at the truth")
    ask("cde", [0, 1, 2], [1, 2, 3, 1, 2, 3, 1, 2, 3], [0.5, 1.5, NAN], [], expect=[9 - 2, 9 - 4, NAN, -9, -9, -9], text="ties to the lower, NaN")
    q, sigma = rng.normal(-3, 2, 400), np.array([0.1, 2, 30])
    ask("nll", q, sigma, expect=[-q.mean(), -q.mean() + np.log(sigma).sum(), -q.mean() / 3, q.std(ddof=1) / 20])
    p = rng.normal(size=400)
    ask("check_mean", q, p, expect=[q.mean(), p.mean(), (q - p).std(ddof=1) / 20])
    ask("nll", [1], [1], expect=[NAN] * 4, text="n = 1")
    s = np.abs(rng.normal(size=199))
    for alpha in (0.5, 0.1, 0.05, 0.32):
        ask("conformal", s, [alpha], expect=np.sort(s)[int(np.ceil(round((1 - alpha) * 200, 9))) - 1], text=f"alpha {alpha}")
    ask("conformal", s[:29], [0.1], expect=np.sort(s[:29])[26], text="0.9 x 30 is 27")
    ask("conformal", s, [0.45], expect=np.sort(s)[109], text="0.55 x 200 is 110, though not in float64")
    ask("conformal", s[:10], [0.5], expect=np.sort(s[:10])[5], text="half of 11 is the 6th")
    ask("conformal", s[:8], [0.1], expect=INF, text="too few objects")
    ask("conformal", [1, NAN], [0.5], expect=NAN, text="with a NaN")


# ---------------------------------------------------------------- random


def philox(block, step, sample, purpose, seed):
    """Philox4x32-10 of Salmon et al. 2011, key and counter as in src/numbers/random.c."""
    c = [np.asarray(block, np.uint64), np.full(np.shape(block), step, np.uint64), np.full(np.shape(block), sample & 0xffffffff, np.uint64),
         np.full(np.shape(block), (sample >> 32) | purpose << 24, np.uint64)]
    k0, k1, low = seed & 0xffffffff, seed >> 32, np.uint64(0xffffffff)
    for _ in range(10):
        p0, p1 = np.uint64(0xD2511F53) * c[0], np.uint64(0xCD9E8D57) * c[2]
        c = [(p1 >> np.uint64(32)) ^ c[1] ^ np.uint64(k0), p1 & low, (p0 >> np.uint64(32)) ^ c[3] ^ np.uint64(k1), p0 & low]
        k0, k1 = (k0 + 0x9E3779B9) & 0xffffffff, (k1 + 0xBB67AE85) & 0xffffffff
    return [[int(v) for v in np.atleast_1d(w)] for w in c]


def resample(seed, t, n):
    w = philox(np.arange((n + 1) // 2), t, 0, 30, seed)
    return np.array([((w[k][i // 2] << 32 | w[k + 1][i // 2]) * n) >> 64 for i in range(n) for k in ((i % 2) * 2,)], int)


def tarp():
    n, m, d, k, seed = 120, 30, 3, 7, 11
    y = rng.normal(size=(n, d)) * [1, 100, 0.01]
    y[:, 1] += 1000
    mean = y + rng.normal(size=(n, d)) * [0.3, 30, 0.003]
    x = mean[:, None] + rng.normal(size=(n, m, d)) * [0.3, 30, 0.003]
    size = np.ptp(y, axis=0)
    near = sklearn.neighbors.NearestNeighbors(n_neighbors=k + 1).fit(mean / size).kneighbors(mean / size)[1][:, 1:]
    for ids in (np.arange(n), rng.permutation(10000)[:n] + 39627788403):
        w = [philox([0], 0, int(i), 31, seed) for i in ids]
        pick = np.array([((v[0][0] << 32 | v[1][0]) * k) >> 64 for v in w])
        reference = y[near[np.arange(n), pick]]
        ask("tarp_references", y, mean, [d], [k], [seed], ids if ids[0] else [], expect=reference)
    share = (np.linalg.norm((x - reference[:, None]) / size, axis=2) < np.linalg.norm((y - reference) / size, axis=1)[:, None]).mean(1)
    ask("tarp", y, x, reference, [d], LEVELS, expect=[*share, *[(share < a).mean() for a in LEVELS]])
    flat = y.copy()
    flat[:, 2] = 5
    share = (np.linalg.norm(((x - reference[:, None]) / size)[:, :, :2], axis=2) < np.linalg.norm(((y - reference) / size)[:, :2], axis=1)[:, None]).mean(1)
    ask("tarp", flat, x, reference, [d], LEVELS, expect=[*share, *[(share < a).mean() for a in LEVELS]], text="a constant label is left out")
    ask("tarp", np.ones((4, 2)), np.ones((4, 5, 2)), np.ones((4, 2)), [2], LEVELS, expect=[NAN] * 13, text="all constant")
    bad = x.copy()
    bad[3, 4, 1] = NAN
    share = (np.linalg.norm((x - reference[:, None]) / size, axis=2) < np.linalg.norm((y - reference) / size, axis=1)[:, None]).mean(1)
    ask("tarp", y, bad, reference, [d], LEVELS, expect=[*np.where(np.arange(n) == 3, NAN, share), *[NAN] * 9], text="a NaN among the draws")
    ask("tarp_references", [1, 1], [1, 2], [1], [3], [seed], [], expect=[NAN, NAN], text="references of constant truths")


def tarp_law():
    """Posteriors of width 1, half and twice: on, below and above the diagonal; one that ignores x is seen by references that know x."""
    n, m = 3000, 100
    x = rng.normal(size=(n, 1)) * 3
    y = x + rng.normal(size=(n, 1))
    results = {}
    for width in (1, 0.5, 2):
        results[width] = x[:, None] + width * rng.normal(size=(n, m, 1))
    results["prior"] = rng.normal(size=(n, m, 1)) * np.sqrt(10)
    order = np.argsort(x[:, 0])
    near = np.empty(n, int)
    near[order] = np.roll(order, 1)
    return {name: (y, draw, y[near]) for name, draw in results.items()}


# ---------------------------------------------------------------- errors


def bootstrap():
    seed, first, draws, n = 1234567890123456, 2, 40, 301
    for size in (1, 2, 301):
        index = resample(seed, 5, size)
        ask("bootstrap_draw", [seed], [5], [size], expect=[*index, *np.bincount(index, minlength=size)], text=f"n = {size}")
    setting = [seed, first, draws]
    index = [np.arange(n)] + [resample(seed, t, n) for t in range(first, first + draws)]

    def both(f):
        values = np.array([np.atleast_1d(f(i)) for i in index])
        return [*values[0], *values[1:].T.ravel()]

    x, (z, p) = rng.normal(size=n), redshifts(n)
    ask("bootstrap_mean", setting, x, expect=both(lambda i: x[i].mean()))
    ask("bootstrap_own", setting, x, expect=both(lambda i: np.median(x[i])), text="a callback of the caller's")
    ask("bootstrap_r_squared", setting, z + 50, p + 50, expect=both(lambda i: sklearn.metrics.r2_score(z[i] + 50, p[i] + 50)))
    ask("bootstrap_r_squared", setting, np.full(n, 0.1), p, expect=[NAN] * (draws + 1), text="constant truth")
    ask("bootstrap_photoz", setting, z, p, expect=both(lambda i: photoz(z[i], p[i])[1:]))
    ask("bootstrap_photoz", setting, np.append(z[1:], NAN), p, expect=[NAN] * (6 * draws + 6), text="with a NaN")
    y = rng.uniform(size=n) < 0.2
    score = np.round(rng.normal(size=n) + y, 1)
    ask("bootstrap_ranking", setting, score, y, [0.22], expect=both(lambda i: ranking_figures(score[i], y[i], 0.22)))
    few = np.arange(n) == 100
    ask("bootstrap_ranking", setting, score, few, [0.22], expect=both(lambda i: ranking_figures(score[i], few[i], 0.22)), text="draws with one class only")
    t = rng.integers(0, 4, n)
    said = np.where(rng.uniform(size=n) < 0.6, t, rng.integers(0, 4, n))
    ask("bootstrap_classes", setting, t, said, [4], expect=both(lambda i: class_figures(t[i], said[i], 4)[1][:4]))
    f = rng.integers(0, 101, n) / 100
    ask("bootstrap_tarp", setting, f, LEVELS, expect=both(lambda i: [(f[i] < a).mean() for a in LEVELS]))
    a, b = rng.normal(0.6, 0.1, 1000), rng.normal(0.5, 0.1, 1000)
    a[3] = NAN
    for value, drawn, ask_for in ((0.61, a, "estimate"),):
        known = drawn[~np.isnan(drawn)]
        ask(ask_for, [value], drawn, expect=[value, known.mean(), known.std(ddof=1), *np.quantile(known, [0.025, 0.975]), 999])
    c = a - b
    b[7] = a[7]
    c = (a - b)[~np.isnan(a)]
    for va, vb in ((0.6, 0.5), (0.5, 0.6), (0.5, 0.5)):
        flips = 0.5 if va == vb else np.mean(np.where(c == 0, 0.5, np.sign(c) != np.sign(va - vb)))
        ask("difference", [va], [vb], a, b, expect=[va - vb, c.mean(), c.std(ddof=1), *np.quantile(c, [0.025, 0.975]), 999, flips], text=f"{va} - {vb}")
    ask("estimate", [1], [NAN, 2], expect=[1, NAN, NAN, NAN, NAN, 1], text="one draw that counts")


# ---------------------------------------------------------------- warnings

WORDS = []  # number of the record, words of each sentence in order


def warn(words, pit=(), m=0, level=LEVELS, central=(), density=(), tarp=(), tarp_error=(), crps=(), cde=(), nll=(), n=2000):
    WORDS.append((len(records), words))
    ask("warn", pit, [m], level, central, density, tarp, tarp_error, crps, cde, nll, [n], expect=len(words))


def warnings_in_words():
    good = (np.arange(2000) + 0.5) / 2000
    error = np.sqrt(LEVELS * (1 - LEVELS) / 2000)
    warn([], pit=good, central=LEVELS, density=LEVELS + 2.99 * error, tarp=LEVELS - 2.99 * error, crps=[1, 1.0299, 0.01], cde=[-1, -1.0299, 0.01],
         nll=[2, 2.0299, 0.01])
    warn([], pit=rng.integers(0, 101, 2000) / 100, m=100)
    warn([["mean PIT", "too low"], ["Kolmogorov-Smirnov"], ["Cramer-von Mises"], ["histogram"]], pit=good ** 0.6)
    warn([["mean PIT", "too high"], ["Kolmogorov-Smirnov"], ["Cramer-von Mises"], ["histogram"], ["outside"]], pit=good ** 1.7)
    warn([["outside of 0.0001 to 0.9999", "far tails"]], pit=np.append(good, np.zeros(9)))
    warn([["central", "50 %", "too narrow"]], central=np.where(np.arange(9) == 4, LEVELS - 3.01 * error, LEVELS))
    warn([["highest-density", "20 %", "too wide"]], density=np.where(np.arange(9) == 1, LEVELS + 3.01 * error, LEVELS))
    # Either side of each threshold: 3 errors of the mean, p = 0.0027, 3 errors of chi^2, of the share outside.
    fine = dict(mean=0.5, ks=0.02, ks_p=0.5, cvm=0.1, cvm_p=0.5, chi2=19, outside=2e-4, expected=2e-4, error=1e-4)
    for name, middle, step, words in (("mean", 0.5, 3 / np.sqrt(12 * 2000), "mean PIT"), ("ks_p", 0.0027, 0, "Kolmogorov"), ("cvm_p", 0.0027, 0, "Cramer"),
                                      ("chi2", 19, 3 * np.sqrt(38), "histogram"), ("outside", 2e-4, 3e-4, "outside")):
        for side in (0.999, 1.001):
            value = middle + side * step if step else middle / side
            warn([[words]] if side > 1 else [], pit=list({**fine, name: value}.values()))
    mirrored = LEVELS + np.where(LEVELS < 0.5, 5, -4) * error * (LEVELS != 0.5)
    warn([["TARP", "at 10 %", "off by 5.0", "too narrow"]], tarp=mirrored)
    warn([["TARP", "at 10 %", "off by 5.0", "too wide"]], tarp=2 * LEVELS - mirrored)
    warn([["TARP", "90 %", "too narrow"]], tarp=LEVELS - np.linspace(2, 4, 9) * error)
    warn([], tarp=LEVELS - np.linspace(2, 4, 9) * error, tarp_error=1.5 * error)
    warn([["mean CRPS", "too narrow"], ["CDE loss", "too wide"], ["log q", "too narrow"]], crps=[1, 0.96, 0.01], cde=[-1.1, -1, 0.01], nll=[2, 1.9, 0.01])
    warn([["PIT cannot"], ["central", "cannot"], ["CRPS cannot"]], pit=[0.5, NAN], central=LEVELS * NAN, crps=[NAN, 1, 1])


# ---------------------------------------------------------- what is wrong


def without_memory():
    """Each allocation fails once: the function that asked for it says so, and gives back the others. Needs -DSYZ_FAULTS=ON."""
    asked = list({name: (name, *rest) for name, *rest in reversed(records) if name not in ("ks_p", "cvm_p") and sum(a.size for a in rest[0]) < 3000}.values())
    failed = 0
    with Work() as folder:
        for visit in range(1, 200):
            done = start_driver(folder, asked, SYZ_FAULT=f"alloc:0:{visit}")[1]
            if done.returncode == 0:
                break
            failed += 1
            good = done.stderr.count("_driver.c:") == 1 and " 1 failed" in done.stderr and "(8)" in done.stderr
            check_quietly(good, f"allocation {visit} fails: {done.stderr}")
    check(done.returncode == 0, f"{failed} allocations of {len(asked)} functions failed, each is reported and leaves nothing behind")


def wrong_definitions():
    """Near misses of definitions give other numbers on such data than the tolerance allows."""
    m = 40
    p = rng.normal(size=(20, m))
    pairs = np.abs(p[:, :, None] - p[:, None, :]).sum((1, 2))
    seen = {
        "pairs with replacement": np.abs(pairs / m ** 2 - pairs / (m * (m - 1))).max(),
        "1.4826 is 1.48": 0.0026 * photoz(*redshifts(500))[1],
        "1.349 is 1.35": (1 - 1.349 / 1.35) * photoz(*redshifts(500))[4],
        "deviation by n": 1 / np.sqrt(999) - 1 / np.sqrt(1000),
    }
    for text, difference in seen.items():
        check(difference > 1e-9, f"wrong definition, {text}: {difference:.1e} is more than the tolerance")


def ask_all():
    for part in (arrays, regression, classes, ranking, calibration, draws, densities, tarp, bootstrap, warnings_in_words):
        part()


def main():
    ask_all()
    law = tarp_law()
    at = len(records)
    for name, (y, draw, reference) in law.items():
        ask("tarp", y, draw, reference, [1], LEVELS, expect=np.zeros(3009), tolerance=INF, text=str(name))
    results, words = run()
    worst, planted = {}, {}
    for (name, _, expected, tolerance, text), got in zip(records[:at], results):
        good = agrees(got, expected, tolerance)
        fault = np.isfinite(expected) & (np.abs(expected) > 1e-3)
        is_seen = not fault.any() or not agrees(got, np.where(fault, 1.01 * expected, expected), tolerance)
        worst[name] = max(worst.get(name, 0), off(got, expected) / tolerance)
        check_quietly(good, f"{name} {text}: {got[:12]}, expected {expected[:12]}, off {off(got, expected):.2g}, tolerance {tolerance:g}")
        check_quietly(is_seen, f"{name} {text}: a fault of 1 % is not seen")
        planted[name] = planted.get(name, 0) + fault.any()
    for name, share in worst.items():
        check(share <= 1, f"{name}: largest difference {share:.2g} of the tolerance; a fault of 1 % seen in {planted[name]} cases")
    sentences = [block.split("\n")[1:-1] for block in words.split("warnings ")[1:]]
    for (_, expected), said in zip(WORDS, sentences):
        good = len(said) == len(expected) and all(all(word in s for word in e) for e, s in zip(expected, said))
        check(good and all(len(s) < 255 and s.startswith("redshift: ") and s.endswith(".") for s in said), f"sentences {said}, expected {expected}")
    curve = {name: results[at + k][-9:] - LEVELS for k, name in enumerate(law)}
    check(np.abs(curve[1]).max() < 0.04, f"TARP of exact posteriors is on the diagonal: {np.abs(curve[1]).max():.3f}, at most 0.04")
    check(curve[0.5].min() < -0.1 and curve[0.5][4:].max() < 0, f"too narrow is below in the upper half: {curve[0.5].round(3)}")
    check(curve[2].max() > 0.1 and curve[2].min() > -0.02, f"too wide is above: {curve[2].round(3)}")
    check(np.abs(curve["prior"]).max() > 0.1, f"a posterior that ignores x is seen: {curve['prior'].round(3)}")
    wrong_definitions()
    without_memory()


if __name__ == "__main__":
    main()
    finish()
