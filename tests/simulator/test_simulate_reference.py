# SPDX-License-Identifier: BSD-3-Clause
"""The simulator against independent programs and real templates: photometry with the published filter curves, the PROVABGS emulator evaluated
by NumPy, own stellar populations against that emulator (FSPS), SDSS eigenspectra, and colours against EAZY's templates."""
import os
import subprocess
import sys
import tempfile

import numpy as np

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from harness import DATA, check, driver, finish, skip

DRIVER = driver("simulate_driver")
TEMPLATES = os.path.join(DATA, "templates")
EMULATOR = os.path.join(TEMPLATES, "provabgs", "provabgs_nmf_emulator.h5")
WAVES, STELLAR = 9250, 16275


def run(*args):
    return subprocess.run([DRIVER, *map(str, args)], check=True, capture_output=True, text=True).stdout


def read_objects(folder, n, seed, emulator="-"):
    path = os.path.join(folder, "objects.bin")
    run("objects", n, seed, emulator, path)
    names = run("labels").split()
    kind = np.dtype([("model", "<f4", WAVES), ("flux", "<f8", 3), ("label", "<f4", len(names))])
    data = np.fromfile(path, kind)
    return data["model"], data["flux"], {name: data["label"][:, i] for i, name in enumerate(names)}


# --------------------------------------------------------------- photometry

def read_filter(band):
    lines = [x for x in open(os.path.join(TEMPLATES, "filters", f"decam2014-{band}.ecsv")) if not x.startswith("#")]
    w, r = np.array([x.split() for x in lines[1:]], float).T
    return 10.0 * w, r  # the file is in nm


def nanomaggy(wave, flux, band):
    """flux [..., n] in 1e-17 erg/s/cm2/A; trapezoids on a 0.2 A grid, independent of the simulator's grid."""
    fw, fr = read_filter(band)
    x = np.arange(max(fw[0], wave[0]), min(fw[-1], wave[-1]), 0.2)
    r = np.interp(x, fw, fr)
    f = np.array([np.interp(x, wave, row) for row in np.atleast_2d(flux)])
    standard = 3631e-23 * 2.99792458e18 / x**2 * 1e17
    return 1e9 * np.trapz(f * r * x, x) / np.trapz(standard * r * x, x)


def test_photometry(model, flux):
    wave = 3600.0 + 0.8 * np.arange(WAVES)
    for k, band in enumerate("grz"):
        ours, theirs, shifted = flux[:, k], nanomaggy(wave, model, band), nanomaggy(wave * 1.01, model, band)
        worst = np.abs(ours / theirs - 1).max()
        check(worst < 1e-3, f"{band} fluxes of {len(ours)} spectra agree with NumPy on the ECSV curve: worst {worst:.1e} (gate 1e-3)")
        check(np.median(np.abs(ours / shifted - 1)) > 1e-3, f"{band}: wavelengths 1 % off would be seen: {np.median(np.abs(ours / shifted - 1)):.1e}")


# ----------------------------------------------------------------- emulator

def evaluate(h, theta):
    """The published network in float64 (changhoonhahn/provabgs, models.py, _emu_nmf)."""
    wave, out = [], []
    for k in range(4):
        g = {name: x[()].astype(np.float64) for name, x in h[f"bin{k}"].items()}
        x = (theta - g["parameters_shift"]) / g["parameters_scale"]
        layers = int(h[f"bin{k}"].attrs["n_layers"])
        for i in range(layers - 1):
            a = x @ g[f"W{i}"] + g[f"b{i}"]
            x = (g[f"betas{i}"] + (1 - g[f"betas{i}"]) / (1 + np.exp(-np.clip(g[f"alphas{i}"] * a, -500, 500)))) * a
        x = x @ g[f"W{layers - 1}"] + g[f"b{layers - 1}"]
        out.append((x * g["pca_scale"] + g["pca_shift"]) @ g["pca_transform_matrix"] * g["spectrum_scale"] + g["spectrum_shift"])
        wave.append(g["wave"])
    return np.concatenate(wave), np.concatenate(out)


def test_emulator(folder, h):
    rng = np.random.default_rng(1)
    theta = np.column_stack([rng.uniform(0.02, 0.98, (40, 3)), rng.uniform(1e-4, 0.012, (40, 2)), rng.uniform(0, 2.5, (40, 2)),
                             rng.uniform(-2.5, 0.3, 40), rng.uniform(8, 13, 40)])
    source, result = os.path.join(folder, "theta.bin"), os.path.join(folder, "ln.bin")
    theta.tofile(source)
    run("emulator", EMULATOR, source, result)
    ours = np.fromfile(result, "<f4").reshape(40, -1)
    theirs = np.array([evaluate(h, t)[1] for t in theta])
    worst = np.abs(ours - theirs).max()
    check(ours.shape == theirs.shape and worst < 2e-3, f"emulator, 40 galaxies x {ours.shape[1]} wavelengths: worst difference in ln L {worst:.1e} (gate 2e-3)")
    spoiled = theta[0].copy()
    spoiled[8] *= 1.01
    check(np.abs(evaluate(h, spoiled)[1] - theirs[0]).max() > 2e-3, "an age 1 % off would be seen")


