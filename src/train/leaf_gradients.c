/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Reproducible sums of gradients (src/comm/leaves.c). On a rank the tree over leaves is a binary counter of blocks:
 * log2(leaves) besides the block of the sum. Between ranks, each rank sums the slices that it updates: it receives them
 * from every other rank, in pieces, and adds them with the same counter. It receives from rank ^ i in the order of i,
 * which only exchanges siblings in the tree. Each rank sends and receives as much as in a reduction by slices, block x
 * (ranks - 1) / ranks, but only after the last leaf, not during the backward pass.
 */
#include "leaf_gradients.h"

#include <string.h>

enum { SLOTS_MAX = 32, PIECE = 1 << 18 /* elements of a message: 1 MiB */ };

struct leaf_gradients {
  const parts *parts;
  int64_t count, done; /* of this rank; of this step */
  int threads, slots, pieces;
  float *block[SLOTS_MAX]; /* [slots] of the layout of the model's block; the first is borrowed */
  float *piece[SLOTS_MAX]; /* [pieces] of PIECE elements: sums over ranks */
  syz_request *travel;
};

syz_status leaf_gradients_create(const parts *p, float *block, int64_t block_elements, int64_t count, int threads,
                                 leaf_gradients **out)
{
  syz_status st = SYZ_OK;
  const int ranks = syz_comm_size(p->grid->data);
  leaf_gradients *l = NULL;
  *out = NULL;
  SYZ_ALLOC(l, "leaves", 1);
  *l = (leaf_gradients){.parts = p,
                        .count = count,
                        .threads = threads,
                        .slots = syz_leaves_slots(count),
                        .pieces = ranks > 1 ? syz_leaves_slots(ranks) : 0};
  l->block[0] = block;
  for (int i = 1; i < l->slots; i++) SYZ_ALLOC(l->block[i], "gradients of leaves", block_elements + 1);
  for (int i = 0; i < l->pieces; i++) SYZ_ALLOC(l->piece[i], "gradient pieces", PIECE);
  SYZ_TRY(syz_request_create(p->grid->data, SYZ_LEAVES_MESSAGES, &l->travel));
  *out = l;
  l = NULL;
cleanup:
  leaf_gradients_destroy(&l);
  return st;
}

void leaf_gradients_destroy(leaf_gradients **l)
{
  if (!l || !*l) return;
  for (int i = 1; i < (*l)->slots; i++) syz_free(&(*l)->block[i]);
  for (int i = 0; i < (*l)->pieces; i++) syz_free(&(*l)->piece[i]);
  syz_request_destroy(&(*l)->travel);
  syz_free(l);
}

size_t syz_gradients_leaf_bytes(int64_t block_elements, int64_t count, int ranks)
{
  const size_t blocks = (size_t)(syz_leaves_slots(count) - 1) * (size_t)(block_elements + 1),
               pieces = ranks > 1 ? (size_t)syz_leaves_slots(ranks) * PIECE : 0;
  return (blocks + pieces) * sizeof(float);
}

void leaf_gradients_begin(leaf_gradients *l) { l->done = 0; }

float *leaf_gradients_block(leaf_gradients *l) { return l->block[l->done < l->count ? syz_leaves_slot(l->done) : 0]; }

static bool is_summed(const part *p) { return p->is_here && p->is_trained; }

static void add(float *to, const float *from, int64_t n, int threads)
{
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1)
  for (int64_t i = 0; i < n; i++) to[i] += from[i];
}

void leaf_gradients_end(leaf_gradients *l)
{
  int slot = syz_leaves_slot(l->done);
  SYZ_ASSERT(l->done < l->count);
  for (int m = syz_leaves_merges(l->done); m > 0; m--, slot--)
    for (int i = 0; i < PARTS; i++) {
      const part *p = &l->parts->part[i];
      if (is_summed(p)) add(l->block[slot - 1] + p->first, l->block[slot] + p->first, p->count, l->threads);
    }
  if (++l->done == l->count) return;
  for (int i = 0; i < PARTS; i++) {
    const part *p = &l->parts->part[i];
    if (is_summed(p)) memset(leaf_gradients_block(l) + p->first, 0, (size_t)p->count * sizeof(float));
  }
}

/* Elements of a slice in the piece that begins at `at`. */
static size_t piece_of(int64_t slice, int64_t at)
{
  return (size_t)(slice <= at ? 0 : slice - at < PIECE ? slice - at : PIECE);
}

/* One piece of all ranks' slices of a bucket. */
static void sum_piece(leaf_gradients *l, int b, int64_t at)
{
  const parts *p = l->parts;
  const int size = syz_comm_size(p->grid->data), rank = syz_comm_rank(p->grid->data);
  const bucket *q = &p->bucket[b];
  const size_t n = piece_of(q->own_count, at);
  float *block = l->block[0];
  for (int i = 0; i < size; i++) {
    int slot = syz_leaves_slot(i);
    int64_t first, count;
    parts_slice(p, b, rank ^ i, &first, &count);
    if (i == 0 && n > 0)
      memcpy(l->piece[0], block + q->own_first + at, n * sizeof(float));
    else if (i > 0)
      syz_leaves_exchange(l->travel, rank ^ i, block + first + at, piece_of(count, at) * sizeof(float), l->piece[slot],
                          n * sizeof(float));
    for (int m = syz_leaves_merges(i); m > 0; m--, slot--)
      add(l->piece[slot - 1], l->piece[slot], (int64_t)n, l->threads);
  }
  if (n > 0) memcpy(block + q->own_first + at, l->piece[0], n * sizeof(float));
}

void leaf_gradients_sum(leaf_gradients *l)
{
  const parts *p = l->parts;
  const int size = syz_comm_size(p->grid->data);
  SYZ_ASSERT(l->done == l->count);
  if (size == 1) return;
  for (int b = 0; b < p->n_buckets; b++) {
    int64_t most = 0;
    if (!p->bucket[b].trained) continue;
    for (int r = 0; r < size; r++) {
      int64_t first, count;
      parts_slice(p, b, r, &first, &count);
      most = count > most ? count : most;
    }
    for (int64_t at = 0; at < most; at += PIECE) sum_piece(l, b, at);
  }
}
