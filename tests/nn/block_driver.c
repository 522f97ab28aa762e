/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * One transformer block, forward and backward, on raw float32 arrays: the C side of test_block.py.
 *
 * block_driver IN OUT f32|bf16 ENGINE THREADS DIM HEADS HIDDEN LAYERSCALE EPS BRANCH_SCALE (COUNT TOKENS KEPT KEPT)...
 * One quadruple a group of sequences; KEPT, of the attention and of the MLP branch: "all", or the numbers of those kept
 * ("0,2,3"), or "-" for none. IN:  parameters in the order of syz_block_parameters (ls1, ls2 only with LAYERSCALE 1), x
 * [rows, D], dy [rows, D]. OUT: y of training, y of inference, dx, gradients in the same order (two backward passes'
 * sum, halved).
 */
#include <stdio.h>
#include <stdlib.h>

#include "check.h"
#include "syzygy/nn.h"

static int64_t parameter_sizes(const syz_block_config *c, int64_t size[14])
{
  const int64_t d = c->dim, h = c->hidden, ls = c->has_layerscale ? d : 0;
  const int64_t s[14] = {d, d, 3 * d * d, 3 * d, d * d, d, ls, d, d, h * d, h, d * h, d, ls};
  int64_t total = 0;
  for (int i = 0; i < 14; i++) total += size[i] = s[i];
  return total;
}

static syz_block_parameters views(const int64_t size[14], float *p)
{
  float *at[14];
  for (int i = 0; i < 14; i++) {
    at[i] = size[i] ? p : NULL;
    p += size[i];
  }
  return (syz_block_parameters){at[0], at[1], at[2], at[3],  at[4],  at[5],  at[6],
                                at[7], at[8], at[9], at[10], at[11], at[12], at[13]};
}

enum { FIXED = 12, GROUP = 4, SEQUENCES = 64 };

/** Groups from the command line; false when no sequence of either branch is left out. */
static bool read_groups(int argc, char **argv, syz_sequences *s, syz_subset subset[2],
                        int64_t list[2][SYZ_GROUPS_MAX][SEQUENCES])
{
  bool has_subset = false;
  for (; FIXED + (s->groups + 1) * GROUP <= argc; s->groups++) {
    const int g = s->groups;
    char **word = argv + FIXED + g * GROUP;
    s->count[g] = atoll(word[0]);
    s->tokens[g] = atoll(word[1]);
    for (int branch = 0; branch < 2; branch++) {
      const char *text = word[2 + branch];
      const bool is_all = !strcmp(text, "all");
      int64_t n = 0, *kept = list[branch][g];
      has_subset = has_subset || !is_all;
      for (; is_all && n < s->count[g]; n++) kept[n] = n;
      for (char *end = NULL; !is_all && *text && *text != '-'; text = *end ? end + 1 : end)
        kept[n++] = strtoll(text, &end, 10);
      subset[branch].kept[g] = kept;
      subset[branch].n[g] = n;
    }
  }
  return has_subset;
}

