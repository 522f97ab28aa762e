/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Laws of the transformer block: the backward pass is the derivative (central differences, planted faults are seen), a
 * sequence's bits do not depend on what else is in the call, sequences that a branch does not keep pass it by, and a
 * step calls no allocator at all, not even inside a library.
 */
#include <stdlib.h>

#include "check.h"
#include "syzygy/nn.h"

/* Every call of malloc and its kin in the process passes here (glibc); sanitizers bring their own. */
static long malloc_calls;
#if defined(__GLIBC__) && !defined(__SANITIZE_ADDRESS__)
void *__libc_malloc(size_t n);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t n);
void *__libc_memalign(size_t alignment, size_t n);
void *malloc(size_t n)
{
  malloc_calls++;
  return __libc_malloc(n);
}
void *calloc(size_t n, size_t size)
{
  malloc_calls++;
  return __libc_calloc(n, size);
}
void *realloc(void *p, size_t n)
{
  malloc_calls++;
  return __libc_realloc(p, n);
}
void *aligned_alloc(size_t alignment, size_t n)
{
  malloc_calls++;
  return __libc_memalign(alignment, n);
}
int posix_memalign(void **p, size_t alignment, size_t n)
{
  malloc_calls++;
  *p = __libc_memalign(alignment, n);
  return *p ? 0 : 12;
}
#endif

enum { PARAMETERS = 14 };

typedef struct fixture {
  syz_block_config config;
  syz_sequences all;
  size_t size[PARAMETERS], total, stream;
  syz_compute *compute;
  syz_block *block;
  float *w, *g, *x, *y;
  void *saved, *workspace;
} fixture;

static syz_block_parameters views(const fixture *f, float *p)
{
  float *at[PARAMETERS];
  for (int i = 0; i < PARAMETERS; i++) {
    at[i] = f->size[i] ? p : NULL;
    p += f->size[i];
  }
  return (syz_block_parameters){at[0], at[1], at[2], at[3],  at[4],  at[5],  at[6],
                                at[7], at[8], at[9], at[10], at[11], at[12], at[13]};
}

static float *draw(size_t n, double scale, double shift, uint64_t sample)
{
  float *x = syz_alloc("draw", n, sizeof *x);
  const syz_random r = syz_random_make(17, SYZ_RANDOM_TEST, 4, sample);
  syz_random_fill_normal(&r, x, n);
  for (size_t i = 0; i < n; i++) x[i] = (float)(scale * (double)x[i] + shift);
  return x;
}

static bool create(fixture *f, syz_dtype act, syz_engine engine, int threads, int64_t dim, int64_t heads,
                   const syz_sequences *all, bool has_layerscale, float branch_scale)
{
  const size_t d = (size_t)dim, h = 4 * d, ls = has_layerscale ? d : 0;
  const size_t size[PARAMETERS] = {d, d, 3 * d * d, 3 * d, d * d, d, ls, d, d, h * d, h, d * h, d, ls};
  *f = (fixture){.config = {.dim = dim,
                            .heads = heads,
                            .hidden = 4 * dim,
                            .eps = 1e-6f,
                            .has_layerscale = has_layerscale,
                            .branch_scale = branch_scale},
                 .all = *all,
                 .stream = (size_t)syz_sequences_rows(all) * d};
  for (int i = 0; i < PARAMETERS; i++) f->total += f->size[i] = size[i];
  if (syz_compute_create(act, engine, threads, &f->compute) != SYZ_OK || syz_compute_act(f->compute) != act) {
    syz_compute_destroy(&f->compute);
    return false;
  }
  CHECK_OK(syz_block_create(f->compute, &f->config, all, true, &f->block));
  if (check_failures) return false;
  f->w = syz_alloc("w", f->total, sizeof(float));
  f->g = syz_alloc("g", f->total, sizeof(float));
  f->x = draw(f->stream, 1.5, 0.3, 50);
  f->y = syz_alloc("y", f->stream, sizeof(float));
  size_t at = 0;
  for (int i = 0; i < PARAMETERS; i++) {
    const bool is_matrix = size[i] >= d * d, is_gain = i == 0 || i == 7, is_scale = i == 6 || i == 13;
    float *p = draw(size[i] ? size[i] : 1, is_matrix ? 1.2 / sqrt((double)(i == 11 ? h : d)) : 0.2,
                    is_gain    ? 1
                    : is_scale ? 0.6
                               : 0,
                    (uint64_t)i);
    memcpy(f->w + at, p, size[i] * sizeof *p);
    at += size[i];
    syz_free(&p);
  }
  f->saved = syz_alloc("saved", syz_block_saved_bytes(f->block, all), 1);
  f->workspace = syz_alloc("workspace", syz_block_workspace_bytes(f->block, all), 1);
  const syz_block_parameters w = views(f, f->w);
  syz_block_pack(f->block, &w);
  return true;
}

