# SPDX-License-Identifier: BSD-3-Clause
"""Principal components, softmax and ridge regression, classification by neighbours, heads of votes against NumPy, SciPy and scikit-learn; on 1, 2, 3 and 4 ranks, with LAPACK and ScaLAPACK."""
import os
import subprocess
import sys
import tempfile

import numpy as np
from scipy.optimize import minimize
from scipy.special import digamma, expit, gammaln
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import r2_score
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from harness import check_quietly as check, driver, finish, launch

RANKS = (1, 2, 3, 4)
rng = np.random.default_rng(5)


def run(folder, ranks, task, x, a, b, **files):
    for name, value in {"x.f32": x.astype(np.float32), **files}.items():
        np.ascontiguousarray(value).tofile(f"{folder}/{name.replace('__', '.')}")
    done = launch(ranks, driver("linear_driver"), task, folder, *x.shape, a, b, stderr=subprocess.STDOUT)
    text = done.stdout
    check(done.returncode == 0, f"{task} on {ranks} ranks: {text[-1500:]}")
    check("illegal value" not in text, f"{task} on {ranks} ranks: ScaLAPACK complains: {text[-500:]}")


def rotate(n, d, spread):
    return (rng.standard_normal((n, d)) * spread) @ np.linalg.qr(rng.standard_normal((d, d)))[0] + rng.standard_normal(d) * 30


def pca_reference(x, k):
    """By singular values, float64; the component of largest size positive."""
    x = x.astype(np.float32).astype(np.float64)
    mean = x.mean(0)
    _, s, v = np.linalg.svd(x - mean, full_matrices=False)
    v = v[:k]
    v *= np.sign(v[np.arange(len(v)), np.abs(v).argmax(1)])[:, None]
    return mean, s[:k] ** 2 / (len(x) - 1), v, (s**2).sum() / (len(x) - 1)


def read_pca(folder, width, k):
    data = np.fromfile(f"{folder}/pca.f64")
    check(len(data) == width + k + k * width + 1, f"pca: {len(data)} numbers, {width + k + k * width + 1} expected")
    return data[:width], data[width:width + k], data[width + k:-1].reshape(k, width), data[-1]


def pca(folder):
    cases = [  # rows, width, components asked for, found
        (700, 40, 12, 12), (400, 130, 130, 130), (60, 500, 20, 20), (35, 90, 50, 34), (1300, 33, 5, 5)]
    for rows, width, asked, k in cases:
        x = rotate(rows, width, 1.25 ** -np.arange(width)) if width < 100 else rotate(rows, width, np.linspace(9, 0.5, width))
        want = pca_reference(x, k)
        first = None
        for ranks in RANKS:
            for scalapack_from in (1, 100000):
                run(folder, ranks, "pca", x, asked, scalapack_from)
                got = read_pca(folder, width, k)
                what = f"pca {rows} x {width}, {ranks} ranks, {'LAPACK' if scalapack_from > 1 else 'ScaLAPACK'}"
                check(np.allclose(got[0], want[0], rtol=1e-10, atol=1e-10), f"{what}: mean")
                check(np.allclose(got[1], want[1], rtol=1e-8), f"{what}: variances differ by {np.abs(got[1] / want[1] - 1).max()}")
                # A direction is known as well as its variance is apart from the next ones.
                check(np.abs(got[2] - want[2]).max() < 1e-6, f"{what}: directions differ by {np.abs(got[2] - want[2]).max()}")
                check(np.abs(got[2] @ got[2].T - np.eye(k)).max() < 1e-9, f"{what}: not orthonormal")
                check(abs(got[3] / want[3] - 1) < 1e-10, f"{what}: total variance")
                if first is None:
                    first = got
                check(np.abs(got[2] - first[2]).max() < 1e-8 and np.allclose(got[1], first[1], rtol=1e-10), f"{what}: differs from 1 rank")
                y = np.fromfile(f"{folder}/projection.f32", np.float32).reshape(rows, k)
                z = (x.astype(np.float32).astype(np.float64) - want[0]) @ want[2].T
                check(np.abs(y - z).max() < 3e-6 * np.abs(z).max(), f"{what}: projection differs by {np.abs(y - z).max()}")
        spoiled = want[2].copy()
        spoiled[0] *= 1.01
        check(np.abs(got[2] - spoiled).max() > 1e-6, "one per cent would be seen")


