/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * L-BFGS (Nocedal & Wright 2006, algorithm 7.4) with step halving (Armijo). Every rank takes the same steps, on sums
 * over all ranks that have the same bits everywhere.
 *
 * Not liblbfgs: it allocates its vectors itself between two calls of the function, which is collective here. A rank
 * without memory for them would leave the others waiting in the next sum.
 */
#include "minimise.h"

#include <float.h>
#include <math.h>
#include <string.h>

enum { HALVINGS = 40 };

syz_status minimiser_make(int64_t size, minimiser *m)
{
  syz_status st = SYZ_OK;
  *m = (minimiser){.size = size};
  double **all[] = {&m->theta, &m->trial, &m->gradient, &m->next, &m->direction};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) SYZ_ALLOC(*all[i], "parameters of a fit", size + 1);
  for (int i = 0; i < MINIMISE_HISTORY; i++) {
    SYZ_ALLOC(m->s[i], "steps of a fit", size);
    SYZ_ALLOC(m->y[i], "steps of a fit", size);
  }
cleanup:
  return st;
}

void minimiser_free(minimiser *m)
{
  double **all[] = {&m->theta, &m->trial, &m->gradient, &m->next, &m->direction};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) syz_free(all[i]);
  for (int i = 0; i < MINIMISE_HISTORY; i++) {
    syz_free(&m->s[i]);
    syz_free(&m->y[i]);
  }
}

static double dot(const double *a, const double *b, int64_t n)
{
  double sum = 0;
  for (int64_t i = 0; i < n; i++) sum += a[i] * b[i];
  return sum;
}

static double largest_of(const double *a, int64_t n)
{
  double largest = 0;
  for (int64_t i = 0; i < n; i++) largest = fabs(a[i]) > largest || isnan(a[i]) ? fabs(a[i]) : largest;
  return largest;
}

/* d = H0 d, H0 = gamma B^-1; gamma is that of the newest step (formula 7.20, with B). m->trial is scratch. */
static void apply_initial(minimiser *m, void *context, int n, int newest, double *d)
{
  double scale = 1;
  if (n) {
    memcpy(m->trial, m->y[newest], (size_t)m->size * sizeof *m->trial);
    if (m->precondition) m->precondition(context, m->trial);
    scale = 1 / (m->rho[newest] * dot(m->y[newest], m->trial, m->size));
  } else if (!m->precondition)
    scale = 1 / fmax(sqrt(dot(d, d, m->size)), 1e-300);
  if (m->precondition) m->precondition(context, d);
  for (int64_t i = 0; i < m->size; i++) d[i] *= scale;
}

/* direction = -H gradient by the two loops over the last `n` steps, the newest at `newest`. */
static void choose_direction(minimiser *m, void *context, int n, int newest)
{
  double alpha[MINIMISE_HISTORY], *d = m->direction;
  for (int64_t i = 0; i < m->size; i++) d[i] = -m->gradient[i];
  for (int k = 0; k < n; k++) {
    const int j = (newest - k + MINIMISE_HISTORY) % MINIMISE_HISTORY;
    alpha[j] = m->rho[j] * dot(m->s[j], d, m->size);
    for (int64_t i = 0; i < m->size; i++) d[i] -= alpha[j] * m->y[j][i];
  }
  apply_initial(m, context, n, newest, d);
  for (int k = n - 1; k >= 0; k--) {
    const int j = (newest - k + MINIMISE_HISTORY) % MINIMISE_HISTORY;
    const double beta = m->rho[j] * dot(m->y[j], d, m->size);
    for (int64_t i = 0; i < m->size; i++) d[i] += (alpha[j] - beta) * m->s[j][i];
  }
}

/* Keep the step from theta to trial when it shows curvature. */
static void remember(minimiser *m, int *n, int *newest)
{
  const int j = (*newest + 1) % MINIMISE_HISTORY; /* with a full history the oldest pair, which a poor step must not
                                                     replace */
  double sy = 0, yy = 0;
  for (int64_t i = 0; i < m->size; i++) {
    const double y = m->next[i] - m->gradient[i];
    sy += (m->trial[i] - m->theta[i]) * y;
    yy += y * y;
  }
  if (!(sy > 1e-14 * yy)) return;
  for (int64_t i = 0; i < m->size; i++) {
    m->s[j][i] = m->trial[i] - m->theta[i];
    m->y[j][i] = m->next[i] - m->gradient[i];
  }
  m->rho[j] = 1 / sy;
  *newest = j;
  if (*n < MINIMISE_HISTORY) ++*n;
}

/* Whether m->trial, with value `there`, is a step down (Armijo). Divided steps come so near to the minimum that values
 * differ by rounding alone; the gradient then tells more (Hager & Zhang 2005, their approximate Wolfe condition). */
static bool is_down(const minimiser *m, double value, double there, double step, double slope)
{
  if (there <= value + 1e-4 * step * slope) return true;
  return m->precondition && there <= value + 8 * DBL_EPSILON * fabs(value) &&
         largest_of(m->next, m->size) < largest_of(m->gradient, m->size);
}

/* Collective: every rank takes the same branches, since all numbers are the same on each. */
minimum minimise(minimiser *m, minimise_function f, void *context, int64_t iterations, double tolerance)
{
  minimum result;
  int n = 0, newest = MINIMISE_HISTORY - 1;
  double value = f(context, m->theta, m->gradient);
  result = (minimum){.loss = m->gradient[m->size], .gradient = largest_of(m->gradient, m->size)};
  while (result.gradient > tolerance && result.iterations < iterations) {
    double step = 1, slope, there = 0;
    int halvings = 0;
    choose_direction(m, context, n, newest);
    slope = dot(m->direction, m->gradient, m->size);
    for (;; step /= 2) {
      for (int64_t i = 0; i < m->size; i++) m->trial[i] = m->theta[i] + step * m->direction[i];
      there = f(context, m->trial, m->next);
      if (is_down(m, value, there, step, slope) || ++halvings > HALVINGS) break;
    }
    if (halvings > HALVINGS) { /* at the limit of rounding: try steepest descent once, then stop */
      if (!n) break;
      n = 0;
      continue;
    }
    remember(m, &n, &newest);
    memcpy(m->theta, m->trial, (size_t)m->size * sizeof *m->theta);
    memcpy(m->gradient, m->next, (size_t)(m->size + 1) * sizeof *m->gradient);
    value = there;
    result.iterations++;
    result.loss = m->gradient[m->size];
    result.gradient = largest_of(m->gradient, m->size);
  }
  result.has_converged = result.gradient <= tolerance;
  return result;
}
