/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Laws of the transformer block: the backward pass is the derivative (central differences, planted faults are seen), a sample's bits do not
 * depend on the batch, nothing on the threads, and a step calls no allocator at all, not even inside a library.
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
void *malloc(size_t n) {
  malloc_calls++;
  return __libc_malloc(n);
}
void *calloc(size_t n, size_t size) {
  malloc_calls++;
  return __libc_calloc(n, size);
}
void *realloc(void *p, size_t n) {
  malloc_calls++;
  return __libc_realloc(p, n);
}
void *aligned_alloc(size_t alignment, size_t n) {
  malloc_calls++;
  return __libc_memalign(alignment, n);
}
int posix_memalign(void **p, size_t alignment, size_t n) {
  malloc_calls++;
  *p = __libc_memalign(alignment, n);
  return *p ? 0 : 12;
}
#endif

enum { PARAMETERS = 14 };

typedef struct fixture {
  syz_block_config config;
  int64_t batch, tokens;
  size_t size[PARAMETERS], total, stream;
  syz_compute *compute;
  syz_block *block;
  float *w, *g, *x, *y;
  void *saved, *workspace;
} fixture;

static syz_block_parameters views(const fixture *f, float *p) {
  float *at[PARAMETERS];
  for (int i = 0; i < PARAMETERS; i++) {
    at[i] = f->size[i] ? p : NULL;
    p += f->size[i];
  }
  return (syz_block_parameters){at[0], at[1], at[2], at[3], at[4], at[5], at[6], at[7], at[8], at[9], at[10], at[11], at[12], at[13]};
}

static float *draw(size_t n, double scale, double shift, uint64_t sample) {
  float *x = syz_alloc("draw", n, sizeof *x);
  const syz_random r = syz_random_make(17, SYZ_RANDOM_TEST, 4, sample);
  syz_random_fill_normal(&r, x, n);
  for (size_t i = 0; i < n; i++) x[i] = (float)(scale * (double)x[i] + shift);
  return x;
}

static bool create(fixture *f, syz_dtype act, syz_engine engine, int threads, int64_t dim, int64_t heads, int64_t batch, int64_t tokens,
                   bool has_layerscale) {
  const size_t d = (size_t)dim, h = 4 * d, ls = has_layerscale ? d : 0;
  const size_t size[PARAMETERS] = {d, d, 3 * d * d, 3 * d, d * d, d, ls, d, d, h * d, h, d * h, d, ls};
  *f = (fixture){.config = {.dim = dim, .heads = heads, .hidden = 4 * dim, .eps = 1e-6f, .has_layerscale = has_layerscale},
                 .batch = batch, .tokens = tokens, .stream = (size_t)(batch * tokens) * d};
  for (int i = 0; i < PARAMETERS; i++) f->total += f->size[i] = size[i];
  if (syz_compute_create(act, engine, threads, &f->compute) != SYZ_OK || syz_compute_act(f->compute) != act) {
    syz_compute_destroy(&f->compute);
    return false;
  }
  CHECK_OK(syz_block_create(f->compute, &f->config, batch, tokens, true, &f->block));
  if (check_failures) return false;
  f->w = syz_alloc("w", f->total, sizeof(float));
  f->g = syz_alloc("g", f->total, sizeof(float));
  f->x = draw(f->stream, 1.5, 0.3, 50);
  f->y = syz_alloc("y", f->stream, sizeof(float));
  size_t at = 0;
  for (int i = 0; i < PARAMETERS; i++) {
    const bool is_matrix = size[i] >= d * d, is_gain = i == 0 || i == 7, is_scale = i == 6 || i == 13;
    float *p = draw(size[i] ? size[i] : 1, is_matrix ? 1.2 / sqrt((double)(i == 11 ? h : d)) : 0.2, is_gain ? 1 : is_scale ? 0.6 : 0,
                    (uint64_t)i);
    memcpy(f->w + at, p, size[i] * sizeof *p);
    at += size[i];
    syz_free(&p);
  }
  f->saved = syz_alloc("saved", syz_block_saved_bytes(f->block, batch), 1);
  f->workspace = syz_alloc("workspace", syz_block_workspace_bytes(f->block, batch), 1);
  const syz_block_parameters w = views(f, f->w);
  syz_block_pack(f->block, &w);
  return true;
}

static void destroy(fixture *f) {
  syz_block_destroy(&f->block);
  syz_compute_destroy(&f->compute);
  void *all[] = {f->w, f->g, f->x, f->y, f->saved, f->workspace};
  for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) syz_free(&all[i]);
}

static double dot(const float *a, const float *b, size_t n) {
  double sum = 0;
  for (size_t i = 0; i < n; i++) sum += (double)a[i] * (double)b[i];
  return sum;
}

/**
 * <v, J u> for a random direction u over the stream and every parameter. The step is 2e-3: third-order and rounding errors together were
 * measured up to 8e-5 of the slope's scale (the norm of its 15 terms); 1 % on any of the terms shows as 3e-4 or more on at least one of the
 * six directions, which is what the test asks for.
 */
