/* SPDX-License-Identifier: BSD-3-Clause */
/* Figures of posteriors: negative log likelihood, and whether what they promise holds. */
#include "posterior.h"

#include <math.h>
#include <string.h>

const double posterior_level[POSTERIOR_LEVELS] = {0.05, 0.10, 0.15, 0.20, 0.25, 0.30, 0.35, 0.40, 0.45, 0.50,
                                                  0.55, 0.60, 0.65, 0.70, 0.75, 0.80, 0.85, 0.90, 0.95};

void posterior_free(posterior *q)
{
  syz_free(&q->place);
  syz_free(&q->truth);
  syz_free(&q->summary);
  syz_free(&q->log_q);
  syz_free(&q->standard);
  syz_free(&q->pit);
  syz_free(&q->crps);
  syz_free(&q->credibility);
  syz_free(&q->tarp);
}

static double mean_of(const double *x, int64_t n, int64_t stride)
{
  double sum = 0;
  for (int64_t i = 0; i < n; i++) sum += x[i * stride];
  return sum / (double)n;
}

static void warn_of(posterior *q, const char *name, const syz_pit_figures *pit, const double *central,
                    const double *density, const double *tarp)
{
  const syz_calibration c = {.name = name,
                             .n = q->n,
                             .pit = pit,
                             .levels = POSTERIOR_LEVELS,
                             .level = posterior_level,
                             .central = central,
                             .density = density,
                             .tarp = tarp,
                             .tarp_error = tarp ? q->tarp_error : NULL};
  syz_warnings found;
  syz_calibration_warn(&c, &found);
  for (int i = 0; i < found.n && q->warnings.n < SYZ_WARNINGS_MAX; i++)
    memcpy(q->warnings.text[q->warnings.n++], found.text[i], sizeof found.text[i]);
}

static syz_status judge_label(const job *p, posterior *q, int k, double *scratch)
{
  syz_status st = SYZ_OK;
  double error[POSTERIOR_LEVELS], *pit = scratch, *central = scratch + q->n;
  for (int64_t i = 0; i < q->n; i++) pit[i] = q->pit[i * q->labels + k];
  SYZ_TRY(syz_pit_score(q->n, pit, q->draws, &q->pit_figures[k]));
  syz_central_credibility(q->n, pit, central);
  syz_coverage(q->n, central, POSTERIOR_LEVELS, posterior_level, q->covered[k], error);
  q->mean_crps[k] = mean_of(q->crps + k, q->n, q->labels);
  warn_of(q, p->sample.label[q->column[k]].name, &q->pit_figures[k], q->covered[k], NULL, NULL);
cleanup:
  return st;
}

/* NLL of the objects inside of the domains, whose densities are left in standard [nll.n]. */
static void judge_density(posterior *q, double *standard, double *in_units)
{
  int64_t n = 0;
  for (int64_t i = 0; i < q->n; i++) {
    if (isinf(q->log_q[i])) continue;
    standard[n] = q->standard[i];
    in_units[n++] = q->log_q[i];
  }
  syz_nll(n, standard, q->labels, NULL, &q->nll);
  q->nll.label = -mean_of(in_units, n, 1);
}

syz_status posterior_judge(const job *p, posterior *q)
{
  syz_status st = SYZ_OK;
  const syz_bootstrap b = {p->options->seed, 0, p->options->draws};
  double *scratch = NULL, *drawn = NULL, error[POSTERIOR_LEVELS], value;
  SYZ_ALLOC(scratch, "calibration", 2 * q->n);
  SYZ_ALLOC(drawn, "bootstrap", POSTERIOR_LEVELS * b.draws);
  judge_density(q, scratch, scratch + q->n);
  syz_bootstrap_mean(&b, q->nll.n, scratch, &value, drawn);
  SYZ_TRY(syz_bootstrap_estimate(value, b.draws, drawn, &q->nll_error));
  for (int k = 0; k < q->labels; k++) SYZ_TRY(judge_label(p, q, k, scratch));
  syz_coverage(q->n, q->credibility, POSTERIOR_LEVELS, posterior_level, q->density_covered, error);
  SYZ_TRY(syz_bootstrap_tarp(&b, q->n, q->tarp, POSTERIOR_LEVELS, posterior_level, q->tarp_curve, drawn));
  for (int l = 0; l < POSTERIOR_LEVELS; l++) {
    syz_estimate e;
    SYZ_TRY(syz_bootstrap_estimate(q->tarp_curve[l], b.draws, drawn + l * b.draws, &e));
    q->tarp_error[l] = e.deviation;
  }
  warn_of(q, "all labels together", NULL, NULL, q->density_covered, q->tarp_curve);
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
  for (int k = 0; k < q->labels; k++)
    syz_info("  %-24s CRPS %10.4g   inside 50 %%: %4.1f %%   inside 90 %%: %4.1f %%   PIT uniform: p %.3f",
             s->label[q->column[k]].name, q->mean_crps[k], 100 * at_level(q->covered[k], 0.5),
             100 * at_level(q->covered[k], 0.9), q->pit_figures[k].ks_p);
  syz_info("  %-24s inside the 50 %% region: %.1f %%, 90 %%: %.1f %%; TARP %.1f %%, %.1f %%", "all together",
           100 * at_level(q->density_covered, 0.5), 100 * at_level(q->density_covered, 0.9),
           100 * at_level(q->tarp_curve, 0.5), 100 * at_level(q->tarp_curve, 0.9));
  for (int i = 0; i < q->warnings.n; i++) syz_warn("%s: %s", s->source[q->source].name, q->warnings.text[i]);
}
