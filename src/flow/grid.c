/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Marginal densities of one object in the cells of a grid.
 *
 * A cell has the mean density inside of it: the probability of the cell by its width. Sums over cells are therefore
 * right however narrow a posterior is. The probability is the difference of the flow's own distribution function where
 * it has one, else that of a kernel density of the draws. The kernel is a biweight on standardised labels, so that
 * nothing leaks out of a label's domain; its deviation is 0.5 spread J^(-1/5), as for densities of draws in summary.c.
 */
#include <float.h>
#include <math.h>
#include <string.h>

#include "internal.h"

static const double kernel_reach = 2.6457513110645906; /* sqrt 7: half the width of a biweight of deviation 1 */

typedef struct job {
  const syz_flow *f;
  const float *context; /* [n, C] */
  int64_t draws, cells;
  const double *draw; /* [n, J, D] */
  const double *edge; /* [D, cells + 1] label units */
  double *s;          /* the same, standardised; infinite outside of the domain */
  double *density, *met;
} job;

/* Scratch of one thread. */
typedef struct room {
  void *work;
  double *rows, *log_q, *cdf;         /* [cells + 1, D], [cells + 1], [cells + 1, D] */
  double *x, *sorting, *mass, *count; /* [J], [J], [cells], [cells] */
} room;

static syz_status check_edges(const job *j)
{
  syz_status st = SYZ_OK;
  SYZ_REQUIRE(j->cells >= 1 && j->draws >= 2, SYZ_ERR_INPUT,
              "a grid of %lld cells, %lld draws; at least 1 and 2 are needed", (long long)j->cells,
              (long long)j->draws);
  for (int d = 0; d < j->f->labels; d++)
    for (int64_t e = 0; e <= j->cells; e++) {
      const double *at = j->edge + d * (j->cells + 1) + e;
      SYZ_REQUIRE(isfinite(*at) && (!e || at[-1] < *at), SYZ_ERR_INPUT,
                  "label %s: edge %lld of the grid is %g; edges rise", j->f->label[d].name, (long long)e, *at);
    }
cleanup:
  return st;
}

static void standardise_edges(const job *j)
{
  for (int d = 0; d < j->f->labels; d++)
    for (int64_t e = 0; e <= j->cells; e++) {
      const int64_t at = d * (j->cells + 1) + e;
      uint8_t ok;
      syz_flow_labels_apply(&j->f->label[d], 1, 1, j->edge + at, j->s + at, NULL, &ok, NULL);
      if (!ok) j->s[at] = j->edge[at] <= j->f->label[d].low ? -INFINITY : INFINITY;
    }
}

/* ------------------------------------------------------------ by the flow */

/* Distribution functions of all marginals at all edges; labels alone, so that one pass serves them all. */
static void cdf_at_edges(const job *j, const room *r, int64_t object)
{
  const int labels = j->f->labels;
  const int64_t edges = j->cells + 1;
  for (int64_t e = 0; e < edges; e++)
    for (int d = 0; d < labels; d++) {
      const bool is_used = syz_flow_has_marginal(j->f, d) && isfinite(j->s[d * edges + e]);
      r->rows[e * labels + d] = is_used ? j->s[d * edges + e] : 0;
    }
  flow_log_density_shared(j->f, r->work, j->context + object * j->f->context, edges, r->rows, r->log_q, r->cdf);
}

/* Probability of each cell by the flow. */
static void mass_of_flow(const job *j, const room *r, int d)
{
  const double *s = j->s + d * (j->cells + 1);
  double before = 0;
  for (int64_t e = 0; e <= j->cells; e++) {
    const double own = r->cdf[e * j->f->labels + d], here = isfinite(s[e]) ? own : s[e] > 0 ? 1 : 0;
    if (e) r->mass[e - 1] = here > before ? here - before : 0; /* rounding */
    before = here;
  }
}

/* ----------------------------------------------------------- by the draws */

static double kernel_cdf(double u)
{
  if (!(u > -1)) return 0;
  return u < 1 ? 0.5 + u * (15 - u * u * (10 - 3 * u * u)) / 16 : 1;
}

/* Probability of each cell by a kernel around each draw, and how many draws are in it. Returns the sum, over draws
 * inside of the grid, of what each adds itself to the density of its own cell, standing for 1/J. */
