/* SPDX-License-Identifier: BSD-3-Clause */
/** What the files of this room share beside the engine. */
#pragma once

#ifdef _OPENMP
#include <omp.h>
#endif

#include <math.h>

#include "engine.h"
#include "syzygy/numbers.h"

struct syz_flow {
  int members, labels, context, threads;
  uint64_t seed;
  syz_flow_precision precision;
  const flow_engine *engine;
  syz_flow_label label[SYZ_FLOW_LABELS];
  flow_layout *layout, largest; /* [members]; one as large as any */
  void **parameters;            /* [members] */
  double *mean, *factor;        /* [context] */
  syz_flow_calibration calibration;
};

/** Places of a shape's parameters. */
void flow_layout_fill(const syz_flow_shape *shape, flow_layout *y);

/** Scratch of every thread. */
typedef struct flow_pool {
  const flow_engine *engine;
  int n;
  void **work;
} flow_pool;
syz_status flow_pool_create(const syz_flow *f, bool trains, int threads, flow_pool *pool);
void flow_pool_destroy(flow_pool *pool);

/** Sums over members for n <= FLOW_BLOCK objects, standardised: begin, add each member's z and log_slope [n, D], end.
 * Then temperature and, with cdf and a PIT calibration, its map are in. */
typedef struct flow_sums {
  double *log_q; /**< [n] */
  double *each;  /**< [n, D] log of marginal densities, NaN where there are none; NULL: not wanted */
  double *cdf;   /**< [n, D] that of marginals where there are any; NULL: not wanted */
} flow_sums;
void flow_sums_begin(const flow_sums *sums, int n, int labels);
void flow_sums_add(const flow_sums *sums, int n, int labels, double temperature, const double *z,
                   const double *log_slope);
void flow_sums_end(const syz_flow *f, const flow_sums *sums, int n);
/** log_q [n] of standardised s [n, D], all of one context [C]; cdf [n, D] of the marginals that the flow has, or NULL.
 */
void flow_log_density_shared(const syz_flow *f, void *work, const float *context, int64_t n, const double *s,
                             double *log_q, double *cdf);
/** log N(z) + sum of log_slope [D]. */
double flow_log_normal(int labels, const double *z, const double *log_slope);
/** ln ds/dy of a label inside its domain. */
double flow_log_slope(const syz_flow_label *label, double y);

/** Number of this thread within its team. */
static inline int flow_thread(void)
{
#ifdef _OPENMP
  return omp_get_thread_num();
#else
  return 0;
#endif
}
static inline double flow_normal_cdf(double z) { return 0.5 * erfc(-z * 0.70710678118654752440); }
/** Logarithm of exp(a) + exp(b). */
double flow_log_add(double a, double b);
bool flow_has_all_marginals(const syz_flow *f);

/** Number of the interval of two knots of a PIT calibration that holds u, and its width. */
int flow_pit_interval(double u);
double flow_pit_width(int k);
/** u -> map(u), its derivative, and back. */
double flow_pit_map(const double *map, double u, double *slope);
double flow_pit_undo(const double *map, double u);
/** Draws [J] of one label, `stride` apart: each moves to where the map puts its rank. room: flow_pit_room bytes. */
void flow_pit_move(const double *map, int64_t draws, double *x, int64_t stride, void *room);
size_t flow_pit_room(int64_t draws);

/** Ascending; NaN last. scratch [n]. */
void flow_sort(int64_t n, double *x, double *scratch);
/** The lesser of deviation and quartiles' distance / 1.349 of sorted draws [n >= 2]: what bandwidths are made of. */
double flow_spread(int64_t n, const double *sorted);
