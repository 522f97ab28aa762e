/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * InfoNCE against a float64 double loop written from the formula, its gradient against central differences of that
 * loop, and the law that neither depends on the number of ranks: the same batch on this rank alone must give the same
 * bits.
 */
#include <stdlib.h>

#include "check.h"
#include "syzygy/loss.h"

enum { E = 24 };

typedef struct layout {
  int64_t G;
  bool apart;
} layout;

/* Raw embeddings of the global batch, with something in common between the modalities; a pure function of the place. */
static void draw(int64_t G, float *x, float *y)
{
  for (int64_t i = 0; i < G; i++) {
    const syz_random r = syz_random_make(5, SYZ_RANDOM_TEST, 0, (uint64_t)i);
    for (int d = 0; d < E; d++) {
      x[i * E + d] = (float)(syz_random_normal(&r, (uint32_t)d) * 1.5);
      y[i * E + d] = (float)(0.7 * x[i * E + d] + syz_random_normal(&r, (uint32_t)(E + d)));
    }
  }
  for (int d = 0; d < E; d++) x[d] *= 1e-5f; /* a norm below eps */
}

static void normalise(const double *x, double *out, int64_t G)
{
  for (int64_t i = 0; i < G; i++) {
    double n = 0;
    for (int d = 0; d < E; d++) n += x[i * E + d] * x[i * E + d];
    n = fmax(sqrt(n), (double)SYZ_EMBEDDING_EPS);
    for (int d = 0; d < E; d++) out[i * E + d] = x[i * E + d] / n;
  }
}

/* The loss as the formula says it, in float64. loss[0]: both, [1]: image to spectrum, [2]: spectrum to image. */
static void brute(const double *x, const double *y, int64_t G, double s, double loss[3])
{
  double *a = malloc((size_t)(G * E) * sizeof *a), *b = malloc((size_t)(G * E) * sizeof *b),
         *c = malloc((size_t)(G * G) * sizeof *c);
  normalise(x, a, G);
  normalise(y, b, G);
  for (int64_t i = 0; i < G; i++)
    for (int64_t j = 0; j < G; j++) {
      c[i * G + j] = 0;
      for (int d = 0; d < E; d++) c[i * G + j] += a[i * E + d] * b[j * E + d];
    }
  loss[1] = loss[2] = 0;
  for (int64_t i = 0; i < G; i++) {
    double row = 0, column = 0;
    for (int64_t j = 0; j < G; j++) row += exp(s * (c[i * G + j] - 1)), column += exp(s * (c[j * G + i] - 1));
    loss[1] += (log(row) + s - s * c[i * G + i]) / (double)G;
    loss[2] += (log(column) + s - s * c[i * G + i]) / (double)G;
  }
  loss[0] = 0.5 * (loss[1] + loss[2]);
  free(a);
  free(b);
  free(c);
}

/* Relative difference of a slope by central differences and of the computed gradient along the same direction, summed
 * over ranks. */
static double gradient_error(syz_comm *world, syz_infonce *l, int64_t G, double s, const float *x, const float *y,
                             float *const dx[2], double fault)
{
  double worst = 0;
  double *p = malloc((size_t)(4 * G * E) * sizeof *p), *q = p + G * E, *u = q + G * E, *v = u + G * E;
  for (int trial = 0; trial < 4; trial++) {
    double slope[2], loss[3], dot = 0;
    for (int64_t i = 0; i < G * E; i++) {
      const syz_random r = syz_random_make(6, SYZ_RANDOM_TEST, (uint64_t)trial, (uint64_t)i);
      u[i] = trial == 1 ? 0 : syz_random_normal(&r, 0);
      v[i] = trial == 2 ? 0 : syz_random_normal(&r, 1);
    }
    const double h = 1e-6;
    for (int sign = 0; sign < 2; sign++) {
      for (int64_t i = 0; i < G * E; i++) {
        const double step = (sign ? -h : h) * fabs((double)x[i]); /* relative to the entry: one row is tiny */
        p[i] = (double)x[i] + step * u[i];
        q[i] = (double)y[i] + (sign ? -h : h) * v[i];
      }
      brute(p, q, G, s, loss);
      slope[sign] = loss[0];
    }
    for (int m = 0; m < 2; m++) {
      int64_t first, count;
      syz_infonce_rows(l, (syz_modality)m, &first, &count);
      for (int64_t i = 0; i < count * E; i++) {
        const int64_t at = first * E + i;
        dot += (double)dx[m][i] * (m == 0 ? u[at] * fabs((double)x[at]) : v[at] * (1 + fault));
      }
    }
    syz_allreduce_f64(world, &dot, 1, SYZ_SUM);
    const double difference = (slope[0] - slope[1]) / (2 * h);
    worst = fmax(worst, fabs(dot - difference) / fmax(fabs(difference), 1e-3));
  }
  free(p);
  return worst;
}