static void test_gradient(bool has_layerscale) {
  fixture f;
  if (!create(&f, SYZ_F32, SYZ_ENGINE_AUTO, 1, 24, 3, 3, 11, has_layerscale)) return;
  const float step = 2e-3f;
  const syz_block_parameters w = views(&f, f.w), g = views(&f, f.g);
  float *moved = syz_alloc("moved", f.total, sizeof(float)), *dx = syz_alloc("dx", f.stream, sizeof(float));
  float *y[2] = {syz_alloc("y", f.stream, sizeof(float)), syz_alloc("y", f.stream, sizeof(float))};
  const syz_block_parameters moved_views = views(&f, moved);
  double worst = 0, faulty[PARAMETERS + 1] = {0};
  for (uint64_t trial = 0; trial < 6; trial++) {
    float *u = draw(f.total, 1, 0, 100 + trial), *ux = draw(f.stream, 1, 0, 200 + trial), *v = draw(f.stream, 1, 0, 300 + trial);
    size_t at = 0;
    for (int k = 0; k < PARAMETERS; at += f.size[k++]) /* every parameter's share of the slope of like size */
      for (size_t i = 0; i < f.size[k]; i++) u[at + i] *= (float)(3 / sqrt((double)f.size[k]));
    for (size_t i = 0; i < f.stream; i++) ux[i] *= 0.3f;
    for (int side = 0; side < 2; side++) {
      const float h = side ? step : -step;
      for (size_t i = 0; i < f.total; i++) moved[i] = f.w[i] + h * u[i];
      for (size_t i = 0; i < f.stream; i++) y[side][i] = f.x[i] + h * ux[i];
      syz_block_pack(f.block, &moved_views);
      syz_block_forward(f.block, f.batch, y[side], NULL, f.workspace);
    }
    const double slope = (dot(v, y[1], f.stream) - dot(v, y[0], f.stream)) / (2 * (double)step);
    syz_block_pack(f.block, &w);
    memcpy(f.y, f.x, f.stream * sizeof(float));
    syz_block_forward(f.block, f.batch, f.y, f.saved, f.workspace);
    memset(f.g, 0, f.total * sizeof(float));
    memcpy(dx, v, f.stream * sizeof(float));
    syz_block_backward(f.block, f.batch, dx, f.saved, &w, &g, f.workspace);
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
  fprintf(stderr, "block gradient%s: worst %.2e, least of the faulty %.2e\n", has_layerscale ? " with LayerScale" : "", worst, least);
  void *all[] = {moved, dx, y[0], y[1]};
  for (int i = 0; i < 4; i++) syz_free(&all[i]);
  destroy(&f);
}

/** A sample alone, at another place in the batch, kept or not: the same bits forward and in dx. */
static void test_batch(syz_dtype act, syz_engine engine) {
  fixture f;
  if (!create(&f, act, engine, 1, 64, 2, 5, 19, true)) return;
  const size_t sample = f.stream / 5;
  const syz_block_parameters w = views(&f, f.w), g = views(&f, f.g);
  float *dy = draw(f.stream, 1, 0, 60), *dx = syz_alloc("dx", f.stream, 4), *y1 = syz_alloc("y", f.stream, 4);
  float *dx1 = syz_alloc("dx", f.stream, 4);
  memcpy(f.y, f.x, f.stream * sizeof(float));
  syz_block_forward(f.block, 5, f.y, f.saved, f.workspace);
  memcpy(dx, dy, f.stream * sizeof(float));
  syz_block_backward(f.block, 5, dx, f.saved, &w, &g, f.workspace);
  for (int64_t s = 0; s < 5; s++) {
    memcpy(y1, f.x + (size_t)s * sample, sample * sizeof(float));
    syz_block_forward(f.block, 1, y1, NULL, f.workspace);
    CHECK(!memcmp(y1, f.y + (size_t)s * sample, sample * sizeof(float)));
    memcpy(y1, f.x + (size_t)s * sample, sample * sizeof(float));
    syz_block_forward(f.block, 1, y1, f.saved, f.workspace);
    CHECK(!memcmp(y1, f.y + (size_t)s * sample, sample * sizeof(float)));
    memcpy(dx1, dy + (size_t)s * sample, sample * sizeof(float));
    syz_block_backward(f.block, 1, dx1, f.saved, &w, &g, f.workspace);
    CHECK(!memcmp(dx1, dx + (size_t)s * sample, sample * sizeof(float)));
  }
  syz_block_forward(f.block, 0, y1, NULL, f.workspace);
  syz_block_backward(f.block, 0, dx1, f.saved, &w, &g, f.workspace);
  void *all[] = {dy, dx, y1, dx1};
  for (int i = 0; i < 4; i++) syz_free(&all[i]);
  destroy(&f);
}

/** After a first step, another one calls no allocator (own kernels, BLIS excepted: it asks for thread records itself). */
static void test_no_allocation(syz_dtype act, int threads) {
  fixture f;
  if (!create(&f, act, SYZ_ENGINE_NATIVE, threads, 128, 2, 4, 145, true)) return;
  const syz_block_parameters w = views(&f, f.w), g = views(&f, f.g);
  long before = 0;
  for (int step = 0; step < 2; step++) {
    if (step == 1) before = malloc_calls;
    memcpy(f.y, f.x, f.stream * sizeof(float));
    syz_block_pack(f.block, &w);
    syz_block_forward(f.block, 4, f.y, f.saved, f.workspace);
    syz_block_backward(f.block, 4, f.y, f.saved, &w, &g, f.workspace);
  }
  CHECK_EQ(malloc_calls - before, 0);
#if defined(__GLIBC__) && !defined(__SANITIZE_ADDRESS__)
  CHECK(before > 0); /* the counter counts */
#endif
  destroy(&f);
}

int main(void) {
  test_gradient(true);
  test_gradient(false);
  for (syz_engine e = SYZ_ENGINE_AUTO; e <= SYZ_ENGINE_NATIVE; e++) {
    test_batch(SYZ_F32, e);
    test_batch(SYZ_BF16, e);
  }
  for (int threads = 1; threads <= 2; threads++) {
    test_no_allocation(SYZ_F32, threads);
    test_no_allocation(SYZ_BF16, threads);
  }
  CHECK_EQ(syz_memory_get().live_blocks, 0);
  return CHECK_RESULT();
}
