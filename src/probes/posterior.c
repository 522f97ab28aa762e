/* SPDX-License-Identifier: BSD-3-Clause */
/* Figures of posteriors: negative log likelihood, and whether what they promise holds. */
#include "posterior.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

const double posterior_level[POSTERIOR_LEVELS] = {0.05, 0.10, 0.15, 0.20, 0.25, 0.30, 0.35, 0.40, 0.45, 0.50,
                                                  0.55, 0.60, 0.65, 0.70, 0.75, 0.80, 0.85, 0.90, 0.95};

void posterior_free(posterior *q)
{
  syz_free(&q->place);
  syz_free(&q->truth);
  syz_free(&q->summary);
  syz_free(&q->mode);
  syz_free(&q->log_q);
  syz_free(&q->nll_expected);
  syz_free(&q->each);
  syz_free(&q->standard);
  syz_free(&q->pit);
  syz_free(&q->crps);
  syz_free(&q->crps_expected);
  syz_free(&q->cde);
  syz_free(&q->cde_expected);
  syz_free(&q->edge);
  syz_free(&q->grid);
  syz_free(&q->pdf);
  syz_free(&q->inside);
  syz_free(&q->sample);
  syz_free(&q->interval);
  syz_free(&q->credibility);
  syz_free(&q->tarp);
}

static double mean_of(const double *x, int64_t n)
{
  double sum = 0;
  for (int64_t i = 0; i < n; i++) sum += x[i];
  return sum / (double)n;
}

static void warn_of(posterior *q, const syz_calibration *c)
{
  syz_warnings found;
  syz_calibration_warn(c, &found);
  for (int i = 0; i < found.n && q->warnings.n < SYZ_WARNINGS_MAX; i++)
    memcpy(q->warnings.text[q->warnings.n++], found.text[i], sizeof found.text[i]);
}

/* Intervals that hold on validation objects and not on test objects: the two are not alike. */
static void warn_of_conformal(posterior *q, const char *name, const posterior_conformal *c)
{
  int worst = -1;
  for (int a = 0; a < POSTERIOR_CONFORMAL; a++) {
    const double off = fabs(c->covered[a] - posterior_conformal_level[a]) / c->error[a];
    if (off > 3 && isfinite(c->factor[a]) &&
        (worst < 0 || off > fabs(c->covered[worst] - posterior_conformal_level[worst]) / c->error[worst]))
      worst = a;
  }
  if (worst < 0 || q->warnings.n == SYZ_WARNINGS_MAX) return;
  snprintf(q->warnings.text[q->warnings.n++], SYZ_WARNING_TEXT,
           "%.60s: conformal intervals of %.0f %% hold %.1f %% of the test objects, not %.0f +- %.1f %%: the "
           "validation objects differ: was the model of the embeddings trained on them?",
           name, 100 * posterior_conformal_level[worst], 100 * c->covered[worst],
           100 * posterior_conformal_level[worst], 100 * c->error[worst]);
}

/* Column k of x [n, labels]. */
static void take_column(const posterior *q, const double *x, int k, double *out)
{
  for (int64_t i = 0; i < q->n; i++) out[i] = x[i * q->labels + k];
}

static syz_self_check check_label(const posterior *q, int k, const double *value, const double *expected,
                                  double *scratch)
{
  take_column(q, value, k, scratch);
  take_column(q, expected, k, scratch + q->n);
  return syz_check_mean(q->n, scratch, scratch + q->n);
}

static syz_status judge_label(posterior *q, int k, double *scratch)
{
  syz_status st = SYZ_OK;
  double error[POSTERIOR_LEVELS], *pit = scratch, *central = scratch + q->n;
  take_column(q, q->pit, k, pit);
  SYZ_TRY(syz_pit_score(q->n, pit, q->draws, &q->pit_figures[k]));
  syz_central_credibility(q->n, pit, central);
  syz_coverage(q->n, central, POSTERIOR_LEVELS, posterior_level, q->covered[k], error);
  q->mean_crps[k] = check_label(q, k, q->crps, q->crps_expected, scratch);
  q->mean_cde[k] = check_label(q, k, q->cde, q->cde_expected, scratch);
  q->least_inside[k] = INFINITY;
  for (int64_t i = 0; i < q->n; i++) q->least_inside[k] = fmin(q->least_inside[k], q->inside[i * q->labels + k]);
  double sum = 0;
  for (int64_t i = 0; i < q->n; i++) sum -= isinf(q->log_q[i]) ? 0 : q->each[i * q->labels + k];
  q->nll_each[k] = sum / (double)q->nll.n;
cleanup:
  return st;
}

/* The joint ones first. */
static void warn_of_all(const job *p, posterior *q)
{
  warn_of(q, &(syz_calibration){.name = "all labels together",
                                .n = q->n,
                                .levels = POSTERIOR_LEVELS,
                                .level = posterior_level,
                                .density = q->density_covered,
                                .tarp = q->tarp_curve,
                                .tarp_error = q->tarp_error,
                                .nll = &q->nll_check});
  for (int k = 0; k < q->labels; k++) {
    const char *name = p->sample.label[q->column[k]].name;
    warn_of(q, &(syz_calibration){.name = name,
                                  .n = q->n,
                                  .pit = &q->pit_figures[k],
                                  .levels = POSTERIOR_LEVELS,
                                  .level = posterior_level,
                                  .central = q->covered[k],
                                  .crps = &q->mean_crps[k],
                                  .cde = &q->mean_cde[k]});
    warn_of_conformal(q, name, &q->conformal[k]);
  }
}

