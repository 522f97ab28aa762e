/* SPDX-License-Identifier: BSD-3-Clause */
/** Flows without training: labels and their errors, names, integral, marginals, draws, summaries, recalibration. */
#include <stdlib.h>

#include "check.h"
#include "syzygy/flow.h"
#include "syzygy/numbers.h"

enum { WIDTH = 4 };

static double normal(uint64_t object, uint32_t draw)
{
  const syz_random r = syz_random_make(3, SYZ_RANDOM_TEST, 1, object);
  return syz_random_normal(&r, draw);
}

static void plain_labels(syz_flow_label *label)
{
  for (int d = 0; d < SYZ_FLOW_LABELS; d++) label[d] = (syz_flow_label){.name = "y", .scale = 1};
}

/* A flow with weights `gain` times the initial ones, so that its splines bend. */
static syz_flow *flow_with(syz_flow_options o, const syz_flow_label *label, double gain)
{
  syz_flow *f = NULL;
  syz_flow_label plain[SYZ_FLOW_LABELS];
  plain_labels(plain);
  o.label = label ? label : plain;
  o.seed = 5;
  CHECK_OK(syz_flow_create(&o, &f));
  for (int m = 0; f && m < o.members; m++)
    for (int64_t i = 0; i < syz_flow_parameters(f, m); i++)
      if (o.precision == SYZ_FLOW_F64)
        ((double *)syz_flow_parameter_block(f, m))[i] *= gain;
      else
        ((float *)syz_flow_parameter_block(f, m))[i] *= (float)gain;
  return f;
}

static syz_flow *flow_of(syz_flow_options o, const syz_flow_label *label) { return flow_with(o, label, 1.6); }

static syz_flow_options options_of(syz_flow_kind kind, int labels, int members)
{
  syz_flow_options o = syz_flow_options_default(labels, WIDTH);
  o.shape.kind = kind;
  o.shape.hidden = 12;
  o.members = members;
  return o;
}

/* ------------------------------------------------------------------ labels */

