/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a flow says of each test object, and how that agrees with the truth.
 *
 * Test objects are dealt to the ranks. Draws of an object are a function of seed and object, so they are made twice:
 * once for everything that one object's draws say, and once more for what needs all objects: TARP, whose reference
 * points are made of their predictions, and densities on a grid that holds all posteriors. Keeping the draws
 * would take draws x labels numbers per object.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "flow_work.h"

enum {
  BLOCK = 64,              /* most objects at once */
  BLOCK_NUMBERS = 1 << 22, /* .. and of draws: many draws are made for fewer objects at once */
  REFERENCES = 20,
  DENSITY_DRAWS = 200, /* of an object: a density costs all members, and the credibility needs no more */
  CELLS = 200,         /* of a grid, unless the input says how many */
  KEPT_MIB = 256       /* .. whose densities are then kept if they take no more than this */
};

/* A grid reaches this many distances of 5 or 95 % from the median beyond each posterior's median: 4 deviations of a
 * normal one. The outermost draws would make it far too wide where one posterior has a long tail. */
static const double wings = 2.5;

/* Scratch of a block of objects. */
typedef struct drawn {
  double *y, *log_q, *pdf;
} drawn;

static void drawn_free(drawn *d)
{
  syz_free(&d->y);
  syz_free(&d->log_q);
  syz_free(&d->pdf);
}

int64_t flow_block(const posterior *q)
{
  const int64_t objects = BLOCK_NUMBERS / (q->draws * q->labels);
  return objects < 1 ? 1 : objects < BLOCK ? objects : BLOCK;
}

static syz_status drawn_make(const posterior *q, drawn *d)
{
  syz_status st = SYZ_OK;
  SYZ_ALLOC(d->y, "draws", flow_block(q) * q->draws * q->labels);
  SYZ_ALLOC(d->log_q, "densities of draws", BLOCK * DENSITY_DRAWS);
  SYZ_ALLOC(d->pdf, "densities on a grid", flow_block(q) * q->labels * q->cells);
cleanup:
  return st;
}

syz_status flow_draws(const flow_work *w, int64_t first, int64_t n, int64_t draws, double *y, double *log_q)
{
  int64_t id[BLOCK];
  for (int64_t i = 0; i < n; i++) id[i] = (int64_t)sample_name(&w->job->sample, w->row[first + i]);
  return syz_flow_draw(w->flow, w->job->options->seed, n, w->x + first * w->width, id, draws, y, log_q);
}

static int64_t first_test(const flow_work *w) { return w->q->train + w->q->validation; }

static double mean_of(const double *x, int64_t n)
{
  double sum = 0;
  for (int64_t i = 0; i < n; i++) sum += x[i];
  return sum / (double)n;
}

/* What densities of draws say of a block: the credibility of the truth, -log q that is to be expected, joint modes. */
static syz_status judge_densities(flow_work *w, int64_t at, int64_t n, drawn *d)
{
  syz_status st = SYZ_OK;
  posterior *q = w->q;
  const int64_t fewer = q->draws < DENSITY_DRAWS ? q->draws : DENSITY_DRAWS;
  SYZ_TRY(flow_draws(w, first_test(w) + at, n, fewer, d->y, d->log_q));
  syz_density_credibility(n, fewer, q->log_q + at, d->log_q, q->credibility + at);
  for (int64_t i = 0; i < n; i++) {
    const int64_t best = syz_flow_joint_mode(fewer, d->log_q + i * fewer);
    q->nll_expected[at + i] = -mean_of(d->log_q + i * fewer, fewer);
    memcpy(q->mode + (at + i) * q->labels, d->y + (i * fewer + best) * q->labels, (size_t)q->labels * sizeof *q->mode);
  }
cleanup:
  return st;
}