/* NLL of the objects inside of the domains, whose densities are left in standard [nll.n]. */
static void judge_density(posterior *q, double *standard, double *in_units, double *expected)
{
  int64_t n = 0;
  for (int64_t i = 0; i < q->n; i++) {
    if (isinf(q->log_q[i])) continue;
    standard[n] = q->standard[i];
    in_units[n++] = q->log_q[i];
  }
  syz_nll(n, standard, q->labels, NULL, &q->nll);
  q->nll.label = -mean_of(in_units, n);
  n = 0;
  for (int64_t i = 0; i < q->n; i++) {
    if (isinf(q->log_q[i])) continue;
    in_units[n] = -in_units[n];
    expected[n++] = q->nll_expected[i];
  }
  q->nll_check = syz_check_mean(n, in_units, expected);
}

syz_status posterior_judge(const job *p, posterior *q)
{
  syz_status st = SYZ_OK;
  const syz_bootstrap b = {p->options->seed, 0, p->options->draws};
  double *scratch = NULL, *drawn = NULL, error[POSTERIOR_LEVELS], value;
  SYZ_ALLOC(scratch, "calibration", 3 * q->n);
  SYZ_ALLOC(drawn, "bootstrap", POSTERIOR_LEVELS * b.draws);
  judge_density(q, scratch, scratch + q->n, scratch + 2 * q->n);
  syz_bootstrap_mean(&b, q->nll.n, scratch, &value, drawn);
  SYZ_TRY(syz_bootstrap_estimate(value, b.draws, drawn, &q->nll_error));
  for (int k = 0; k < q->labels; k++) SYZ_TRY(judge_label(q, k, scratch));
  syz_coverage(q->n, q->credibility, POSTERIOR_LEVELS, posterior_level, q->density_covered, error);
  SYZ_TRY(syz_bootstrap_tarp(&b, q->n, q->tarp, POSTERIOR_LEVELS, posterior_level, q->tarp_curve, drawn));
  for (int l = 0; l < POSTERIOR_LEVELS; l++) {
    syz_estimate e;
    SYZ_TRY(syz_bootstrap_estimate(q->tarp_curve[l], b.draws, drawn + l * b.draws, &e));
    q->tarp_error[l] = e.deviation;
  }
  warn_of_all(p, q);
cleanup:
  syz_free(&scratch);
  syz_free(&drawn);
  return st;
}

static double at_level(const double *curve, double level)
{
  for (int l = 0; l < POSTERIOR_LEVELS; l++)
    if (fabs(posterior_level[l] - level) < 1e-9) return curve[l];
  return NAN;
}

static void print_label(const sample *s, const posterior *q, int k)
{
  const posterior_conformal *c = &q->conformal[k];
  syz_info(
      "  %-24s -log q %8.4f   CRPS %10.4g   CDE loss %9.4g   inside 50 %%: %4.1f %%   inside 90 %%: %4.1f %%   PIT "
      "uniform: p %.3f",
      s->label[q->column[k]].name, q->nll_each[k], q->mean_crps[k].value, q->mean_cde[k].value,
      100 * at_level(q->covered[k], 0.5), 100 * at_level(q->covered[k], 0.9), q->pit_figures[k].ks_p);
  syz_info("  %-24s inside conformal intervals of 50, 68, 90 %%: %.1f +- %.1f, %.1f +- %.1f, %.1f +- %.1f %%", "",
           100 * c->covered[0], 100 * c->error[0], 100 * c->covered[1], 100 * c->error[1], 100 * c->covered[2],
           100 * c->error[2]);
}

void posterior_print(const job *p, const posterior *q)
{
  const sample *s = &p->sample;
  syz_info("posteriors of %d label(s) from %s: %lld training, %lld validation, %lld test objects, %d member(s)",
           q->labels, s->source[q->source].name, (long long)q->train, (long long)q->validation, (long long)q->n,
           q->members);
  if (q->outside || q->test_outside)
    syz_warn(
        "%s: %lld training objects have a label outside of its domain and are left out; %lld test objects have one: "
        "their density is 0, and the mean -log q is that of the others (probe.positive, probe.fractions)",
        s->source[q->source].name, (long long)q->outside, (long long)q->test_outside);
  syz_info("  -log q  %.4f +- %.4f nats (standardised labels), %.4f per label, %.4f in label units",
           q->nll.standardised, q->nll_error.deviation, q->nll.per_label, q->nll.label);
  for (int k = 0; k < q->labels; k++) print_label(s, q, k);
  syz_info("  %-24s inside the 50 %% region: %.1f %%, 90 %%: %.1f %%; TARP %.1f %%, %.1f %%", "all together",
           100 * at_level(q->density_covered, 0.5), 100 * at_level(q->density_covered, 0.9),
           100 * at_level(q->tarp_curve, 0.5), 100 * at_level(q->tarp_curve, 0.9));
  for (int i = 0; i < q->warnings.n; i++) syz_warn("%s: %s", s->source[q->source].name, q->warnings.text[i]);
}
