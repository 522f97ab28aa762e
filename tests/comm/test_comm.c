/* SPDX-License-Identifier: BSD-3-Clause */
/** Collectives against what they must give, for uneven and empty parts; the grid; messages under way; nodes and what
 * their ranks share; the timing table. */
#include <stdlib.h>

#include "check.h"
#include "syzygy/comm.h"
#include "../../src/comm/comm.h"

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

  float *a = malloc(3 * N * sizeof *a);
  for (int k = 0; k < 3 * N; k++) a[k] = (float)sin(k + 1.7 * rank);
  syz_allreduce_f32(c, a, 3 * N, SYZ_SUM);
  double exact = 0;
  for (int k = 0; k < 3 * N; k++) {
    double sum = 0;
    for (int s = 0; s < size; s++) sum += (float)sin(k + 1.7 * s);
    exact = fmax(exact, fabs(sum - (double)a[k]));
  }
  CHECK_LT(exact, 2e-6);
  free(a);
}

/* Every rank sends to every other at once, twice under one tag: they arrive in order. */
static void messages(syz_comm *c)
{
  enum { N = 70000, TAG = 100 };
  syz_request *r = NULL;
  int *out = malloc(2 * N * sizeof *out), *in = calloc((size_t)size * 2 * N, sizeof *in);
  for (int k = 0; k < 2 * N; k++) out[k] = rank * 1000003 + k;
  CHECK_OK(syz_request_create(c, 4 * size, &r));
  CHECK(syz_request_test(r)); /* nothing is under way */
  for (int half = 0; half < 2; half++)
    for (int s = 0; s < size; s++) {
      if (s == rank) continue;
      syz_request_receive(r, in + ((size_t)s * 2 + (size_t)half) * N, N * sizeof *in, s, TAG);
      syz_request_send(r, out + half * N, N * sizeof *out, s, TAG);
    }
  if (rank % 2)
    syz_request_wait(r);
  else
    while (!syz_request_test(r)) {
    }
  int64_t wrong = 0;
  for (int s = 0; s < size; s++)
    for (int k = 0; k < 2 * N && s != rank; k++) wrong += in[(size_t)s * 2 * N + (size_t)k] != s * 1000003 + k;
  CHECK_EQ(wrong, 0);
  syz_request_destroy(&r);
  free(out);
  free(in);
}

/* Nodes of `per_node` ranks; who stands for whom; what each rank has written reaches all. */
static void nodes(syz_comm *c, int per_node)
{
  enum { N = 30011 };
  syz_nodes *n = NULL;
  syz_shared shared;
  size_t first[8], bytes[8], at = 0;
  int behind[8] = {0};
  CHECK_OK(syz_nodes_create(c, per_node, &n));
  const int width = per_node > 0 && per_node < size ? per_node : size;
  CHECK_EQ(n->n, (size + width - 1) / width);
  CHECK(n->mine == rank / width && syz_comm_rank(n->local) == rank % width);
  for (int r = 0; r < size; r++) {
    CHECK(n->node[r] == r / width && n->place[r] == r % width && n->rank[r] == r);
    for (int k = 0; k < n->n; k++) {
      const int stand_in = syz_nodes_stand_in(n, k, r);
      CHECK(n->node[stand_in] == k && n->place[stand_in] == n->place[r] % (n->first[k + 1] - n->first[k]));
      if (k != n->node[r]) behind[stand_in]++;
    }
    /* Stretches of uneven lengths, rank 1 has none. */
    bytes[r] = r == 1 ? 0 : (size_t)(r + 1) * N;
    first[r] = at;
    at += bytes[r];
  }
  CHECK_EQ(n->n_behind, behind[rank]);
  syz_shared_map(c, n->local, at, &shared);
  CHECK(shared.bytes != NULL);
  unsigned char *block = shared.bytes;
  for (size_t i = 0; i < bytes[rank]; i++) block[first[rank] + i] = (unsigned char)(i * 31 + (size_t)rank);
  syz_nodes_spread(n, block, first, bytes);
  int64_t wrong = 0;
  for (int r = 0; r < size; r++)
    for (size_t i = 0; i < bytes[r]; i++) wrong += block[first[r] + i] != (unsigned char)(i * 31 + (size_t)r);
  CHECK_EQ(wrong, 0);
  syz_barrier(c);
  syz_shared_destroy(&shared);
  syz_shared_map(c, n->local, (size_t)1 << 50, &shared); /* more than there is: nobody has it */
  CHECK(!shared.bytes && !shared.size);
  syz_nodes_destroy(&n);
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
  messages(c);
  for (int per_node = 0; per_node < 4; per_node++) nodes(c, per_node);
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