static void test_labels(void)
{
  syz_flow_label l[3] = {{.name = "mass", .transform = SYZ_FLOW_LINEAR},
                         {.name = "redshift", .transform = SYZ_FLOW_LOG, .low = -0.01},
                         {.name = "fraction", .transform = SYZ_FLOW_LOGIT, .low = 0, .high = 1}};
  enum { N = 50 };
  double y[N * 3], s[N * 3], back[N * 3], jacobian[N], sum[3] = {0}, square[3] = {0};
  uint8_t ok[N];
  int64_t left_out = -1;
  for (uint64_t i = 0; i < N; i++) {
    y[3 * i] = 10 + 0.5 * normal(i, 0);
    y[3 * i + 1] = exp(normal(i, 1) - 2) - 0.01;
    y[3 * i + 2] = 1 / (1 + exp(-normal(i, 2)));
  }
  CHECK_OK(syz_flow_labels_fit(l, 3, N, y, 1, NULL, &left_out));
  CHECK_EQ(left_out, 0);
  CHECK_OK(syz_flow_labels_apply(l, 3, N, y, s, jacobian, NULL, NULL));
  for (int i = 0; i < 3 * N; i++) {
    sum[i % 3] += s[i];
    square[i % 3] += s[i] * s[i];
  }
  for (int d = 0; d < 3; d++) {
    CHECK_NEAR(sum[d], 0, 1e-11);
    CHECK_NEAR(square[d], N - 1, 1e-10);
  }
  syz_flow_labels_undo(l, 3, N, s, back);
  for (int i = 0; i < 3 * N; i++) CHECK_NEAR(back[i], y[i], 1e-12);
  for (int i = 0; i < N; i++) { /* ln ds/dy by differences */
    double total = 0, spoiled = 0;
    for (int d = 0; d < 3; d++) {
      double ends[6], moved[6];
      memcpy(ends, y + 3 * i, 24);
      memcpy(ends + 3, y + 3 * i, 24);
      const double h = 1e-6 * (d == 0 ? 1 : d == 1 ? y[3 * i + 1] + 0.01 : y[3 * i + 2] * (1 - y[3 * i + 2]));
      ends[d] -= h;
      ends[3 + d] += h;
      CHECK_OK(syz_flow_labels_apply(l, 3, 2, ends, moved, NULL, NULL, NULL));
      total += log((moved[3 + d] - moved[d]) / (2 * h));
      spoiled += log((moved[3 + d] - moved[d]) / (2 * h)) * (d == 2 ? 1.01 : 1);
    }
    CHECK_NEAR(jacobian[i], total, 1e-7);
    CHECK(fabs(jacobian[i] - spoiled) > 1e-7);
  }
  y[3 * 7 + 2] = 1.0;
  y[3 * 9 + 1] = -0.02;
  y[3 * 11] = NAN;
  CHECK_ERROR(syz_flow_labels_apply(l, 3, N, y, s, NULL, NULL, NULL), SYZ_ERR_DATA,
              "label fraction: row 7 has the value 1,");
  CHECK_ERROR(syz_flow_labels_fit(l, 2, N / 2, y, 1, NULL, NULL), SYZ_ERR_DATA, "label");
  CHECK_OK(syz_flow_labels_apply(l, 3, N, y, s, jacobian, ok, &left_out));
  CHECK_EQ(left_out, 3);
  CHECK(!ok[7] && !ok[9] && !ok[11] && ok[8]);
  CHECK_OK(syz_flow_labels_fit(l, 3, N, y, 0, ok, &left_out));
  CHECK_EQ(left_out, 3);
  for (int i = 0; i < N; i++) y[3 * i] = 4;
  CHECK_ERROR(syz_flow_labels_fit(l, 3, N, y, 0, ok, NULL), SYZ_ERR_DATA, "label mass is constant (4");
  for (int i = 0; i < N; i++) y[3 * i + 1] = -1;
  CHECK_ERROR(syz_flow_labels_fit(l, 3, N, y, 0, ok, NULL), SYZ_ERR_DATA, "label mass: 0 of 50 training rows");
  l[2].high = -1;
  CHECK_ERROR(syz_flow_labels_fit(l, 3, N, y, 0, ok, NULL), SYZ_ERR_INPUT, "label fraction: a logit needs");
}

/* ------------------------------------------------------------------- shapes */

static void test_shapes(void)
{
  syz_flow_options o = syz_flow_options_astroclip(5, WIDTH);
  syz_flow *f = flow_of(o, NULL), *again = NULL, *other = NULL;
  int widths = 0, three = 0;
  for (int m = 0; m < 10; m++) {
    const syz_flow_shape *s = syz_flow_member_shape(f, m);
    CHECK(s->hidden >= 17 - 1 && s->hidden <= 32 && (s->layers == 2 || s->layers == 3));
    widths += s->hidden != syz_flow_member_shape(f, 0)->hidden;
    three += s->layers == 3;
  }
  CHECK(widths > 2 && three > 0 && three < 10);
  const syz_flow_tensor t = syz_flow_tensor_get(f, 3, 5);
  CHECK(!strcmp(t.name, "member.3.layer.0.dimension.0.linear.2.bias"));
  CHECK_EQ(t.rows, syz_flow_member_shape(f, 3)->hidden);
  const syz_flow_tensor last = syz_flow_tensor_get(f, 3, 6);
  CHECK(!strcmp(last.name, "member.3.layer.0.dimension.0.linear.3.weight"));
  CHECK_EQ(last.rows, 5 * 23);
  CHECK_EQ(last.columns, syz_flow_member_shape(f, 3)->hidden);
  again = flow_of(o, NULL);
  o.shapes = syz_flow_member_shape(f, 0);
  for (int m = 0; m < 10; m++)
    CHECK(!memcmp(syz_flow_parameter_block(f, m), syz_flow_parameter_block(again, m),
                  4 * (size_t)syz_flow_parameters(f, m)));
  CHECK(memcmp(syz_flow_parameter_block(f, 0), syz_flow_parameter_block(f, 1), 400));
  o = options_of(SYZ_FLOW_COUPLING, 2, 1);
  syz_flow_label label[SYZ_FLOW_LABELS];
  plain_labels(label);
  o.label = label;
  o.shape.layers = 1;
  CHECK_ERROR(syz_flow_create(&o, &other), SYZ_ERR_INPUT, "at least two layers");
  o.shape.layers = 99;
  CHECK_ERROR(syz_flow_create(&o, &other), SYZ_ERR_INPUT, "the number of layers is 99, allowed are 1 to 16");
  o = options_of(SYZ_FLOW_COUPLING, 11, 1);
  CHECK_ERROR(syz_flow_create(&o, &other), SYZ_ERR_INPUT, "the number of labels is 11");
  CHECK(other == NULL);
  syz_flow_destroy(&f);
  syz_flow_destroy(&again);
}

