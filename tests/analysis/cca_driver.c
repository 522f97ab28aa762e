/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Driver of test_cca.py: cca_driver TASK FOLDER ROWS WIDTH_X WIDTH_Y OPTION SCALAPACK_FROM reads FOLDER/x.f32 [rows,
 * width x] and y.f32 and leaves float64 results in FOLDER. With three ranks and more, rank 1 has no rows.
 *
 *   qr                          -> q-<rank>.f64 [rows here, r], qr.f64: R [r, width x]
 *   fit PERMUTATIONS            <- half.u8  -> cca.f64: ranks, pairs, threshold, departure, correlations, weights x,
 *                                  weights y, shuffled; variates.f32 x and y; held.f64: pairs, shared, error,
 *                                  correlations
 *   draws N                     -> draws.f64: bound, uniformity x, y, each with its error
 *   refusals                    what must be refused on all ranks
 */
#include "driver.h"

static int64_t width[2];
static float *x[2];

static void run_qr(void)
{
  double *q = syz_alloc("rows", (size_t)(count * width[0] + 1), 8),
         *r = syz_alloc("R", (size_t)(width[0] * width[0]), 8);
  int64_t rank = -1;
  char name[64];
  for (int64_t i = 0; i < count * width[0]; i++) q[i] = (double)x[0][first * width[0] + i];
  CHECK_OK(syz_tall_qr(world, count, width[0], q, 1e-9, true, &rank, r));
  snprintf(name, sizeof name, "q-%d.f64", syz_comm_rank(world));
  for (int64_t i = 0; i < count; i++) save_here(name, i ? "ab" : "wb", q + i * width[0], (size_t)rank, 8);
  if (count == 0) save_here(name, "wb", q, 0, 8);
  save("qr.f64", "wb", r, rank * width[0], 8);
  syz_free(&q);
  syz_free(&r);
}

static void save_fit(const syz_cca *a)
{
  const double head[5] = {(double)a->rank[0], (double)a->rank[1], (double)a->pairs, a->threshold, a->departure};
  save("cca.f64", "wb", head, 5, 8);
  save("cca.f64", "ab", a->correlation, a->pairs, 8);
  for (int s = 0; s < 2; s++) save("cca.f64", "ab", a->weight[s], a->pairs * a->width[s], 8);
  save("cca.f64", "ab", a->shuffled, a->permutations, 8);
  for (int s = 0; s < 2; s++) {
    float *v = syz_alloc("variates", (size_t)(rows * a->pairs), 4);
    syz_cca_project(a, s, a->pairs, rows, x[s], v);
    save("variates.f32", s ? "ab" : "wb", v, rows * a->pairs, 4);
    syz_free(&v);
  }
}

static void run_fit(const syz_rows r[2], const syz_cca_options *options)
{
  syz_cca *a = NULL;
  syz_cca_held *h = NULL;
  uint8_t *half = load("half.u8", (size_t)rows, 1);
  CHECK_OK(syz_cca_fit(world, &r[0], &r[1], options, &a));
  if (a) save_fit(a);
  CHECK_OK(syz_cca_hold_out(world, &r[0], &r[1], half + first, options, &h));
  if (h) {
    const double head[3] = {(double)h->pairs, (double)h->shared, h->error};
    save("held.f64", "wb", head, 3, 8);
    save("held.f64", "ab", h->correlation, h->pairs, 8);
  }
  syz_cca_destroy(&a);
  syz_cca_held_destroy(&h);
  syz_free(&half);
}

static void run_draws(const syz_rows r[2], int64_t n)
{
  syz_pair_means m;
  CHECK_OK(syz_pairs_draw(world, &r[0], &r[1], n, 5, 7.5, 3, &m));
  const double out[6] = {m.bound[0],         m.bound[1],         m.uniformity[0][0],
                         m.uniformity[0][1], m.uniformity[1][0], m.uniformity[1][1]};
  save("draws.f64", "wb", out, 6, 8);
  CHECK_ERROR(syz_pairs_draw(world, &r[0], &r[1], rows + 1, 1, 1, 3, &m), SYZ_ERR_INPUT, "pairs among");
}

static void refusals(syz_rows r[2], const syz_cca_options *options)
{
  syz_cca *a = NULL;
  syz_rows few[2] = {r[0], r[1]};
  const int64_t most = (width[0] + width[1]) / syz_comm_size(world); /* of all ranks: no more than both widths */
  for (int s = 0; s < 2; s++) few[s].n = count < most ? count : most;
  CHECK_ERROR(syz_cca_fit(world, &few[0], &few[1], options, &a), SYZ_ERR_INPUT, "too few");
  CHECK(a == NULL);
  if (syz_comm_rank(world) == syz_comm_size(world) - 1) x[1][first * width[1] + 1] = NAN;
  CHECK_ERROR(syz_cca_fit(world, &r[0], &r[1], options, &a), SYZ_ERR_NUMERIC, "column 1");
  for (int64_t i = 0; i < rows * width[1]; i++) x[1][i] = 4;
  CHECK_ERROR(syz_cca_fit(world, &r[0], &r[1], options, &a), SYZ_ERR_INPUT, "rows of side 2 are the same");
  CHECK(a == NULL);
}

int main(int argc, char **argv)
{
  CHECK_OK(syz_comm_start(&argc, &argv, &world));
  if (argc < 8) return 2;
  const int64_t blocks = syz_memory_get().live_blocks;
  folder = argv[2];
  rows = atoll(argv[3]);
  for (int s = 0; s < 2; s++) {
    width[s] = atoll(argv[4 + s]);
    x[s] = load(s ? "y.f32" : "x.f32", (size_t)(rows * width[s]), 4);
  }
  share();
  syz_array_rows array[2];
  syz_rows r[2];
  for (int s = 0; s < 2; s++) {
    array[s] = (syz_array_rows){SYZ_F32, x[s] + first * width[s], width[s]};
    r[s] = (syz_rows){count, width[s], &array[s], syz_array_rows_read};
  }
  const syz_cca_options options = {
      .tolerance = 1e-6, .scalapack_from = atoll(argv[7]), .permutations = atoll(argv[6]), .seed = 11};
  if (strcmp(argv[1], "qr") == 0) run_qr();
  if (strcmp(argv[1], "fit") == 0) run_fit(r, &options);
  if (strcmp(argv[1], "draws") == 0) run_draws(r, atoll(argv[6]));
  if (strcmp(argv[1], "refusals") == 0) refusals(r, &options);
  for (int s = 0; s < 2; s++) syz_free(&x[s]);
  CHECK_EQ(syz_memory_get().live_blocks, blocks);
  int64_t failed = CHECK_RESULT();
  syz_allreduce_i64(world, &failed, 1, SYZ_MAX);
  syz_comm_finish(&world);
  return failed != 0;
}