/* Each label's own density at the truth, standardised: of the draws where the flow does not have it. */
static syz_status judge_marginals(flow_work *w, int64_t at, int64_t n, const drawn *d)
{
  syz_status st = SYZ_OK;
  posterior *q = w->q;
  double of_draws[BLOCK * SYZ_FLOW_LABELS];
  SYZ_TRY(syz_flow_marginals_of_draws(w->flow, n, q->draws, d->y, q->truth + at * q->labels, of_draws));
  for (int64_t i = 0; i < n * q->labels; i++)
    if (!syz_flow_has_marginal(w->flow, (int)(i % q->labels))) q->each[at * q->labels + i] = of_draws[i];
cleanup:
  return st;
}

/* What the draws of each object say of it. */
static syz_status judge_block(flow_work *w, int64_t at, int64_t n, drawn *d)
{
  syz_status st = SYZ_OK;
  posterior *q = w->q;
  const double *truth = q->truth + at * q->labels;
  double y[BLOCK], one[BLOCK], expected[BLOCK];
  syz_pulse();
  SYZ_TRY(judge_densities(w, at, n, d));
  SYZ_TRY(flow_draws(w, first_test(w) + at, n, q->draws, d->y, NULL));
  SYZ_TRY(syz_flow_summarise(w->flow, n, q->draws, d->y, q->summary + at * q->labels));
  SYZ_TRY(judge_marginals(w, at, n, d));
  for (int k = 0; k < q->labels; k++) {
    const syz_draws of_label = {d->y + k, q->draws, q->labels};
    for (int64_t i = 0; i < n; i++) y[i] = truth[i * q->labels + k];
    syz_pit_of_draws(n, y, of_label, one);
    for (int64_t i = 0; i < n; i++) q->pit[(at + i) * q->labels + k] = one[i];
    SYZ_TRY(syz_crps_of_draws(n, y, of_label, one, expected));
    for (int64_t i = 0; i < n; i++) q->crps[(at + i) * q->labels + k] = one[i];
    for (int64_t i = 0; i < n; i++) q->crps_expected[(at + i) * q->labels + k] = expected[i];
  }
  for (int64_t i = 0; i < n; i++) /* the first ones are kept */
    for (int64_t j = 0; j < q->samples * q->labels; j++)
      q->sample[(at + i) * q->samples * q->labels + j] = (float)d->y[i * q->draws * q->labels + j];
cleanup:
  return st;
}

/* Arrays of all test objects, each rank having filled its stretch. */
static void gather(const flow_work *w, double *x, int64_t numbers)
{
  syz_rows_gather(w->job->run->world, x, w->share, (size_t)numbers * sizeof *x);
}

static syz_status judge_share(flow_work *w, int64_t first, int64_t n, drawn *d)
{
  syz_status st = SYZ_OK;
  posterior *q = w->q;
  const int64_t before = first_test(w) + first, block = flow_block(q);
  SYZ_TRY(syz_flow_log_density(w->flow, n, w->x + before * w->width, q->truth + first * q->labels, q->log_q + first,
                               q->standard + first, q->each + first * q->labels));
  for (int64_t i = first; i < first + n; i++)
    q->standard[i] = isinf(q->log_q[i]) ? q->log_q[i] : q->log_q[i] - q->standard[i];
  for (int64_t at = 0; at < n; at += block) SYZ_TRY(judge_block(w, first + at, n - at < block ? n - at : block, d));
cleanup:
  return st;
}

/* Equal cells that hold the posteriors of all objects, inside of the label's domain. */
static void make_grid(const flow_work *w, int k)
{
  posterior *q = w->q;
  const syz_flow_label *l = syz_flow_label_of(w->flow, k);
  double *edge = q->edge + k * (q->cells + 1), low = INFINITY, high = -INFINITY;
  for (int64_t i = 0; i < q->n; i++) {
    const double *at = q->summary[i * q->labels + k].quantile; /* 5, 16, 50, 84, 95 % */
    low = fmin(low, at[2] - wings * (at[2] - at[0]));
    high = fmax(high, at[2] + wings * (at[4] - at[2]));
  }
  if (l->transform != SYZ_FLOW_LINEAR) low = fmax(low, l->low);
  if (l->transform == SYZ_FLOW_LOGIT) high = fmin(high, l->high);
  low = fmax(low, -1e300);
  high = fmax(fmin(high, 1e300), low + 1e-9 * fmax(fabs(low), 1)); /* edges rise, whatever the posteriors are like */
  for (int64_t e = 0; e <= q->cells; e++) edge[e] = low + (high - low) * (double)e / (double)q->cells;
  for (int64_t c = 0; c < q->cells; c++) q->grid[k * q->cells + c] = (edge[c] + edge[c + 1]) / 2;
}