def softmax(folder):
    n, d, classes = 900, 12, 5
    centres = rng.standard_normal((classes, d)) * 0.8
    label = rng.choice(classes, n, p=[0.6, 0.2, 0, 0.15, 0.05])  # class 2 has no rows
    x = (centres[label] + rng.standard_normal((n, d))) * np.linspace(0.1, 40, d) + 100
    left_out = rng.random(n) < 0.05
    mark = np.where(left_out, -1, label).astype(np.int8)
    weight = np.array([1, 2, 1, 0.5, 4.0])
    l2 = 3e-4
    scaler = StandardScaler().fit(x.astype(np.float32).astype(np.float64))
    z, use = scaler.transform(x.astype(np.float32).astype(np.float64)), ~left_out
    total = weight[label[use]].sum()
    model = LogisticRegression(C=1 / (l2 * total), solver="newton-cg", tol=1e-8, max_iter=10000, class_weight=dict(enumerate(weight))).fit(z[use], label[use])
    first = None
    for ranks in RANKS:
        run(folder, ranks, "softmax", x, classes, l2, label__i8=mark, weight__f64=weight)
        head = np.fromfile(f"{folder}/head.f64")
        w, b = head[:classes * d].reshape(classes, d), head[classes * d:]
        check(b[2] == -np.inf and not w[2].any(), "a class without rows is never chosen")
        logits = x.astype(np.float32).astype(np.float64) @ w.T + b
        logits = np.delete(logits, 2, 1)
        p = np.exp(logits - logits.max(1, keepdims=True))
        p /= p.sum(1, keepdims=True)
        q = model.predict_proba(z)
        check(np.abs(p - q).max() < 1e-5, f"softmax on {ranks} ranks: probabilities differ from scikit-learn's by {np.abs(p - q).max()}")
        loss = -(weight[label[use]] * np.log(q[use, np.searchsorted([0, 1, 3, 4], label[use])])).sum() / total
        got = np.fromfile(f"{folder}/softmax.f64")
        check(abs(got[0] - loss) < 1e-7, f"softmax: loss {got[0]}, {loss} expected")
        if first is None:
            first = head
            print(f"softmax: loss {got[0]:.6f} after {got[2]:.0f} iterations, gradient {got[1]:.1e}, probabilities within {np.abs(p - q).max():.1e}")
        ok = np.isfinite(head)
        check(np.abs(head[ok] - first[ok]).max() < 1e-5 * np.abs(first[ok]).max(), f"softmax on {ranks} ranks differs from 1 rank")
    check(np.abs(model.predict_proba(z * 1.01) - q).max() > 1e-5, "one per cent would be seen")


