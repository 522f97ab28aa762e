/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * The model's block has parts: backbone and head of each tower, projection heads. A rank holds those of its tower(s), and the ranks that hold the
 * same ones share out the optimiser: each keeps the moments of, and updates, one contiguous share of each part, and the new weights are
 * gathered. Shares are whole rows of 16 elements (64 bytes), the unit in which checkpoints store and check them.
 *
 * Within the parts only parameters that take part in the loss are trained: PyTorch leaves the others (mask_token, the spectrum tower's
 * reconstruction head) without a gradient, and an AdamW that skips those does not let them decay either.
 */
#include "parts.h"

#include <string.h>

bool part_is_backbone(syz_part which) { return which == SYZ_PART_IMAGE_BACKBONE || which == SYZ_PART_SPECTRUM_BACKBONE; }

static uint64_t layout_digest(const syz_parameter *table, int n, const part *p)
{
  uint64_t digest = 0;
  for (int i = 0; i < n; i++) {
    const syz_parameter *q = &table[i];
    if (q->part != p->part) continue;
    const int64_t place = q->offset - p->first;
    digest = syz_checksum(q->name, strlen(q->name), digest);
    digest = syz_checksum(q->shape, (size_t)q->ndim * sizeof q->shape[0], digest);
    digest = syz_checksum(&place, sizeof place, digest);
  }
  return digest;
}

static syz_rule rule_of(const syz_objective *o, const syz_parameter *p)
{
  syz_rule rule = {.lr_factor = 1, .decay_factor = 1};
  if (o && o->rule) o->rule(o->self, p, &rule);
  return rule;
}

static bool is_same_rule(const syz_rule *a, const syz_rule *b)
{
  return a->lr_factor == b->lr_factor && a->decay_factor == b->decay_factor && a->frozen_steps == b->frozen_steps && a->clip_group == b->clip_group;
}

static syz_status create_local(parts *out, const syz_model *model, bool trains_backbones, const syz_objective *objective)
{
  syz_status st = SYZ_OK;
  int n = 0;
  const syz_parameter *table = syz_model_parameters(model, &n);
  for (int i = 0; i < PARTS; i++) {
    part *p = &out->part[i];
    p->part = (syz_part)i;
    p->name = syz_part_name(p->part);
    syz_model_range(model, p->part, &p->first, &p->count);
    p->is_here = p->count > 0;
    p->is_trained = trains_backbones || !part_is_backbone(p->part);
    if (!p->is_here) continue;
    SYZ_REQUIRE(p->count % PART_ROW == 0 && p->first % PART_ROW == 0, SYZ_ERR_INTERNAL, "%s: %lld elements from %lld are not whole rows of %d",
                p->name, (long long)p->count, (long long)p->first, PART_ROW);
    p->layout = layout_digest(table, n, p);
  }
  SYZ_ALLOC(out->segment, "trained segments", n + 1);
  for (int k = 0; k < PARTS; k++) {
    const part *p = &out->part[k];
    bool joins = false; /* the previous parameter was trained and in this part: only padding lies between */
    for (int i = 0; i < n && p->is_here && p->is_trained; i++) {
      const syz_parameter *q = &table[i];
      if (q->part != p->part) continue;
      const syz_rule rule = q->is_used ? rule_of(objective, q) : (syz_rule){0};
      SYZ_REQUIRE(rule.clip_group >= 0 && rule.clip_group < SYZ_CLIP_GROUPS, SYZ_ERR_INTERNAL, "%s: no clip group %d", q->name, rule.clip_group);
      if (q->is_used && joins && is_same_rule(&rule, &out->segment[out->n_segments - 1].rule)) {
        segment *s = &out->segment[out->n_segments - 1];
        s->count = q->offset + q->size - s->first;
      } else if (q->is_used) {
        out->segment[out->n_segments++] = (segment){q->offset, q->size, rule};
      }
      joins = q->is_used;
    }
  }
cleanup:
  return st;
}

static syz_status create_shares(parts *out)
{
  syz_status st = SYZ_OK;
  const int size = syz_comm_size(out->grid->data), rank = syz_comm_rank(out->grid->data);
  for (int i = 0; i < PARTS; i++) {
    part *p = &out->part[i];
    if (!p->is_here) continue;
    SYZ_ALLOC(p->bytes, "shares", size);
    for (int r = 0; r < size; r++) {
      int64_t first = 0, count = 0;
      syz_share(p->count / PART_ROW, size, r, &first, &count);
      p->bytes[r] = (size_t)(count * PART_ROW) * sizeof(float);
      if (r == rank) p->own_first = first * PART_ROW, p->own_count = count * PART_ROW;
    }
    if (!p->is_trained) continue;
    SYZ_ALLOC(p->moment1, "first moments", p->own_count + 1);
    SYZ_ALLOC(p->moment2, "second moments", p->own_count + 1);
  }
cleanup:
  return st;
}

syz_status parts_create(const syz_grid *grid, const syz_model *model, bool trains_backbones, const syz_objective *objective, parts *out)
{
  syz_status st = SYZ_OK;
  uint64_t layout[PARTS];
  int64_t total[PARTS];
  *out = (parts){.grid = grid};
  SYZ_TRY_ALL(grid->world, create_local(out, model, trains_backbones, objective));
  SYZ_TRY_ALL(grid->world, create_shares(out));
  for (int i = 0; i < PARTS; i++) total[i] = out->part[i].count, layout[i] = out->part[i].layout;
  syz_allreduce_i64(grid->world, total, PARTS, SYZ_MAX);
  syz_allreduce_u64(grid->world, layout, PARTS, SYZ_MAX);
  for (int i = 0; i < PARTS; i++) out->part[i].total = total[i], out->part[i].layout = layout[i];
cleanup:
  if (st != SYZ_OK) parts_destroy(out);
  return st;
}

void parts_destroy(parts *p)
{
  for (int i = 0; i < PARTS; i++) {
    syz_free(&p->part[i].moment1);
    syz_free(&p->part[i].moment2);
    syz_free(&p->part[i].bytes);
  }
  syz_free(&p->segment);
}

void parts_own(const parts *p, int s, int64_t *first, int64_t *count, const part **owner)
{
  const segment *g = &p->segment[s];
  *first = *count = 0;
  *owner = NULL;
  for (int i = 0; i < PARTS; i++) {
    const part *q = &p->part[i];
    if (!q->is_here || g->first < q->first || g->first >= q->first + q->count) continue;
    const int64_t low = q->first + q->own_first, high = low + q->own_count;
    const int64_t a = g->first > low ? g->first : low, b = g->first + g->count < high ? g->first + g->count : high;
    *owner = q;
    *first = a;
    *count = b > a ? b - a : 0;
    return;
  }
}
