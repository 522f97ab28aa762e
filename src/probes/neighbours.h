/* SPDX-License-Identifier: BSD-3-Clause */
/** Inside of room probes: the nearest objects of each object, by the exact search. */
#pragma once

#include "method.h"

typedef struct neighbours {
  int source;
  const double *mean, *deviation;     /**< [width] by which features are standardised */
  const uint8_t *is_asked, *is_among; /**< [rows] objects that are asked about, and those among which is searched */
  int64_t k;
  int numbers; /**< that are said of each object, 1 .. 4 */
  /** What k neighbours say, best first; row -1: there are no more. An object is never a neighbour of itself or of its
   * copies. */
  void (*say)(void *context, int64_t k, const syz_neighbour *best, double *out);
  void *context;
} neighbours;

/** out [rows, numbers], the same on every rank: NaN where not asked. Collective; agreed. */
syz_status neighbours_ask(job *p, const neighbours *a, double *out);
