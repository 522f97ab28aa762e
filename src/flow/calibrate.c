/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Recalibration on validation objects. By a temperature: base normals times T, which keeps density and draws consistent
 * for every kind of flow; T minimises the joint NLL (golden section on ln T). By PIT: each label's CDF u is replaced by
 * map(u), the share of validation objects below u, straight between 33 knots (Bordoloi, Lilly & Amara 2010,
 * arXiv:0910.5735); draws move to where the map puts their rank, which keeps the ranks' dependence between labels.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "internal.h"

/* ------------------------------------------------------------- temperature */

/* Of every object and member: sum of squares of base normals, and log F'. */
typedef struct parts {
  int64_t n;
  int members, labels;
  double *square, *slope; /* [n, M] */
} parts;

static void fill_parts(const syz_flow *f, void *work, const float *context, const double *s, parts *p)
{
  for (int64_t first = 0; first < p->n; first += FLOW_BLOCK) {
    double z[FLOW_BLOCK * SYZ_FLOW_LABELS], log_slope[FLOW_BLOCK * SYZ_FLOW_LABELS];
    const int count = (int)(p->n - first < FLOW_BLOCK ? p->n - first : FLOW_BLOCK);
    f->engine->load_context(work, &f->layout[0], count, context + first * f->context, NULL, f->mean, f->factor);
    for (int m = 0; m < f->members; m++) {
      f->engine->forward(work, &f->layout[m], f->parameters[m], count, s + first * f->labels, z, log_slope);
      for (int i = 0; i < count; i++) {
        double *square = &p->square[(first + i) * f->members + m], *slope = &p->slope[(first + i) * f->members + m];
        *square = *slope = 0;
        for (int d = 0; d < f->labels; d++) {
          *square += z[i * f->labels + d] * z[i * f->labels + d];
          *slope += log_slope[i * f->labels + d];
        }
      }
    }
  }
}

/* Mean -log q, standardised. */
static double nll_at(const parts *p, double log_temperature)
{
  const double per_square = 0.5 * exp(-2 * log_temperature);
  const double constant = p->labels * (0.91893853320467274178 + log_temperature) + log((double)p->members);
  double sum = 0;
  for (int64_t i = 0; i < p->n; i++) {
    double log_q = -INFINITY;
    for (int m = 0; m < p->members; m++)
      log_q = flow_log_add(log_q, p->slope[i * p->members + m] - per_square * p->square[i * p->members + m]);
    sum += constant - log_q;
  }
  return sum / (double)p->n;
}

static double best_log_temperature(const parts *p)
{
  const double ratio = 0.61803398874989484820;
  double low = log(0.1), high = log(10.0);
  double a = high - ratio * (high - low), b = low + ratio * (high - low), fa = nll_at(p, a), fb = nll_at(p, b);
  for (int i = 0; i < 40; i++) {
    if (fa < fb) {
      high = b;
      b = a;
      fb = fa;
      a = high - ratio * (high - low);
      fa = nll_at(p, a);
    } else {
      low = a;
      a = b;
      fa = fb;
      b = low + ratio * (high - low);
      fb = nll_at(p, b);
    }
  }
  return 0.5 * (low + high);
}

syz_status syz_flow_calibrate_temperature(syz_flow *f, int64_t n, const float *context, const double *y)
{
  syz_status st = SYZ_OK;
  flow_pool pool = {0};
  double *s = NULL;
  parts p = {.n = n, .members = f->members, .labels = f->labels};
  SYZ_REQUIRE(n >= 10, SYZ_ERR_DATA, "recalibration has %lld validation objects; at least 10 are needed", (long long)n);
  SYZ_ALLOC(s, "labels", n * f->labels);
  SYZ_ALLOC(p.square, "recalibration", n * f->members);
  SYZ_ALLOC(p.slope, "recalibration", n * f->members);
  SYZ_TRY(syz_flow_labels_apply(f->label, f->labels, n, y, s, NULL, NULL, NULL));
  SYZ_TRY(flow_pool_create(f, false, 1, &pool));
  fill_parts(f, pool.work[0], context, s, &p);
  const double before = nll_at(&p, 0), best = best_log_temperature(&p), after = nll_at(&p, best);
  SYZ_REQUIRE(isfinite(before) && isfinite(after), SYZ_ERR_NUMERIC,
              "recalibration: the density of a validation object is not finite (mean -log q %g)", before);
  f->calibration = (syz_flow_calibration){
      .kind = SYZ_FLOW_TEMPERATURE, .n = n, .temperature = exp(best), .nll_before = before, .nll_after = after};
cleanup:
  flow_pool_destroy(&pool);
  syz_free(&s);
  syz_free(&p.square);
  syz_free(&p.slope);
  return st;
}