/* ------------------------------------------------------------------ density */

/* The ensemble's density on a grid adds up to 1, whatever the transform of the labels. */
static void test_integral(syz_flow_kind kind)
{
  enum { SIDE = 480 };
  syz_flow_label label[2] = {{.name = "a", .transform = SYZ_FLOW_LOGIT, .low = -1, .high = 3, .scale = 0.8},
                             {.name = "b", .mean = 1, .scale = 2}};
  const float context[WIDTH] = {0.3f, -1, 0.5f, 2};
  double *y = syz_alloc("grid", SIDE * SIDE * 2, 8), *log_q = syz_alloc("grid", SIDE * SIDE, 8), sum = 0;
  syz_flow *one = flow_of(options_of(kind, 1, 3), label), *two = flow_of(options_of(kind, 2, 3), label);
  for (int i = 0; i < SIDE * SIDE; i++) {
    y[2 * i] = -1 + 4 * (i / SIDE + 0.5) / SIDE;
    y[2 * i + 1] = 1 + 2 * 7 * (2 * (i % SIDE + 0.5) / SIDE - 1);
  }
  CHECK_OK(syz_flow_log_density_at(two, context, SIDE * SIDE, y, log_q));
  for (int i = 0; i < SIDE * SIDE; i++) sum += exp(log_q[i]) * 4.0 / SIDE * 28.0 / SIDE;
  CHECK_NEAR(sum, 1, 1e-3);
  for (int i = 0; i < SIDE * SIDE; i++) y[i] = -1 + 4 * (i + 0.5) / (SIDE * SIDE);
  CHECK_OK(syz_flow_log_density_at(one, context, SIDE * SIDE, y, log_q));
  sum = 0;
  for (int i = 0; i < SIDE * SIDE; i++) sum += exp(log_q[i]) * 4 / (SIDE * SIDE);
  CHECK_NEAR(sum, 1, 1e-3);
  syz_free(&y);
  syz_free(&log_q);
  syz_flow_destroy(&one);
  syz_flow_destroy(&two);
}

/* Rows with contexts of their own, in any place and number, have the bits that they have alone; the shared way agrees.
 */