def test_populations(folder, h):
    """Composite populations with the emulator's own star-formation bases, ours against FSPS."""
    path = os.path.join(folder, "ssp.bin")
    run("populations", path)
    raw = open(path, "rb").read()
    wave, age, edge, log_z = (np.frombuffer(raw, "<f8", n, o) for n, o in ((STELLAR, 0), (16, 8 * STELLAR), (17, 8 * STELLAR + 128), (5, 8 * STELLAR + 264)))
    ssp = np.frombuffer(raw, "<f4", 80 * STELLAR, 8 * STELLAR + 304).reshape(5, 16, STELLAR)
    base = os.path.join(TEMPLATES, "provabgs")
    sfh = np.loadtxt(os.path.join(base, "NMF_2basis_SFH_components_nowgt_lin_Nc4.txt"))[:, ::-1][[2, 0, 1, 3]]
    zh = np.loadtxt(os.path.join(base, "NMF_2basis_Z_components_nowgt_lin_Nc2.txt"))[:, ::-1]
    t = np.loadtxt(os.path.join(base, "sfh_t_int.txt"))[::-1]
    fine, tage, rows = np.linspace(0, 13.8, 5001), 11.0, []
    for mix in ([.97, .01, .01, .01], [.01, .97, .01, .01], [.01, .01, .97, .01], [.01, .01, .01, .97], [.25] * 4, [.1, .1, .4, .4]):
        for z in (0.019 / 3, 0.019):
            mix = np.array(mix)
            history = np.where(fine < tage, sum(m * np.interp(fine, t, s) for m, s in zip(mix, sfh)), 0)
            formed = np.concatenate([[0], np.cumsum(history / history.sum())])
            weight = np.diff(np.interp(edge, np.concatenate([[-1e-9], fine]), formed))
            where = np.interp(np.log10(z / 0.019), log_z, np.arange(5))
            low = min(int(where), 3)
            ours = weight @ ((1 - where + low) * ssp[low] + (where - low) * ssp[low + 1])
            gamma = z / sum(np.interp(fine[fine < tage], t, b) for b in zh).mean()
            u0 = 1 - mix[0]
            u1 = 1 - mix[1] / u0
            u2 = 1 - mix[2] / (u0 * u1)
            theirs_wave, theirs = evaluate(h, np.array([u0, u1, u2, gamma, gamma, 0.0, 0.0, -0.7, tage]))
            a = [nanomaggy(wave, ours, b)[0] for b in "grz"]
            b = [nanomaggy(theirs_wave, np.exp(theirs), b)[0] for b in "grz"]
            mag = lambda x: -2.5 * np.log10(x)
            rows.append([mag(a[0] / a[1]) - mag(b[0] / b[1]), mag(a[1] / a[2]) - mag(b[1] / b[2]), mag(a[1] / b[1])])
    worst = np.abs(rows).max(axis=0)
    print(f"        own populations against FSPS (12 mixes): g-r within {worst[0]:.2f}, r-z within {worst[1]:.2f}, r at equal mass within {worst[2]:.2f} mag")
    check(worst[0] < 0.10 and worst[1] < 0.15 and worst[2] < 0.30, "own populations have FSPS's colours (0.10, 0.15 mag) and light per mass (0.30 mag)")


# ------------------------------------------------------------------- bricks

def test_bricks():
    """Numbers and names against real catalogues, and no number twice."""
    import glob
    from astropy.io import fits
    ours = {int(i): (name, float(ra), float(dec)) for i, name, ra, dec in (line.split() for line in run("bricks", 300000).splitlines())}
    seen = 0
    for path in glob.glob(os.path.join(DATA, "legacy", "catalogues", "*.fits*")) + glob.glob(os.path.join(DATA, "desi", "tile*", "*.fits*")):
        with fits.open(path) as f:
            for hdu in f[1:]:
                columns = {c.lower(): c for c in getattr(hdu, "columns", fits.ColDefs([])).names}
                if not {"brickid", "brickname"} <= columns.keys() or not {"ra", "target_ra"} & columns.keys():
                    continue
                ra_name, dec_name = (columns.get(k) or columns["target_" + k] for k in ("ra", "dec"))
                for row in hdu.data:
                    if row[columns["brickid"]] in ours:
                        name, ra, dec = ours[row[columns["brickid"]]]
                        near = abs(row[dec_name] - dec) <= 0.1251 and abs(row[ra_name] - ra) * np.cos(np.radians(dec)) <= 0.1251
                        seen += 1
                        if name != row[columns["brickname"]] or not near:
                            check(False, f"brick {row[columns['brickid']]} is {row[columns['brickname']]}, not {name}")
    check(seen > 0, f"{seen} rows of real catalogues lie in the bricks of that number and name")
    check(len(ours) == 300000 and len({name for name, _, _ in ours.values()}) > 0.99 * len(ours), "300,000 bricks, each number once")


# ------------------------------------------------------------------ realism

