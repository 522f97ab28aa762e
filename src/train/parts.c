/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * The model's block has parts: backbone and head of each tower, projection heads. A rank holds those of its tower(s),
 * and the ranks that hold the same ones (grid->data) divide their sums and updates. Parts are cut into buckets, and
 * every bucket into slices, one per rank. A rank sums the gradients of its slice, holds its moments, updates it and
 * sends the new weights. Every bucket is sliced, instead of the whole block once, so that all ranks have work as soon
 * as the first bucket is complete.
 *
 * Slices are whole units of 4096 elements, counted from the beginning of a part. A unit is never divided, so the norm,
 * which is formed unit by unit, does not depend on the number of ranks.
 *
 * The order of buckets is that in which backward passes finish them: image tower first, heads before the backbone that
 * feeds them, and in each part from its end (last layer) to its beginning (patch embedding). All ranks process them in
 * this order, also a rank without objects and so without a backward pass.
 *
 * In files a part is one array, of which every rank reads and writes one contiguous share; each moment array is moved
 * between slices and shares by one exchange, because both are in ascending order.
 *
 * Within the parts only parameters that take part in the loss are trained: PyTorch leaves the others (mask_token, the
 * spectrum tower's reconstruction head) without a gradient, and its AdamW, which skips them, does not decay them
 * either.
 */
#include "parts.h"

#include <string.h>

/* 16 MiB: large enough that latency does not matter, and a ViT-L still has 72 buckets to spread over the backward pass.
 */
enum { BUCKET_ELEMENTS = 4 << 20, LEAST_UNITS = 4 };

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
  return a->lr_factor == b->lr_factor && a->decay_factor == b->decay_factor && a->frozen_steps == b->frozen_steps &&
         a->clip_group == b->clip_group;
}

static syz_status create_local(parts *out, const syz_model *model, bool trains_backbones,
                               const syz_objective *objective)
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
    p->is_trained = syz_part_trains(p->part, trains_backbones);
    if (!p->is_here) continue;
    SYZ_REQUIRE(p->count % PART_ROW == 0 && p->first % PART_ROW == 0, SYZ_ERR_INTERNAL,
                "%s: %lld elements from %lld are not whole rows of %d", p->name, (long long)p->count,
                (long long)p->first, PART_ROW);
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
      SYZ_REQUIRE(rule.clip_group >= 0 && rule.clip_group < SYZ_CLIP_GROUPS, SYZ_ERR_INTERNAL, "%s: no clip group %d",
                  q->name, rule.clip_group);
      if (q->is_used && joins && is_same_rule(&rule, &out->segment[out->n_segments - 1].rule)) {
        segment *s = &out->segment[out->n_segments - 1];
        s->count = q->offset + q->size - s->first;
      } else if (q->is_used) {
        out->segment[out->n_segments++] = (segment){.first = q->offset, .count = q->size, .rule = rule};
      }
      joins = q->is_used;
    }
  }
cleanup:
  return st;
}

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }

/* Elements that [a, a + na) and [b, b + nb) have in common. */
static int64_t overlap(int64_t a, int64_t na, int64_t b, int64_t nb)
{
  return most(least(a + na, b + nb) - most(a, b), 0);
}

void parts_slice(const parts *p, int i, int rank, int64_t *first, int64_t *count)
{
  const bucket *b = &p->bucket[i];
  const int size = syz_comm_size(p->grid->data);
  int64_t unit, units;
  /* In each bucket other ranks have the extra units. */
  syz_share((b->count + PART_UNIT - 1) / PART_UNIT, size, (rank + i) % size, &unit, &units);
  *first = b->first + least(unit * PART_UNIT, b->count);
  *count = b->first + least((unit + units) * PART_UNIT, b->count) - *first;
}

int64_t parts_trained(const parts *p, int i, int64_t first, int64_t count)
{
  const int64_t low = most(first, p->bucket[i].first),
                n = overlap(first, count, p->bucket[i].first, p->bucket[i].count);
  int64_t sum = 0;
  for (int s = 0; s < p->n_segments && n > 0; s++) sum += overlap(p->segment[s].first, p->segment[s].count, low, n);
  return sum;
}

int64_t syz_gradients_bucket_elements(int ranks)
{
  int64_t elements = BUCKET_ELEMENTS;
  while (elements < (int64_t)ranks * LEAST_UNITS * PART_UNIT) elements *= 2;
  return elements;
}

