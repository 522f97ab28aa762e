/* SPDX-License-Identifier: BSD-3-Clause */
/** What the files of this room share beside the engine. */
#pragma once

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

/** Standardised s [n, D] of n <= FLOW_BLOCK objects whose context is in `work`, or shared: log_q [n] of the ensemble,
 * each [n, D] (NULL: not) log of marginals, cdf [n, D] (NULL: not) of the base normals' own, meaningful where the flow
 * has marginals. Temperature and, where all marginals are known, the PIT map are in. `first`: member whose prepared
 * context is in `work`. */
typedef struct flow_sums {
  double *log_q; /* [n] log of the sum over members so far, then of the mean */
  double *each;  /* [n, D] */
  double *cdf;   /* [n, D] */
} flow_sums;
void flow_sums_begin(const flow_sums *sums, int n, int labels);
/** z, log_slope [n, D] of one more member. */
void flow_sums_add(const flow_sums *sums, int n, int labels, double temperature, const double *z,
                   const double *log_slope);
/** Logarithms of means; PIT map. */
void flow_sums_end(const syz_flow *f, const flow_sums *sums, int n);

static inline double flow_normal_cdf(double z) { return 0.5 * __builtin_erfc(-z * 0.70710678118654752440); }
/** Logarithm of exp(a) + exp(b). */
double flow_log_add(double a, double b);
bool flow_has_all_marginals(const syz_flow *f);

/** u -> map(u) of a PIT calibration, its derivative, and back. */
double flow_pit_map(const double *map, double u, double *slope);
double flow_pit_undo(const double *map, double u);
/** Draws [J] of one label, by value `stride` apart: each moves to where the map puts its rank. order, sorted [J]:
 * scratch. */
void flow_pit_move(const double *map, int64_t draws, double *x, int64_t stride, int64_t *order, double *sorted);

/** Ascending; NaN last. scratch [n]. */
void flow_sort(int64_t n, double *x, double *scratch);