static void destroy(fixture *f)
{
  syz_block_destroy(&f->block);
  syz_compute_destroy(&f->compute);
  void *all[] = {f->w, f->g, f->x, f->y, f->saved, f->workspace};
  for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) syz_free(&all[i]);
}

static double dot(const float *a, const float *b, size_t n)
{
  double sum = 0;
  for (size_t i = 0; i < n; i++) sum += (double)a[i] * (double)b[i];
  return sum;
}

/**
 * <v, J u> for a random direction u over the stream and every parameter. The step is 2e-3: third-order and rounding
 * errors together were measured up to 8e-5 of the slope's scale (the norm of its 15 terms); 1 % on any of the terms
 * shows as 3e-4 or more on at least one of the six directions, which is what the test asks for.
 */
static void test_gradient(const syz_sequences *sequences, const syz_subset *subset, bool has_layerscale,
                          float branch_scale)
{
  fixture f;
  if (!create(&f, SYZ_F32, SYZ_ENGINE_AUTO, 1, 24, 3, sequences, has_layerscale, branch_scale)) return;
  const float step = 2e-3f;
  const syz_block_parameters w = views(&f, f.w), g = views(&f, f.g);
  float *moved = syz_alloc("moved", f.total, sizeof(float)), *dx = syz_alloc("dx", f.stream, sizeof(float));
  float *y[2] = {syz_alloc("y", f.stream, sizeof(float)), syz_alloc("y", f.stream, sizeof(float))};
  const syz_block_parameters moved_views = views(&f, moved);
  double worst = 0, faulty[PARAMETERS + 1] = {0};
  for (uint64_t trial = 0; trial < 6; trial++) {
    float *u = draw(f.total, 1, 0, 100 + trial), *ux = draw(f.stream, 1, 0, 200 + trial),
          *v = draw(f.stream, 1, 0, 300 + trial);
    size_t at = 0;
    for (int k = 0; k < PARAMETERS; at += f.size[k++]) /* every parameter's share of the slope of like size */
      for (size_t i = 0; i < f.size[k]; i++) u[at + i] *= (float)(3 / sqrt((double)f.size[k]));
    for (size_t i = 0; i < f.stream; i++) ux[i] *= 0.3f;
    for (int side = 0; side < 2; side++) {
      const float h = side ? step : -step;
      for (size_t i = 0; i < f.total; i++) moved[i] = f.w[i] + h * u[i];
      for (size_t i = 0; i < f.stream; i++) y[side][i] = f.x[i] + h * ux[i];
      syz_block_pack(f.block, &moved_views);
      syz_block_forward(f.block, sequences, subset, y[side], NULL, f.workspace);
    }
    const double slope = (dot(v, y[1], f.stream) - dot(v, y[0], f.stream)) / (2 * (double)step);
    syz_block_pack(f.block, &w);
    memcpy(f.y, f.x, f.stream * sizeof(float));
    syz_block_forward(f.block, sequences, subset, f.y, f.saved, f.workspace);
    memset(f.g, 0, f.total * sizeof(float));
    memcpy(dx, v, f.stream * sizeof(float));
    syz_block_backward(f.block, sequences, subset, dx, f.saved, &g, f.workspace);
    double term[PARAMETERS + 1], sum = dot(dx, ux, f.stream), scale = sum * sum;
    term[PARAMETERS] = sum;
    at = 0;
    for (int k = 0; k < PARAMETERS; at += f.size[k++]) {
      term[k] = dot(f.g + at, u + at, f.size[k]);
      sum += term[k];
      scale += term[k] * term[k];
    }
    scale = sqrt(scale);
    worst = fmax(worst, fabs(sum - slope) / scale);
    for (int k = 0; k <= PARAMETERS; k++) faulty[k] = fmax(faulty[k], fabs(sum + 0.01 * term[k] - slope) / scale);
    void *all[] = {u, ux, v};
    for (int i = 0; i < 3; i++) syz_free(&all[i]);
  }
  const double tolerance = 3e-4;
  CHECK_LT(worst, tolerance);
  double least = 1;
  for (int k = 0; k <= PARAMETERS; k++)
    if (k == PARAMETERS || f.size[k]) {
      CHECK_GT(faulty[k], tolerance);
      least = fmin(least, faulty[k]);
    }
  fprintf(stderr, "block gradient%s%s: worst %.2e, least of the faulty %.2e\n",
          has_layerscale ? " with LayerScale" : "", subset ? ", some sequences kept" : "", worst, least);
  void *all[] = {moved, dx, y[0], y[1]};
  for (int i = 0; i < 4; i++) syz_free(&all[i]);
  destroy(&f);
}

