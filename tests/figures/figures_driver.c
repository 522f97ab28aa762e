/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Figures of given arrays: the C side of test_figures.py.
 *
 * figures_driver IN OUT. Both are records: a name of 32 bytes, int64 number of arrays, and each array as int64 length
 * and float64 numbers. A record of OUT has one array.
 */
#include <stdio.h>
#include <stdlib.h>

#include "check.h"
#include "syzygy/figures.h"

enum { NAME = 32, ARRAYS = 16, OUT_MAX = 1 << 22 };

typedef struct array {
  int64_t n;
  double *x;
} array;

static double *out;
static int64_t outs;

static void put(double x)
{
  if (outs < OUT_MAX) out[outs++] = x;
}
static void put_all(int64_t n, const double *x)
{
  for (int64_t i = 0; i < n; i++) put(x[i]);
}
static double *room(int64_t n)
{
  SYZ_ASSERT(outs + n <= OUT_MAX);
  double *p = out + outs;
  outs += n;
  return p;
}
static double number(const array *a) { return a->x[0]; }
static int64_t whole(const array *a) { return (int64_t)a->x[0]; }
static int32_t *as_i32(const array *a)
{
  int32_t *p = malloc((size_t)(a->n + 1) * sizeof *p);
  for (int64_t i = 0; i < a->n; i++) p[i] = (int32_t)a->x[i];
  return p;
}
static uint8_t *as_u8(const array *a)
{
  uint8_t *p = malloc((size_t)(a->n + 1));
  for (int64_t i = 0; i < a->n; i++) p[i] = a->x[i] != 0;
  return p;
}

static void known(const array *a)
{
  const double *x[2] = {a[0].x, a[1].x};
  int64_t *index = malloc((size_t)(a->n + 1) * sizeof *index);
  const int64_t n = syz_known(a->n, 2, x, index);
  for (int64_t i = 0; i < n; i++) put((double)index[i]);
  free(index);
}
static void bin_of(const array *a)
{
  for (int64_t i = 0; i < a->n; i++) put(syz_bin_of(a->x[i], (int)a[1].n - 1, a[1].x));
}
static void order(const array *a)
{
  int64_t *index = malloc((size_t)(a->n + 1) * sizeof *index);
  CHECK_OK(syz_order(a->n, a->x, index));
  for (int64_t i = 0; i < a->n; i++) put((double)index[i]);
  free(index);
}
static void ranks(const array *a) { CHECK_OK(syz_ranks(a->n, a->x, room(a->n))); }
static void quantiles(const array *a) { CHECK_OK(syz_quantiles(a->n, a->x, (int)a[1].n, a[1].x, room(a[1].n))); }
static void spearman(const array *a) { CHECK_OK(syz_spearman(a->n, a[0].x, a[1].x, room(1))); }
static void r_squared(const array *a) { put(syz_r_squared_f64(a->n, a[0].x, a[1].x)); }

static void put_photoz(const syz_photoz_figures *f)
{
  const double all[] = {(double)f->n, f->sigma_nmad,  f->bias_mean,    f->eta,
                        f->sigma_iqr, f->bias_median, f->lsst_outliers};
  put_all(7, all);
}
static void photoz(const array *a)
{
  syz_photoz_figures f;
  CHECK_OK(syz_photoz_score(a->n, a[0].x, a[1].x, &f));
  put_photoz(&f);
}
static void photoz_bins(const array *a)
{
  syz_photoz_figures f[16];
  const int bins = (int)a[3].n - 1;
  CHECK_OK(syz_photoz_bins(a->n, a[0].x, a[1].x, a[2].x, bins, a[3].x, f));
  for (int b = 0; b < bins; b++) put_photoz(f + b);
}