static int64_t largest_slice(int64_t elements, int64_t ranks)
{
  const int64_t units = (elements + PART_UNIT - 1) / PART_UNIT;
  return least((units + ranks - 1) / ranks * PART_UNIT, elements);
}

int64_t parts_largest_slice(const parts *p)
{
  int64_t largest = 0;
  for (int i = 0; i < p->n_buckets; i++) largest = most(largest, p->bucket[i].count);
  return largest_slice(largest, syz_comm_size(p->grid->data));
}

int64_t parts_planned_slice(int64_t elements, int ranks)
{
  return largest_slice(least(elements, syz_gradients_bucket_elements(ranks)), ranks);
}

static syz_status create_buckets(parts *out, int64_t wanted)
{
  syz_status st = SYZ_OK;
  const int rank = syz_comm_rank(out->grid->data);
  int64_t elements = wanted > 0 ? wanted : syz_gradients_bucket_elements(syz_comm_size(out->grid->data)), room = 0;
  elements = (elements + PART_UNIT - 1) / PART_UNIT * PART_UNIT;
  for (int i = 0; i < PARTS; i++) room += (out->part[i].count + elements - 1) / elements;
  SYZ_ALLOC(out->bucket, "buckets", room + 1);
  /* Heads before the backbone that feeds them. */
  static const syz_part order[PARTS] = {SYZ_PART_DINO_HEAD,      SYZ_PART_IBOT_HEAD,     SYZ_PART_IMAGE_HEAD,
                                        SYZ_PART_IMAGE_BACKBONE, SYZ_PART_SPECTRUM_HEAD, SYZ_PART_SPECTRUM_BACKBONE};
  for (int i = 0; i < PARTS; i++) {
    part *q = &out->part[order[i]];
    if (!q->is_here || !q->is_trained) continue;
    const int begin = out->n_buckets;
    for (int64_t at = (q->count - 1) / elements * elements; at >= 0; at -= elements) {
      bucket *b = &out->bucket[out->n_buckets];
      *b = (bucket){.part = (int)order[i], .first = q->first + at, .count = least(elements, q->count - at)};
      b->trained = parts_trained(out, out->n_buckets, b->first, b->count);
      parts_slice(out, out->n_buckets++, rank, &b->own_first, &b->own_count);
    }
    for (int k = out->n_buckets - 1; k >= begin; k--) {
      out->bucket[k].place = q->own_count;
      q->own_count += out->bucket[k].own_count;
    }
    SYZ_ALLOC(q->moment1, "first moments", q->own_count + 1);
    SYZ_ALLOC(q->moment2, "second moments", q->own_count + 1);
  }
cleanup:
  return st;
}

/* The stretches of this rank's slices: within one unit and one segment each. out NULL: count only. */
static int64_t find_stretches(parts *p, stretch *out)
{
  int64_t n = 0;
  for (int i = 0; i < p->n_buckets; i++) {
    const bucket *b = &p->bucket[i];
    const int64_t part_first = p->part[b->part].first;
    for (int s = 0; s < p->n_segments; s++) {
      const segment *g = &p->segment[s];
      const int64_t units_before = (g->first - part_first) / PART_UNIT,
                    end = least(g->first + g->count, b->own_first + b->own_count);
      for (int64_t at = most(g->first, b->own_first), next; at < end; at = next) {
        const int64_t unit = (at - part_first) / PART_UNIT;
        next = least(part_first + (unit + 1) * PART_UNIT, end);
        if (out)
          out[n] =
              (stretch){.first = at, .square = g->first_square + unit - units_before, .count = (int32_t)(next - at)};
        n++;
      }
    }
  }
  return n;
}

static syz_status create_squares(parts *p)
{
  syz_status st = SYZ_OK;
  for (int s = 0; s < p->n_segments; s++) {
    segment *g = &p->segment[s];
    int64_t first = 0;
    for (int i = 0; i < PARTS; i++)
      if (overlap(p->part[i].first, p->part[i].count, g->first, g->count)) first = p->part[i].first;
    g->first_square = p->n_squares;
    p->n_squares += (g->first + g->count - 1 - first) / PART_UNIT - (g->first - first) / PART_UNIT + 1;
  }
  SYZ_ALLOC(p->square, "sums of squares", p->n_squares + 1);
  p->n_stretches = find_stretches(p, NULL);
  SYZ_ALLOC(p->stretch, "stretches", p->n_stretches + 1);
  find_stretches(p, p->stretch);
cleanup:
  return st;
}