static void test_places(syz_flow_kind kind)
{
  enum { N = 300, D = 3 };
  float context[N * WIDTH];
  double y[N * D], log_q[N], alone, jacobian[N], each[N * D], shared;
  syz_flow *f = flow_of(options_of(kind, D, 4), NULL);
  for (uint64_t i = 0; i < N; i++) {
    for (uint32_t c = 0; c < WIDTH; c++) context[i * WIDTH + c] = (float)normal(i, c);
    for (uint32_t d = 0; d < D; d++) y[i * D + d] = normal(i, 10 + d);
  }
  y[20 * D] = NAN;
  context[30 * WIDTH] = NAN;
  CHECK_OK(syz_flow_log_density(f, N, context, y, log_q, jacobian, each));
  for (int i = 0; i < N; i += 7) {
    CHECK_OK(syz_flow_log_density(f, 1, context + i * WIDTH, y + i * D, &alone, NULL, NULL));
    CHECK_EQ(alone, log_q[i]);
    CHECK_OK(syz_flow_log_density_at(f, context + i * WIDTH, 1, y + i * D, &shared));
    CHECK_EQ(shared, log_q[i]);
  }
  CHECK(log_q[20] == -INFINITY && isnan(log_q[30]));
  syz_flow_set_threads(f, 3);
  double threaded[N];
  CHECK_OK(syz_flow_log_density(f, N, context, y, threaded, NULL, NULL));
  CHECK(!memcmp(threaded, log_q, sizeof log_q));
  syz_flow_nll nll;
  CHECK_OK(syz_flow_nll_of(f, N, context, y, &nll));
  CHECK_EQ(nll.n, N - 2);
  CHECK_EQ(nll.infinite, 2);
  CHECK_NEAR(nll.per_label, nll.joint / D, 1e-12);
  CHECK(isnan(nll.each[1]) == (kind != SYZ_FLOW_ELEMENTWISE));
  syz_flow_destroy(&f);
}

/* Marginal density and CDF: their derivative is the density, and the second label's does not matter. */
static void test_marginals(void)
{
  const float context[2 * WIDTH] = {0.3f, -1, 0.5f, 2, 0.3f, -1, 0.5f, 2};
  syz_flow_options o = options_of(SYZ_FLOW_AUTOREGRESSIVE, 2, 3);
  for (int turn = 0; turn < 2; turn++) {
    o.precision = SYZ_FLOW_F64;
    o.shape.keeps_order = true;
    o.shape.kind = turn ? SYZ_FLOW_AUTOREGRESSIVE : SYZ_FLOW_ELEMENTWISE;
    syz_flow *f = flow_of(o, NULL);
    CHECK(syz_flow_has_marginal(f, 0) && syz_flow_has_marginal(f, 1) == !turn);
    for (int k = -20; k <= 20; k++) {
      const double h = 1e-5, y[4] = {0.1 * k - h, 3, 0.1 * k + h, -1}, middle[4] = {0.1 * k, 0, 0.1 * k, 0};
      double cdf[2], each[4], log_q[2];
      CHECK_OK(syz_flow_cdf(f, 0, 2, context, y, cdf));
      CHECK_OK(syz_flow_log_density(f, 1, context, middle, log_q, NULL, each));
      CHECK_NEAR((cdf[1] - cdf[0]) / (2 * h), exp(each[0]), 1e-4);
    }
    double cdf;
    if (turn) CHECK_ERROR(syz_flow_cdf(f, 1, 1, context, (double[2]){0}, &cdf), SYZ_ERR_INPUT, "count draws");
    syz_flow_destroy(&f);
  }
  o.shape.keeps_order = false;
  syz_flow *f = flow_of(o, NULL);
  CHECK(!syz_flow_has_marginal(f, 0));
  syz_flow_destroy(&f);
}

/* -------------------------------------------------------------------- draws */