def softmax_path(folder):
    n, d, classes, folds = 400, 16, 3, 5
    x = rng.standard_normal((n, d)) * np.linspace(0.1, 9, d) + 5
    label = np.digitize(x[:, 0] * 10 + x[:, 3] + 2 * rng.standard_normal(n), [53, 58]).astype(np.int8)
    label[::11] = -1
    fold = rng.integers(0, folds, n).astype(np.uint8)
    fold[5:9] = 255
    xf, use = x.astype(np.float32).astype(np.float64), (label >= 0) & (fold < folds)
    fit = lambda rows, l2, **how: make_pipeline(StandardScaler(), LogisticRegression(C=1 / (l2 * rows.sum()), max_iter=10000, **how)).fit(xf[rows], label[rows])
    want = np.zeros(5)
    for i, l2 in enumerate(10.0 ** np.arange(-4, 1)):
        for k in range(folds):
            test = use & (fold == k)
            p = fit(use & ~test, l2, tol=1e-8).predict_proba(xf[test])
            want[i] -= np.log(p[np.arange(len(p)), label[test]]).sum() / use.sum()
    final = fit(use, 10.0 ** (want.argmin() - 4), solver="newton-cg", tol=1e-7).predict_proba(xf)
    for ranks in (1, 3):
        run(folder, ranks, "softmax_path", x, classes, folds, label__i8=label, fold__u8=fold)
        got, head = np.fromfile(f"{folder}/path.f64"), np.fromfile(f"{folder}/head.f64")
        check(np.abs(got[:5] / want - 1).max() < 1e-5, f"held-out losses on {ranks} ranks: {got[:5]}, {want} expected")
        check(got[5] == want.argmin(), f"penalty {got[5]} is chosen on {ranks} ranks, {want.argmin()} expected")
        logits = xf @ head[:classes * d].reshape(classes, d).T + head[classes * d:]
        p = np.exp(logits - logits.max(1, keepdims=True))
        p /= p.sum(1, keepdims=True)
        check(np.abs(p - final).max() < 1e-5, f"probabilities on {ranks} ranks differ by {np.abs(p - final).max()}")


def ridge(folder):
    n, d, targets = 800, 30, 3
    x = rng.standard_normal((n, d)) @ rng.standard_normal((d, d)) + 50
    x[:, 7] = 4.1  # constant
    y = (x @ rng.standard_normal((d, targets)) + rng.standard_normal((n, targets)) * 5 + 1000).astype(np.float32)
    xf = x.astype(np.float32).astype(np.float64)
    y_missing = y.copy()
    y_missing[::17, 1] = np.nan
    for alpha, target, use in ((1e-3, y, np.ones(n, bool)), (0.3, y_missing, np.isfinite(y_missing).all(1))):
        scaler = StandardScaler().fit(xf)
        model = Ridge(alpha=alpha * use.sum(), solver="cholesky").fit(scaler.transform(xf)[use], y[use].astype(np.float64))
        want = model.predict(scaler.transform(xf))
        first = None
        for ranks in RANKS:
            run(folder, ranks, "ridge", x, targets, alpha, y__f32=target)
            head = np.fromfile(f"{folder}/head.f64")
            got = xf @ head[:targets * d].reshape(targets, d).T + head[targets * d:]
            scale = y.std(0).max()
            check(np.abs(got - want).max() < 1e-6 * scale, f"ridge {alpha} on {ranks} ranks: predictions differ by {np.abs(got - want).max() / scale}")
            check(np.abs(got - want * 1.01).max() > 1e-6 * scale, "one per cent would be seen")
            r2 = np.fromfile(f"{folder}/r2.f64")
            for t in range(targets):
                ok = np.isfinite(target[:, t])
                check(abs(r2[t] - r2_score(target[ok, t], want[ok, t])) < 1e-6, f"R2 {r2[t]}")
            if first is None:
                first = head
            check(np.allclose(head, first, rtol=1e-8, atol=1e-10), f"ridge on {ranks} ranks differs from 1 rank")