/** What two groups of sequences keep in the two branches; the first row of a branch is kept, the last not, and the
 * other way round. */
static const int64_t kept_first[2][3] = {{0, 2}, {1, 2, 3}}, kept_second[2][3] = {{1, 2}, {0, 3}};
static const syz_subset some_kept[2] = {{.kept = {kept_first[0], kept_first[1]}, .n = {2, 3}},
                                        {.kept = {kept_second[0], kept_second[1]}, .n = {2, 2}}};
static const syz_subset none_kept[2] = {{.n = {0, 0}}, {.n = {0, 0}}};
static const int64_t every[] = {0, 1, 2, 3};
static const syz_subset all_kept[2] = {{.kept = {every, every}, .n = {3, 4}}, {.kept = {every, every}, .n = {3, 4}}};
static const syz_sequences two_groups = {.groups = 2, .count = {3, 4}, .tokens = {19, 7}};

static bool is_kept(const syz_subset *subset, int group, int64_t sequence)
{
  bool found = false;
  for (int64_t i = 0; i < subset->n[group]; i++) found = found || subset->kept[group][i] == sequence;
  return found;
}

/** A sequence alone, kept for the backward pass or not: the same bits forward and in dx as among others of two lengths.
 */
static void test_alone(syz_dtype act, syz_engine engine, const syz_subset *subset)
{
  fixture f;
  if (!create(&f, act, engine, 1, 64, 2, &two_groups, true, 1.25f)) return;
  const syz_block_parameters g = views(&f, f.g);
  float *dy = draw(f.stream, 1, 0, 60), *dx = syz_alloc("dx", f.stream, 4), *y1 = syz_alloc("y", f.stream, 4);
  float *dx1 = syz_alloc("dx", f.stream, 4);
  memcpy(f.y, f.x, f.stream * sizeof(float));
  syz_block_forward(f.block, &two_groups, subset, f.y, f.saved, f.workspace);
  memcpy(dx, dy, f.stream * sizeof(float));
  syz_block_backward(f.block, &two_groups, subset, dx, f.saved, &g, f.workspace);
  size_t first = 0;
  for (int group = 0; group < two_groups.groups; group++)
    for (int64_t q = 0; q < two_groups.count[group]; q++) {
      static const int64_t only[1] = {0};
      syz_sequences one = two_groups;
      syz_subset alone[2] = {0};
      const size_t bytes = (size_t)two_groups.tokens[group] * 64 * sizeof(float);
      one.count[0] = one.count[1] = 0;
      one.count[group] = 1;
      bool passes_by = true;
      for (int branch = 0; branch < 2; branch++) {
        alone[branch].kept[group] = only;
        alone[branch].n[group] = !subset || is_kept(&subset[branch], group, q);
        passes_by = passes_by && !alone[branch].n[group];
      }
      for (int keeps = 0; keeps < 2; keeps++) {
        memcpy(y1, f.x + first, bytes);
        syz_block_forward(f.block, &one, alone, y1, keeps ? f.saved : NULL, f.workspace);
        CHECK(!memcmp(y1, f.y + first, bytes));
      }
      memcpy(dx1, dy + first, bytes);
      syz_block_backward(f.block, &one, alone, dx1, f.saved, &g, f.workspace);
      CHECK(!memcmp(dx1, dx + first, bytes));
      CHECK_EQ(!memcmp(f.y + first, f.x + first, bytes), passes_by);
      CHECK_EQ(!memcmp(dx + first, dy + first, bytes), passes_by);
      first += bytes / sizeof(float);
    }
  CHECK_EQ(first, f.stream);
  syz_sequences empty = two_groups;
  empty.count[0] = empty.count[1] = 0;
  syz_block_forward(f.block, &empty, NULL, y1, NULL, f.workspace);
  syz_block_backward(f.block, &empty, NULL, dx1, f.saved, &g, f.workspace);
  void *all[] = {dy, dx, y1, dx1};
  for (int i = 0; i < 4; i++) syz_free(&all[i]);
  destroy(&f);
}

