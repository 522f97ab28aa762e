/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Time and memory of canonical correlation as shares of what the machine multiplies in float64, measured in the same
 * run on all ranks at once; one thread a rank. Read by people, not part of the tests; speed_cca.py is the same by
 * SciPy.
 *
 * mpirun -n RANKS speed_cca [ROWS] [WIDTH X] [WIDTH Y] [PERMUTATIONS]. Counted operations: 4 n p^2 for each side, as
 * Householder QR with Q needs, and 2 n p q for the product of both Q.
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "syzygy/analysis.h"
#include "syzygy/numbers.h"

void dgemm_(const char *ta, const char *tb, const int *m, const int *n, const int *k, const double *alpha,
            const double *a, const int *lda, const double *b, const int *ldb, const double *beta, double *c,
            const int *ldc, size_t, size_t);

static double cpu_seconds(void)
{
  struct timespec t;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Operations a second of this rank: the best of some products. */
static double limit(syz_comm *world)
{
  enum { SIDE = 2048 };
  const int n = SIDE;
  const double one = 1, none = 0;
  double *a = syz_alloc("limit", 3 * SIDE * SIDE, sizeof *a), best = 0;
  if (!a) exit(1);
  for (int64_t i = 0; i < 2 * SIDE * SIDE; i++) a[i] = 1e-3 * (double)(i % 97);
  for (int k = 0; k < 5; k++) {
    syz_barrier(world);
    const double start = cpu_seconds();
    dgemm_("N", "N", &n, &n, &n, &one, a, &n, a + SIDE * SIDE, &n, &none, a + 2 * SIDE * SIDE, &n, 1, 1);
    const double rate = 2.0 * SIDE * SIDE * SIDE / (cpu_seconds() - start);
    if (rate > best) best = rate;
  }
  syz_free(&a);
  syz_allreduce_f64(world, &best, 1, SYZ_SUM);
  return best;
}

/* Sides with a few dimensions in common. */
static float *draw(int64_t first, int64_t n, int64_t width, uint64_t side)
{
  float *x = syz_alloc("speed", (size_t)(n * width + 1), sizeof *x), common[8];
  if (!x) exit(1);
  for (int64_t i = 0; i < n; i++) {
    const syz_random own = syz_random_make(1, SYZ_RANDOM_BENCH, side, (uint64_t)(first + i));
    const syz_random shared = syz_random_make(1, SYZ_RANDOM_BENCH, 2, (uint64_t)(first + i));
    syz_random_fill_normal(&own, x + i * width, (size_t)width);
    syz_random_fill_normal(&shared, common, 8);
    for (int64_t e = 0; e < width; e++) x[i * width + e] += common[e % 8];
  }
  return x;
}

int main(int argc, char **argv)
{
  syz_comm *world = NULL;
  syz_cca *a = NULL;
  if (syz_comm_start(&argc, &argv, &world) != SYZ_OK) return 1;
  const int64_t rows = argc > 1 ? atoll(argv[1]) : 200000, permutations = argc > 4 ? atoll(argv[4]) : 0;
  const int64_t width[2] = {argc > 2 ? atoll(argv[2]) : 1024, argc > 3 ? atoll(argv[3]) : 1024};
  int64_t first, n;
  float *x[2];
  syz_array_rows array[2];
  syz_rows r[2];
  syz_share(rows, syz_comm_size(world), syz_comm_rank(world), &first, &n);
  for (int s = 0; s < 2; s++) {
    x[s] = draw(first, n, width[s], (uint64_t)s);
    array[s] = (syz_array_rows){SYZ_F32, x[s], width[s]};
    r[s] = (syz_rows){n, width[s], &array[s], syz_array_rows_read};
  }
  syz_blis_choose_kernels();
  const double best = limit(world), before = (double)syz_memory_get().live_bytes;
  const syz_cca_options options = {.tolerance = 1e-6, .scalapack_from = 1536, .permutations = permutations};
  syz_barrier(world);
  const double start = syz_clock_s(), cpu_start = cpu_seconds();
  if (syz_cca_fit(world, &r[0], &r[1], &options, &a) != SYZ_OK) {
    fprintf(stderr, "%s\n", syz_error_text());
    return 1;
  }
  double cpu = cpu_seconds() - cpu_start;
  const double seconds = syz_clock_s() - start, p = (double)width[0], q = (double)width[1], N = (double)rows;
  double memory = (double)syz_memory_get().peak_bytes - before;
  const double counted = 4 * N * (p * p + q * q) + 2 * N * p * q;
  syz_allreduce_f64(world, &memory, 1, SYZ_SUM);
  syz_allreduce_f64(world, &cpu, 1, SYZ_SUM);
  if (syz_comm_rank(world) == 0)
    printf("%lld x (%lld + %lld), %d ranks, %lld permutations: %.2f s; %.1f GFLOP/s of %.1f, %.1f %%, by "
           "processor time %.1f %%; memory %.3f x the "
           "float64 matrices; largest correlations %.6f %.6f; Q^T Q - 1 at most %.2g\n",
           (long long)rows, (long long)width[0], (long long)width[1], syz_comm_size(world), (long long)permutations,
           seconds, counted / seconds / 1e9, best / 1e9, 100 * counted / seconds / best,
           100 * counted / cpu / best * syz_comm_size(world), memory / (8 * N * (p + q)), a->correlation[0],
           a->correlation[1], a->departure);
  syz_cca_destroy(&a);
  for (int s = 0; s < 2; s++) syz_free(&x[s]);
  syz_comm_finish(&world);
  return 0;
}
