/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * KoLeo on given rows, and its laws: the same bits as on one rank alone, known answers, numbers that are not finite,
 * nothing allocated in a step. test_koleo.py compares what is written with PyTorch.
 *
 * test_koleo                       the laws
 * test_koleo FOLDER                also: rows of FOLDER/in; each rank writes FOLDER/out.<rank>
 * in:  int64 cases; each: int64 rows, width, stride; float64 scale; float32 x [rows, stride].
 * out: each case: float64 loss, spread; float32 dx [own rows, stride], on top of 1.
 */
#include <stdio.h>
#include <stdlib.h>

#include "check.h"
#include "syzygy/loss.h"

static const float filler = 1; /* what dx holds before */

static float *draw(int64_t rows, int64_t stride, double common)
{
  float *x = malloc((size_t)(rows * stride) * sizeof *x);
  for (int64_t i = 0; i < rows; i++) {
    const syz_random r = syz_random_make(3, SYZ_RANDOM_TEST, 1, (uint64_t)i);
    for (int64_t d = 0; d < stride; d++)
      x[i * stride + d] = (float)(syz_random_normal(&r, (uint32_t)d) + common * (double)(d % 3));
  }
  return x;
}

/* This rank's rows of a global x, forward and backward; dx [own rows, stride] by malloc. */
static float *run(syz_comm *world, const syz_compute *compute, int64_t rows, int64_t width, int64_t stride,
                  double scale, const float *x, double *loss, double *spread, int64_t *first, int64_t *count)
{
  syz_koleo *k = NULL;
  const size_t bytes = syz_koleo_bytes(compute, rows, width), live = syz_memory_get().live_bytes;
  syz_share(rows, syz_comm_size(world), syz_comm_rank(world), first, count);
  float *dx = malloc((size_t)(*count * stride + 1) * sizeof *dx);
  for (int64_t i = 0; i < *count * stride; i++) dx[i] = filler;
  CHECK_OK(syz_koleo_create(world, compute, rows, width, &k));
  if (!k) return dx;
  const double held = (double)(syz_memory_get().live_bytes - live);
  CHECK(held <= (double)bytes + 1024 && (syz_comm_size(world) > 1 || held > 0.9 * (double)bytes));
  const int64_t before = syz_memory_get().allocations;
  syz_koleo_forward(k, x + *first * stride, stride, loss, spread);
  syz_koleo_backward(k, scale, dx, stride);
  CHECK_EQ(syz_memory_get().allocations, before);
  syz_koleo_destroy(&k);
  return dx;
}

static void same_bits(syz_comm *world, syz_comm *self, const syz_compute *compute, int64_t rows, int64_t width)
{
  const int64_t stride = width + 3;
  int64_t first, count, none, all;
  double loss, spread, loss_alone, spread_alone;
  float *x = draw(rows, stride, 0.5);
  float *dx = run(world, compute, rows, width, stride, 0.1, x, &loss, &spread, &first, &count);
  float *alone = run(self, compute, rows, width, stride, 0.1, x, &loss_alone, &spread_alone, &none, &all);
  CHECK_EQ(loss, loss_alone);
  CHECK_EQ(spread, spread_alone);
  CHECK(isfinite(loss) && spread > 0.3 && spread <= 1 + 1e-6);
  CHECK_EQ(memcmp(dx, alone + first * stride, (size_t)(count * stride) * sizeof *dx), 0);
  for (int64_t i = 0; i < count; i++)
    for (int64_t d = width; d < stride; d++)
      CHECK_EQ(dx[i * stride + d], filler); /* what lies between rows is not ours */
  free(x);
  free(dx);
  free(alone);
}