static void classes(const array *a)
{
  int32_t *t = as_i32(a), *p = as_i32(a + 1);
  const int K = (int)whole(a + 2);
  int64_t count[SYZ_CLASSES_MAX * SYZ_CLASSES_MAX];
  syz_class_figures f;
  put((double)syz_class_count(a->n, t, p, K, count));
  for (int i = 0; i < K * K; i++) put((double)count[i]);
  syz_class_score(count, K, &f);
  const double all[] = {f.accuracy, f.balanced_accuracy, f.macro_f1, f.weighted_f1, f.majority, f.mean_iou};
  put_all(6, all);
  free(t), free(p);
}
static void exact_match(const array *a)
{
  int32_t *t = as_i32(a), *p = as_i32(a + 1);
  const int columns = (int)whole(a + 2);
  put(syz_exact_match(a->n / columns, columns, t, p));
  free(t), free(p);
}
static void reliability(const array *a)
{
  uint8_t *is_true = as_u8(a + 1);
  const int bins = (int)whole(a + 2);
  syz_reliability_bin b[64];
  put(syz_reliability(a->n, a->x, is_true, bins, b));
  put(syz_brier(a->n, a->x, is_true));
  for (int k = 0; k < bins; k++) {
    const double all[] = {(double)b[k].n, b[k].probability, b[k].share, b[k].error};
    put_all(4, all);
  }
  free(is_true);
}
static void top_class(const array *a)
{
  int32_t *t = as_i32(a + 1);
  uint8_t *is_right = malloc((size_t)(a[1].n + 1));
  const int K = (int)whole(a + 2);
  put(syz_brier_classes(a[1].n, K, a->x, t));
  syz_top_class(a[1].n, K, a->x, t, room(a[1].n), is_right);
  for (int64_t i = 0; i < a[1].n; i++) put(is_right[i]);
  free(t), free(is_right);
}
static void ranking(const array *a)
{
  uint8_t *is_positive = as_u8(a + 1);
  syz_ranking_figures f;
  CHECK_OK(syz_ranking_score(a->n, a->x, is_positive, number(a + 2), &f));
  const double all[] = {f.auc, f.average_precision, f.completeness, f.its_contamination, f.completeness_pure};
  put_all(5, all);
  free(is_positive);
}
static void ndcg(const array *a) { CHECK_OK(syz_ndcg(a->n, a[0].x, a[1].x, whole(a + 2), room(1))); }