static void test_draws(syz_flow_kind kind)
{
  enum { N = 37, J = 1001, D = 2, M = 3 };
  float context[N * WIDTH];
  int64_t id[N];
  const syz_flow_label label[D] = {{.name = "a", .transform = SYZ_FLOW_LOG, .low = 1, .scale = 0.3},
                                   {.name = "b", .mean = 2, .scale = 3}};
  double *y = syz_alloc("draws", N * J * D, 8), *log_q = syz_alloc("draws", N * J, 8),
         *part = syz_alloc("draws", J * D, 8);
  double *there = syz_alloc("draws", J, 8);
  syz_flow *f = flow_with(options_of(kind, D, M), label, 1);
  for (uint64_t i = 0; i < N; i++) {
    id[i] = 39000000000000000 + 17 * (int64_t)i;
    for (uint32_t c = 0; c < WIDTH; c++) context[i * WIDTH + c] = (float)normal(i, c);
  }
  CHECK_OK(syz_flow_draw(f, 11, N, context, id, J, y, log_q));
  for (int i = 0; i < N; i += 9) {
    CHECK_OK(syz_flow_draw(f, 11, 1, context + i * WIDTH, id + i, J, part, NULL));
    CHECK(!memcmp(part, y + (int64_t)i * J * D, J * D * 8)); /* whatever else is asked for */
    CHECK_OK(syz_flow_draw(f, 11, 1, context + i * WIDTH, id + i, 100, part, NULL));
    CHECK(!memcmp(part, y + (int64_t)i * J * D, 100 * D * 8)); /* fewer are the first of them */
    CHECK_OK(syz_flow_log_density_at(f, context + i * WIDTH, J, y + (int64_t)i * J * D, there));
    double worst = 0;
    for (int j = 0; j < J; j++) worst = fmax(worst, fabs(there[j] - log_q[i * J + j]));
    CHECK_LT(worst, 1e-3); /* float32, labels there and back */
  }
  CHECK_OK(syz_flow_draw(f, 12, 1, context, id, J, part, NULL));
  CHECK(memcmp(part, y, J * D * 8));
  syz_flow_set_threads(f, 4);
  double *again = syz_alloc("draws", N * J * D, 8);
  CHECK_OK(syz_flow_draw(f, 11, N, context, id, J, again, NULL));
  CHECK(!memcmp(again, y, N * J * D * 8));
  /* Draws follow the density: mean of 1/q over draws within a box is the box's area. */
  double area = 0, square = 0;
  for (int j = 0; j < N * J; j++) {
    const bool is_inside = fabs(y[D * j] - 2) < 0.3 && fabs(y[D * j + 1] - 2) < 4;
    const double part_of_it = is_inside ? exp(-log_q[j]) : 0;
    area += part_of_it / (N * J);
    square += part_of_it * part_of_it / (N * J);
  }
  const double error = sqrt((square - area * area) / (N * J));
  CHECK_LT(error, 0.01 * 0.6 * 8);
  CHECK_NEAR(area, 0.6 * 8, 3.5 * error);
  syz_flow_summary summary[N * D];
  CHECK_OK(syz_flow_summarise(f, N, J, y, summary));
  for (int d = 0; d < N * D; d++) {
    const syz_flow_summary *s = &summary[d];
    int below[SYZ_FLOW_LEVELS] = {0}, inside = 0;
    for (int j = 0; j < J; j++) {
      const double x = y[(d / D * J + j) * D + d % D];
      for (int k = 0; k < SYZ_FLOW_LEVELS; k++) below[k] += x < s->quantile[k];
      inside += x >= s->low_68 && x <= s->high_68;
    }
    for (int k = 0; k < SYZ_FLOW_LEVELS; k++) CHECK_NEAR(below[k], J * syz_flow_levels[k], 1.01);
    CHECK_NEAR(inside, J * 0.6827, 1);
    CHECK(s->high_68 - s->low_68 <= s->quantile[3] - s->quantile[1] + 2e-2 * s->deviation && s->mode > s->low_95 &&
          s->mode < s->high_95);
  }
  CHECK_EQ(syz_flow_joint_mode(4, (double[]){-3, -1, -2, -5}), 1);
  CHECK_ERROR(syz_flow_summarise(f, 1, 1, y, summary), SYZ_ERR_INPUT, "at least 2 draws");
  syz_free(&y);
  syz_free(&log_q);
  syz_free(&part);
  syz_free(&there);
  syz_free(&again);
  syz_flow_destroy(&f);
}