static syz_status create_shares(parts *out, int64_t bucket_elements)
{
  syz_status st = SYZ_OK;
  const int size = syz_comm_size(out->grid->data), rank = syz_comm_rank(out->grid->data);
  for (int i = 0; i < PARTS; i++) {
    part *p = &out->part[i];
    if (!p->is_here) continue;
    syz_share(p->count / PART_ROW, size, rank, &p->share_first, &p->share_count);
    p->share_first *= PART_ROW;
    p->share_count *= PART_ROW;
  }
  SYZ_TRY(create_buckets(out, bucket_elements));
  SYZ_TRY(create_squares(out));
  for (int i = 0; i < PARTS_RING; i++)
    SYZ_TRY(syz_request_create(out->grid->data, out->nodes->n_peers, &out->travel[i]));
cleanup:
  return st;
}

syz_status parts_create(const syz_grid *grid, const syz_model *model, bool trains_backbones,
                        const syz_objective *objective, int64_t bucket_elements, parts *out)
{
  syz_status st = SYZ_OK;
  uint64_t layout[PARTS];
  int64_t total[PARTS];
  *out = (parts){.grid = grid, .nodes = syz_model_nodes(model)};
  if (!out->nodes) st = syz_nodes_create(grid->data, 1, &out->own_nodes);
  SYZ_TRY_ALL(grid->world, st);
  if (!out->nodes) out->nodes = out->own_nodes;
  SYZ_TRY_ALL(grid->world, create_local(out, model, trains_backbones, objective));
  SYZ_TRY_ALL(grid->world, create_shares(out, bucket_elements));
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
  }
  for (int i = 0; i < PARTS_RING; i++) syz_request_destroy(&p->travel[i]);
  syz_free(&p->segment);
  syz_free(&p->bucket);
  syz_free(&p->square);
  syz_free(&p->stretch);
  syz_nodes_destroy(&p->own_nodes);
}

/* ------------------------------------------------------- slices and shares */

/* Bytes that the slices of rank `of` and the share of rank `share` have in common. */
static size_t common_bytes(const parts *p, const part *q, int of, int share)
{
  int64_t first, count, sum = 0;
  syz_share(q->count / PART_ROW, syz_comm_size(p->grid->data), share, &first, &count);
  for (int i = 0; i < p->n_buckets; i++) {
    int64_t at, n;
    if (&p->part[p->bucket[i].part] != q) continue;
    parts_slice(p, i, of, &at, &n);
    sum += overlap(at, n, q->first + first * PART_ROW, count * PART_ROW);
  }
  return (size_t)sum * sizeof(float);
}

/* counts [2 * ranks]: bytes to and from each rank when slices become shares. */
static void count_exchange(const parts *p, const part *q, size_t *counts)
{
  const int size = syz_comm_size(p->grid->data), rank = syz_comm_rank(p->grid->data);
  for (int r = 0; r < size; r++) {
    counts[r] = common_bytes(p, q, rank, r);
    counts[size + r] = common_bytes(p, q, r, rank);
  }
}

/* Copies from the stage to the share, or back. The stage holds the parts of this share that are in each rank's slices,
 * in rank order. */
static void sort_share(const parts *p, const part *q, const float *from, float *to, bool to_stage)
{
  const int64_t low = q->first + q->share_first;
  int64_t staged = 0;
  for (int r = 0; r < syz_comm_size(p->grid->data); r++)
    for (int i = p->n_buckets - 1; i >= 0; i--) { /* ascending in the block */
      int64_t at, n;
      if (&p->part[p->bucket[i].part] != q) continue;
      parts_slice(p, i, r, &at, &n);
      const int64_t common = overlap(at, n, low, q->share_count), in_share = most(at, low) - low;
      if (common == 0) continue;
      memcpy(to + (to_stage ? staged : in_share), from + (to_stage ? in_share : staged), (size_t)common * sizeof *to);
      staged += common;
    }
}

void parts_to_share(const parts *p, const part *q, const float *own, float *share, float *stage, size_t *counts)
{
  count_exchange(p, q, counts);
  syz_alltoallv(p->grid->data, own, counts, stage, counts + syz_comm_size(p->grid->data));
  sort_share(p, q, stage, share, false);
}

void parts_from_share(const parts *p, const part *q, const float *share, float *own, float *stage, size_t *counts)
{
  count_exchange(p, q, counts);
  sort_share(p, q, share, stage, true);
  syz_alltoallv(p->grid->data, stage, counts + syz_comm_size(p->grid->data), own, counts);
}
