/* SPDX-License-Identifier: BSD-3-Clause */
/** Rows that a group holds together: gathered and summed for uneven and empty shares and for more than a stage; tensor
 * groups of the grid. */

#include "check.h"
#include "syzygy/comm.h"

enum { RANKS_MAX = 8, GUARD = 16 };

static int rank, ranks;

/* What rank r adds to element i: exact in float32, also summed. */
static float part_of(int r, int64_t i) { return (float)((i * 7 + r * 13) % 101 - 50); }

static void check_rows(syz_comm *c, const int64_t rows[RANKS_MAX], int64_t width)
{
  int64_t all = 0, first = 0;
  for (int r = 0; r < ranks; r++) {
    if (r < rank) first += rows[r];
    all += rows[r];
  }
  const int64_t n = all * width;
  float *x = syz_alloc("x", (size_t)(n + GUARD), sizeof *x),
        *stage = syz_alloc("stage", SYZ_ROWS_STAGE + GUARD, sizeof *stage);
  for (int64_t i = 0; i < GUARD; i++) x[n + i] = stage[SYZ_ROWS_STAGE + i] = 5;
  for (int64_t i = 0; i < n; i++) x[i] = i / width >= first && i / width < first + rows[rank] ? part_of(3, i) : -1;
  syz_rows_gather(c, x, rows, (size_t)width * sizeof *x);
  int64_t wrong = 0;
  for (int64_t i = 0; i < n; i++) wrong += x[i] != part_of(3, i);
  for (int64_t i = 0; i < n; i++) x[i] = part_of(rank, i);
  syz_rows_reduce_scatter(c, x, rows, width, stage);
  for (int64_t i = 0; i < n; i++) {
    float sum = 0;
    for (int r = 0; r < ranks; r++) sum += part_of(r, i);
    const bool is_mine = i / width >= first && i / width < first + rows[rank];
    wrong += x[i] != (is_mine ? sum : part_of(rank, i));
  }
  for (int64_t i = 0; i < GUARD; i++) wrong += x[n + i] != 5 || stage[SYZ_ROWS_STAGE + i] != 5;
  CHECK_EQ(wrong, 0);
  syz_free(&x);
  syz_free(&stage);
}

/* Equal rows have sums of the same bits, whoever owns them. */
static void check_order(syz_comm *c)
{
  enum { WIDTH = 37 };
  int64_t rows[RANKS_MAX];
  for (int r = 0; r < ranks; r++) rows[r] = 2;
  float *x = syz_alloc("x", (size_t)(2 * ranks * WIDTH), sizeof *x),
        *stage = syz_alloc("stage", SYZ_ROWS_STAGE, sizeof *stage);
  for (int i = 0; i < 2 * ranks * WIDTH; i++) x[i] = (float)(pow(10, rank % 4) * sin(1.3 * rank + i % WIDTH));
  syz_rows_reduce_scatter(c, x, rows, WIDTH, stage);
  for (int i = 0; i < 2 * WIDTH; i++) {
    float low = x[2 * rank * WIDTH + i], high = low;
    syz_allreduce_f32(c, &low, 1, SYZ_MIN);
    syz_allreduce_f32(c, &high, 1, SYZ_MAX);
    CHECK(low == high);
  }
  syz_free(&x);
  syz_free(&stage);
}

static void check_groups(syz_comm *world, syz_towers towers, int tensor, int image_ranks)
{
  syz_grid g;
  CHECK_OK(syz_grid_create(world, towers, 3, 1, &g));
  CHECK_OK(syz_grid_split_tensor(&g, tensor));
  CHECK_EQ(g.image_ranks, image_ranks);
  CHECK_EQ(syz_comm_size(g.data), towers == SYZ_TOWERS_TOGETHER ? ranks
                                  : g.has_image                 ? image_ranks
                                                                : ranks - image_ranks);
  if (tensor == 1) {
    CHECK(!g.tensor);
  } else {
    CHECK_EQ(syz_comm_size(g.tensor), tensor);
    CHECK_EQ(syz_comm_rank(g.tensor), syz_comm_rank(g.data) % tensor);
    int64_t lowest = rank; /* neighbours of one tower */
    syz_allreduce_i64(g.tensor, &lowest, 1, SYZ_MIN);
    CHECK_EQ(rank - lowest, syz_comm_rank(g.tensor));
  }
  syz_grid_destroy(&g);
}

static void check_refusals(syz_comm *world)
{
  syz_grid g;
  CHECK_OK(syz_grid_create(world, SYZ_TOWERS_TOGETHER, 3, 1, &g));
  CHECK_ERROR(syz_grid_split_tensor(&g, ranks + 1), SYZ_ERR_INPUT, "does not divide");
  syz_grid_destroy(&g);
  if (ranks < 2) return;
  CHECK_OK(syz_grid_create(world, SYZ_TOWERS_APART, 3, 1, &g));
  CHECK_ERROR(syz_grid_split_tensor(&g, ranks), SYZ_ERR_INPUT, "apart needs at least");
  syz_grid_destroy(&g);
}

int main(int argc, char **argv)
{
  syz_comm *c = NULL;
  CHECK_OK(syz_comm_start(&argc, &argv, &c));
  rank = syz_comm_rank(c);
  ranks = syz_comm_size(c);
  static const int64_t rows[][RANKS_MAX] = {{1, 1, 1, 1, 1, 1, 1, 1},
                                            {3, 0, 7, 2, 0, 0, 5, 1},
                                            {0, 0, 4, 0, 0, 3, 0, 0},
                                            {0},
                                            {900, 301, 0, 257, 1, 128, 0, 513}};
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    check_rows(c, rows[i], 1);
    check_rows(c, rows[i], 513); /* up to three and a half stages */
  }
  check_order(c);
  check_groups(c, SYZ_TOWERS_TOGETHER, 1, ranks);
  check_groups(c, SYZ_TOWERS_TOGETHER, ranks, ranks);
  if (ranks % 2 == 0) check_groups(c, SYZ_TOWERS_TOGETHER, 2, ranks);
  if (ranks == 4) check_groups(c, SYZ_TOWERS_APART, 2, 2);
  if (ranks == 8) check_groups(c, SYZ_TOWERS_APART, 2, 6);
  if (ranks == 8) check_groups(c, SYZ_TOWERS_APART, 4, 4); /* 6 and 2 without groups */
  check_refusals(c);
  int64_t failures = check_failures;
  syz_allreduce_i64(c, &failures, 1, SYZ_SUM);
  syz_comm_finish(&c);
  CHECK_EQ(syz_memory_get().live_blocks, 0);
  return failures ? 1 : CHECK_RESULT();
}
