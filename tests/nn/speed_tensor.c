/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * What sharing transformer blocks out over a tensor group costs: forward and backward of a few blocks with the same
 * objects on the same ranks, each rank alone and all of them together, in turns; the best of each, in CPU seconds of
 * the slowest rank: waiting for a rank that the machine does not run counts little (Open MPI yields), transfer through
 * shared memory does. Memory of the packed weights beside it.
 *
 * mpirun -n RANKS speed_tensor [f32] [OBJECTS A RANK] [REPEATS]
 */
#include <stdlib.h>
#include <time.h>

#include "check.h"
#include "syzygy/nn.h"

enum { PARAMETERS = 14, BLOCKS = 3 };

typedef struct tower {
  const char *name;
  int64_t dim, heads, tokens;
  bool has_layerscale;
} tower;

typedef struct bench {
  syz_block *block[BLOCKS];
  void *saved[BLOCKS], *workspace;
  size_t packed_bytes, saved_bytes, workspace_bytes;
  double best[3]; /* forward, backward, pack */
} bench;

static syz_block_parameters views(const tower *t, float *p)
{
  const int64_t d = t->dim,
                size[PARAMETERS] = {d, d, 3 * d * d, 3 * d, d * d, d, d, d, d, 4 * d * d, 4 * d, 4 * d * d, d, d};
  float *at[PARAMETERS];
  for (int i = 0; i < PARAMETERS; i++) {
    at[i] = p;
    p += size[i];
  }
  return (syz_block_parameters){at[0], at[1], at[2], at[3],  at[4],  at[5],  at[6],
                                at[7], at[8], at[9], at[10], at[11], at[12], at[13]};
}

static void open_bench(const tower *t, const syz_compute *c, syz_comm *tensor, const syz_sequences *s,
                       const syz_block_parameters *w, bench *b)
{
  const syz_block_config config = {.dim = t->dim,
                                   .heads = t->heads,
                                   .hidden = 4 * t->dim,
                                   .eps = 1e-6f,
                                   .has_layerscale = t->has_layerscale,
                                   .tensor = tensor};
  *b = (bench){.best = {1e9, 1e9, 1e9}};
  for (int i = 0; i < BLOCKS; i++) {
    const size_t before = syz_memory_get().live_bytes;
    CHECK_OK(syz_block_create(c, &config, s, true, &b->block[i]));
    if (check_failures) return;
    b->packed_bytes =
        syz_memory_get().live_bytes - before; /* of the last one: the first may make shared scratch grow */
    b->saved_bytes = syz_block_saved_bytes(b->block[i], s);
    b->saved[i] = syz_alloc("saved", b->saved_bytes, 1);
    syz_block_pack(b->block[i], w);
  }
  b->workspace_bytes = syz_block_workspace_bytes(b->block[0], s);
  b->workspace = syz_alloc("workspace", b->workspace_bytes, 1);
}

static void close_bench(bench *b)
{
  for (int i = 0; i < BLOCKS; i++) {
    syz_block_destroy(&b->block[i]);
    syz_free(&b->saved[i]);
  }
  syz_free(&b->workspace);
}

