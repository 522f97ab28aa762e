/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Densities of the ensemble: blocks of objects, each by one thread, members in order; sums over members by a running
 * log-sum-exp in float64. One member's gradient and its way to the base normals, for tests and for whoever builds on
 * them.
 */
#include <math.h>
#include <string.h>

#include "internal.h"

static const double half_log_2pi = 0.91893853320467274178;

syz_status flow_pool_create(const syz_flow *f, bool trains, int threads, flow_pool *pool)
{
  syz_status st = SYZ_OK;
  *pool = (flow_pool){.engine = f->engine};
  SYZ_ALLOC(pool->work, "flow", threads);
  for (pool->n = 0; pool->n < threads; pool->n++) SYZ_TRY(f->engine->create(&f->largest, trains, &pool->work[pool->n]));
cleanup:
  if (st != SYZ_OK) flow_pool_destroy(pool);
  return st;
}

void flow_pool_destroy(flow_pool *pool)
{
  for (int i = 0; i < pool->n; i++) pool->engine->destroy(&pool->work[i]);
  syz_free(&pool->work);
  pool->n = 0;
}

double flow_log_add(double a, double b)
{
  const double most = a > b ? a : b, least = a > b ? b : a;
  if (isnan(a) || isnan(b)) return NAN;
  return least == -INFINITY ? most : most + log1p(exp(least - most));
}

/* ----------------------------------------------------------- sums of members */

void flow_sums_begin(const flow_sums *sums, int n, int labels)
{
  for (int i = 0; i < n; i++) sums->log_q[i] = -INFINITY;
  for (int i = 0; sums->each && i < n * labels; i++) sums->each[i] = -INFINITY;
  for (int i = 0; sums->cdf && i < n * labels; i++) sums->cdf[i] = 0;
}

void flow_sums_add(const flow_sums *sums, int n, int labels, double temperature, const double *z,
                   const double *log_slope)
{
  const double log_norm = half_log_2pi + log(temperature), per_square = 0.5 / (temperature * temperature);
  for (int i = 0; i < n; i++) {
    double log_q = 0;
    for (int d = 0; d < labels; d++) {
      const double x = z[i * labels + d], own = log_slope[i * labels + d] - log_norm - per_square * x * x;
      log_q += own;
      if (sums->each) sums->each[i * labels + d] = flow_log_add(sums->each[i * labels + d], own);
      if (sums->cdf) sums->cdf[i * labels + d] += flow_normal_cdf(x / temperature);
    }
    sums->log_q[i] = flow_log_add(sums->log_q[i], log_q);
  }
}

/* The PIT map of an object's marginals: each density times the map's slope. */
static void map_marginals(const syz_flow *f, const flow_sums *sums, int i)
{
  for (int d = 0; d < f->labels; d++) {
    double slope, *u = &sums->cdf[i * f->labels + d];
    *u = flow_pit_map(f->calibration.map[d], *u, &slope);
    sums->log_q[i] += log(slope);
    if (sums->each) sums->each[i * f->labels + d] += log(slope);
  }
}

void flow_sums_end(const syz_flow *f, const flow_sums *sums, int n)
{
  const double log_members = log((double)f->members);
  for (int i = 0; i < n; i++) {
    sums->log_q[i] -= log_members;
    for (int d = 0; d < f->labels; d++) {
      const int at = i * f->labels + d;
      if (sums->cdf) sums->cdf[at] /= (double)f->members;
      if (sums->each) sums->each[at] = syz_flow_has_marginal(f, d) ? sums->each[at] - log_members : NAN;
    }
    if (f->calibration.kind == SYZ_FLOW_PIT && sums->cdf) map_marginals(f, sums, i);
  }
}

/* ---------------------------------------------------------------- ensemble */

/* What a call over n objects needs: standardised labels, where results go (any may be NULL). */
typedef struct job {
  const syz_flow *f;
  const float *context;
  const double *s;   /* [n, D] */
  const uint8_t *ok; /* [n] */
  double *log_q, *each, *cdf;
} job;

