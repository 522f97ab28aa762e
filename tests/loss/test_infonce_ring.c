/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * InfoNCE around a ring against a float64 loop written from the formula: loss, all gradients and the derivative by the
 * scale, with products in float32 and in bfloat16 (against the formula of the rows as given and of the rows as
 * rounded), on other engines, towers together and apart, pieces of any size, batches smaller than the number of ranks,
 * streamed; scales and cosines at their extremes; and rows that are not finite.
 */
#include <stdlib.h>

#include "check.h"
#include "syzygy/loss.h"

typedef struct batch {
  int64_t G, E;
  float *x[2];     /* raw */
  double *unit[2]; /* normalised, float64 */
} batch;

/* Something in common between the halves of a pair; a pure function of the place. `spread`: 0: all rows nearly the
 * same. */
static batch draw(int64_t G, int64_t E, double spread)
{
  batch b = {.G = G, .E = E};
  for (int m = 0; m < 2; m++) {
    b.x[m] = calloc((size_t)(G * E), sizeof(float));
    b.unit[m] = calloc((size_t)(G * E), sizeof(double));
  }
  for (int64_t i = 0; i < G; i++) {
    const syz_random r = syz_random_make(8, SYZ_RANDOM_TEST, 0, (uint64_t)i);
    for (int64_t d = 0; d < E; d++) {
      const double common = (d == 0) + spread * syz_random_normal(&r, (uint32_t)d);
      b.x[0][i * E + d] = (float)(1.7 * common);
      b.x[1][i * E + d] = (float)(0.3 * common + 0.8 * spread * syz_random_normal(&r, (uint32_t)(E + d)));
    }
  }
  return b;
}

static void destroy(batch *b)
{
  for (int m = 0; m < 2; m++) free(b->x[m]), free(b->unit[m]);
}

static double norm_of(const float *x, int64_t E)
{
  double n = 0;
  for (int64_t d = 0; d < E; d++) n += (double)x[d] * (double)x[d];
  return fmax(sqrt(n), (double)SYZ_EMBEDDING_EPS);
}

/* What the formula says. Rows are rounded as the objective rounds them when asked: then the gradient is that by the
 * rounded rows, carried through the normalisation. */
typedef struct truth {
  double loss[3], dscale;
  double *dx[2];
} truth;

static truth brute_here(batch *b, double s, bool rounds)
{
  const int64_t G = b->G, E = b->E;
  truth t = {.loss = {0}};
  double *c = malloc((size_t)(G * G) * sizeof *c),
         *sum[2] = {calloc((size_t)G, sizeof(double)), calloc((size_t)G, sizeof(double))};
  for (int m = 0; m < 2; m++) {
    t.dx[m] = calloc((size_t)(G * E), sizeof(double));
    for (int64_t i = 0; i < G; i++)
      for (int64_t d = 0; d < E; d++) {
        const double unit = (double)b->x[m][i * E + d] / norm_of(b->x[m] + i * E, E);
        b->unit[m][i * E + d] = rounds ? (double)syz_bf16_to_f32(syz_bf16_from_f32((float)unit)) : unit;
      }
  }
  for (int64_t i = 0; i < G; i++)
    for (int64_t j = 0; j < G; j++) {
      c[i * G + j] = 0;
      for (int64_t d = 0; d < E; d++) c[i * G + j] += b->unit[0][i * E + d] * b->unit[1][j * E + d];
    }
  /* Logits relative to s: exp(s (c - 1)) does not overflow, and at s <= 100 does not vanish in float64. */
  for (int64_t i = 0; i < G; i++)
    for (int64_t j = 0; j < G; j++) sum[0][i] += exp(s * (c[i * G + j] - 1)), sum[1][j] += exp(s * (c[i * G + j] - 1));
  for (int64_t i = 0; i < G; i++) {
    t.loss[1] += (log(sum[0][i]) + s - s * c[i * G + i]) / (double)G;
    t.loss[2] += (log(sum[1][i]) + s - s * c[i * G + i]) / (double)G;
    for (int64_t j = 0; j < G; j++) {
      const double e = exp(s * (c[i * G + j] - 1)),
                   w = s / (2 * (double)G) * (e / sum[0][i] + e / sum[1][j] - 2 * (i == j));
      t.dscale += w * c[i * G + j];
      for (int64_t d = 0; d < E; d++) {
        t.dx[0][i * E + d] += w * b->unit[1][j * E + d];
        t.dx[1][j * E + d] += w * b->unit[0][i * E + d];
      }
    }
  }
  t.loss[0] = 0.5 * (t.loss[1] + t.loss[2]);
  for (int m = 0; m < 2; m++)
    for (int64_t i = 0; i < G; i++) {
      const double n = norm_of(b->x[m] + i * E, E), *y = b->unit[m] + i * E;
      double *g = t.dx[m] + i * E, along = 0;
      for (int64_t d = 0; d < E; d++) along += g[d] * y[d];
      for (int64_t d = 0; d < E; d++) g[d] = (g[d] - along * y[d]) / n;
    }
  free(c);
  for (int m = 0; m < 2; m++) free(sum[m]);
  return t;
}