/* The gathered way. */
static syz_status create(syz_comm *c, const syz_compute *compute, int64_t G, bool has_image, bool has_spectrum,
                         syz_infonce **out)
{
  const syz_infonce_config config = {.global_batch = G,
                                     .width = E,
                                     .has_image = has_image,
                                     .has_spectrum = has_spectrum,
                                     .ring_pairs = SYZ_RING_PAIRS};
  return syz_infonce_create(c, compute, &config, out);
}

static void run(syz_comm *world, syz_comm *self, const syz_compute *compute, layout c, double s)
{
  const int rank = syz_comm_rank(world), size = syz_comm_size(world);
  const bool apart = c.apart && size > 1;
  const int image_ranks = apart ? (2 * size) / 3 : size;
  const bool has[2] = {!apart || rank < image_ranks, !apart || rank >= image_ranks};
  const int64_t G = c.G;
  float *x = calloc((size_t)(G * E), sizeof *x), *y = calloc((size_t)(G * E), sizeof *y);
  double *x64 = calloc((size_t)(G * E), sizeof *x64), *y64 = calloc((size_t)(G * E), sizeof *y64);
  float *dx[2] = {calloc((size_t)(G * E), sizeof(float)), calloc((size_t)(G * E), sizeof(float))};
  float *alone[2] = {calloc((size_t)(G * E), sizeof(float)), calloc((size_t)(G * E), sizeof(float))};
  syz_infonce *l = NULL, *one = NULL;
  syz_infonce_loss loss, loss_alone;
  double dscale = 0, dscale_alone = 0, expected[3], above[3], below[3];
  draw(G, x, y);
  for (int64_t i = 0; i < G * E; i++) x64[i] = x[i], y64[i] = y[i];
  brute(x64, y64, G, s, expected);

  CHECK_OK(create(world, compute, G, has[0], has[1], &l));
  int64_t first[2], count[2], held[2];
  for (int m = 0; m < 2; m++) syz_infonce_rows(l, (syz_modality)m, &first[m], &count[m]);
  held[0] = count[0], held[1] = count[1];
  syz_allreduce_i64(world, held, 2, SYZ_SUM);
  CHECK_EQ(held[0], G);
  CHECK_EQ(held[1], G);
  const float *in[2] = {x + first[0] * E, y + first[1] * E}, *whole[2] = {x, y};
  const int64_t allocations = syz_memory_get().allocations;
  syz_infonce_forward(l, s, in, &loss);
  syz_infonce_backward(l, dx, &dscale);
  CHECK_EQ(syz_memory_get().allocations, allocations);
  CHECK_NEAR(loss.loss, expected[0], 3e-6 * (1 + expected[0]));
  CHECK_NEAR(loss.image_to_spectrum, expected[1], 3e-6 * (1 + expected[1]));
  CHECK_NEAR(loss.spectrum_to_image, expected[2], 3e-6 * (1 + expected[2]));
  if (G > 1) {
    CHECK_LT(gradient_error(world, l, G, s, x, y, dx, 0), 2e-4);
    CHECK_GT(gradient_error(world, l, G, s, x, y, dx, 0.01), 2e-4); /* the gate has teeth */
  }
  const double h = 1e-5;
  brute(x64, y64, G, s * exp(h), above);
  brute(x64, y64, G, s * exp(-h), below);
  CHECK_NEAR(dscale, (above[0] - below[0]) / (2 * h), 1e-5 * (1 + fabs(dscale)));

  /* The same batch on this rank alone: the same bits. */
  CHECK_OK(create(self, compute, G, true, true, &one));
  syz_infonce_forward(one, s, whole, &loss_alone);
  syz_infonce_backward(one, alone, &dscale_alone);
  CHECK_EQ(memcmp(&loss, &loss_alone, sizeof loss), 0);
  CHECK_EQ(dscale, dscale_alone);
  for (int m = 0; m < 2; m++)
    CHECK_EQ(memcmp(dx[m], alone[m] + first[m] * E, (size_t)(count[m] * E) * sizeof(float)), 0);
  syz_infonce_destroy(&l);
  syz_infonce_destroy(&one);
  free(x);
  free(y);
  free(x64);
  free(y64);
  for (int m = 0; m < 2; m++) free(dx[m]), free(alone[m]);
}