/* Densities of a block on the grid, which add up to 1 there, and their CDE loss. */
static syz_status judge_grid(flow_work *w, int64_t at, int64_t n, drawn *d)
{
  syz_status st = SYZ_OK;
  posterior *q = w->q;
  const int64_t cells = q->cells, before = first_test(w) + at;
  double met[BLOCK * SYZ_FLOW_LABELS], expected;
  SYZ_TRY(syz_flow_grid(w->flow, n, w->x + before * w->width, q->draws, d->y, cells, q->edge, d->pdf, met));
  for (int64_t i = 0; i < n * q->labels; i++) {
    const int64_t k = i % q->labels, to = at * q->labels + i;
    double *pdf = d->pdf + i * cells, *edge = q->edge + k * (cells + 1);
    q->inside[to] = mean_of(pdf, cells) * (edge[cells] - edge[0]);
    for (int64_t c = 0; c < cells; c++) pdf[c] /= q->inside[to];
    syz_cde_loss(1, cells, q->grid + k * cells, pdf, q->truth + to, NULL, q->cde + to, &expected);
    q->cde_expected[to] = -expected - 2 * met[i] / q->inside[to];
    for (int64_t c = 0; q->pdf && c < cells; c++) q->pdf[to * cells + c] = (float)pdf[c];
  }
cleanup:
  return st;
}

static syz_status second_share(flow_work *w, int64_t first, int64_t n, const double *reference, drawn *d)
{
  syz_status st = SYZ_OK;
  posterior *q = w->q;
  double scale[SYZ_FLOW_LABELS];
  (void)syz_tarp_scales(
      q->n, q->labels, q->truth,
      scale); /* where the true values of a label do not vary its scale is 0, and TARP leaves it out */
  for (int64_t at = first; at < first + n; at += flow_block(q)) {
    const int64_t block = first + n - at < flow_block(q) ? first + n - at : flow_block(q);
    syz_pulse();
    SYZ_TRY(flow_draws(w, first_test(w) + at, block, q->draws, d->y, NULL));
    syz_tarp_shares(block, q->draws, q->labels, scale, q->truth + at * q->labels, d->y, reference + at * q->labels,
                    q->tarp + at);
    SYZ_TRY(judge_grid(w, at, block, d));
  }
cleanup:
  return st;
}

/* How many cells, and whether their densities are kept for the files. */
static bool choose_cells(const flow_work *w)
{
  posterior *q = w->q;
  const int64_t asked = w->job->options->flow.cells, kept = w->job->sample.test * q->labels * CELLS * 4;
  q->cells = asked > 0 ? asked : CELLS;
  if (asked < 0 && kept > (int64_t)KEPT_MIB << 20)
    syz_info("densities of %lld objects on a grid would take %lld MiB and are not written: probe.grid=%d writes them",
             (long long)w->job->sample.test, (long long)(kept >> 20), CELLS);
  return asked > 0 || (asked < 0 && kept <= (int64_t)KEPT_MIB << 20);
}