/* The ranks may be many and the processors few: one does it for all. */
static truth brute(syz_comm *world, batch *b, double s, bool rounds)
{
  truth t = {.loss = {0}};
  if (syz_comm_rank(world) == 0) t = brute_here(b, s, rounds);
  syz_barrier_idle(world);
  for (int m = 0; m < 2; m++) {
    if (!t.dx[m]) t.dx[m] = calloc((size_t)(b->G * b->E), sizeof(double));
    syz_bcast(world, t.dx[m], (size_t)(b->G * b->E) * sizeof(double), 0);
  }
  syz_bcast(world, t.loss, sizeof t.loss, 0);
  syz_bcast(world, &t.dscale, sizeof t.dscale, 0);
  return t;
}

/* Relative difference of the gradients of all ranks, root mean square of all rows; `fault` spoils the second modality.
 */
static double gradient_error(syz_comm *world, const truth *t, int64_t E, const int64_t first[2], const int64_t count[2],
                             float *const dx[2], double fault)
{
  double worst = 0;
  for (int m = 0; m < 2; m++) {
    double sum[2] = {0};
    for (int64_t i = 0; i < count[m] * E; i++) {
      const double expected = t->dx[m][first[m] * E + i], found = (double)dx[m][i] * (m ? 1 + fault : 1);
      sum[0] += (found - expected) * (found - expected);
      sum[1] += expected * expected;
    }
    syz_allreduce_f64(world, sum, 2, SYZ_SUM);
    worst = fmax(worst, sqrt(sum[0] / fmax(sum[1], 1e-6)));
  }
  return worst;
}

typedef struct layout {
  int64_t G, E, piece_rows;
  double scale, spread;
  int apart; /* 1: two thirds of the ranks hold images; 2: one third */
  bool streams;
} layout;

/* Tolerances: of the loss relative, of gradients relative to their size, of the derivative by the scale relative. */
typedef struct gate {
  double loss, gradient, dscale;
} gate;

static void compare(syz_comm *world, const truth *t, const syz_infonce_loss *loss, double dscale, double gradient,
                    double spoiled, gate g)
{
  CHECK_NEAR(loss->loss, t->loss[0], g.loss * (0.1 + t->loss[0]));
  CHECK_NEAR(loss->image_to_spectrum, t->loss[1], g.loss * (0.1 + t->loss[1]));
  CHECK_NEAR(loss->spectrum_to_image, t->loss[2], g.loss * (0.1 + t->loss[2]));
  CHECK_NEAR(dscale, t->dscale, g.dscale * (1e-2 + fabs(t->dscale)));
  CHECK_LT(gradient, g.gradient);
  if (t->loss[0] > 0) CHECK_GT(spoiled, g.gradient); /* one per cent would be seen */
  double same = loss->loss, most = loss->loss;
  syz_allreduce_f64(world, &same, 1, SYZ_MIN);
  syz_allreduce_f64(world, &most, 1, SYZ_MAX);
  CHECK_EQ(same, most);
}

