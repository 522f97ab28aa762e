/* SPDX-License-Identifier: BSD-3-Clause */
/** Inside of room analysis: the minimum of a smooth function whose value is a sum over ranks. */
#pragma once

#include "syzygy/base.h"

enum { MINIMISE_HISTORY = 20 };

/** Value at theta [size]. gradient [size + 1], which ends with a number of the function's own: the loss without its
 * penalty. Collective; the same bits on every rank. */
typedef double (*minimise_function)(void *context, const double *theta, double *gradient);

typedef struct minimiser {
  int64_t size;
  double *theta;                               /**< [size] where it begins and ends */
  double *trial, *gradient, *next, *direction; /**< [size + 1] */
  double *s[MINIMISE_HISTORY], *y[MINIMISE_HISTORY], rho[MINIMISE_HISTORY];
  /** d [size] = B^-1 d, where B is positive definite and roughly the second derivative: far fewer steps where features
   * are correlated. NULL, as after minimiser_make: B = 1. The same bits on every rank. */
  void (*precondition)(void *context, double *d);
} minimiser;

typedef struct minimum {
  double loss;     /**< the function's own number, at the end */
  double gradient; /**< largest component */
  int64_t iterations;
  bool has_converged;
} minimum;

/** With theta 0. Rank-local. */
syz_status minimiser_make(int64_t size, minimiser *m);
void minimiser_free(minimiser *m);
/** At most so many iterations, until no component of the gradient is larger than the tolerance. Collective. */
minimum minimise(minimiser *m, minimise_function f, void *context, int64_t iterations, double tolerance);