/** Everything kept is the same as no subset, in every bit; nothing kept changes nothing; memory is in proportion to
 * what is kept. */
static void test_whole_and_none(syz_dtype act)
{
  fixture f;
  if (!create(&f, act, SYZ_ENGINE_AUTO, 1, 64, 2, &two_groups, true, 1.25f)) return;
  const syz_block_parameters g = views(&f, f.g);
  const syz_subset *subset[3] = {NULL, all_kept, none_kept};
  float *y = syz_alloc("y", 3 * f.stream, 4), *dx = syz_alloc("dx", 3 * f.stream, 4),
        *gradient = syz_alloc("gradient", 3 * f.total, 4);
  for (size_t i = 0; i < 3; i++) {
    memcpy(y + i * f.stream, f.x, f.stream * sizeof(float));
    memcpy(dx + i * f.stream, f.x, f.stream * sizeof(float));
    memset(f.g, 0, f.total * sizeof(float));
    syz_block_forward(f.block, &two_groups, subset[i], y + i * f.stream, f.saved, f.workspace);
    syz_block_backward(f.block, &two_groups, subset[i], dx + i * f.stream, f.saved, &g, f.workspace);
    memcpy(gradient + i * f.total, f.g, f.total * sizeof(float));
  }
  CHECK(!memcmp(y, y + f.stream, f.stream * sizeof(float)) && memcmp(y, f.x, f.stream * sizeof(float)));
  CHECK(!memcmp(dx, dx + f.stream, f.stream * sizeof(float)) && memcmp(dx, f.x, f.stream * sizeof(float)));
  CHECK(!memcmp(gradient, gradient + f.total, f.total * sizeof(float)));
  CHECK(!memcmp(y + 2 * f.stream, f.x, f.stream * sizeof(float)) &&
        !memcmp(dx + 2 * f.stream, f.x, f.stream * sizeof(float)));
  for (size_t i = 0; i < f.total; i++) CHECK(gradient[2 * f.total + i] == 0);
  const syz_sequences most = {.groups = 2, .count = {300, 400}, .tokens = {19, 7}},
                      half = {.groups = 2, .count = {150, 200}, .tokens = {19, 7}};
  CHECK_NEAR((double)syz_block_saved_bytes(f.block, &half) / (double)syz_block_saved_bytes(f.block, &most), 0.5, 1e-3);
  CHECK_NEAR((double)syz_block_workspace_bytes(f.block, &half) / (double)syz_block_workspace_bytes(f.block, &most), 0.5,
             1e-3);
  void *all[] = {y, dx, gradient};
  for (int i = 0; i < 3; i++) syz_free(&all[i]);
  destroy(&f);
}