/* A normal sample: mode and quantiles are known. */
static void test_summary(void)
{
  enum { J = 20000 };
  double *y = syz_alloc("draws", J, 8);
  syz_flow_summary s;
  syz_flow *f = flow_of(options_of(SYZ_FLOW_ELEMENTWISE, 1, 1), NULL);
  for (uint64_t j = 0; j < J; j++) y[j] = exp(0.5 * normal(j, 0)); /* log-normal: mode exp(-1/4) */
  CHECK_OK(syz_flow_summarise(f, 1, J, y, &s));
  CHECK_NEAR(s.mode, exp(-0.25), 0.04);
  CHECK_NEAR(s.quantile[2], 1, 0.02);
  CHECK_NEAR(s.quantile[4], exp(0.5 * 1.6448536), 0.05);
  CHECK_NEAR(s.mean, exp(0.125), 0.02);
  CHECK(s.high_68 - s.low_68 < s.quantile[3] - s.quantile[1]);
  syz_free(&y);
  syz_flow_destroy(&f);
}

/* Marginal densities by draws against those that an elementwise flow knows. */
static void test_marginals_of_draws(void)
{
  enum { N = 400, J = 1000, D = 2 };
  const syz_flow_label label[D] = {{.name = "a", .transform = SYZ_FLOW_LOG, .low = 1, .scale = 0.3},
                                   {.name = "b", .mean = 2, .scale = 3}};
  float *context = syz_alloc("context", N * WIDTH, 4);
  double *draws = syz_alloc("draws", N * J * D, 8), *y = syz_alloc("labels", N * D, 8);
  double *each = syz_alloc("each", N * D, 8), *known = syz_alloc("each", N * D, 8), log_q[N], apart = 0, square = 0;
  int64_t id[N];
  syz_flow *f = flow_with(options_of(SYZ_FLOW_ELEMENTWISE, D, 2), label, 1);
  for (uint64_t i = 0; i < N; i++) {
    id[i] = (int64_t)i;
    for (uint32_t c = 0; c < WIDTH; c++) context[i * WIDTH + c] = (float)normal(i, c);
  }
  CHECK_OK(syz_flow_draw(f, 1, N, context, id, J, draws, NULL));
  CHECK_OK(syz_flow_draw(f, 2, N, context, id, 1, y, NULL));
  CHECK_OK(syz_flow_marginals_of_draws(f, N, J, draws, y, each));
  CHECK_OK(syz_flow_log_density(f, N, context, y, log_q, NULL, known));
  for (int i = 0; i < N * D; i++) {
    apart += (each[i] - known[i]) / (N * D);
    square += (each[i] - known[i]) * (each[i] - known[i]) / (N * D);
  }
  CHECK_NEAR(apart, 0, 0.01);
  CHECK_LT(sqrt(square), 0.25);
  y[6] = 0.5;
  CHECK_OK(syz_flow_marginals_of_draws(f, N, J, draws, y, each));
  CHECK(each[6] == -INFINITY && isfinite(each[8]));
  syz_free(&context);
  syz_free(&draws);
  syz_free(&y);
  syz_free(&each);
  syz_free(&known);
  syz_flow_destroy(&f);
}

/* -------------------------------------------------------------- calibration */

