/* SPDX-License-Identifier: BSD-3-Clause */
/** Marginal densities on a grid: against the flow's own density, and against a kernel written down again. */
#include <stdlib.h>

#include "check.h"
#include "syzygy/flow.h"
#include "syzygy/numbers.h"

enum { WIDTH = 4, D = 3, N = 3, CELLS = 50, J = 60, FINE = 500 };

static double normal(uint64_t object, uint32_t draw)
{
  const syz_random r = syz_random_make(3, SYZ_RANDOM_TEST, 1, object);
  return syz_random_normal(&r, draw);
}

/* Splines that bend, labels of all transforms. */
static syz_flow *make_flow(syz_flow_kind kind)
{
  const syz_flow_label label[D] = {{.name = "a", .mean = 2, .scale = 3},
                                   {.name = "b", .transform = SYZ_FLOW_LOG, .low = 1, .scale = 0.3},
                                   {.name = "c", .transform = SYZ_FLOW_LOGIT, .low = 0, .high = 1, .scale = 0.7}};
  syz_flow_options o = syz_flow_options_default(D, WIDTH);
  syz_flow *f = NULL;
  o.shape.kind = kind;
  o.shape.hidden = 12;
  o.members = 2;
  o.label = label;
  o.seed = 5;
  o.precision = SYZ_FLOW_F64;
  CHECK_OK(syz_flow_create(&o, &f));
  for (int m = 0; f && m < 2; m++)
    for (int64_t i = 0; i < syz_flow_parameters(f, m); i++) ((double *)syz_flow_parameter_block(f, m))[i] *= 1.6;
  return f;
}

typedef struct objects {
  float context[N * WIDTH];
  int64_t id[N];
  double draw[N * J * D], edge[D * (CELLS + 1)], density[N * D * CELLS], met[N * D];
} objects;

static void fill(const syz_flow *f, objects *o)
{
  const double low[D] = {-25, 0.5, -0.1}, high[D] = {30, 12, 1.1}; /* of two labels beyond their domains */
  for (uint64_t i = 0; i < N; i++) {
    o->id[i] = (int64_t)i;
    for (uint32_t c = 0; c < WIDTH; c++) o->context[i * WIDTH + c] = (float)normal(i, c);
  }
  for (int d = 0; d < D; d++)
    for (int e = 0; e <= CELLS; e++) o->edge[d * (CELLS + 1) + e] = low[d] + (high[d] - low[d]) * e / CELLS;
  CHECK_OK(syz_flow_draw(f, 1, N, o->context, o->id, J, o->draw, NULL));
  CHECK_OK(syz_flow_grid(f, N, o->context, J, o->draw, CELLS, o->edge, o->density, o->met));
}

static double width_of(const objects *o, int d) { return o->edge[d * (CELLS + 1) + 1] - o->edge[d * (CELLS + 1)]; }

/* Mean density of a cell by the middle of many parts of it, as the flow gives it for each label alone. */
static double mean_density(const syz_flow *f, const objects *o, int i, int d, int cell)
{
  static float context[FINE * WIDTH];
  static double y[FINE * D], log_q[FINE], jacobian[FINE], each[FINE * D];
  const syz_flow_label *l = syz_flow_label_of(f, d);
  const double low = o->edge[d * (CELLS + 1) + cell], width = width_of(o, d);
  double sum = 0;
  for (int k = 0; k < FINE; k++) {
    memcpy(context + k * WIDTH, o->context + i * WIDTH, WIDTH * 4);
    for (int other = 0; other < D; other++) y[k * D + other] = (double[]){2, 2, 0.5}[other];
    y[k * D + d] = low + width * (k + 0.5) / FINE;
  }
  CHECK_OK(syz_flow_log_density(f, FINE, context, y, log_q, jacobian, each));
  for (int k = 0; k < FINE; k++) { /* standardised -> units */
    const double at = y[k * D + d];
    const double slope = l->transform == SYZ_FLOW_LOG     ? 1 / (at - 1)
                         : l->transform == SYZ_FLOW_LOGIT ? 1 / (at * (1 - at))
                                                          : 1;
    if (isfinite(log_q[k])) sum += exp(each[k * D + d]) * slope / l->scale / FINE;
  }
  return sum;
}

static void test_known(void)
{
  static objects o;
  syz_flow *f = make_flow(SYZ_FLOW_ELEMENTWISE);
  fill(f, &o);
  for (int i = 0; i < N; i++)
    for (int d = 0; d < D; d++) {
      const double *p = o.density + (i * D + d) * CELLS;
      double sum = 0, most = 0, worst = 0, spoiled = 0, square = 0;
      for (int c = 0; c < CELLS; c++) {
        const double mean = mean_density(f, &o, i, d, c);
        sum += p[c] * width_of(&o, d);
        square += p[c] * p[c] * width_of(&o, d);
        most = fmax(most, p[c]);
        worst = fmax(worst, fabs(p[c] - mean));
        spoiled = fmax(spoiled, fabs(p[c] - 1.01 * mean));
      }
      CHECK_NEAR(sum, 1, 1e-3);
      CHECK_LT(worst, 1e-3 * most);
      CHECK_GT(spoiled, 1e-3 * most);
      CHECK_NEAR(o.met[i * D + d], square, 1e-12 * square);
    }
  CHECK_EQ(o.density[CELLS], 0); /* label b of the first object below its domain */
  o.edge[3] = o.edge[4];
  CHECK_ERROR(syz_flow_grid(f, N, o.context, J, o.draw, CELLS, o.edge, o.density, NULL), SYZ_ERR_INPUT, "edges rise");
  CHECK_ERROR(syz_flow_grid(f, N, o.context, 1, o.draw, CELLS, o.edge, o.density, NULL), SYZ_ERR_INPUT, "at least 1");
  syz_flow_destroy(&f);
}

