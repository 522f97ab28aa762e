/* SPDX-License-Identifier: BSD-3-Clause */
/** Common to blocks on one rank and on a tensor group: the rows that a branch computes, their attention, and the factor
 * of a branch. */
#include "attention.h"
#include "block.h"

int64_t syz_sequences_rows(const syz_sequences *s)
{
  int64_t rows = 0;
  for (int g = 0; g < s->groups; g++) rows += s->count[g] * s->tokens[g];
  return rows;
}

/** The table is written into `room` [rows kept]. */
static kept_rows keep(const syz_block *b, const syz_sequences *s, const syz_subset *subset, int64_t *room)
{
  kept_rows k = {.at = NULL};
  bool is_all = true;
  SYZ_ASSERT(s->groups == b->most.groups);
  for (int g = 0; g < s->groups; g++) {
    SYZ_ASSERT(s->count[g] >= 0 && s->count[g] <= b->most.count[g] && s->tokens[g] == b->most.tokens[g]);
    k.n[g] = subset ? subset->n[g] : s->count[g];
    SYZ_ASSERT(k.n[g] >= 0 && k.n[g] <= s->count[g]);
    k.rows += k.n[g] * s->tokens[g];
    is_all = is_all && k.n[g] == s->count[g];
  }
  if (is_all || !room) return k;
  int64_t first = 0, r = 0;
  for (int g = 0; g < s->groups; g++) {
    for (int64_t i = 0; i < k.n[g]; i++) {
      const int64_t q = subset->kept[g][i];
      SYZ_ASSERT(q >= 0 && q < s->count[g] && (i == 0 || q > subset->kept[g][i - 1]));
      for (int64_t t = 0; t < s->tokens[g]; t++) room[r++] = first + q * s->tokens[g] + t;
    }
    first += s->count[g] * s->tokens[g];
  }
  k.at = room;
  return k;
}

void block_plan_tables(int64_t r1, int64_t r2, int64_t *table[2], syz_arena *a)
{
  table[0] = syz_arena_take(a, (size_t)r1, sizeof(int64_t));
  table[1] = syz_arena_take(a, (size_t)r2, sizeof(int64_t));
}

branches block_begin(const syz_block *b, const syz_sequences *s, const syz_subset *subset, syz_arena *workspace)
{
  const syz_subset *attention = subset, *mlp = subset ? subset + 1 : NULL;
  int64_t *table[2];
  block_plan_tables(keep(b, s, attention, NULL).rows, keep(b, s, mlp, NULL).rows, table, workspace);
  return (branches){keep(b, s, attention, table[0]), keep(b, s, mlp, table[1])};
}

int64_t block_attend(const syz_block *b, const int64_t *n, int64_t row, const void *qkv, const void *heads,
                     const float *lse, const void *dheads, void *dqkv)
{
  for (int g = 0; g < b->most.groups; g++) {
    if (n[g] == 0) continue;
    float *sums = lse ? (float *)(uintptr_t)lse + row * b->heads : NULL;
    if (dqkv)
      syz_attention_backward(b->attention[g], n[g], block_at(b, dheads, row * b->row_heads),
                             block_at(b, qkv, row * b->row_qkv), block_at(b, heads, row * b->row_heads), sums,
                             block_at(b, dqkv, row * b->row_qkv));
    else
      syz_attention_forward(b->attention[g], n[g], block_at(b, qkv, row * b->row_qkv),
                            block_at(b, heads, row * b->row_heads), sums);
    row += n[g] * b->most.tokens[g];
  }
  return row;
}

const float *block_scale(syz_block *b, const float *layerscale)
{
  if (!b->config.has_layerscale) layerscale = NULL;
  if (b->branch_scale == 1) return layerscale;
  for (int64_t i = 0; i < b->config.dim; i++)
    b->scale[i] = layerscale ? b->branch_scale * layerscale[i] : b->branch_scale;
  return b->scale;
}