/* Labels drawn from a flow, then spread 1.5 times as wide: the temperature is found, and PIT becomes uniform. */
static void test_calibration(void)
{
  enum { N = 6000 };
  float *context = syz_alloc("context", N * WIDTH, 4);
  double *y = syz_alloc("labels", N, 8), *pit = syz_alloc("pit", N, 8), *log_q = syz_alloc("pit", N, 8);
  int64_t *id = syz_alloc("ids", N, 8);
  syz_flow_nll before, after;
  syz_flow *f = flow_of(options_of(SYZ_FLOW_ELEMENTWISE, 1, 2), NULL);
  syz_flow_calibration hot = {.kind = SYZ_FLOW_TEMPERATURE, .temperature = 1.5};
  for (uint64_t i = 0; i < N; i++) {
    id[i] = (int64_t)i;
    for (uint32_t c = 0; c < WIDTH; c++) context[i * WIDTH + c] = (float)normal(i, c);
  }
  CHECK_OK(syz_flow_set_calibration(f, &hot));
  CHECK_OK(syz_flow_draw(f, 5, N, context, id, 1, y, NULL));
  CHECK_OK(syz_flow_nll_of(f, N, context, y, &after));
  CHECK_OK(syz_flow_set_calibration(f, &(syz_flow_calibration){.kind = SYZ_FLOW_RAW, .temperature = 1}));
  CHECK_OK(syz_flow_nll_of(f, N, context, y, &before));
  CHECK_OK(syz_flow_cdf(f, 0, N, context, y, pit));
  CHECK_OK(syz_flow_calibrate_temperature(f, N, context, y));
  CHECK_NEAR(syz_flow_calibration_of(f)->temperature, 1.5, 0.05);
  CHECK_NEAR(syz_flow_calibration_of(f)->nll_before, before.joint, 1e-9);
  CHECK_LT(syz_flow_calibration_of(f)->nll_after, after.joint + 1e-9);
  CHECK_GT(before.joint, after.joint + 0.05);
  CHECK_OK(syz_flow_calibrate_pit(f, N, pit));
  CHECK_OK(syz_flow_cdf(f, 0, N, context, y, pit));
  int below[4] = {0};
  for (int i = 0; i < N; i++)
    for (int k = 0; k < 4; k++) below[k] += pit[i] < (double[]){0.05, 0.25, 0.75, 0.95}[k];
  for (int k = 0; k < 4; k++) CHECK_NEAR((double)below[k] / N, ((double[]){0.05, 0.25, 0.75, 0.95})[k], 0.01);
  CHECK_OK(syz_flow_nll_of(f, N, context, y, &after));
  CHECK_LT(after.joint, before.joint - 0.05);
  enum { J = 4000 }; /* draws follow the mapped CDF */
  double *draws = syz_alloc("draws", J, 8), *repeated = syz_alloc("cdf", J, 8), mean = 0, square = 0;
  float *same = syz_alloc("context", J * WIDTH, 4);
  for (int j = 0; j < J; j++) memcpy(same + j * WIDTH, context, WIDTH * 4);
  CHECK_OK(syz_flow_draw(f, 5, 1, context, id, J, draws, NULL));
  CHECK_OK(syz_flow_cdf(f, 0, J, same, draws, repeated));
  for (int j = 0; j < J; j++) {
    mean += repeated[j] / J;
    square += (repeated[j] - 0.5) * (repeated[j] - 0.5) / J;
  }
  CHECK_NEAR(mean, 0.5, 0.015);
  CHECK_NEAR(square, 1.0 / 12, 0.003);
  CHECK_ERROR(syz_flow_calibrate_pit(f, 5, pit), SYZ_ERR_DATA, "at least 10");
  pit[3] = 1.5;
  CHECK_ERROR(syz_flow_calibrate_pit(f, N, pit), SYZ_ERR_DATA, "validation object 3 is 1.5");
  hot.temperature = -1;
  CHECK_ERROR(syz_flow_set_calibration(f, &hot), SYZ_ERR_INPUT, "temperature");
  double *all[] = {y, pit, log_q, draws, repeated};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) syz_free(&all[i]);
  syz_free(&context);
  syz_free(&same);
  syz_free(&id);
  syz_flow_destroy(&f);
}

int main(void)
{
  test_labels();
  test_shapes();
  for (int kind = SYZ_FLOW_ELEMENTWISE; kind <= SYZ_FLOW_COUPLING; kind++) {
    test_integral((syz_flow_kind)kind);
    test_places((syz_flow_kind)kind);
    test_draws((syz_flow_kind)kind);
  }
  test_marginals();
  test_summary();
  test_marginals_of_draws();
  test_calibration();
  CHECK_EQ(syz_memory_get().live_blocks, 0);
  return CHECK_RESULT();
}