def test_eigenspectra(model, label, name):
    from astropy.io import fits
    with fits.open(os.path.join(TEMPLATES, "eigen", "spEigenGal-55740.fits")) as f:
        basis, head = f[0].data.astype(float), f[0].header
    grid = 10 ** (head["COEFF0"] + head["COEFF1"] * np.arange(basis.shape[-1]))
    explained, from_noise = [], []
    rng = np.random.default_rng(2)
    for spectrum, z in zip(model, label["redshift"]):
        wave = (3600.0 + 0.8 * np.arange(7781)) / (1 + z)
        inside = (grid > wave[0] + 5) & (grid < wave[-1] - 5) & (np.abs(basis).sum(axis=0) > 0)
        a = basis[:, inside].T
        for x, out in ((np.interp(grid[inside], wave, spectrum[:7781]), explained), (np.cumsum(rng.normal(size=inside.sum())), from_noise)):
            fit = a @ np.linalg.lstsq(a, x, rcond=None)[0]
            out.append(1 - np.sum((x - fit) ** 2) / np.sum((x - x.mean()) ** 2))
    explained = np.array(explained)
    print(f"        {name}: variance explained by the {len(basis)} SDSS galaxy eigenspectra: median {np.median(explained):.3f}, "
          f"quiescent {np.median(explained[label['is_quiescent'] > 0]):.3f}, star-forming {np.median(explained[label['is_quiescent'] == 0]):.3f}, "
          f"10th percentile {np.percentile(explained, 10):.3f}; of random walks {np.median(from_noise):.3f}")
    check(np.median(explained) > 0.85, f"{name}: eigenspectra of real galaxies explain most of the variance (gate 0.85)")


def test_colours(flux, label, name):
    """At each redshift the colours of EAZY's 12 templates span a region; sums of templates fill its hull."""
    from scipy.spatial import ConvexHull
    import glob
    templates = [np.loadtxt(p).T for p in sorted(glob.glob(os.path.join(TEMPLATES, "fsps", "*.dat")))]
    inside = []
    for low in np.arange(0.02, 0.6, 0.02):
        here = (label["redshift"] >= low) & (label["redshift"] < low + 0.02)
        if here.sum() == 0:
            continue
        # Flux ratios, where sums of templates stay within the hull exactly.
        ratios = []
        for t in templates:
            f = [nanomaggy(t[0] * (1.01 + low), t[1], b)[0] for b in "grz"]
            ratios.append([f[0] / f[1], f[2] / f[1]])
        hull = ConvexHull(ratios)
        x = np.column_stack([flux[here, 0] / flux[here, 1], flux[here, 2] / flux[here, 1]])
        distance = (x @ hull.equations[:, :2].T + hull.equations[:, 2]).max(axis=1)
        inside.extend(distance < 0.08)  # a tenth of a magnitude
    print(f"        {name}: {100 * np.mean(inside):.1f} % of {len(inside)} galaxies lie within 0.1 mag of the colours of EAZY's templates at their redshift")
    check(np.mean(inside) > 0.9, f"{name}: colours are those of galaxies (gate 90 %)")


def test_relations(label):
    """Trends that make images and spectra tell of the same physics."""
    z, q = label["redshift"], label["is_quiescent"] > 0
    gr = label["mag_g"] - label["mag_r"]
    near = (z > 0.1) & (z < 0.2)
    check(np.median(gr[near & q]) - np.median(gr[near & ~q]) > 0.2, f"quiescent galaxies are redder: g-r {np.median(gr[near & q]):.2f} against {np.median(gr[near & ~q]):.2f} at z 0.1-0.2")
    check(np.median(label["half_light_radius"][z < 0.1]) > 1.5 * np.median(label["half_light_radius"][z > 0.3]), "near galaxies are larger on the sky")
    limit = (label["mag_r"] < 19.5 + 1e-3) | ((label["mag_z"] < 20.4 + 1e-3) & q & (z > 0.29))
    check(limit.all(), f"every galaxy passes its survey's limit ({(~limit).sum()} do not)")
    check(0.15 < np.mean(q) < 0.75 and z.std() > 0.1, f"{100 * np.mean(q):.0f} % quiescent, redshift {z.mean():.2f} +- {z.std():.2f}")


def main():
    if not os.path.isdir(TEMPLATES):
        skip(f"no templates at {TEMPLATES} (environment SYZYGY_SKY_DATA)")
    import h5py
    with tempfile.TemporaryDirectory() as folder, h5py.File(EMULATOR, "r") as h:
        model, flux, label = read_objects(folder, 600, 11)
        test_photometry(model[:60], flux[:60])
        test_emulator(folder, h)
        test_bricks()
        test_populations(folder, h)
        test_eigenspectra(model[:200], {k: v[:200] for k, v in label.items()}, "own populations")
        test_colours(flux, label, "own populations")
        test_relations(label)
        model, flux, label = read_objects(folder, 200, 12, EMULATOR)
        test_photometry(model[:20], flux[:20])
        test_eigenspectra(model, label, "emulator")
        test_colours(flux, label, "emulator")


if __name__ == "__main__":
    main()
    finish()