static void run_block(const job *j, void *work, int64_t first, int n)
{
  const syz_flow *f = j->f;
  const int labels = f->labels;
  const bool is_mapped = f->calibration.kind == SYZ_FLOW_PIT && flow_has_all_marginals(f);
  double z[FLOW_BLOCK * SYZ_FLOW_LABELS], slope[FLOW_BLOCK * SYZ_FLOW_LABELS];
  double log_q[FLOW_BLOCK], each[FLOW_BLOCK * SYZ_FLOW_LABELS], cdf[FLOW_BLOCK * SYZ_FLOW_LABELS];
  const flow_sums sums = {log_q, j->each ? each : NULL, j->cdf || is_mapped ? cdf : NULL};
  flow_sums_begin(&sums, n, labels);
  for (int m = 0; m < f->members; m++) {
    if (!m) f->engine->load_context(work, &f->layout[m], n, j->context + first * f->context, NULL, f->mean, f->factor);
    f->engine->forward(work, &f->layout[m], f->parameters[m], n, j->s + first * labels, z, slope);
    flow_sums_add(&sums, n, labels, f->calibration.temperature, z, slope);
  }
  flow_sums_end(f, &sums, n);
  for (int i = 0; i < n; i++) {
    const bool is_good = !j->ok || j->ok[first + i];
    if (j->log_q) j->log_q[first + i] = is_good ? log_q[i] : -INFINITY;
    for (int d = 0; d < labels; d++) {
      if (j->each) j->each[(first + i) * labels + d] = is_good ? each[i * labels + d] : -INFINITY;
      if (j->cdf) j->cdf[(first + i) * labels + d] = is_good ? cdf[i * labels + d] : NAN;
    }
  }
}

static syz_status run(const job *j, int64_t n)
{
  syz_status st = SYZ_OK;
  flow_pool pool = {0};
  const int64_t blocks = (n + FLOW_BLOCK - 1) / FLOW_BLOCK;
  const int threads = (int)(blocks < j->f->threads ? (blocks ? blocks : 1) : j->f->threads);
  SYZ_TRY(flow_pool_create(j->f, false, threads, &pool));
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads) if (threads > 1)
  for (int64_t b = 0; b < blocks; b++) {
    const int64_t first = b * FLOW_BLOCK, left = n - first;
    run_block(j, pool.work[flow_thread()], first, (int)(left < FLOW_BLOCK ? left : FLOW_BLOCK));
  }
cleanup:
  flow_pool_destroy(&pool);
  return st;
}

syz_status syz_flow_log_density(const syz_flow *f, int64_t n, const float *context, const double *y, double *log_q,
                                double *jacobian, double *each)
{
  syz_status st = SYZ_OK;
  double *s = NULL, *log_slope = NULL;
  uint8_t *ok = NULL;
  SYZ_ALLOC(s, "labels", n * f->labels + 1);
  SYZ_ALLOC(log_slope, "labels", n + 1);
  SYZ_ALLOC(ok, "labels", n + 1);
  SYZ_TRY(syz_flow_labels_apply(f->label, f->labels, n, y, s, log_slope, ok, NULL));
  SYZ_TRY(run(&(job){.f = f, .context = context, .s = s, .ok = ok, .log_q = log_q, .each = each}, n));
  for (int64_t i = 0; i < n; i++) {
    log_q[i] += log_slope[i];
    if (jacobian) jacobian[i] = log_slope[i];
  }
cleanup:
  syz_free(&s);
  syz_free(&log_slope);
  syz_free(&ok);
  return st;
}

syz_status syz_flow_cdf(const syz_flow *f, int label, int64_t n, const float *context, const double *y, double *cdf)
{
  syz_status st = SYZ_OK;
  double *s = NULL, *all = NULL;
  uint8_t *ok = NULL;
  SYZ_REQUIRE(label >= 0 && label < f->labels && syz_flow_has_marginal(f, label), SYZ_ERR_INPUT,
              "this %s flow of %d labels does not have the distribution of label %d alone; count draws below the value",
              syz_flow_kind_name(f->largest.shape.kind), f->labels, label);
  SYZ_ALLOC(s, "labels", n * f->labels + 1);
  SYZ_ALLOC(all, "cumulative distribution", n * f->labels + 1);
  SYZ_ALLOC(ok, "labels", n + 1);
  SYZ_TRY(syz_flow_labels_apply(f->label, f->labels, n, y, s, NULL, ok, NULL));
  SYZ_TRY(run(&(job){.f = f, .context = context, .s = s, .ok = ok, .cdf = all}, n));
  for (int64_t i = 0; i < n; i++) cdf[i] = all[i * f->labels + label];
cleanup:
  syz_free(&s);
  syz_free(&all);
  syz_free(&ok);
  return st;
}