static void run(syz_comm *world, const syz_compute *compute, layout c, gate g, gate rounded)
{
  const int rank = syz_comm_rank(world), size = syz_comm_size(world);
  const bool apart = c.apart && size > 1;
  const int image_ranks = !apart ? size : c.apart == 1 ? (2 * size) / 3 : (size + 2) / 3;
  const bool is_bf16 = syz_compute_act(compute) == SYZ_BF16;
  batch b = draw(c.G, c.E, c.spread);
  truth t = brute(world, &b, c.scale, false);
  syz_infonce *l = NULL;
  syz_infonce_loss loss;
  double dscale = 0;
  const syz_infonce_config config = {.global_batch = c.G,
                                     .width = c.E,
                                     .has_image = !apart || rank < image_ranks,
                                     .has_spectrum = !apart || rank >= image_ranks,
                                     .piece_rows = c.piece_rows,
                                     .streams = c.streams};
  const size_t live = syz_memory_get().live_bytes;
  CHECK_OK(syz_infonce_create(world, compute, &config, &l));
  CHECK(syz_infonce_is_ring(&config));
  const double planned = (double)syz_infonce_bytes(compute, &config, image_ranks, apart ? size - image_ranks : size);
  const double held = (double)(syz_memory_get().live_bytes - live);
  CHECK_LT(fabs(planned - held), 0.01 * held + 65536);
  int64_t first[2], count[2], all[2];
  for (int m = 0; m < 2; m++) syz_infonce_rows(l, (syz_modality)m, &first[m], &count[m]);
  all[0] = count[0], all[1] = count[1];
  syz_allreduce_i64(world, all, 2, SYZ_SUM);
  CHECK_EQ(all[0], c.G);
  CHECK_EQ(all[1], c.G);
  float *dx[2] = {calloc((size_t)(c.G * c.E), sizeof(float)), calloc((size_t)(c.G * c.E), sizeof(float))};
  const int64_t allocations = syz_memory_get().allocations;
  for (int again = 0; again < 2; again++) { /* nothing is left over from the step before */
    const float *in[2] = {count[0] ? b.x[0] + first[0] * c.E : NULL, count[1] ? b.x[1] + first[1] * c.E : NULL},
                *const nothing[2] = {0};
    for (int m = 0; c.streams && m < 2; m++)
      for (int64_t at = 0; at < count[m]; at += 7)
        syz_infonce_put(l, (syz_modality)m, at, count[m] - at < 7 ? count[m] - at : 7, in[m] + at * c.E);
    double operations[2];
    syz_infonce_forward(l, c.scale, c.streams ? nothing : in, &loss);
    operations[0] = syz_infonce_operations(l);
    syz_infonce_backward(l, c.streams ? (float *[2]){0} : dx, &dscale);
    operations[1] = syz_infonce_operations(l);
    /* Every cosine once, and once more. */
    syz_allreduce_f64(world, operations, 2, SYZ_SUM);
    for (int k = 0; k < 2; k++) CHECK_EQ(operations[k], (k ? 6.0 : 2.0) * (double)(c.G * c.G * c.E));
    for (int m = 0; c.streams && m < 2; m++)
      for (int64_t at = 0; at < count[m]; at += 5)
        syz_infonce_get(l, (syz_modality)m, at, count[m] - at < 5 ? count[m] - at : 5, dx[m] + at * c.E);
  }
  CHECK_EQ(syz_memory_get().allocations, allocations);
  compare(world, &t, &loss, dscale, gradient_error(world, &t, c.E, first, count, dx, 0),
          gradient_error(world, &t, c.E, first, count, dx, 0.01), g);
  if (is_bf16) {
    truth r = brute(world, &b, c.scale, true);
    compare(world, &r, &loss, dscale, gradient_error(world, &r, c.E, first, count, dx, 0),
            gradient_error(world, &r, c.E, first, count, dx, 0.01), rounded);
    for (int m = 0; m < 2; m++) free(r.dx[m]);
  }
  /* All rows on every rank. */
  float *rows = malloc((size_t)(c.G * c.E) * sizeof *rows);
  for (int m = 0; m < 2 && !c.streams; m++) {
    CHECK_OK(syz_infonce_gather(l, (syz_modality)m, rows));
    double worst = 0;
    for (int64_t i = 0; i < c.G * c.E; i++)
      worst = fmax(worst, fabs((double)rows[i] - (double)b.x[m][i] / norm_of(b.x[m] + i / c.E * c.E, c.E)));
    CHECK_LT(worst, is_bf16 ? 2.1e-3 : 2e-7);
  }
  free(rows);
  syz_infonce_destroy(&l);
  CHECK_EQ(syz_memory_get().live_bytes, live);
  for (int m = 0; m < 2; m++) free(dx[m]), free(t.dx[m]);
  destroy(&b);
}

/* Rows that are not finite: so is the loss on every rank, and the rows are found. */
static void not_finite(syz_comm *world, const syz_compute *compute, int64_t G, int64_t E)
{
  batch b = draw(G, E, 1);
  syz_infonce *l = NULL;
  syz_infonce_loss loss;
  int64_t place[4];
  const syz_infonce_config config = {
      .global_batch = G, .width = E, .has_image = true, .has_spectrum = true, .piece_rows = 16};
  CHECK_OK(syz_infonce_create(world, compute, &config, &l));
  for (int m = 0; m < 2; m++) {
    const int64_t bad[] = {0, G / 2, G - 1};
    float *x = malloc((size_t)(G * E) * sizeof *x);
    memcpy(x, b.x[m], (size_t)(G * E) * sizeof *x);
    for (int k = 0; k < 3; k++) x[bad[k] * E + k] = k == 1 ? INFINITY : NAN;
    const float *in[2];
    for (int o = 0; o < 2; o++) {
      int64_t first, count;
      syz_infonce_rows(l, (syz_modality)o, &first, &count);
      in[o] = (o == m ? x : b.x[o]) + first * E;
    }
    syz_infonce_forward(l, 15.5, in, &loss);
    CHECK(!isfinite(loss.loss));
    CHECK_EQ(syz_infonce_not_finite(l, (syz_modality)m, 2, place), 3);
    for (int k = 0; k < 2; k++) CHECK_EQ(place[k], bad[k]);
    CHECK_EQ(syz_infonce_not_finite(l, (syz_modality)(1 - m), 2, place), 0);
    free(x);
  }
  syz_infonce_destroy(&l);
  destroy(&b);
}