static void pit(const array *a)
{
  syz_pit_figures f;
  CHECK_OK(syz_pit_score(a->n, a->x, whole(a + 1), &f));
  const double all[] = {f.mean,         f.ks, f.ks_p, f.cvm, f.cvm_p, f.chi2, f.freedom, f.outside, f.outside_expected,
                        f.outside_error};
  put_all(10, all);
  put_all(SYZ_PIT_BINS, f.expected);
  put_all(SYZ_PIT_BINS, f.error);
  for (int b = 0; b < SYZ_PIT_BINS; b++) put((double)f.count[b]);
}
static void pit_of_draws(const array *a)
{
  const int64_t d = whole(a + 2), label = whole(a + 3), m = a->n ? a[1].n / (a->n * d) : 0;
  syz_pit_of_draws(a->n, a->x, (syz_draws){a[1].x + label, m, d}, room(a->n));
}
static void density_credibility(const array *a)
{
  syz_density_credibility(a->n, a[1].n / a->n, a->x, a[1].x, room(a->n));
}
static void central_coverage(const array *a)
{
  double *c = room(a->n);
  syz_central_credibility(a->n, a->x, c);
  double *covered = room(a[1].n), *error = room(a[1].n);
  syz_coverage(a->n, c, (int)a[1].n, a[1].x, covered, error);
}
static void ks_p(const array *a)
{
  for (int64_t i = 0; i < a->n; i++) put(syz_ks_probability((int64_t)a[0].x[i], a[1].x[i]));
}
static void cvm_p(const array *a)
{
  for (int64_t i = 0; i < a->n; i++) put(syz_cvm_probability((int64_t)a[0].x[i], a[1].x[i]));
}
static void tarp_references(const array *a)
{
  const int64_t d = whole(a + 2), n = a->n / d;
  int64_t *id = malloc((size_t)(a[5].n + 1) * sizeof *id);
  for (int64_t i = 0; i < a[5].n; i++) id[i] = (int64_t)a[5].x[i];
  CHECK_OK(
      syz_tarp_references(n, d, a[0].x, a[1].x, whole(a + 3), (uint64_t)whole(a + 4), a[5].n ? id : NULL, room(n * d)));
  free(id);
}
static void tarp(const array *a)
{
  const int64_t d = whole(a + 3), n = a->n / d, m = a[1].n / (n * d);
  double *f = room(n), scale[16];
  (void)syz_tarp_scales(n, d, a[0].x, scale);
  syz_tarp_shares(n, m, d, scale, a[0].x, a[1].x, a[2].x, f);
  syz_tarp_curve(n, f, (int)a[4].n, a[4].x, room(a[4].n));
}
static void crps(const array *a)
{
  const int64_t d = whole(a + 2), label = whole(a + 3), m = a[1].n / (a->n * d);
  double *score = room(a->n);
  CHECK_OK(syz_crps_of_draws(a->n, a->x, (syz_draws){a[1].x + label, m, d}, score, room(a->n)));
}
static void cde(const array *a)
{
  double *loss = room(a[2].n);
  syz_cde_loss(a[2].n, a->n, a->x, a[1].x, a[2].x, a[3].n ? a[3].x : NULL, loss, room(a[2].n));
}
static void nll(const array *a)
{
  syz_nll_figures f;
  syz_nll(a->n, a->x, (int)a[1].n, a[1].x, &f);
  const double all[] = {f.standardised, f.label, f.per_label, f.error};
  put_all(4, all);
}
static void check_mean(const array *a)
{
  const syz_self_check c = syz_check_mean(a->n, a[0].x, a[1].x);
  const double all[] = {c.value, c.expected, c.error};
  put_all(3, all);
}
static void conformal(const array *a) { CHECK_OK(syz_conformal_quantile(a->n, a->x, number(a + 1), room(1))); }