static double seconds(void)
{
  struct timespec t;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Seconds of the slowest rank. */
static double lap(syz_comm *world, double start)
{
  double s = seconds() - start;
  syz_allreduce_f64(world, &s, 1, SYZ_MAX);
  return s;
}

static void run(syz_comm *world, bench *b, const syz_sequences *s, float *x, float *dx, const syz_block_parameters *w,
                const syz_block_parameters *g)
{
  double s_pass[3];
  syz_barrier(world);
  double start = seconds();
  for (int i = 0; i < BLOCKS; i++) syz_block_forward(b->block[i], s, NULL, x, b->saved[i], b->workspace);
  s_pass[0] = lap(world, start);
  start = seconds();
  for (int i = BLOCKS - 1; i >= 0; i--) syz_block_backward(b->block[i], s, NULL, dx, b->saved[i], g, b->workspace);
  s_pass[1] = lap(world, start);
  start = seconds();
  for (int i = 0; i < BLOCKS; i++) syz_block_pack(b->block[i], w);
  s_pass[2] = lap(world, start);
  for (int k = 0; k < 3; k++) b->best[k] = fmin(b->best[k], s_pass[k] / BLOCKS);
}

static void compare(syz_comm *world, const syz_compute *c, const tower *t, int64_t objects, int repeats)
{
  const syz_sequences s = {.groups = 1, .count = {objects}, .tokens = {t->tokens}};
  const size_t stream = (size_t)(syz_sequences_rows(&s) * t->dim), total = (size_t)(12 * t->dim * t->dim + 15 * t->dim);
  float *x = syz_alloc("x", stream, sizeof *x), *dx = syz_alloc("dx", stream, sizeof *dx);
  float *w = syz_alloc("w", total, sizeof *w), *g = syz_alloc("g", total, sizeof *g);
  const syz_random r = syz_random_make(5, SYZ_RANDOM_TEST, 9, 0);
  syz_random_fill_normal(&r, w, total);
  for (size_t i = 0; i < total; i++) w[i] *= 0.02f;
  const syz_block_parameters weights = views(t, w), gradients = views(t, g);
  bench alone, together;
  open_bench(t, c, NULL, &s, &weights, &alone);
  open_bench(t, c, world, &s, &weights, &together);
  for (int k = 0; k < repeats && !check_failures; k++)
    for (int side = 0; side < 2; side++) {
      syz_random_fill_normal(&r, x, stream);
      syz_random_fill_normal(&r, dx, stream);
      run(world, side ? &together : &alone, &s, x, dx, &weights, &gradients);
    }
  if (syz_comm_rank(world) == 0 && !check_failures) {
    const double all = alone.best[0] + alone.best[1], shared = together.best[0] + together.best[1];
    printf("%s, %d ranks, %d objects each: a block's forward / backward pass %.2f / %.2f ms alone, %.2f / %.2f ms as a "
           "group: %+.1f %%\n",
           t->name, syz_comm_size(world), (int)objects, 1e3 * alone.best[0], 1e3 * alone.best[1],
           1e3 * together.best[0], 1e3 * together.best[1], 100 * (shared / all - 1));
    printf("  packing %.2f -> %.2f ms; a rank's packed weights of a block %.2f -> %.2f MiB, kept activations %.2f -> "
           "%.2f MiB, workspace %.2f -> %.2f MiB\n",
           1e3 * alone.best[2], 1e3 * together.best[2], (double)alone.packed_bytes / 1048576,
           (double)together.packed_bytes / 1048576, (double)alone.saved_bytes / 1048576,
           (double)together.saved_bytes / 1048576, (double)alone.workspace_bytes / 1048576,
           (double)together.workspace_bytes / 1048576);
  }
  close_bench(&alone);
  close_bench(&together);
  void *rest[] = {x, dx, w, g};
  for (size_t i = 0; i < sizeof rest / sizeof *rest; i++) syz_free(&rest[i]);
}

int main(int argc, char **argv)
{
  static const tower towers[] = {{"image tower (dim 1024, 16 heads, 144 tokens)", 1024, 16, 144, true},
                                 {"spectrum tower (dim 768, 6 heads, 778 tokens)", 768, 6, 778, false}};
  const bool is_f32 = argc > 1 && !strcmp(argv[1], "f32");
  const int64_t objects = argc > 1 + is_f32 ? atoll(argv[1 + is_f32]) : 8;
  const int repeats = argc > 2 + is_f32 ? atoi(argv[2 + is_f32]) : 10;
  syz_comm *world = NULL;
  syz_compute *c = NULL;
  CHECK_OK(syz_comm_start(&argc, &argv, &world));
  CHECK_OK(syz_compute_create(is_f32 ? SYZ_F32 : SYZ_BF16, SYZ_ENGINE_AUTO, 1, &c));
  for (int i = 0; i < 2 && c; i++)
    if (towers[i].heads % syz_comm_size(world) == 0)
      compare(world, c, &towers[i], i == 0 ? objects : (objects + 3) / 4, repeats);
  syz_compute_destroy(&c);
  syz_comm_finish(&world);
  return check_failures > 0;
}
