/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Speed of the towers' transformer blocks at full size, as a fraction of the matrix-product limit measured in between;
 * not a test.
 *
 * speed_block [f32] [crops] [REPEATS]: one core, batch 8; crops: only the block over the crops of DINOv2, with and
 * without stochastic depth. Times are CPU seconds of this thread. Operations counted are the useful ones: products of
 * the four linear layers and of attention; norms, GELU, softmax and the rest count as time only. Three blocks run in
 * turn, so that weights come from memory as in a tower.
 */
#include <stdlib.h>
#include <time.h>

#include "check.h"
#include "syzygy/nn.h"
#include "../../src/nn/attention.h"
#include "../../src/nn/rowwise.h"

enum { BLOCKS = 3, PARTS = 24 };

static double seconds(void)
{
  struct timespec t;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/** Best and last time of a named piece of work, with its operations. */
typedef struct part {
  const char *name;
  double flops, best;
} part;

static part parts[PARTS];
static int n_parts;

static void record(const char *name, double flops, double t)
{
  int i = 0;
  while (i < n_parts && strcmp(parts[i].name, name)) i++;
  if (i == n_parts)
    parts[n_parts++] = (part){name, flops, t};
  else if (t < parts[i].best)
    parts[i].best = t;
}

#define TIMED(name, flops, call)                                                                                       \
  do {                                                                                                                 \
    const double t0_ = seconds();                                                                                      \
    call;                                                                                                              \
    record(name, flops, seconds() - t0_);                                                                              \
  } while (0)

static float *numbers(size_t n, double scale, uint64_t sample)
{
  float *x = syz_alloc("numbers", n, sizeof *x);
  const syz_random r = syz_random_make(1, SYZ_RANDOM_TEST, 0, sample);
  syz_random_fill_normal(&r, x, n);
  for (size_t i = 0; i < n; i++) x[i] *= (float)scale;
  return x;
}

static int run_tower(const syz_compute *c, const char *name, int64_t dim, int64_t heads, int64_t tokens,
                     bool has_layerscale, int repeats)
{
  const int64_t batch = 8, rows = batch * tokens, hidden = 4 * dim;
  const size_t stream = (size_t)(rows * dim), wide = (size_t)(rows * hidden), act = syz_dtype_size(syz_compute_act(c));
  const syz_block_config config = {
      .dim = dim, .heads = heads, .hidden = hidden, .eps = 1e-6f, .has_layerscale = has_layerscale};
  const size_t d = (size_t)dim,
               sizes[14] = {d, d, 3 * d * d, 3 * d, d * d, d, d, d, d, 4 * d * d, 4 * d, 4 * d * d, d, d};
  float *w[14], *g[14];
  for (int i = 0; i < 14; i++) {
    w[i] = numbers(sizes[i], sizes[i] > 5 * d ? 1.0 / 32 : 0.5, (uint64_t)i);
    g[i] = syz_alloc("gradient", sizes[i], sizeof(float));
  }
  const syz_block_parameters weights = {w[0], w[1], w[2], w[3],  w[4],  w[5],  w[6],
                                        w[7], w[8], w[9], w[10], w[11], w[12], w[13]};
  const syz_block_parameters gradients = {g[0], g[1], g[2], g[3],  g[4],  g[5],  g[6],
                                          g[7], g[8], g[9], g[10], g[11], g[12], g[13]};
  const syz_sequences all = {.groups = 1, .count = {batch}, .tokens = {tokens}};
  syz_block *block[BLOCKS];
  void *saved[BLOCKS], *workspace = NULL;
  for (int i = 0; i < BLOCKS; i++) {
    CHECK_OK(syz_block_create(c, &config, &all, true, &block[i]));
    if (check_failures) return 1;
    syz_block_pack(block[i], &weights);
    saved[i] = syz_alloc("saved", syz_block_saved_bytes(block[i], &all), 1);
  }
  workspace = syz_alloc("workspace", syz_block_workspace_bytes(block[0], &all), 1);
  float *x = numbers(stream, 1, 100), *dx = numbers(stream, 1, 101), *x0 = numbers(stream, 1, 102);
  float *mean = syz_alloc("mean", (size_t)rows, 4), *rstd = syz_alloc("rstd", (size_t)rows, 4);
  float *lse = syz_alloc("lse", (size_t)(rows * heads), 4);
  float *source = numbers(wide, 1, 103);
  void *a = syz_alloc("a", wide, act), *b = syz_alloc("b", wide, act), *u = syz_alloc("u", wide, act);
  syz_convert_to_act(syz_compute_act(c), a, source, (int64_t)wide);
  syz_convert_to_act(syz_compute_act(c), u, source, (int64_t)wide);
  syz_linear *linear[4];
  const int64_t out[4] = {3 * dim, dim, hidden, dim}, in[4] = {dim, dim, dim, hidden};
  const float *lw[4] = {w[2], w[4], w[9], w[11]}, *lb[4] = {w[3], w[5], w[10], w[12]};
  float *lgw[4] = {g[2], g[4], g[9], g[11]}, *lgb[4] = {g[3], g[5], g[10], g[12]};
  const syz_epilogue epilogue[4] = {SYZ_EPILOGUE_NONE, SYZ_EPILOGUE_RESIDUAL, SYZ_EPILOGUE_GELU, SYZ_EPILOGUE_RESIDUAL};
  const char *forward_name[4] = {"qkv", "proj", "fc1 + gelu", "fc2"},
             *input_name[4] = {"qkv dx", "proj dx", "fc1 dx", "fc2 dx"};
  const char *weight_name[4] = {"qkv dw", "proj dw", "fc1 dw", "fc2 dw"};
  for (int i = 0; i < 4; i++) {
    CHECK_OK(syz_linear_create(c, out[i], in[i], rows, true, &linear[i]));
    syz_linear_pack(linear[i], lw[i], lb[i], NULL);
  }
  syz_attention *attention = NULL;
  CHECK_OK(syz_attention_create(c, batch, tokens, heads, dim / heads, true, &attention));
  if (check_failures) return 1;

  const double linear_flops = 24.0 * (double)rows * (double)dim * (double)dim,
               attention_flops = 4.0 * (double)(rows * tokens * dim);
  double limit = 0, fraction[3] = {0}, rate[3] = {0};
  n_parts = 0;
  for (int r = 0; r < repeats; r++) {
    const double now = syz_gemm_limit(c, 0.6, NULL);
    if (now > limit) limit = now;
    double t[3], t0 = seconds();
    for (int i = 0; i < BLOCKS; i++) {
      memcpy(x, x0, stream * sizeof *x); /* inputs stay of size 1; counted as time */
      syz_block_forward(block[i], &all, NULL, x, NULL, workspace);
    }
    t[0] = seconds() - t0;
    t0 = seconds();
    for (int i = 0; i < BLOCKS; i++) {
      memcpy(x, x0, stream * sizeof *x);
      syz_block_forward(block[i], &all, NULL, x, saved[i], workspace);
    }
    t[1] = seconds() - t0;
    for (int i = BLOCKS - 1; i >= 0; i--) {
      memcpy(dx, x0, stream * sizeof *x);
      syz_block_backward(block[i], &all, NULL, dx, saved[i], &gradients, workspace);
    }
    t[2] = seconds() - t0;
    const double work = BLOCKS * (linear_flops + attention_flops);
    const double f[3] = {work, work, 3 * work};
    for (int i = 0; i < 3; i++)
      if (f[i] / t[i] > rate[i]) {
        rate[i] = f[i] / t[i];
        if (rate[i] / limit > fraction[i]) fraction[i] = rate[i] / limit;
      }
    for (int i = 0; i < 4; i++) {
      const double f1 = 2.0 * (double)rows * (double)out[i] * (double)in[i];
      void *y = epilogue[i] == SYZ_EPILOGUE_RESIDUAL ? (void *)x : b;
      TIMED(forward_name[i], f1, syz_linear_forward(linear[i], rows, a, epilogue[i], y, NULL));
      TIMED(input_name[i], f1, syz_linear_backward_input(linear[i], rows, a, b));
      TIMED(weight_name[i], f1, syz_linear_backward_weight(linear[i], rows, a, u, lgw[i], lgb[i]));
    }
    TIMED("attention", attention_flops, syz_attention_forward(attention, batch, a, b, lse));
    TIMED("attention back", 2 * attention_flops, syz_attention_backward(attention, batch, u, a, b, lse, u));
    syz_convert_to_act(syz_compute_act(c), u, source, (int64_t)wide);
    TIMED("norm", 0, syz_layernorm_forward(syz_compute_act(c), b, mean, rstd, x0, w[0], w[1], 1e-6f, rows, dim));
    TIMED("norm back", 0,
          syz_layernorm_backward(dx, true, g[0], g[1], syz_compute_act(c), a, x0, mean, rstd, w[0], rows, dim));
    TIMED("layerscale back", 0,
          syz_layerscale_backward(syz_compute_act(c), b, has_layerscale ? g[6] : NULL, dx, a,
                                  has_layerscale ? w[6] : NULL, rows, dim));
    TIMED("copy of stream", 0, memcpy(x, x0, stream * sizeof *x));
    TIMED("pack weights", 0, syz_block_pack(block[0], &weights));
  }
  printf("%s: %s, batch %d, limit %.1f GFLOP/s\n", name, syz_compute_describe(c), (int)batch, limit / 1e9);
  const char *what[3] = {"forward", "forward kept", "forward + backward"};
  for (int i = 0; i < 3; i++)
    printf("  %-20s %7.1f GFLOP/s  %5.1f %% of the limit\n", what[i], rate[i] / 1e9, 100 * rate[i] / limit);
  const double total = linear_flops + attention_flops, block_time = total / rate[0];
  for (int i = 0; i < n_parts; i++) {
    printf("    %-18s %8.3f ms  %5.2f %% of a forward block", parts[i].name, 1e3 * parts[i].best,
           100 * parts[i].best / block_time);
    if (parts[i].flops > 0)
      printf("  %6.1f GFLOP/s  %5.1f %%", parts[i].flops / parts[i].best / 1e9,
             100 * parts[i].flops / parts[i].best / limit);
    printf("\n");
  }
  for (int i = 0; i < 4; i++) syz_linear_destroy(&linear[i]);
  for (int i = 0; i < 14; i++) {
    syz_free(&w[i]);
    syz_free(&g[i]);
  }
  for (int i = 0; i < BLOCKS; i++) {
    syz_block_destroy(&block[i]);
    syz_free(&saved[i]);
  }
  syz_attention_destroy(&attention);
  void *rest[] = {workspace, x, dx, x0, mean, rstd, lse, source, a, b, u};
  for (size_t i = 0; i < sizeof rest / sizeof rest[0]; i++) syz_free(&rest[i]);
  return 0;
}

/** The first `kept` of a shuffled 0 .. n-1, ascending. */
static void choose(int64_t *list, int64_t n, int64_t kept, uint64_t sample)
{
  const syz_random r = syz_random_make(1, SYZ_RANDOM_TEST, 1, sample);
  int64_t found = 0, left = n;
  for (int64_t i = 0; i < n; i++, left--)
    if (syz_random_uniform(&r, (uint32_t)i) * (double)left < (double)(kept - found)) list[found++] = i;
}

enum { CASES = 2, CROP_GROUPS = 2, MOST_CROPS = 64 };

/** A ViT-L block over 2 x 145 + 8 x 26 tokens of 8 objects, dropping nothing or 0.3 of the crops of each size in each
 * branch. */
static int run_crops(const syz_compute *c, int repeats)
{
  const int64_t dim = 1024, heads = 16, hidden = 4 * dim;
  const syz_sequences all = {.groups = CROP_GROUPS, .count = {16, 64}, .tokens = {145, 26}};
  const double drop[CASES] = {0, 0.3};
  const size_t stream = (size_t)(syz_sequences_rows(&all) * dim), d = (size_t)dim;
  const size_t sizes[14] = {d, d, 3 * d * d, 3 * d, d * d, d, d, d, d, 4 * d * d, 4 * d, 4 * d * d, d, d};
  float *w[14], *g[14];
  for (int i = 0; i < 14; i++) {
    w[i] = numbers(sizes[i], sizes[i] > 5 * d ? 1.0 / 32 : 0.5, (uint64_t)i);
    g[i] = syz_alloc("gradient", sizes[i], sizeof(float));
  }
  const syz_block_parameters weights = {w[0], w[1], w[2], w[3],  w[4],  w[5],  w[6],
                                        w[7], w[8], w[9], w[10], w[11], w[12], w[13]};
  const syz_block_parameters gradients = {g[0], g[1], g[2], g[3],  g[4],  g[5],  g[6],
                                          g[7], g[8], g[9], g[10], g[11], g[12], g[13]};
  syz_block *block[BLOCKS];
  void *saved[BLOCKS], *workspace = NULL;
  static int64_t list[BLOCKS][2][CROP_GROUPS][MOST_CROPS];
  syz_subset subset[BLOCKS][2] = {0};
  const syz_block_config config = {.dim = dim,
                                   .heads = heads,
                                   .hidden = hidden,
                                   .eps = 1e-6f,
                                   .has_layerscale = true,
                                   .branch_scale = (float)(1 / (1 - drop[1]))};
  double work[CASES] = {0}; /* of a forward pass over all blocks */
  for (int i = 0; i < BLOCKS; i++) {
    CHECK_OK(syz_block_create(c, &config, &all, true, &block[i]));
    if (check_failures) return 1;
    syz_block_pack(block[i], &weights);
    saved[i] = syz_alloc("saved", syz_block_saved_bytes(block[i], &all), 1);
    for (int branch = 0; branch < 2; branch++)
      for (int group = 0; group < CROP_GROUPS; group++) {
        const int64_t n = all.count[group], kept = (int64_t)((double)n * (1 - drop[1])), t = all.tokens[group];
        choose(list[i][branch][group], n, kept, (uint64_t)(i * 4 + branch * 2 + group));
        subset[i][branch].kept[group] = list[i][branch][group];
        subset[i][branch].n[group] = kept;
        const double a_sequence =
            branch ? 16.0 * (double)(t * dim * dim) : 8.0 * (double)(t * dim * dim) + 4.0 * (double)(t * t * dim);
        work[0] += a_sequence * (double)n;
        work[1] += a_sequence * (double)kept;
      }
  }
  workspace = syz_alloc("workspace", syz_block_workspace_bytes(block[0], &all), 1);
  float *x = numbers(stream, 1, 100), *dx = numbers(stream, 1, 101), *x0 = numbers(stream, 1, 102);
  double limit = 0, best[CASES][2] = {{1e9, 1e9}, {1e9, 1e9}};
  for (int r = 0; r < repeats; r++) {
    const double now = syz_gemm_limit(c, 0.6, NULL);
    if (now > limit) limit = now;
    for (int k = 0; k < CASES; k++) {
      const double t0 = seconds();
      memcpy(x, x0, stream * sizeof *x);
      memcpy(dx, x0, stream * sizeof *x);
      for (int i = 0; i < BLOCKS; i++) syz_block_forward(block[i], &all, k ? subset[i] : NULL, x, saved[i], workspace);
      best[k][0] = fmin(best[k][0], seconds() - t0);
      for (int i = BLOCKS - 1; i >= 0; i--)
        syz_block_backward(block[i], &all, k ? subset[i] : NULL, dx, saved[i], &gradients, workspace);
      best[k][1] = fmin(best[k][1], seconds() - t0);
    }
  }
  printf("crops (dim 1024, 16 heads, 16 x 145 + 64 x 26 tokens): %s, limit %.1f GFLOP/s\n", syz_compute_describe(c),
         limit / 1e9);
  for (int k = 0; k < CASES; k++)
    printf("  drop %.1f: forward kept %6.1f ms a block, %5.1f %% of the limit; forward + backward %6.1f ms, %5.1f %%\n",
           drop[k], 1e3 * best[k][0] / BLOCKS, 100 * work[k] / best[k][0] / limit, 1e3 * best[k][1] / BLOCKS,
           100 * 3 * work[k] / best[k][1] / limit);
  printf("  time with drop 0.3 / without: %.3f, work %.3f\n", best[1][1] / best[0][1], work[1] / work[0]);
  /* What attention takes of it: one object a length, on scattered data of the right size. */
  void *qkv = syz_alloc("qkv", 3 * stream, syz_dtype_size(syz_compute_act(c))),
       *out = syz_alloc("out", stream, syz_dtype_size(syz_compute_act(c)));
  void *dqkv = syz_alloc("dqkv", 3 * stream, syz_dtype_size(syz_compute_act(c)));
  float *lse = syz_alloc("lse", stream / d * (size_t)heads, sizeof *lse);
  for (int i = 0; i < 3; i++)
    syz_convert_to_act(syz_compute_act(c), (char *)qkv + (size_t)i * stream * syz_dtype_size(syz_compute_act(c)), x0,
                       (int64_t)stream);
  for (int group = 0; group < CROP_GROUPS; group++) {
    syz_attention *attention = NULL;
    const int64_t n = all.count[group], t = all.tokens[group];
    const double flops = 4.0 * (double)(n * t * t * dim);
    double forward = 1e9, backward = 1e9;
    CHECK_OK(syz_attention_create(c, n, t, heads, dim / heads, true, &attention));
    for (int r = 0; attention && r < 4 * repeats; r++) {
      double t0 = seconds();
      syz_attention_forward(attention, n, qkv, out, lse);
      forward = fmin(forward, seconds() - t0);
      t0 = seconds();
      syz_attention_backward(attention, n, out, qkv, out, lse, dqkv);
      backward = fmin(backward, seconds() - t0);
    }
    printf("    attention, %2d x %3d tokens: forward %6.2f ms, %5.1f %% of the limit; backward %6.2f ms, %5.1f %%; "
           "together %4.1f %% of the time\n",
           (int)n, (int)t, 1e3 * forward, 100 * flops / forward / limit, 1e3 * backward,
           100 * 2 * flops / backward / limit, 100 * BLOCKS * (forward + backward) / best[0][1]);
    syz_attention_destroy(&attention);
  }
  for (int i = 0; i < 14; i++) {
    syz_free(&w[i]);
    syz_free(&g[i]);
  }
  for (int i = 0; i < BLOCKS; i++) {
    syz_block_destroy(&block[i]);
    syz_free(&saved[i]);
  }
  void *rest[] = {workspace, x, dx, x0, qkv, out, dqkv, lse};
  for (size_t i = 0; i < sizeof rest / sizeof rest[0]; i++) syz_free(&rest[i]);
  return 0;
}

/** Every engine on one layer's three products, operands as they lie: which is the fastest for AUTO. */
static void run_engines(syz_dtype type)
{
  static const char *const name[] = {"BLIS", "oneDNN", "own kernels"};
  static const syz_engine engine[] = {SYZ_ENGINE_BLIS, SYZ_ENGINE_ONEDNN, SYZ_ENGINE_NATIVE};
  const int64_t rows = 1152, out = 4096, in = 1024;
  float *x = numbers((size_t)(rows * out), 1, 1), *w = numbers((size_t)(out * in), 1, 2),
        *y = numbers((size_t)(rows * out), 1, 3);
  void *a = syz_alloc("a", (size_t)(rows * out), syz_dtype_size(type)),
       *b = syz_alloc("b", (size_t)(out * in), syz_dtype_size(type));
  syz_convert_to_act(type, a, x, rows * out);
  syz_convert_to_act(type, b, w, out * in);
  for (int e = 0; e < 3; e++) {
    syz_compute *c = NULL;
    if (syz_compute_create(type, engine[e], 1, &c) != SYZ_OK || syz_compute_act(c) != type) {
      syz_compute_destroy(&c);
      continue;
    }
    const syz_gemm_shape shape[3] = {
        {.m = rows, .n = out, .k = in, .transpose_b = true, .batch = 1, .type_ab = type, .type_c = SYZ_F32},
        {.m = rows, .n = in, .k = out, .batch = 1, .type_ab = type, .type_c = SYZ_F32},
        {.m = out,
         .n = in,
         .k = rows,
         .transpose_a = true,
         .batch = 1,
         .type_ab = type,
         .type_c = SYZ_F32,
         .accumulate = true}};
    printf("%s %s, 1152 x 4096 x 1024, nothing kept packed:", type == SYZ_BF16 ? "bfloat16" : "float32", name[e]);
    for (int i = 0; i < 3; i++) {
      syz_gemm *g = NULL;
      CHECK_OK(syz_gemm_create(c, &shape[i], &g));
      double best = 1e9;
      for (int r = 0; g && r < 5; r++) {
        const double t0 = seconds();
        syz_gemm_run(g, a, b, NULL, y);
        best = fmin(best, seconds() - t0);
      }
      printf("  %s %.0f", i == 0 ? "y" : i == 1 ? "dx" : "dw", 2e-9 * (double)rows * (double)out * (double)in / best);
      syz_gemm_destroy(&g);
    }
    printf(" GFLOP/s\n");
    syz_compute_destroy(&c);
  }
  void *all[] = {x, w, y, a, b};
  for (int i = 0; i < 5; i++) syz_free(&all[i]);
}

int main(int argc, char **argv)
{
  const bool is_f32 = argc > 1 && !strcmp(argv[1], "f32");
  const bool is_crops = argc > 1 + is_f32 && !strcmp(argv[1 + is_f32], "crops");
  const int words = 1 + is_f32 + is_crops, repeats = argc > words ? atoi(argv[words]) : 5;
  syz_compute *c = NULL;
  if (!is_crops) run_engines(is_f32 ? SYZ_F32 : SYZ_BF16);
  CHECK_OK(syz_compute_create(is_f32 ? SYZ_F32 : SYZ_BF16, SYZ_ENGINE_AUTO, 1, &c));
  if (check_failures) return 1;
  int result = run_crops(c, repeats);
  if (!is_crops) result |= run_tower(c, "image tower (dim 1024, 16 heads, 144 tokens)", 1024, 16, 144, true, repeats);
  if (!is_crops) result |= run_tower(c, "spectrum tower (dim 768, 6 heads, 778 tokens)", 768, 6, 778, false, repeats);
  syz_compute_destroy(&c);
  return result;
}