static double mass_of_draws(const job *j, const room *r, int64_t object, int d)
{
  const double *s = j->s + d * (j->cells + 1), *edge = j->edge + d * (j->cells + 1);
  const syz_flow_label *label = &j->f->label[d];
  double own = 0;
  for (int64_t k = 0; k < j->draws; k++) {
    const double *y = j->draw + (object * j->draws + k) * j->f->labels + d;
    syz_flow_labels_apply(label, 1, 1, y, r->x + k, NULL, &(uint8_t){0}, NULL);
  }
  flow_sort(j->draws, r->x, r->sorting);
  const double reach = fmax(kernel_reach * 0.5 * flow_spread(j->draws, r->x) * pow((double)j->draws, -0.2), DBL_MIN);
  memset(r->mass, 0, (size_t)j->cells * sizeof *r->mass);
  memset(r->count, 0, (size_t)j->cells * sizeof *r->count);
  for (int64_t k = 0, first = 0; k < j->draws; k++) {
    const double x = r->x[k];
    while (first < j->cells && s[first + 1] <= x - reach) first++;
    double before = first < j->cells ? kernel_cdf((s[first] - x) / reach) : 1;
    for (int64_t c = first; c < j->cells && s[c] < x + reach; c++) {
      const double here = kernel_cdf((s[c + 1] - x) / reach), share = (here - before) / (double)j->draws;
      r->mass[c] += share;
      if (s[c] <= x && x < s[c + 1]) {
        r->count[c] += 1;
        own += share / (edge[c + 1] - edge[c]);
      }
      before = here;
    }
  }
  return own;
}

/* ------------------------------------------------------------ one object */

/* met: the mean density where a draw of the posterior lies. By the flow it is the integral of the density's square; of
 * a kernel density each draw meets what the others say. */
static void one_label(const job *j, const room *r, int64_t object, int d)
{
  const bool is_known = syz_flow_has_marginal(j->f, d);
  const double *edge = j->edge + d * (j->cells + 1), others = (double)(j->draws - 1) / (double)j->draws;
  double *density = j->density + (object * j->f->labels + d) * j->cells, sum = 0, own = 0;
  if (is_known)
    mass_of_flow(j, r, d);
  else
    own = mass_of_draws(j, r, object, d);
  for (int64_t c = 0; c < j->cells; c++) {
    density[c] = r->mass[c] / (edge[c + 1] - edge[c]);
    sum += density[c] * (is_known ? r->mass[c] : r->count[c] / (double)j->draws);
  }
  if (j->met) j->met[object * j->f->labels + d] = is_known ? sum : (sum - own / (double)j->draws) / others;
}

static void one_object(const job *j, const room *r, int64_t object)
{
  if (flow_has_all_marginals(j->f) || syz_flow_has_marginal(j->f, 0)) cdf_at_edges(j, r, object);
  for (int d = 0; d < j->f->labels; d++) one_label(j, r, object, d);
}

static syz_status rooms_create(const job *j, const flow_pool *pool, room *r)
{
  syz_status st = SYZ_OK;
  const int64_t edges = j->cells + 1, labels = j->f->labels;
  for (int t = 0; t < pool->n; t++) {
    r[t].work = pool->work[t];
    SYZ_ALLOC(r[t].rows, "grid", edges * (2 * labels + 3) + 2 * j->draws);
    r[t].cdf = r[t].rows + edges * labels;
    r[t].log_q = r[t].cdf + edges * labels;
    r[t].mass = r[t].log_q + edges;
    r[t].count = r[t].mass + edges;
    r[t].x = r[t].count + edges;
    r[t].sorting = r[t].x + j->draws;
  }
cleanup:
  return st;
}

syz_status syz_flow_grid(const syz_flow *f, int64_t n, const float *context, int64_t draws, const double *draw,
                         int64_t cells, const double *edge, double *density, double *met)
{
  syz_status st = SYZ_OK;
  job j = {f, context, draws, cells, draw, edge, NULL, density, met};
  const int threads = (int)(n < f->threads ? (n ? n : 1) : f->threads);
  flow_pool pool = {0};
  room *r = NULL;
  SYZ_TRY(check_edges(&j));
  SYZ_ALLOC(j.s, "grid", f->labels * (cells + 1));
  standardise_edges(&j);
  SYZ_TRY(flow_pool_create(f, false, threads, &pool));
  SYZ_ALLOC(r, "grid", threads);
  SYZ_TRY(rooms_create(&j, &pool, r));
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads) if (threads > 1)
  for (int64_t i = 0; i < n; i++) one_object(&j, &r[flow_thread()], i);
cleanup:
  for (int t = 0; r && t < threads; t++) syz_free(&r[t].rows);
  syz_free(&r);
  syz_free(&j.s);
  flow_pool_destroy(&pool);
  return st;
}