static syz_bootstrap settings(const array *a)
{
  return (syz_bootstrap){(uint64_t)a->x[0], (int64_t)a->x[1], (int64_t)a->x[2]};
}
static void bootstrap_draw(const array *a)
{
  const int64_t n = whole(a + 2);
  int64_t *index = malloc((size_t)n * sizeof *index);
  int32_t *count = malloc((size_t)n * sizeof *count);
  syz_bootstrap_draw((uint64_t)whole(a), whole(a + 1), n, index, count);
  for (int64_t i = 0; i < n; i++) put((double)index[i]);
  for (int64_t i = 0; i < n; i++) put(count[i]);
  free(index), free(count);
}
static void bootstrap_mean(const array *a)
{
  const syz_bootstrap b = settings(a);
  double *value = room(1);
  syz_bootstrap_mean(&b, a[1].n, a[1].x, value, room(b.draws));
}
static void bootstrap_r_squared(const array *a)
{
  const syz_bootstrap b = settings(a);
  double *value = room(1);
  CHECK_OK(syz_bootstrap_r_squared(&b, a[1].n, a[1].x, a[2].x, value, room(b.draws)));
}
static void bootstrap_photoz(const array *a)
{
  const syz_bootstrap b = settings(a);
  double *value = room(SYZ_PHOTOZ_FIGURES);
  CHECK_OK(syz_bootstrap_photoz(&b, a[1].n, a[1].x, a[2].x, value, room(SYZ_PHOTOZ_FIGURES * b.draws)));
}
static void bootstrap_ranking(const array *a)
{
  const syz_bootstrap b = settings(a);
  uint8_t *is_positive = as_u8(a + 2);
  double *value = room(SYZ_RANKING_FIGURES);
  CHECK_OK(syz_bootstrap_ranking(&b, a[1].n, a[1].x, is_positive, number(a + 3), value,
                                 room(SYZ_RANKING_FIGURES * b.draws)));
  free(is_positive);
}
static void bootstrap_classes(const array *a)
{
  const syz_bootstrap b = settings(a);
  int32_t *t = as_i32(a + 1), *p = as_i32(a + 2);
  double *value = room(SYZ_CLASS_FIGURES);
  CHECK_OK(syz_bootstrap_classes(&b, a[1].n, t, p, (int)whole(a + 3), value, room(SYZ_CLASS_FIGURES * b.draws)));
  free(t), free(p);
}
static void bootstrap_tarp(const array *a)
{
  const syz_bootstrap b = settings(a);
  double *value = room(a[2].n);
  CHECK_OK(syz_bootstrap_tarp(&b, a[1].n, a[1].x, (int)a[2].n, a[2].x, value, room(a[2].n * b.draws)));
}
/* A figure of the caller's own, from the numbers of the objects: their median. */
static syz_status median(void *context, const syz_redraw *r, double *figure)
{
  const array *a = context;
  const double half = 0.5;
  double *x = malloc((size_t)r->n * sizeof *x);
  for (int64_t i = 0; i < r->n; i++) x[i] = a->x[r->index[i]];
  syz_status st = syz_quantiles(r->n, x, 1, &half, figure);
  free(x);
  return st;
}
static void bootstrap_own(const array *a)
{
  const syz_bootstrap b = settings(a);
  array x = a[1];
  double *value = room(1);
  CHECK_OK(syz_bootstrap_run(&b, x.n, 1, median, &x, value, room(b.draws)));
}
static void put_estimate(const syz_estimate *e)
{
  const double all[] = {e->value, e->mean, e->deviation, e->low, e->high, (double)e->draws};
  put_all(6, all);
}
static void estimate(const array *a)
{
  syz_estimate e;
  CHECK_OK(syz_bootstrap_estimate(number(a), a[1].n, a[1].x, &e));
  put_estimate(&e);
}
static void difference(const array *a)
{
  syz_estimate e;
  double flips;
  CHECK_OK(syz_bootstrap_difference(number(a), number(a + 1), a[2].n, a[2].x, a[3].x, &e, &flips));
  put_estimate(&e);
  put(flips);
}

/* pit (9 numbers: its figures), m, level, central, density, tarp, tarp error, three self checks; empty: not given. The
 * sentences go to standard output. */
static void warn(const array *a)
{
  syz_pit_figures f;
  syz_self_check check[3];
  syz_warnings w;
  for (int k = 0; k < 3; k++) {
    if (a[7 + k].n) check[k] = (syz_self_check){a[7 + k].x[0], a[7 + k].x[1], a[7 + k].x[2]};
  }
  const double *x = a[0].x;
  if (a[0].n == 9)
    f = (syz_pit_figures){.n = whole(a + 10),
                          .mean = x[0],
                          .ks = x[1],
                          .ks_p = x[2],
                          .cvm = x[3],
                          .cvm_p = x[4],
                          .chi2 = x[5],
                          .freedom = 19,
                          .outside = x[6],
                          .outside_expected = x[7],
                          .outside_error = x[8]};
  else if (a[0].n)
    CHECK_OK(syz_pit_score(a[0].n, x, whole(a + 1), &f));
  const syz_calibration c = {.name = "redshift",
                             .n = whole(a + 10),
                             .pit = a[0].n ? &f : NULL,
                             .levels = (int)a[2].n,
                             .level = a[2].x,
                             .central = a[3].n ? a[3].x : NULL,
                             .density = a[4].n ? a[4].x : NULL,
                             .tarp = a[5].n ? a[5].x : NULL,
                             .tarp_error = a[6].n ? a[6].x : NULL,
                             .crps = a[7].n ? check : NULL,
                             .cde = a[8].n ? check + 1 : NULL,
                             .nll = a[9].n ? check + 2 : NULL};
  syz_calibration_warn(&c, &w);
  put(w.n);
  printf("warnings %d\n", w.n);
  for (int i = 0; i < w.n; i++) printf("%s\n", w.text[i]);
}

