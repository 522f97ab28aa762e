/* SPDX-License-Identifier: BSD-3-Clause */
/** Collectives against what they must give, for uneven and empty parts; the grid; reductions under way; the timing table. */
#include <stdlib.h>

#include "check.h"
#include "syzygy/comm.h"

static int rank, size;

static void shares(void)
{
  for (int64_t n = 0; n < 40; n++) {
    int64_t next = 0;
    for (int r = 0; r < size; r++) {
      int64_t first, count;
      syz_share(n, size, r, &first, &count);
      CHECK(first == next && count >= n / size && count <= n / size + 1);
      next = first + count;
    }
    CHECK(next == n);
  }
}

static void gathers(syz_comm *c)
{
  size_t bytes[8], total = 0, before = 0;
  for (int r = 0; r < size; r++) {
    bytes[r] = (size_t)((r * 5) % 7); /* rank 0 gives nothing */
    if (r < rank) before += bytes[r];
    total += bytes[r];
  }
  unsigned char mine[8], *all = malloc(total + 1);
  for (size_t i = 0; i < bytes[rank]; i++) mine[i] = (unsigned char)(10 * rank + (int)i);
  for (int kind = 0; kind < 2; kind++) {
    memset(all, 0, total + 1);
    if (kind == 0)
      syz_allgatherv(c, mine, all, bytes);
    else
      syz_gatherv(c, mine, all, bytes, size - 1);
    size_t at = 0;
    for (int r = 0; r < size && (kind == 0 || rank == size - 1); r++)
      for (size_t i = 0; i < bytes[r]; i++) CHECK(all[at++] == 10 * r + (int)i);
  }
  CHECK(syz_exscan_i64(c, (int64_t)bytes[rank]) == (int64_t)before);
  free(all);

  /* rank s sends s + 2 t bytes of value 16 s + t to rank t */
  size_t send_bytes[8], receive_bytes[8], ns = 0, nr = 0;
  for (int r = 0; r < size; r++) {
    ns += send_bytes[r] = (size_t)(rank + 2 * r);
    nr += receive_bytes[r] = (size_t)(r + 2 * rank);
  }
  unsigned char *send = malloc(ns + 1), *receive = malloc(nr + 1);
  size_t at = 0;
  for (int r = 0; r < size; r++)
    for (size_t i = 0; i < send_bytes[r]; i++) send[at++] = (unsigned char)(16 * rank + r);
  syz_alltoallv(c, send, send_bytes, receive, receive_bytes);
  at = 0;
  for (int r = 0; r < size; r++)
    for (size_t i = 0; i < receive_bytes[r]; i++) CHECK(receive[at++] == 16 * r + rank);
  free(send);
  free(receive);

  int token = rank, from = -1;
  syz_ring_shift(c, &token, &from, sizeof token);
  CHECK(from == (rank + size - 1) % size);
}

static void reductions(syz_comm *c)
{
  enum { N = 10007 };
  double d[2] = {rank, -rank};
  int64_t i = INT64_C(1) << 40;
  uint64_t u = UINT64_MAX;
  syz_allreduce_f64(c, d, 2, SYZ_MAX);
  syz_allreduce_i64(c, &i, 1, SYZ_SUM);
  syz_allreduce_u64(c, &u, 1, SYZ_SUM);
  CHECK(d[0] == size - 1 && d[1] == 0 && i == size * (INT64_C(1) << 40) && u == (uint64_t)0 - (uint64_t)size);

  float *a = malloc(3 * N * sizeof *a), *b = malloc(3 * N * sizeof *b);
  for (int k = 0; k < 3 * N; k++) a[k] = b[k] = (float)sin(k + 1.7 * rank);
  syz_allreduce_f32(c, a, 3 * N, SYZ_SUM);
  syz_request *r = NULL;
  CHECK_OK(syz_request_create(c, 2, &r)); /* fewer places than reductions: the third waits */
  for (int k = 0; k < 3; k++) {
    syz_request_sum_f32(r, b + k * N, N);
    syz_request_progress(r);
  }
  syz_request_wait(r);
  syz_request_destroy(&r);
  double worst = 0, exact = 0;
  for (int k = 0; k < 3 * N; k++) {
    worst = fmax(worst, fabs((double)a[k] - (double)b[k]));
    double sum = 0;
    for (int s = 0; s < size; s++) sum += (float)sin(k + 1.7 * s);
    exact = fmax(exact, fabs(sum - (double)a[k]));
  }
  CHECK_LT(worst, 2e-6);
  CHECK_LT(exact, 2e-6);
  free(a);
  free(b);
}

static void grids(syz_comm *c)
{
  syz_grid g;
  CHECK_OK(syz_grid_create(c, SYZ_TOWERS_TOGETHER, 3, 1, &g));
  CHECK(g.has_image && g.has_spectrum && syz_comm_size(g.data) == size);
  syz_grid_destroy(&g);
  if (size == 1) {
    CHECK_ERROR(syz_grid_create(c, SYZ_TOWERS_APART, 3, 1, &g), SYZ_ERR_MEMORY, "at least 2 ranks");
    return;
  }
  CHECK_OK(syz_grid_create(c, SYZ_TOWERS_APART, 3, 1, &g));
  CHECK(g.has_image != g.has_spectrum && g.image_ranks + g.spectrum_ranks == size);
  CHECK(syz_comm_size(g.data) == (g.has_image ? g.image_ranks : g.spectrum_ranks));
  if (size == 8) CHECK(g.image_ranks == 6);
  syz_grid_destroy(&g);
}

static void timings(syz_comm *c)
{
  syz_timing t = {0};
  syz_timing_begin(&t, "outer");
  double end = syz_clock_s() + 0.02;
  while (syz_clock_s() < end) {
  }
  syz_timing_begin(&t, rank == size - 1 ? "last only" : "inner");
  end = syz_clock_s() + 0.03;
  while (syz_clock_s() < end) {
  }
  syz_timing_end(&t);
  syz_timing_end(&t);
  syz_timing_row rows[8];
  int n = 8;
  syz_timing_reduce(c, &t, rows, &n);
  CHECK(n == (size > 1 ? 3 : 2));
  CHECK(rows[0].min_s >= 0.02 && rows[n - 1].max_s >= 0.03);
  CHECK(strcmp(rows[n - 1].name, "last only") == 0);
  double share = 0;
  for (int i = 0; i < n; i++) share += rows[i].share;
  CHECK_NEAR(share, 1, 1e-12);
}

int main(int argc, char **argv)
{
  syz_comm *c = NULL, *node = NULL;
  CHECK_OK(syz_comm_start(&argc, &argv, &c));
  rank = syz_comm_rank(c);
  size = syz_comm_size(c);
  shares();
  gathers(c);
  reductions(c);
  grids(c);
  timings(c);
  CHECK_OK(syz_comm_split_node(c, &node));
  CHECK(syz_comm_size(node) == size);
  syz_comm_destroy(&node);
  int64_t failures = check_failures;
  syz_allreduce_i64(c, &failures, 1, SYZ_SUM);
  syz_comm_finish(&c);
  CHECK_EQ(syz_memory_get().live_blocks, 0);
  return failures ? 1 : CHECK_RESULT();
}