static syz_status allocate(flow_work *w)
{
  syz_status st = SYZ_OK;
  posterior *q = w->q;
  const int size = syz_comm_size(w->job->run->world);
  const int64_t all = q->n * q->labels;
  int64_t first;
  const bool keeps = choose_cells(w);
  q->samples = w->job->options->flow.samples < q->draws ? w->job->options->flow.samples : q->draws;
  SYZ_ALLOC(w->share, "shares", size);
  for (int r = 0; r < size; r++) syz_share(q->n, size, r, &first, &w->share[r]);
  SYZ_ALLOC(q->truth, "truths", all);
  SYZ_ALLOC(q->summary, "posteriors", all);
  SYZ_ALLOC(q->mode, "modes", all);
  SYZ_ALLOC(q->log_q, "densities", q->n);
  SYZ_ALLOC(q->nll_expected, "densities", q->n);
  SYZ_ALLOC(q->standard, "densities", q->n);
  SYZ_ALLOC(q->each, "densities", all);
  SYZ_ALLOC(q->pit, "PIT", all);
  SYZ_ALLOC(q->crps, "CRPS", all);
  SYZ_ALLOC(q->crps_expected, "CRPS", all);
  SYZ_ALLOC(q->cde, "CDE loss", all);
  SYZ_ALLOC(q->cde_expected, "CDE loss", all);
  SYZ_ALLOC(q->inside, "densities on a grid", all);
  SYZ_ALLOC(q->edge, "grid", q->labels * (q->cells + 1));
  SYZ_ALLOC(q->grid, "grid", q->labels * q->cells);
  if (keeps) SYZ_ALLOC(q->pdf, "densities on a grid", all * q->cells);
  if (q->samples) SYZ_ALLOC(q->sample, "draws", all * q->samples);
  SYZ_ALLOC(q->credibility, "credibilities", q->n);
  SYZ_ALLOC(q->tarp, "TARP", q->n);
cleanup:
  return st;
}

static void gather_first(flow_work *w)
{
  posterior *q = w->q;
  syz_comm *c = w->job->run->world;
  gather(w, (double *)q->summary, q->labels * (int64_t)(sizeof *q->summary / sizeof(double)));
  gather(w, q->mode, q->labels);
  gather(w, q->log_q, 1);
  gather(w, q->nll_expected, 1);
  gather(w, q->standard, 1);
  gather(w, q->each, q->labels);
  gather(w, q->pit, q->labels);
  gather(w, q->crps, q->labels);
  gather(w, q->crps_expected, q->labels);
  gather(w, q->credibility, 1);
  if (q->sample) syz_rows_gather(c, q->sample, w->share, (size_t)(q->samples * q->labels) * sizeof *q->sample);
  for (int k = 0; k < q->labels; k++) make_grid(w, k);
}

static void gather_second(const flow_work *w)
{
  posterior *q = w->q;
  gather(w, q->tarp, 1);
  gather(w, q->cde, q->labels);
  gather(w, q->cde_expected, q->labels);
  gather(w, q->inside, q->labels);
  if (q->pdf) syz_rows_gather(w->job->run->world, q->pdf, w->share, (size_t)(q->labels * q->cells) * sizeof *q->pdf);
}

syz_status flow_judge(flow_work *w)
{
  syz_status st = SYZ_OK;
  posterior *q = w->q;
  syz_comm *c = w->job->run->world;
  drawn d = {0};
  int64_t first, n;
  double *reference = syz_alloc("references", (size_t)(q->n * q->labels), sizeof *reference);
  double *mean = syz_alloc("means", (size_t)(q->n * q->labels), sizeof *mean);
  SYZ_TRY_ALL(c, reference && mean ? allocate(w) : SYZ_ERR_MEMORY);
  SYZ_TRY_ALL(c, drawn_make(q, &d));
  syz_share(q->n, syz_comm_size(c), syz_comm_rank(c), &first, &n);
  memcpy(q->truth, w->y + first_test(w) * q->labels, (size_t)(q->n * q->labels) * sizeof *q->truth);
  SYZ_TRY_ALL(c, judge_share(w, first, n, &d));
  gather_first(w);
  for (int64_t i = 0; i < q->n * q->labels; i++) mean[i] = q->summary[i].mean;
  const int64_t references = q->n - 1 < REFERENCES ? q->n - 1 : REFERENCES;
  SYZ_TRY_ALL(c,
              syz_tarp_references(q->n, q->labels, q->truth, mean, references, w->job->options->seed, NULL, reference));
  SYZ_TRY_ALL(c, second_share(w, first, n, reference, &d));
  gather_second(w);
cleanup:
  drawn_free(&d);
  syz_free(&reference);
  syz_free(&mean);
  return st;
}