def path(folder):
    """Penalties by cross-validation, standardised inside each fold, targets with rows of their own; features that repeat each other."""
    n, d, targets, folds = 500, 24, 3, 5
    x = rng.standard_normal((n, d)) @ rng.standard_normal((d, d)) + 20
    x[:, 5] = x[:, 4]  # the same feature twice
    x[:, 7] = 4.1  # constant
    y = (x[:, :8] @ rng.standard_normal((8, targets)) + rng.standard_normal((n, targets)) * [1, 30, 200] + 1000).astype(np.float32)
    y[::13, 1] = np.nan
    fold = rng.integers(0, folds, n).astype(np.uint8)
    fold[:9] = 40  # left out
    xf, alphas = x.astype(np.float32).astype(np.float64), 10.0 ** np.arange(-6, 2)
    fit = lambda use, t, a: make_pipeline(StandardScaler(), Ridge(alpha=a * use.sum(), solver="svd")).fit(xf[use], y[use, t].astype(np.float64))
    want, best, heads = np.zeros((targets, 8)), np.zeros(targets), []
    for t in range(targets):
        known = (fold < folds) & np.isfinite(y[:, t])
        for i, a in enumerate(alphas):
            for k in range(folds):
                test = known & (fold == k)
                want[t, i] += ((fit(known & ~test, t, a).predict(xf[test]) - y[test, t].astype(np.float64)) ** 2).sum() / known.sum()
        best[t] = want[t].argmin()
        heads.append(fit(known, t, alphas[int(best[t])]).predict(xf))
    check(len(set(best)) > 1, "targets choose different penalties")
    for ranks in RANKS:
        run(folder, ranks, "path", x, targets, folds, y__f32=y, fold__u8=fold)
        got = np.fromfile(f"{folder}/path.f64")
        error, chosen = got[:targets * 8].reshape(targets, 8), got[targets * 8:]
        check(np.abs(error / want - 1).max() < 1e-6, f"path on {ranks} ranks: held-out errors differ by {np.abs(error / want - 1).max()}")
        check((chosen == best).all(), f"path on {ranks} ranks chooses {chosen}, {best} expected")
        head = np.fromfile(f"{folder}/head.f64")
        said = xf @ head[:targets * d].reshape(targets, d).T + head[targets * d:]
        for t in range(targets):
            off = np.abs(said[:, t] - heads[t]).max() / heads[t].std()
            check(off < 1e-6, f"path on {ranks} ranks: predictions of target {t} differ by {off}")
    check(np.abs(want * 1.01 / want - 1).max() > 1e-6, "one per cent would be seen")


def choices(folder):
    n, d, classes = 700, 6, 3
    x = rng.standard_normal((n, d)).astype(np.float32)
    number = (x[:, 0] ** 2 + x[:, 1]).astype(np.float32)
    label = np.digitize(x[:, 0], [-0.5, 0.7]).astype(np.float32)
    role = np.where(np.arange(n) % 4 == 3, 2, 1).astype(np.uint8)
    train, test = role == 1, role == 2
    for ranks in (1, 3):
        run(folder, ranks, "choices", x, classes, 0, y__f32=np.stack([number, label]), role__u8=role)
        got = np.fromfile(f"{folder}/choices.f32", np.float32).reshape(4, 2, 3, n)[..., test]
        for c in range(4):
            how = dict(metric="cosine" if c & 1 else "euclidean", weights="uniform" if c & 2 else "distance", algorithm="brute")
            for i, k in enumerate((1, 7, 20)):
                z = x.astype(np.float64)
                a = KNeighborsRegressor(k, **how).fit(z[train], number[train].astype(np.float64)).predict(z[test])
                b = KNeighborsClassifier(k, **how).fit(z[train], label[train]).predict(z[test])
                check(np.allclose(got[c, 0, i], a, rtol=1e-5, atol=1e-5), f"choices {how}, k {k}, {ranks} ranks: numbers differ by {np.abs(got[c, 0, i] - a).max()}")
                check((got[c, 1, i] != b).mean() < 0.01 / k, f"choices {how}, k {k}, {ranks} ranks: {(got[c, 1, i] != b).sum()} classes differ")