int main(int argc, char **argv)
{
  if (argc < FIXED + GROUP || argc > FIXED + GROUP * SYZ_GROUPS_MAX || (argc - FIXED) % GROUP) {
    fprintf(stderr, "usage: see block_driver.c\n");
    return 2;
  }
  const syz_dtype act = strcmp(argv[3], "bf16") ? SYZ_F32 : SYZ_BF16;
  const syz_engine engine = (syz_engine)atoi(argv[4]);
  static int64_t list[2][SYZ_GROUPS_MAX][SEQUENCES];
  syz_sequences all = {0};
  syz_subset subsets[2] = {0};
  const syz_subset *subset = read_groups(argc, argv, &all, subsets, list) ? subsets : NULL;
  const syz_block_config config = {.dim = atoll(argv[6]),
                                   .heads = atoll(argv[7]),
                                   .hidden = atoll(argv[8]),
                                   .has_layerscale = atoi(argv[9]) != 0,
                                   .eps = (float)atof(argv[10]),
                                   .branch_scale = (float)atof(argv[11])};
  int64_t size[14];
  const int64_t n = parameter_sizes(&config, size), stream = syz_sequences_rows(&all) * config.dim;
  float *in = syz_alloc("in", (size_t)(n + 2 * stream), sizeof(float)),
        *gradient = syz_alloc("gradient", (size_t)n, sizeof(float));
  float *y = syz_alloc("y", (size_t)stream, sizeof(float)), *y2 = syz_alloc("y", (size_t)stream, sizeof(float));
  float *dx = syz_alloc("dx", (size_t)stream, sizeof(float));
  syz_compute *compute = NULL;
  syz_block *block = NULL;
  FILE *f = fopen(argv[1], "rb");
  CHECK(f && fread(in, sizeof(float), (size_t)(n + 2 * stream), f) == (size_t)(n + 2 * stream));
  if (f) fclose(f);
  if (syz_compute_create(act, engine, atoi(argv[5]), &compute) == SYZ_ERR_INPUT) {
    fprintf(stderr, "%s\n", syz_error_text());
    return 77; /* this build or processor lacks the engine */
  }
  CHECK(compute != NULL);
  if (check_failures) return CHECK_RESULT();
  CHECK_EQ(syz_compute_act(compute), act);
  /* One sequence more than is used: what is there and what may be there must not be mixed up. Memory for what is kept,
   * no more. */
  syz_sequences most = all, kept = all;
  for (int g = 0; g < all.groups; g++) {
    most.count[g]++;
    kept.count[g] = subsets[0].n[g] > subsets[1].n[g] ? subsets[0].n[g] : subsets[1].n[g];
  }
  CHECK_OK(syz_block_create(compute, &config, &most, true, &block));
  if (check_failures) return CHECK_RESULT();
  enum { GUARD = 4096 };
  const size_t saved_bytes = syz_block_saved_bytes(block, &kept),
               workspace_bytes = syz_block_workspace_bytes(block, &kept);
  unsigned char *saved = syz_alloc("saved", saved_bytes + GUARD, 1),
                *workspace = syz_alloc("workspace", workspace_bytes + GUARD, 1);
  memset(saved + saved_bytes, 0x5a, GUARD);
  memset(workspace + workspace_bytes, 0x5a, GUARD);
  const syz_block_parameters w = views(size, in), g = views(size, gradient);
  syz_block_pack(block, &w);
  const int64_t before = syz_memory_get().allocations;
  memcpy(y, in + n, (size_t)stream * sizeof(float));
  memcpy(y2, y, (size_t)stream * sizeof(float));
  syz_block_forward(block, &all, subset, y2, NULL, workspace);
  syz_block_forward(block, &all, subset, y, saved, workspace);
  for (int pass = 0; pass < 2; pass++) {
    memcpy(dx, in + n + stream, (size_t)stream * sizeof(float));
    syz_block_backward(block, &all, subset, dx, saved, &g, workspace);
  }
  for (int64_t i = 0; i < n; i++) gradient[i] *= 0.5f;
  CHECK_EQ(syz_memory_get().allocations, before);
  for (int i = 0; i < GUARD; i++)
    CHECK(saved[saved_bytes + (size_t)i] == 0x5a && workspace[workspace_bytes + (size_t)i] == 0x5a);
  f = fopen(argv[2], "wb");
  CHECK(f && fwrite(y, sizeof(float), (size_t)stream, f) == (size_t)stream);
  CHECK(f && fwrite(y2, sizeof(float), (size_t)stream, f) == (size_t)stream);
  CHECK(f && fwrite(dx, sizeof(float), (size_t)stream, f) == (size_t)stream);
  CHECK(f && fwrite(gradient, sizeof(float), (size_t)n, f) == (size_t)n);
  if (f) fclose(f);
  syz_block_destroy(&block);
  syz_compute_destroy(&compute);
  syz_free(&saved);
  syz_free(&workspace);
  syz_free(&in);
  syz_free(&gradient);
  syz_free(&y);
  syz_free(&y2);
  syz_free(&dx);
  CHECK_EQ(syz_memory_get().live_blocks, 0);
  return CHECK_RESULT();
}