static const struct {
  const char *name;
  void (*run)(const array *a);
} TASKS[] = {{"known", known},
             {"bin_of", bin_of},
             {"order", order},
             {"ranks", ranks},
             {"quantiles", quantiles},
             {"spearman", spearman},
             {"r_squared", r_squared},
             {"photoz", photoz},
             {"photoz_bins", photoz_bins},
             {"classes", classes},
             {"exact_match", exact_match},
             {"reliability", reliability},
             {"top_class", top_class},
             {"ranking", ranking},
             {"ndcg", ndcg},
             {"pit", pit},
             {"pit_of_draws", pit_of_draws},
             {"density_credibility", density_credibility},
             {"central_coverage", central_coverage},
             {"ks_p", ks_p},
             {"cvm_p", cvm_p},
             {"tarp_references", tarp_references},
             {"tarp", tarp},
             {"crps", crps},
             {"cde", cde},
             {"nll", nll},
             {"check_mean", check_mean},
             {"conformal", conformal},
             {"bootstrap_draw", bootstrap_draw},
             {"bootstrap_mean", bootstrap_mean},
             {"bootstrap_r_squared", bootstrap_r_squared},
             {"bootstrap_photoz", bootstrap_photoz},
             {"bootstrap_ranking", bootstrap_ranking},
             {"bootstrap_classes", bootstrap_classes},
             {"bootstrap_tarp", bootstrap_tarp},
             {"bootstrap_own", bootstrap_own},
             {"estimate", estimate},
             {"difference", difference},
             {"warn", warn}};

static void run(const char *name, const array *a)
{
  for (size_t t = 0; t < sizeof TASKS / sizeof *TASKS; t++) {
    if (strcmp(TASKS[t].name, name)) continue;
    TASKS[t].run(a);
    return;
  }
  CHECK_FAIL_("no task %s", name);
}

static bool read_record(FILE *f, char name[NAME], array a[ARRAYS], int64_t *n)
{
  if (fread(name, NAME, 1, f) != 1) return false;
  CHECK(fread(n, sizeof *n, 1, f) == 1 && *n >= 0 && *n <= ARRAYS);
  for (int64_t k = 0; k < *n; k++) {
    CHECK(fread(&a[k].n, sizeof a[k].n, 1, f) == 1);
    a[k].x = malloc((size_t)(a[k].n + 1) * sizeof *a[k].x);
    CHECK(fread(a[k].x, sizeof *a[k].x, (size_t)a[k].n, f) == (size_t)a[k].n);
  }
  return true;
}

int main(int argc, char **argv)
{
  FILE *in = argc == 3 ? fopen(argv[1], "rb") : NULL, *to = argc == 3 ? fopen(argv[2], "wb") : NULL;
  char name[NAME];
  array a[ARRAYS];
  int64_t n;
  out = malloc((size_t)OUT_MAX * sizeof *out);
  CHECK(in && to && out);
  while (in && to && out && read_record(in, name, a, &n)) {
    outs = 0;
    const double start = syz_clock_s();
    run(name, a);
    if (syz_clock_s() - start > 0.05) fprintf(stderr, "%s took %.3f s\n", name, syz_clock_s() - start);
    CHECK(fwrite(&outs, sizeof outs, 1, to) == 1 && fwrite(out, sizeof *out, (size_t)outs, to) == (size_t)outs);
    for (int64_t k = 0; k < n; k++) free(a[k].x);
  }
  if (in) fclose(in);
  if (to) CHECK(fclose(to) == 0);
  free(out);
  CHECK_EQ(syz_memory_get().live_blocks, 0);
  return CHECK_RESULT();
}