def knn(folder):
    n, d, k, classes = 900, 6, 16, 4
    x = (rng.standard_normal((n, d)) * [1, 2e7, 3, 0.01, 1, 1]).astype(np.float32)  # no column is lost in the unit of the largest one
    label = np.digitize(x[:, 0] + 0.3 * rng.standard_normal(n), [-0.8, 0.2, 1.0]).astype(np.float32)
    number = x[:, 0] ** 2 + x[:, 1] / 2e7
    role = np.where(np.arange(n) % 5 == 4, 2, np.where(np.arange(n) % 7 == 0, 0, 1)).astype(np.uint8)
    x[9] = x[10]  # a test row that coincides with a training row
    role[9], role[10] = 2, 1
    train, test = role == 1, role == 2
    scaler = StandardScaler().fit(x[train].astype(np.float64))
    z = scaler.transform(x.astype(np.float64))
    want_class = KNeighborsClassifier(k, weights="distance").fit(z[train], label[train]).predict(z[test])
    want_number = KNeighborsRegressor(k, weights="distance").fit(z[train], number[train].astype(np.float64)).predict(z[test])
    unknown = label.copy()
    unknown[np.flatnonzero(train)[::3]] = np.nan
    first = None
    for ranks in RANKS:
        run(folder, ranks, "knn", x, k, classes, y__f32=np.stack([number, label]).astype(np.float32), role__u8=role)
        got = np.fromfile(f"{folder}/prediction.f32", np.float32).reshape(2, n)
        check(np.isnan(got[:, ~test]).all(), "nothing but test rows is predicted")
        check(np.allclose(got[0, test], want_number, rtol=1e-4, atol=1e-4), f"numbers differ by {np.abs(got[0, test] - want_number).max()}")
        check((got[1, test] == want_class).all(), f"{(got[1, test] != want_class).sum()} classes differ from scikit-learn's")
        check(got[1, 9] == label[10], "a coincident row follows its twin")
        if first is None:
            first = got
            print(f"knn: accuracy {(got[1, test] == label[test]).mean():.3f}")
        check(got.tobytes() == first.tobytes(), f"knn on {ranks} ranks: other bits than on 1")
    # Neighbours without a class are passed over: a vote among those that have one.
    run(folder, 2, "knn", x, k, classes, y__f32=np.stack([number, unknown]).astype(np.float32), role__u8=role)
    got = np.fromfile(f"{folder}/prediction.f32", np.float32).reshape(2, n)[1, test]
    distance = np.linalg.norm(z[test][:, None] - z[train][None], axis=2)
    near = distance.argsort(1)[:, :k]
    for i in range(test.sum()):
        votes = np.zeros(classes)
        for j in near[i]:
            c = unknown[train][j]
            if np.isfinite(c):
                votes[int(c)] += 1 / distance[i, j] if distance[i, near[i, 0]] > 0 else distance[i, j] == 0
        check(np.isnan(got[i]) if votes.sum() == 0 else got[i] == votes.argmax(), f"vote {i}: {got[i]}, {votes}")


def votes_loss(begin, votes, raw):
    """-ln P of each row, and its gradient by raw, from the definition."""
    s = expit(raw)
    alpha, loss, gradient = 1 + 100 * s, np.zeros(len(raw)), np.zeros_like(raw)
    for a, b in zip(begin[:-1], begin[1:]):
        k, al = votes[:, a:b], alpha[:, a:b]
        n, total = k.sum(1), al.sum(1)
        loss -= gammaln(n + 1) - gammaln(k + 1).sum(1) + gammaln(total) - gammaln(total + n) + (gammaln(al + k) - gammaln(al)).sum(1)
        gradient[:, a:b] = (digamma(total + n) - digamma(total))[:, None] - digamma(al + k) + digamma(al)
    return loss, gradient * 100 * s * (1 - s)