syz_status syz_flow_nll_of(const syz_flow *f, int64_t n, const float *context, const double *y, syz_flow_nll *out)
{
  syz_status st = SYZ_OK;
  double *log_q = NULL, *jacobian = NULL, *each = NULL;
  *out = (syz_flow_nll){0};
  SYZ_ALLOC(log_q, "log densities", n + 1);
  SYZ_ALLOC(jacobian, "log densities", n + 1);
  SYZ_ALLOC(each, "log densities", n * f->labels + 1);
  SYZ_TRY(syz_flow_log_density(f, n, context, y, log_q, jacobian, each));
  for (int64_t i = 0; i < n; i++) {
    if (!isfinite(log_q[i])) {
      out->infinite++;
      continue;
    }
    out->n++;
    out->joint -= log_q[i] - jacobian[i];
    out->joint_units -= log_q[i];
    for (int d = 0; d < f->labels; d++) out->each[d] -= each[i * f->labels + d];
  }
  const double count = out->n ? (double)out->n : NAN;
  out->joint /= count;
  out->joint_units /= count;
  out->per_label = out->joint / f->labels;
  for (int d = 0; d < f->labels; d++) out->each[d] /= count;
cleanup:
  syz_free(&log_q);
  syz_free(&jacobian);
  syz_free(&each);
  return st;
}

syz_status syz_flow_log_density_at(const syz_flow *f, const float *context, int64_t n, const double *y, double *log_q)
{
  syz_status st = SYZ_OK;
  flow_pool pool = {0};
  double *s = NULL, *jacobian = NULL;
  uint8_t *ok = NULL;
  SYZ_ALLOC(s, "labels", n * f->labels + 1);
  SYZ_ALLOC(jacobian, "labels", n + 1);
  SYZ_ALLOC(ok, "labels", n + 1);
  SYZ_TRY(syz_flow_labels_apply(f->label, f->labels, n, y, s, jacobian, ok, NULL));
  SYZ_TRY(flow_pool_create(f, false, 1, &pool));
  flow_log_density_shared(f, pool.work[0], context, n, s, log_q, NULL);
  for (int64_t i = 0; i < n; i++) log_q[i] = ok[i] ? log_q[i] + jacobian[i] : -INFINITY;
cleanup:
  flow_pool_destroy(&pool);
  syz_free(&s);
  syz_free(&jacobian);
  syz_free(&ok);
  return st;
}

void flow_log_density_shared(const syz_flow *f, void *work, const float *context, int64_t n, const double *s,
                             double *log_q, double *cdf)
{
  const int labels = f->labels;
  const bool is_mapped = f->calibration.kind == SYZ_FLOW_PIT && flow_has_all_marginals(f);
  for (int64_t first = 0; first < n; first += FLOW_BLOCK) {
    double z[FLOW_BLOCK * SYZ_FLOW_LABELS], slope[FLOW_BLOCK * SYZ_FLOW_LABELS];
    double mapped[FLOW_BLOCK * SYZ_FLOW_LABELS];
    const int count = (int)(n - first < FLOW_BLOCK ? n - first : FLOW_BLOCK);
    const flow_sums sums = {log_q + first, NULL, cdf ? cdf + first * labels : is_mapped ? mapped : NULL};
    flow_sums_begin(&sums, count, labels);
    for (int m = 0; m < f->members; m++) {
      f->engine->load_context(work, &f->layout[m], 1, context, NULL, f->mean, f->factor);
      f->engine->prepare(work, &f->layout[m], f->parameters[m], 1);
      f->engine->share(work, &f->layout[m], 0);
      f->engine->forward(work, &f->layout[m], f->parameters[m], count, s + first * labels, z, slope);
      flow_sums_add(&sums, count, labels, f->calibration.temperature, z, slope);
    }
    flow_sums_end(f, &sums, count);
  }
}