/* The loss of bfloat16 products at the width of the published model, against that of float32 products, which the
 * formula was held against above. */
static void precision(syz_comm *world, const syz_compute *f32, const syz_compute *bf16)
{
  const int64_t G = 2048, E = 1024;
  batch b = draw(G, E, 0.5);
  syz_infonce_loss loss[2];
  for (int k = 0; k < 2; k++) {
    syz_infonce *l = NULL;
    int64_t first, count;
    const syz_infonce_config config = {.global_batch = G, .width = E, .has_image = true, .has_spectrum = true};
    CHECK_OK(syz_infonce_create(world, k ? bf16 : f32, &config, &l));
    syz_infonce_rows(l, SYZ_IMAGE, &first, &count);
    syz_infonce_forward(l, 15.5, (const float *[2]){b.x[0] + first * E, b.x[1] + first * E}, &loss[k]);
    syz_infonce_destroy(&l);
  }
  CHECK_NEAR(loss[1].loss, loss[0].loss, 1e-5 * loss[0].loss);
  destroy(&b);
}

int main(int argc, char **argv)
{
  syz_comm *world = NULL;
  syz_compute *f32 = NULL, *bf16 = NULL, *blis = NULL;
  if (syz_comm_start(&argc, &argv, &world) != SYZ_OK) return 1;
  CHECK_OK(syz_compute_create(SYZ_F32, SYZ_ENGINE_BLIS, 1, &blis));
  CHECK_OK(syz_compute_create(SYZ_BF16, SYZ_ENGINE_AUTO, syz_comm_size(world) == 1 ? 2 : 1, &bf16));
  CHECK_OK(syz_compute_create(SYZ_F32, SYZ_ENGINE_AUTO, 1, &f32));
  const gate exact = {1e-5, 1e-5, 1e-5},
             sharp = {1e-5, 2e-5, 1e-4}; /* a rounded cosine counts a hundredfold at a scale of 100 */
  for (int apart = 0; apart < 3; apart++) {
    static const int64_t G[] = {1, 2, 7, 131, 400};
    for (int i = 0; i < 5; i++)
      run(world, f32, (layout){.G = G[i], .E = 40, .piece_rows = 50, .scale = 15.5, .spread = 0.5, .apart = apart},
          exact, exact);
    run(world, f32,
        (layout){.G = 333, .E = 33, .piece_rows = 4096, .scale = 20, .spread = 0.5, .apart = apart, .streams = true},
        exact, exact);
    run(world, blis, (layout){.G = 333, .E = 33, .piece_rows = 100, .scale = 20, .spread = 0.5, .apart = apart}, exact,
        exact);
  }
  /* All cosines near 1, and spread over everything, at a large scale. */
  run(world, f32, (layout){.G = 200, .E = 24, .piece_rows = 60, .scale = 100, .spread = 0.02}, sharp, sharp);
  run(world, f32, (layout){.G = 200, .E = 6, .piece_rows = 60, .scale = 100, .spread = 3}, sharp, sharp);
  if (syz_compute_act(bf16) == SYZ_BF16) {
    /* Rounding moves each logit by s 2^-9 / sqrt(E) or so, at random: the mean over a small batch still shows it. */
    const gate near = {2e-4, 4e-3, 1e-3}, nearer = {1e-5, 4e-3, 1e-3};
    for (int apart = 0; apart < 3; apart++) {
      run(world, bf16, (layout){.G = 401, .E = 256, .piece_rows = 128, .scale = 15.5, .spread = 0.5, .apart = apart},
          near, nearer);
      run(world, bf16,
          (layout){.G = 333, .E = 129, .piece_rows = 77, .scale = 15.5, .spread = 0.5, .apart = apart, .streams = true},
          near, nearer);
    }
  }
  precision(world, f32, bf16);
  not_finite(world, f32, 21, 24);
  not_finite(world, bf16, 200, 24);
  syz_compute_destroy(&blis);
  syz_compute_destroy(&bf16);
  syz_compute_destroy(&f32);
  int64_t failed = CHECK_RESULT();
  syz_allreduce_i64(world, &failed, 1, SYZ_MAX);
  syz_comm_finish(&world);
  return (int)failed;
}