def votes(folder):
    n, d, l2 = 400, 6, 1e-3
    begin = np.concatenate([[0], np.cumsum([3, 2, 2, 3, 5, 3, 3, 3, 6, 4])])
    x = rng.standard_normal((n, d)) * np.linspace(0.1, 20, d) + 50
    z = StandardScaler().fit_transform(x.astype(np.float32).astype(np.float64))
    truth = 1 + 100 * expit(z @ rng.standard_normal((d, begin[-1])) * 0.4 - 1)
    count = np.zeros((n, begin[-1]), np.float32)
    for q, (a, b) in enumerate(zip(begin[:-1], begin[1:])):
        asked = rng.integers(0, [150, 40][q % 2], n) * (rng.random(n) < [1, 0.6][q % 2])  # more than 64 votes, and none
        for i in range(n):
            count[i, a:b] = rng.multinomial(asked[i], rng.dirichlet(truth[i, a:b]))
    count[5] = 0
    raw = rng.standard_normal((n, begin[-1])) * 3
    want, slope = votes_loss(begin, count.astype(np.float64), raw)
    use = count.sum(1) > 0

    def whole(theta):
        w, b = theta[:begin[-1] * d].reshape(-1, d), theta[begin[-1] * d:]
        loss, g = votes_loss(begin, count.astype(np.float64), z @ w.T + b)
        return loss.sum() / use.sum() + l2 / 2 * (w**2).sum(), np.concatenate([(g.T @ z / use.sum() + l2 * w).ravel(), g.sum(0) / use.sum()])

    best = minimize(whole, np.zeros(begin[-1] * (d + 1)), jac=True, method="L-BFGS-B", options=dict(maxiter=20000, maxfun=50000, ftol=1e-15, gtol=1e-8))
    first = None
    for ranks in (1, 2, 3):
        run(folder, ranks, "votes", x, 10, l2, begin__i64=begin.astype(np.int64), votes__f32=count, raw__f64=raw)
        loss, gradient = np.fromfile(f"{folder}/loss.f64"), np.fromfile(f"{folder}/gradient.f64").reshape(n, -1)
        check(np.abs(loss - want).max() < 1e-10 * np.abs(want).max(), f"votes: loss differs by {np.abs(loss - want).max()}")
        check(np.abs(gradient - slope).max() < 1e-10 * np.abs(slope).max(), f"votes: gradient differs by {np.abs(gradient - slope).max()}")
        head, got = np.fromfile(f"{folder}/head.f64"), np.fromfile(f"{folder}/votes.f64")
        check(got[3] == 1 and got[4] == use.sum(), f"votes: converged, and counts rows with a vote: {got}")
        said = x.astype(np.float32).astype(np.float64) @ head[:begin[-1] * d].reshape(-1, d).T + head[begin[-1] * d:]
        at_best = z @ best.x[:begin[-1] * d].reshape(-1, d).T + best.x[begin[-1] * d:]
        check(np.abs(expit(said) - expit(at_best)).max() < 5e-5, f"votes on {ranks} ranks: concentrations differ from SciPy's by {100 * np.abs(expit(said) - expit(at_best)).max()}")
        there = votes_loss(begin, count.astype(np.float64), said)[0].sum() / use.sum()
        check(abs(got[0] - there) < 1e-6, f"votes: mean loss {got[0]}, {there} expected")
        if first is None:
            first = head
            print(f"votes: loss {got[0]:.6f} after {got[2]:.0f} iterations, gradient {got[1]:.1e}, concentrations within {100 * np.abs(expit(said) - expit(at_best)).max():.1e}")
        check(np.abs(head - first).max() < 1e-5 * np.abs(first).max(), f"votes on {ranks} ranks differs from 1 rank by {np.abs(head - first).max()}")
    check(np.abs(votes_loss(begin, count.astype(np.float64), raw * 1.01)[0] - want).max() > 1e-6 * np.abs(want).max(), "one per cent would be seen")


with tempfile.TemporaryDirectory(prefix="syzygy-test-") as scratch:
    task = sys.argv[1]
    if task == "refusals":
        for n_ranks in RANKS:
            run(scratch, n_ranks, "refusals", rng.standard_normal((50, 8)), 1, 1)
    else:
        {"pca": pca, "softmax": softmax, "softmax_path": softmax_path, "ridge": ridge, "path": path, "knn": knn, "choices": choices, "votes": votes}[task](scratch)
finish()