/* -------------------------------------------------------------- one member */

double flow_log_normal(int labels, const double *z, const double *log_slope)
{
  double sum = 0;
  for (int d = 0; d < labels; d++) sum += log_slope[d] - half_log_2pi - 0.5 * z[d] * z[d];
  return sum;
}

static void copy_gradient(const syz_flow *f, int64_t n, const void *gradient, double *out)
{
  for (int64_t i = 0; i < n; i++)
    out[i] = f->precision == SYZ_FLOW_F64 ? ((const double *)gradient)[i] : (double)((const float *)gradient)[i];
}

syz_status syz_flow_gradient(const syz_flow *f, int member, int64_t n, const float *context, const double *s,
                             const double *weight, double *log_q, double *dparameters, double *ds, double *dcontext)
{
  syz_status st = SYZ_OK;
  const flow_layout *y = &f->layout[member];
  const int labels = f->labels;
  flow_pool pool = {0};
  void *gradient = syz_alloc("gradient", (size_t)y->size, f->engine->real);
  SYZ_REQUIRE(gradient, SYZ_ERR_MEMORY, "no memory for the gradient of a flow");
  SYZ_TRY(flow_pool_create(f, true, 1, &pool));
  for (int64_t first = 0; first < n; first += FLOW_BLOCK) {
    double z[FLOW_BLOCK * SYZ_FLOW_LABELS], slope[FLOW_BLOCK * SYZ_FLOW_LABELS], one[FLOW_BLOCK];
    const int count = (int)(n - first < FLOW_BLOCK ? n - first : FLOW_BLOCK);
    for (int i = 0; i < count; i++) one[i] = weight ? weight[first + i] : 1;
    f->engine->load_context(pool.work[0], y, count, context + first * f->context, NULL, f->mean, f->factor);
    f->engine->forward(pool.work[0], y, f->parameters[member], count, s + first * labels, z, slope);
    for (int i = 0; i < count; i++) log_q[first + i] = flow_log_normal(labels, z + i * labels, slope + i * labels);
    f->engine->backward(pool.work[0], y, f->parameters[member], count, one, gradient, ds ? ds + first * labels : NULL,
                        dcontext ? dcontext + first * f->context : NULL);
  }
  if (dparameters) copy_gradient(f, y->size, gradient, dparameters);
cleanup:
  flow_pool_destroy(&pool);
  syz_free(&gradient);
  return st;
}

/* Both ways between labels and base normals. */
static syz_status through(const syz_flow *f, int member, int64_t n, const float *context, const double *in, double *out,
                          bool is_back)
{
  syz_status st = SYZ_OK;
  const flow_layout *y = &f->layout[member];
  flow_pool pool = {0};
  SYZ_TRY(flow_pool_create(f, false, 1, &pool));
  for (int64_t first = 0; first < n; first += FLOW_BLOCK) {
    double slope[FLOW_BLOCK * SYZ_FLOW_LABELS];
    const int count = (int)(n - first < FLOW_BLOCK ? n - first : FLOW_BLOCK);
    const int64_t at = first * f->labels;
    f->engine->load_context(pool.work[0], y, count, context + first * f->context, NULL, f->mean, f->factor);
    if (is_back)
      f->engine->inverse(pool.work[0], y, f->parameters[member], count, in + at, out + at);
    else
      f->engine->forward(pool.work[0], y, f->parameters[member], count, in + at, out + at, slope);
  }
cleanup:
  flow_pool_destroy(&pool);
  return st;
}

syz_status syz_flow_to_base(const syz_flow *f, int member, int64_t n, const float *context, const double *s, double *z)
{
  return through(f, member, n, context, s, z, false);
}

syz_status syz_flow_from_base(const syz_flow *f, int member, int64_t n, const float *context, const double *z,
                              double *s)
{
  return through(f, member, n, context, z, s, true);
}