/* Integral of the biweight (15/16) (1 - u^2)^2 up to u, by Simpson. */
static double biweight(double u)
{
  enum { STEPS = 200 };
  const double end = fmin(fmax(u, -1), 1), step = (end + 1) / STEPS;
  double sum = 0;
  for (int k = 0; k <= STEPS; k++) {
    const double x = -1 + k * step, value = 0.9375 * (1 - x * x) * (1 - x * x);
    sum += value * (k == 0 || k == STEPS ? 1 : k % 2 ? 4 : 2);
  }
  return sum * step / 3;
}

static int by_value(const void *a, const void *b)
{
  const double x = *(const double *)a, y = *(const double *)b;
  return x < y ? -1 : x > y;
}

static double quantile(const double *sorted, double level)
{
  const double at = level * (J - 1);
  const int k = (int)at;
  return sorted[k] + (at - k) * (sorted[k + 1] - sorted[k]);
}

/* Half the width of the kernel of draws x [J]. */
static double reach_of(const double *x)
{
  double sorted[J], mean = 0, square = 0;
  memcpy(sorted, x, sizeof sorted);
  qsort(sorted, J, sizeof *sorted, by_value);
  for (int j = 0; j < J; j++) mean += x[j] / J;
  for (int j = 0; j < J; j++) square += (x[j] - mean) * (x[j] - mean) / (J - 1);
  const double quartiles = (quantile(sorted, 0.75) - quantile(sorted, 0.25)) / 1.349;
  return sqrt(7) * 0.5 * fmin(sqrt(square), quartiles) * pow(J, -0.2);
}

/* Cells of the draws but one (`without`, -1: all), standardised edges; and what the one meets. */
static double kernel_density(const double *x, double reach, double low, double high, double width, int without)
{
  double sum = 0;
  for (int j = 0; j < J; j++)
    if (j != without) sum += biweight((high - x[j]) / reach) - biweight((low - x[j]) / reach);
  return sum / (J - (without >= 0)) / width;
}

static double standard(const syz_flow *f, int d, double y)
{
  const syz_flow_label *l = syz_flow_label_of(f, d);
  if (l->transform == SYZ_FLOW_LOG) return (y > 1 ? log(y - 1) : -INFINITY) / l->scale;
  if (l->transform == SYZ_FLOW_LOGIT) return (y <= 0 ? -INFINITY : y >= 1 ? INFINITY : log(y / (1 - y))) / l->scale;
  return (y - l->mean) / l->scale;
}

static void test_kernel(void)
{
  static objects o;
  syz_flow *f = make_flow(SYZ_FLOW_AUTOREGRESSIVE);
  fill(f, &o);
  CHECK(!syz_flow_has_marginal(f, 0));
  for (int i = 0; i < N; i++)
    for (int d = 0; d < D; d++) {
      const double *p = o.density + (i * D + d) * CELLS, *edge = o.edge + d * (CELLS + 1);
      double x[J], sum = 0, met = 0;
      for (int j = 0; j < J; j++) x[j] = standard(f, d, o.draw[(i * J + j) * D + d]);
      const double reach = reach_of(x), width = width_of(&o, d);
      for (int c = 0; c < CELLS; c++) {
        const double low = standard(f, d, edge[c]), high = standard(f, d, edge[c + 1]);
        CHECK_NEAR(p[c], kernel_density(x, reach, low, high, width, -1), 1e-6 / width);
        for (int j = 0; j < J; j++)
          if (x[j] >= low && x[j] < high) met += kernel_density(x, reach, low, high, width, j) / J;
        sum += p[c] * width;
      }
      CHECK_NEAR(sum, 1, 1e-3);
      CHECK_NEAR(o.met[i * D + d], met, 1e-6 * met);
      CHECK(fabs(o.met[i * D + d] - 1.01 * met) > 1e-6 * met);
    }
  for (int j = 0; j < J; j++) o.draw[j * D] = 4; /* all the same: one cell has everything */
  CHECK_OK(syz_flow_grid(f, 1, o.context, J, o.draw, CELLS, o.edge, o.density, NULL));
  double most = 0;
  for (int c = 0; c < CELLS; c++) most = fmax(most, o.density[c]);
  CHECK_NEAR(most * width_of(&o, 0), 1, 1e-12);
  syz_flow_destroy(&f);
}

int main(void)
{
  test_known();
  test_kernel();
  return CHECK_RESULT();
}