/* All embeddings equal: every softmax is uniform, the loss is log G and nothing pulls anywhere. */
static void equal_embeddings(syz_comm *world, const syz_compute *compute, int64_t G)
{
  syz_infonce *l = NULL;
  syz_infonce_loss loss;
  int64_t first, count;
  CHECK_OK(create(world, compute, G, true, true, &l));
  syz_infonce_rows(l, SYZ_IMAGE, &first, &count);
  float *x = malloc((size_t)(count * E + 1) * sizeof *x),
        *dx[2] = {calloc((size_t)(count * E + 1), sizeof(float)), calloc((size_t)(count * E + 1), sizeof(float))};
  for (int64_t i = 0; i < count * E; i++) x[i] = 0.3f + 0.01f * (float)(i % E);
  const float *in[2] = {x, x};
  syz_infonce_forward(l, 15.5, in, &loss);
  syz_infonce_backward(l, dx, NULL);
  CHECK_NEAR(loss.loss, log((double)G), 1e-6);
  double most = 0;
  for (int64_t i = 0; i < count * E; i++) most = fmax(most, fmax(fabs((double)dx[0][i]), fabs((double)dx[1][i])));
  CHECK_LT(most, 1e-5);
  /* One embedding is not a number: so is the loss, on every rank, and the row is found. */
  if (syz_comm_rank(world) == syz_comm_size(world) - 1 && count > 0) x[0] = NAN;
  int64_t has_nan = syz_comm_rank(world) == syz_comm_size(world) - 1 && count > 0;
  syz_allreduce_i64(world, &has_nan, 1, SYZ_MAX);
  syz_infonce_forward(l, 15.5, in, &loss);
  CHECK_EQ(!isfinite(loss.loss), has_nan);
  syz_infonce_destroy(&l);
  free(x);
  free(dx[0]);
  free(dx[1]);
}

static void retrieval(syz_comm *world, const syz_compute *compute, int64_t n)
{
  syz_retrieval r;
  float *x = calloc((size_t)(n * E + 1), sizeof *x), *y = calloc((size_t)(n * E + 1), sizeof *y);
  draw(n, x, y);
  double *a = calloc((size_t)(2 * n * E + 1), sizeof *a), *b = a + n * E;
  for (int64_t i = 0; i < n * E; i++) a[i] = x[i], b[i] = y[i];
  normalise(a, a, n);
  normalise(b, b, n);
  for (int64_t i = 0; i < n * E; i++) x[i] = (float)a[i], y[i] = (float)b[i];
  CHECK_OK(syz_retrieval_evaluate(world, compute, n, E, x, y, &r));
  for (int m = 0; m < 2; m++) {
    const double *query = m ? b : a, *candidate = m ? a : b;
    int64_t found[3] = {0}, half_better = 0;
    for (int64_t i = 0; i < n; i++) {
      int64_t place = 1;
      double own = 0;
      for (int d = 0; d < E; d++) own += query[i * E + d] * candidate[i * E + d];
      for (int64_t j = 0; j < n; j++) {
        double c = 0;
        for (int d = 0; d < E; d++) c += query[i * E + d] * candidate[j * E + d];
        place += j != i && c > own;
      }
      for (int k = 0; k < 3; k++) found[k] += place <= syz_recall_cut[k];
      half_better += place <= (int64_t)ceil(r.median_rank[m]);
    }
    for (int k = 0; k < 3; k++) CHECK_NEAR(r.recall[m][k], (double)found[k] / (double)n, 1e-12);
    CHECK(2 * half_better >= n);
  }
  CHECK_GT(r.recall[0][2], 10.0 / (double)n); /* they have something in common */
  /* All the same: chance, not a perfect score. */
  for (int64_t i = 0; i < n * E; i++) x[i] = y[i] = 0.2f;
  CHECK_OK(syz_retrieval_evaluate(world, compute, n, E, x, y, &r));
  CHECK_NEAR(r.median_rank[0], 0.5 * (double)(n + 1), 1e-12);
  CHECK_EQ(r.recall[0][0], n == 1);
  free(x);
  free(y);
  free(a);
}

int main(int argc, char **argv)
{
  syz_comm *world = NULL, *self = NULL;
  syz_compute *compute = NULL;
  if (syz_comm_start(&argc, &argv, &world) != SYZ_OK) return 1;
  CHECK_OK(syz_comm_split(world, syz_comm_rank(world), &self));
  CHECK_OK(syz_compute_create(SYZ_F32, SYZ_ENGINE_AUTO, 1, &compute));
  static const int64_t batch[] = {1, 2, 7, 64, 131};
  for (int apart = 0; apart < 2; apart++)
    for (size_t i = 0; i < sizeof batch / sizeof *batch; i++)
      run(world, self, compute, (layout){batch[i], apart}, 15.5);
  run(world, self, compute, (layout){600, false}, 40.0); /* more than one tile of columns, a sharp temperature */
  equal_embeddings(world, compute, 100);
  equal_embeddings(world, compute, 3);
  retrieval(world, compute, 37);
  retrieval(world, compute, 601);
  syz_compute_destroy(&compute);
  syz_comm_destroy(&self);
  int64_t failed = CHECK_RESULT();
  syz_allreduce_i64(world, &failed, 1, SYZ_MAX);
  syz_comm_finish(&world);
  return (int)failed;
}