static void known_answers(syz_comm *world, const syz_compute *compute)
{
  enum { WIDTH = 8 };
  int64_t first, count;
  double loss, spread;
  /* Pairs of opposite unit vectors and their like at right angles: every nearest neighbour at sqrt 2, the mean is zero.
   */
  float *x = calloc(16 * WIDTH, sizeof *x);
  for (int64_t i = 0; i < 16; i++) x[i * WIDTH + i / 2] = i % 2 ? -3.0f : 2.0f;
  float *dx = run(world, compute, 16, WIDTH, WIDTH, 1, x, &loss, &spread, &first, &count);
  CHECK_NEAR(loss, -log(sqrt(2.0)), 1e-7);
  CHECK_NEAR(spread, 1, 1e-7);
  free(dx);
  /* All the same: the logarithm's eps, no spread, and no direction to go. */
  for (int64_t i = 0; i < 16 * WIDTH; i++) x[i] = (float)(1 + i % WIDTH);
  dx = run(world, compute, 16, WIDTH, WIDTH, 1, x, &loss, &spread, &first, &count);
  CHECK_NEAR(loss, -log(1e-8), 1e-7);
  CHECK_LT(spread, 1e-7);
  for (int64_t i = 0; i < count * WIDTH; i++) CHECK_EQ(dx[i], filler);
  free(dx);
  /* One row has no neighbour. */
  dx = run(world, compute, 1, WIDTH, WIDTH, 1, x, &loss, &spread, &first, &count);
  CHECK_EQ(loss, 0);
  CHECK_EQ(spread, 0);
  for (int64_t i = 0; i < count * WIDTH; i++) CHECK_EQ(dx[i], filler);
  free(dx);
  /* A row of zeros is at length 1 from the others, and has a gradient as large as 1 / eps. */
  for (int64_t i = 0; i < 16; i++)
    for (int64_t d = 0; d < WIDTH; d++) x[i * WIDTH + d] = i == 5 ? 0 : (float)(d == i / 2);
  dx = run(world, compute, 16, WIDTH, WIDTH, 1, x, &loss, &spread, &first, &count);
  CHECK(isfinite(loss));
  for (int64_t i = 0; i < count * WIDTH; i++) CHECK(isfinite(dx[i]));
  free(dx);
  /* One number of the last row is none: nor is the loss, on any rank. */
  for (int kind = 0; kind < 2; kind++) {
    const int64_t sizes[] = {1, 2, 16};
    for (size_t s = 0; s < 3; s++) {
      for (int64_t i = 0; i < 16 * WIDTH; i++) x[i] = (float)((i * 7) % 11) - 4;
      x[sizes[s] * WIDTH - 2] = kind ? INFINITY : NAN;
      dx = run(world, compute, sizes[s], WIDTH, WIDTH, 1, x, &loss, &spread, &first, &count);
      CHECK(!isfinite(loss) && !isfinite(spread));
      free(dx);
    }
  }
  free(x);
}

static void *read_array(FILE *f, int64_t n, size_t size)
{
  void *x = malloc((size_t)n * size + 1);
  CHECK(f && x && fread(x, size, (size_t)n, f) == (size_t)n);
  return x;
}

static void given(syz_comm *world, const syz_compute *compute, const char *folder)
{
  char path[512];
  snprintf(path, sizeof path, "%s/in", folder);
  FILE *in = fopen(path, "rb");
  snprintf(path, sizeof path, "%s/out.%d", folder, syz_comm_rank(world));
  FILE *out = fopen(path, "wb");
  int64_t *cases = read_array(in, 1, sizeof *cases), first, count;
  for (int64_t c = 0; c < *cases && !check_failures; c++) {
    int64_t *n = read_array(in, 3, sizeof *n);
    double *scale = read_array(in, 1, sizeof *scale), result[2];
    float *x = read_array(in, n[0] * n[2], sizeof *x);
    float *dx = run(world, compute, n[0], n[1], n[2], *scale, x, &result[0], &result[1], &first, &count);
    CHECK(out && fwrite(result, sizeof *result, 2, out) == 2);
    CHECK(out && fwrite(dx, sizeof *dx, (size_t)(count * n[2]), out) == (size_t)(count * n[2]));
    free(n);
    free(scale);
    free(x);
    free(dx);
  }
  free(cases);
  if (in) fclose(in);
  if (out) fclose(out);
}

int main(int argc, char **argv)
{
  syz_comm *world = NULL, *self = NULL;
  syz_compute *compute = NULL;
  if (syz_comm_start(&argc, &argv, &world) != SYZ_OK) return 1;
  const int64_t blocks = syz_memory_get().live_blocks;
  CHECK_OK(syz_comm_split(world, syz_comm_rank(world), &self));
  CHECK_OK(syz_compute_create(SYZ_F32, SYZ_ENGINE_AUTO, 1, &compute));
  static const int64_t rows[] = {2, 3, 7, 64, 131, 700};
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) same_bits(world, self, compute, rows[i], 24);
  known_answers(world, compute);
  if (argc > 1) given(world, compute, argv[1]);
  syz_compute_destroy(&compute);
  syz_comm_destroy(&self);
  CHECK_EQ(syz_memory_get().live_blocks, blocks);
  int64_t failed = CHECK_RESULT();
  syz_allreduce_i64(world, &failed, 1, SYZ_MAX);
  syz_comm_finish(&world);
  return (int)failed;
}