static void test_misuse(void)
{
  const syz_block_config config = {.dim = 8, .heads = 2, .hidden = 32, .eps = 1e-6f},
                         odd = {.dim = 9, .heads = 2, .hidden = 32};
  const syz_sequences none = {0}, many = {.groups = SYZ_GROUPS_MAX + 1},
                      short_one = {.groups = 1, .count = {2}, .tokens = {0}};
  const syz_sequences negative = {.groups = 2, .count = {2, -1}, .tokens = {3, 3}},
                      idle = {.groups = 1, .count = {0}, .tokens = {5}};
  syz_compute *c = NULL;
  syz_block *b = NULL;
  CHECK_OK(syz_compute_create(SYZ_F32, SYZ_ENGINE_AUTO, 1, &c));
  CHECK_ERROR(syz_block_create(c, &config, &none, true, &b), SYZ_ERR_INTERNAL, "0 groups");
  CHECK_ERROR(syz_block_create(c, &config, &many, true, &b), SYZ_ERR_INTERNAL, "9 groups");
  CHECK_ERROR(syz_block_create(c, &config, &short_one, true, &b), SYZ_ERR_INTERNAL, "2 sequences of 0 tokens");
  CHECK_ERROR(syz_block_create(c, &config, &negative, true, &b), SYZ_ERR_INTERNAL, "group 1 has -1 sequences");
  CHECK_ERROR(syz_block_create(c, &odd, &idle, true, &b), SYZ_ERR_INTERNAL, "dim 9, heads 2");
  CHECK_OK(syz_block_create(c, &config, &idle, true, &b)); /* a rank without work */
  syz_block_destroy(&b);
  syz_compute_destroy(&c);
}

/** After a first step, another one calls no allocator (own kernels, BLIS excepted: it asks for thread records itself).
 */
static void test_no_allocation(syz_dtype act, int threads)
{
  fixture f;
  const syz_sequences all = {.groups = 2, .count = {3, 4}, .tokens = {145, 26}};
  if (!create(&f, act, SYZ_ENGINE_NATIVE, threads, 128, 2, &all, true, 1.25f)) return;
  const syz_block_parameters w = views(&f, f.w), g = views(&f, f.g);
  long before = 0;
  for (int step = 0; step < 4; step++) {
    const syz_subset *subset = step % 2 ? some_kept : NULL;
    if (step == 2) before = malloc_calls;
    memcpy(f.y, f.x, f.stream * sizeof(float));
    syz_block_pack(f.block, &w);
    syz_block_forward(f.block, &all, subset, f.y, f.saved, f.workspace);
    syz_block_backward(f.block, &all, subset, f.y, f.saved, &g, f.workspace);
  }
  CHECK_EQ(malloc_calls - before, 0);
#if defined(__GLIBC__) && !defined(__SANITIZE_ADDRESS__)
  CHECK(before > 0); /* the counter counts */
#endif
  destroy(&f);
}

int main(void)
{
  const syz_sequences one_group = {.groups = 1, .count = {3}, .tokens = {11}},
                      short_groups = {.groups = 2, .count = {3, 4}, .tokens = {11, 4}};
  for (int has_layerscale = 0; has_layerscale < 2; has_layerscale++) {
    test_gradient(&one_group, NULL, has_layerscale, 0);
    test_gradient(&short_groups, NULL, has_layerscale, 1.25f);
    test_gradient(&short_groups, some_kept, has_layerscale, 1.25f);
  }
  for (syz_engine e = SYZ_ENGINE_AUTO; e <= SYZ_ENGINE_NATIVE; e++)
    for (int i = 0; i < 4; i++) test_alone(i % 2 ? SYZ_BF16 : SYZ_F32, e, i / 2 ? some_kept : NULL);
  test_whole_and_none(SYZ_F32);
  test_whole_and_none(SYZ_BF16);
  test_misuse();
  for (int threads = 1; threads <= 2; threads++) {
    test_no_allocation(SYZ_F32, threads);
    test_no_allocation(SYZ_BF16, threads);
  }
  CHECK_EQ(syz_memory_get().live_blocks, 0);
  return CHECK_RESULT();
}
