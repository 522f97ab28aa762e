/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * The trained parts of the gradient block are cut into buckets, and a bucket is summed over the ranks as soon as the backward pass has
 * written the last of its elements.
 *
 * Nonblocking sums must begin in the same order on every rank, also on one that has no objects and so no backward pass. The order is
 * therefore fixed by the table alone: image tower first, and in each tower from the end of the block (head) to its beginning (patch
 * embedding), which is the order in which backward passes finish. A bucket that is complete early waits for its turn; what is left at the
 * end is begun by gradients_finish. Buckets are at most 4 Mi elements (16 MiB): large enough that latency does not matter, and a ViT-L
 * still has 70 of them to spread over the backward pass.
 */
#include "gradients.h"

#include <string.h>

typedef struct bucket {
  int64_t first, count; /* in the block */
  int64_t wanted;       /* trained elements: those of segments */
  int64_t missing;      /* of these, not yet final in this step */
} bucket;

struct syz_gradients {
  const parts *parts;
  float *block;
  bucket *bucket; /* in the order of sending */
  int n_buckets, next, begun_early;
  syz_request *request;
};

static int64_t overlap(int64_t a, int64_t na, int64_t b, int64_t nb)
{
  const int64_t low = a > b ? a : b, high = a + na < b + nb ? a + na : b + nb;
  return high > low ? high - low : 0;
}

/* Trained elements of [first, first + count). */
static int64_t trained(const parts *p, int64_t first, int64_t count)
{
  int64_t sum = 0;
  for (int s = 0; s < p->n_segments; s++) sum += overlap(p->segment[s].first, p->segment[s].count, first, count);
  return sum;
}

syz_status gradients_create(const parts *p, int64_t block_elements, int64_t bucket_elements, syz_gradients **out)
{
  syz_status st = SYZ_OK;
  syz_gradients *g = NULL;
  int64_t room = 0;
  *out = NULL;
  SYZ_ALLOC(g, "gradients", 1);
  g->parts = p;
  SYZ_ALLOC(g->block, "gradients", block_elements + 1);
  for (int i = 0; i < PARTS; i++)
    if (p->part[i].is_here && p->part[i].is_trained) room += (p->part[i].count + bucket_elements - 1) / bucket_elements;
  SYZ_ALLOC(g->bucket, "gradient buckets", room + 1);
  /* Heads before the backbone that feeds them. */
  static const syz_part order[PARTS] = {SYZ_PART_DINO_HEAD,      SYZ_PART_IBOT_HEAD,     SYZ_PART_IMAGE_HEAD,
                                        SYZ_PART_IMAGE_BACKBONE, SYZ_PART_SPECTRUM_HEAD, SYZ_PART_SPECTRUM_BACKBONE};
  for (int i = 0; i < PARTS; i++) {
    const part *q = &p->part[order[i]];
    if (!q->is_here || !q->is_trained) continue;
    for (int64_t end = q->count; end > 0; end -= bucket_elements) {
      const int64_t first = end > bucket_elements ? end - bucket_elements : 0;
      bucket b = {.first = q->first + first, .count = end - first};
      b.wanted = trained(p, b.first, b.count);
      if (b.wanted) g->bucket[g->n_buckets++] = b;
    }
  }
  SYZ_TRY(syz_request_create(p->grid->data, g->n_buckets + 1, &g->request));
  *out = g;
cleanup:
  if (st != SYZ_OK) gradients_destroy(&g);
  return st;
}

void gradients_destroy(syz_gradients **g)
{
  if (!g || !*g) return;
  if ((*g)->request) syz_request_destroy(&(*g)->request);
  syz_free(&(*g)->block);
  syz_free(&(*g)->bucket);
  syz_free(g);
}

float *syz_gradients_block(syz_gradients *g) { return g->block; }

void gradients_begin(syz_gradients *g)
{
  /* Whole parts, so that gradients of parameters outside the segments do not pile up. */
  for (int i = 0; i < PARTS; i++) {
    const part *p = &g->parts->part[i];
    if (p->is_here && p->is_trained) memset(g->block + p->first, 0, (size_t)p->count * sizeof(float));
  }
  for (int i = 0; i < g->n_buckets; i++) g->bucket[i].missing = g->bucket[i].wanted;
  g->next = 0;
}

static void begin_next(syz_gradients *g)
{
  const bucket *b = &g->bucket[g->next++];
  syz_request_sum_f32(g->request, g->block + b->first, (size_t)b->count);
}

void syz_gradients_ready(void *context, int64_t first, int64_t count)
{
  syz_gradients *g = context;
  for (int i = g->next; i < g->n_buckets && count > 0; i++) {
    bucket *b = &g->bucket[i];
    const int64_t from = first > b->first ? first : b->first, end = first + count < b->first + b->count ? first + count : b->first + b->count;
    if (end > from) b->missing -= trained(g->parts, from, end - from);
  }
  while (g->next < g->n_buckets && g->bucket[g->next].missing <= 0) begin_next(g);
  syz_request_progress(g->request);
}

void gradients_finish(syz_gradients *g)
{
  g->begun_early = g->next;
  while (g->next < g->n_buckets) begin_next(g);
  syz_request_wait(g->request);
}

void gradients_overlap(const syz_gradients *g, int *begun, int *all)
{
  *begun = g->begun_early;
  *all = g->n_buckets;
}