/* --------------------------------------------------------------------- PIT */

syz_status syz_flow_calibrate_pit(syz_flow *f, int64_t n, const double *pit)
{
  syz_status st = SYZ_OK;
  syz_flow_calibration c = {.kind = SYZ_FLOW_PIT, .n = n, .temperature = 1};
  SYZ_REQUIRE(n >= 10, SYZ_ERR_DATA, "recalibration has %lld validation objects; at least 10 are needed", (long long)n);
  for (int d = 0; d < f->labels; d++) {
    double count[SYZ_FLOW_KNOTS], sum = 0;
    for (int k = 0; k < SYZ_FLOW_KNOTS; k++) count[k] = SYZ_FLOW_KNOTS * flow_pit_width(k);
    for (int64_t i = 0; i < n; i++) {
      const double u = pit[i * f->labels + d];
      SYZ_REQUIRE(u >= 0 && u <= 1, SYZ_ERR_DATA, "label %s: the PIT value of validation object %lld is %g, not 0 to 1",
                  f->label[d].name, (long long)i, u);
      count[flow_pit_interval(u)] += 1;
    }
    for (int k = 0; k < SYZ_FLOW_KNOTS; k++) c.map[d][k + 1] = (sum += count[k]) / (double)(n + SYZ_FLOW_KNOTS);
    c.map[d][SYZ_FLOW_KNOTS] = 1;
  }
  f->calibration = c;
cleanup:
  return st;
}

typedef struct ranked {
  double x;
  int64_t place;
} ranked;

static int by_value(const void *a_, const void *b_)
{
  const ranked *a = a_, *b = b_;
  if (a->x != b->x) return a->x < b->x ? -1 : 1;
  return a->place < b->place ? -1 : a->place > b->place;
}

size_t flow_pit_room(int64_t draws) { return (size_t)draws * sizeof(ranked); }

void flow_pit_move(const double *map, int64_t draws, double *x, int64_t stride, void *room)
{
  ranked *r = room;
  for (int64_t j = 0; j < draws; j++) r[j] = (ranked){x[j * stride], j};
  qsort(r, (size_t)draws, sizeof *r, by_value);
  for (int64_t j = 0; j < draws; j++) {
    const double u = flow_pit_undo(map, ((double)j + 0.5) / (double)draws), at = u * (double)draws - 0.5;
    const double inside = at < 0 ? 0 : at > (double)(draws - 1) ? (double)(draws - 1) : at;
    const int64_t low = (int64_t)inside, high = low + 1 < draws ? low + 1 : low;
    x[r[j].place * stride] = r[low].x + (inside - (double)low) * (r[high].x - r[low].x);
  }
}

/* ------------------------------------------------------------------- state */

const syz_flow_calibration *syz_flow_calibration_of(const syz_flow *f) { return &f->calibration; }

syz_status syz_flow_set_calibration(syz_flow *f, const syz_flow_calibration *c)
{
  syz_status st = SYZ_OK;
  SYZ_REQUIRE(c->temperature > 0 && isfinite(c->temperature), SYZ_ERR_INPUT,
              "the temperature of a recalibration is %g; it must be above 0", c->temperature);
  for (int d = 0; c->kind == SYZ_FLOW_PIT && d < f->labels; d++) {
    SYZ_REQUIRE(c->map[d][0] == 0 && c->map[d][SYZ_FLOW_KNOTS] == 1, SYZ_ERR_INPUT,
                "label %s: the map of a recalibration goes from %g to %g, not from 0 to 1", f->label[d].name,
                c->map[d][0], c->map[d][SYZ_FLOW_KNOTS]);
    for (int k = 0; k < SYZ_FLOW_KNOTS; k++)
      SYZ_REQUIRE(c->map[d][k] < c->map[d][k + 1], SYZ_ERR_INPUT, "label %s: the map of a recalibration does not rise",
                  f->label[d].name);
  }
  f->calibration = *c;
cleanup:
  return st;
}
