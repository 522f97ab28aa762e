/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Sums of gradients over the data axis, bucket by bucket in the order of parts.c, as a reduce-scatter in two levels:
 * each rank forms the sum of its slice of every bucket.
 *
 * Within a node the blocks of all ranks and their counters of complete buckets are in shared memory. As soon as a
 * bucket is complete on all ranks of the node, each rank sums its own slice, and the slices of ranks on other nodes for
 * which it is the stand-in (syz_nodes). It reads the other ranks' blocks directly, in the order of ranks, and writes to
 * its own block, where no other rank reads these slices. There are no copies and no messages, and ranks wait only for
 * the counters. Between nodes, a stand-in sends its node's sum of a slice to the owner, which adds the nodes' sums in
 * the order of nodes. So each slice crosses the network once from every node, which is the minimum.
 *
 * Progress: there is no extra thread. The backward pass calls syz_gradients_ready between layers, which reads the
 * counters, sums complete buckets, starts messages and advances those in transit (Open MPI advances them only inside
 * MPI calls). A rank that finishes early continues this in gradients_finish. So sums always cost the time of adding,
 * but no rank waits for another while it has layers to compute. Only the last buckets, and the wait for the slowest
 * rank of the node, are not hidden.
 *
 * reduction bfloat16: a stand-in rounds the float32 sum over its node to bfloat16 once, for sending; the owner widens
 * it and adds in float32, with its own node's sum unrounded. Within a node nothing is sent, so nothing is rounded.
 *
 * The order of additions depends only on the layout (ranks, nodes). With reproducible: true it depends only on the
 * global batch: src/comm/leaves.c.
 */
#include "gradients.h"

#include <stdatomic.h>
#include <string.h>

#include "leaf_gradients.h"

enum { TILE = 4096, TAG = 1024, HUGE_PAGE = 2 << 20, PAGE = 4096 };

/* Counters that a rank publishes to its node, a cache line each, counted over all steps. */
typedef struct counters {
  _Atomic uint64_t complete; /* number of buckets whose gradients are final in its block */
  char pad1[56];
  _Atomic uint64_t taken; /* number of buckets that it has finished reading from the others' blocks */
  char pad2[56];
} counters;

struct syz_gradients {
  const parts *parts;
  const syz_nodes *nodes; /* the model's, or flat: every rank is its own node */
  syz_nodes *flat;
  syz_reduction reduction;
  int threads;
  syz_timing *timing;
  syz_shared shared; /* all blocks and counters of the node; if there is none: */
  float *alone_block;
  counters *alone_counters;
  float *block;      /* this rank's */
  float **blocks;    /* [ranks of the node] */
  counters *counter; /* [ranks of the node] */
  int here, place;   /* ranks of the node, this one */
  int64_t *missing;  /* [buckets] trained elements not yet final in this step */
  uint64_t base;     /* buckets of all earlier steps */
  /* Of this step, in order: complete here >= summed over the node and sent >= done. */
  int complete, summed, done, complete_early, summed_early;
  syz_request *request[PARTS_RING];
  unsigned char *arrival; /* [PARTS_RING][other nodes] slices */
  size_t slice_bytes;
  leaf_gradients *leaves; /* reproducible sums: nothing is sent before the last leaf is done; NULL: none */
};

/* ------------------------------------------------------------------ create */

/* Allocates the blocks of this node's ranks and their counters in one piece; false: no shared memory. Collective over
 * the data axis. */
static bool share_blocks(syz_gradients *g, int64_t elements)
{
  const size_t bytes = (size_t)elements * sizeof(float), unit = bytes < HUGE_PAGE ? PAGE : HUGE_PAGE,
               stride = (bytes + unit - 1) / unit * unit;
  const size_t tail = (sizeof(counters) * (size_t)g->here + PAGE - 1) / PAGE * PAGE;
  syz_shared_map(g->nodes->all, g->nodes->local, stride * (size_t)g->here + tail, &g->shared);
  if (!g->shared.bytes) return false;
  char *start = g->shared.bytes;
  for (int i = 0; i < g->here; i++) g->blocks[i] = (float *)(void *)(start + stride * (size_t)i);
  g->counter = (counters *)(void *)(start + stride * (size_t)g->here);
  return true;
}

static syz_status create_alone(syz_gradients *g, int64_t elements)
{
  syz_status st = SYZ_OK;
  SYZ_ALLOC(g->alone_block, "gradients", elements);
  SYZ_ALLOC(g->alone_counters, "counters of buckets", 1);
  g->blocks[0] = g->alone_block;
  g->counter = g->alone_counters;
cleanup:
  return st;
}

static size_t travelling_size(syz_reduction reduction)
{
  return reduction == SYZ_REDUCE_BF16 ? sizeof(syz_bf16) : sizeof(float);
}

size_t syz_gradients_travel_bytes(int64_t elements, int ranks, int nodes, syz_reduction reduction)
{
  return PARTS_RING * (size_t)parts_planned_slice(elements, ranks) * travelling_size(reduction) * (size_t)(nodes - 1);
}

static syz_status create_rest(syz_gradients *g)
{
  syz_status st = SYZ_OK;
  SYZ_ALLOC(g->missing, "gradient buckets", g->parts->n_buckets + 1);
  g->slice_bytes = (size_t)parts_largest_slice(g->parts) * travelling_size(g->reduction);
  SYZ_ALLOC(g->arrival, "slices of gradients on their way",
            PARTS_RING * g->slice_bytes * (size_t)(g->nodes->n - 1) + 1);
  for (int i = 0; i < PARTS_RING; i++)
    SYZ_TRY(syz_request_create(g->parts->grid->data, g->nodes->n_peers, &g->request[i]));
cleanup:
  return st;
}

/* Largest number of ranks that a node has. */
static int most_here(const syz_nodes *n)
{
  int most = 1;
  for (int k = 0; k < n->n; k++)
    if (n->first[k + 1] - n->first[k] > most) most = n->first[k + 1] - n->first[k];
  return most;
}

syz_status gradients_create(const parts *p, int64_t block_elements, syz_reduction reduction, int threads,
                            syz_gradients **out)
{
  syz_status st = SYZ_OK;
  syz_comm *data = p->grid->data;
  const int64_t elements =
      block_elements + PART_ROW; /* checkpoints use the block, and two shares may be a row longer than a part */
  syz_gradients *g = syz_alloc("gradients", 1, sizeof *g);
  *out = NULL;
  SYZ_TRY_ALL(data, g ? SYZ_OK : SYZ_ERR_MEMORY);
  *g = (syz_gradients){.parts = p, .nodes = p->nodes, .reduction = reduction, .threads = threads};
  g->here = syz_comm_size(g->nodes->local);
  g->blocks = syz_alloc("gradients", (size_t)g->here, sizeof *g->blocks);
  SYZ_TRY_ALL(data, g->blocks ? SYZ_OK : SYZ_ERR_MEMORY);
  if (most_here(g->nodes) == 1 || !share_blocks(g, elements)) {
    if (most_here(g->nodes) > 1) {
      syz_warn("no shared memory for gradients on some node (%.2f GiB per rank; is /dev/shm large enough?): they are "
               "summed by messages alone",
               (double)elements * sizeof(float) / 1073741824.0);
      SYZ_TRY(syz_nodes_create(data, 1, &g->flat));
      g->nodes = g->flat;
      g->here = 1;
    }
    SYZ_TRY_ALL(data, create_alone(g, elements));
  }
  g->place = syz_comm_rank(g->nodes->local);
  g->block = g->blocks[g->place];
  SYZ_TRY_ALL(data, create_rest(g));
  *out = g;
  g = NULL;
cleanup:
  gradients_destroy(&g);
  return st;
}

void gradients_destroy(syz_gradients **gradients)
{
  syz_gradients *g = gradients ? *gradients : NULL;
  if (!g) return;
  for (int i = 0; i < PARTS_RING; i++) syz_request_destroy(&g->request[i]);
  leaf_gradients_destroy(&g->leaves);
  syz_shared_destroy(&g->shared);
  syz_free(&g->alone_block);
  syz_free(&g->alone_counters);
  syz_free(&g->blocks);
  syz_free(&g->missing);
  syz_free(&g->arrival);
  syz_nodes_destroy(&g->flat);
  syz_free(gradients);
}

syz_status gradients_cut(syz_gradients *g, int64_t block_elements, int64_t count, int threads)
{
  return leaf_gradients_create(g->parts, g->block, block_elements, count, threads, &g->leaves);
}

void gradients_watch(syz_gradients *g, syz_timing *timing) { g->timing = timing; }

float *syz_gradients_block(syz_gradients *g) { return g->leaves ? leaf_gradients_block(g->leaves) : g->block; }

void syz_gradients_leaf(syz_gradients *g)
{
  if (g->leaves) leaf_gradients_end(g->leaves);
}

/* ------------------------------------------------------------- within a node */

static bool all_reached(syz_gradients *g, bool takes, uint64_t wanted)
{
  for (int i = 0; i < g->here; i++) {
    const _Atomic uint64_t *count = takes ? &g->counter[i].taken : &g->counter[i].complete;
    if (atomic_load_explicit(count, memory_order_acquire) < wanted) return false;
  }
  return true;
}

static void tell_complete(syz_gradients *g)
{
  atomic_store_explicit(&g->counter[g->place].complete, g->base + (uint64_t)g->complete, memory_order_release);
}

static void tell_taken(syz_gradients *g)
{
  atomic_store_explicit(&g->counter[g->place].taken, g->base + (uint64_t)g->summed, memory_order_release);
}

/* The node's sum of [first, first + count), in the order of ranks, into this rank's block. */
static void add_ranks(syz_gradients *g, int64_t first, int64_t count)
{
  const int64_t tiles = (count + TILE - 1) / TILE;
#pragma omp parallel for schedule(static) num_threads(g->threads) if (g->threads > 1 && tiles > 1)
  for (int64_t t = 0; t < tiles; t++) {
    const int64_t at = first + t * TILE, n = first + count - at < TILE ? first + count - at : TILE;
    float sum[TILE];
    memcpy(sum, g->blocks[0] + at, (size_t)n * sizeof *sum);
    for (int i = 1; i < g->here; i++) {
      const float *restrict x = g->blocks[i] + at;
      for (int64_t k = 0; k < n; k++) sum[k] += x[k];
    }
    memcpy(g->block + at, sum, (size_t)n * sizeof *sum);
  }
}

/* ------------------------------------------------------------- between nodes */

/* In place and in ascending order, so a bfloat16 never overwrites a float32 that is still to be read. */
static void narrow_in_place(float *x, int64_t n)
{
  syz_bf16 tile[TILE];
  char *to = (char *)x;
  for (int64_t at = 0; at < n; at += TILE) {
    const int64_t m = n - at < TILE ? n - at : TILE;
    for (int64_t k = 0; k < m; k++) tile[k] = syz_bf16_from_f32(x[at + k]);
    memcpy(to + (size_t)at * sizeof *tile, tile, (size_t)m * sizeof *tile);
  }
}

static unsigned char *arrival_of(const syz_gradients *g, int bucket_number, int node)
{
  const int slot = bucket_number % PARTS_RING, other = node < g->nodes->mine ? node : node - 1;
  return g->arrival + (size_t)(slot * (g->nodes->n - 1) + other) * g->slice_bytes;
}

/* Sends this node's sums of a bucket's slices to their owners, and starts receiving other nodes' sums of this rank's
 * slice. */
static void begin_exchange(syz_gradients *g, int i)
{
  const syz_nodes *n = g->nodes;
  const bool narrow = g->reduction == SYZ_REDUCE_BF16;
  const size_t size = travelling_size(g->reduction);
  const bucket *b = &g->parts->bucket[i];
  syz_request *r = g->request[i % PARTS_RING];
  const int me = syz_comm_rank(n->all);
  for (int k = 0; k < n->n && b->own_count > 0; k++)
    if (k != n->mine)
      syz_request_receive(r, arrival_of(g, i, k), (size_t)b->own_count * size, syz_nodes_stand_in(n, k, me), TAG + i);
  for (int k = 0; k < n->n_behind; k++) {
    int64_t first, count;
    parts_slice(g->parts, i, n->behind[k], &first, &count);
    if (count == 0) continue;
    if (narrow) narrow_in_place(g->block + first, count);
    syz_request_send(r, g->block + first, (size_t)count * size, n->behind[k], TAG + i);
  }
}

/* Adds the nodes' sums of this rank's slice, in the order of nodes. */
static void add_nodes(syz_gradients *g, int i)
{
  const bucket *b = &g->parts->bucket[i];
  const int64_t tiles = (b->own_count + TILE - 1) / TILE;
#pragma omp parallel for schedule(static) num_threads(g->threads) if (g->threads > 1 && tiles > 1)
  for (int64_t t = 0; t < tiles; t++) {
    const int64_t at = t * TILE, n = b->own_count - at < TILE ? b->own_count - at : TILE;
    float sum[TILE] = {0}, *own = g->block + b->own_first + at;
    for (int k = 0; k < g->nodes->n; k++) {
      const void *from = k == g->nodes->mine ? NULL : arrival_of(g, i, k);
      const float *restrict x = from ? (const float *)from + at : own;
      if (from && g->reduction == SYZ_REDUCE_BF16) {
        const syz_bf16 *restrict narrow = (const syz_bf16 *)from + at;
        for (int64_t j = 0; j < n; j++) sum[j] += syz_bf16_to_f32(narrow[j]);
      } else {
        for (int64_t j = 0; j < n; j++) sum[j] += x[j];
      }
    }
    memcpy(own, sum, (size_t)n * sizeof *sum);
  }
}

/* ------------------------------------------------------------------ progress */

/* Advances by one bucket: sums it over the node and sends it. */
static void sum_next(syz_gradients *g)
{
  const int i = g->summed++;
  const bucket *b = &g->parts->bucket[i];
  if (b->trained > 0) {
    if (g->here > 1) {
      add_ranks(g, b->own_first, b->own_count);
      for (int k = 0; k < g->nodes->n_behind; k++) {
        int64_t first, count;
        parts_slice(g->parts, i, g->nodes->behind[k], &first, &count);
        add_ranks(g, first, count);
      }
    }
    if (g->nodes->n > 1) begin_exchange(g, i);
  }
  tell_taken(g);
}

static bool can_sum(syz_gradients *g)
{
  return g->summed < g->parts->n_buckets && g->summed < g->done + PARTS_RING &&
         all_reached(g, false, g->base + (uint64_t)g->summed + 1);
}

static bool can_end(const syz_gradients *g)
{
  return g->done < g->summed && syz_request_test(g->request[g->done % PARTS_RING]);
}

/* Does all work that is possible now; false: there was none. */
static bool progress(syz_gradients *g)
{
  bool has_moved = false;
  for (;;) {
    if (can_end(g)) {
      if (g->nodes->n > 1 && g->parts->bucket[g->done].trained > 0) add_nodes(g, g->done);
      g->done++;
    } else if (can_sum(g)) {
      sum_next(g);
    } else {
      return has_moved;
    }
    has_moved = true;
  }
}

void gradients_begin(syz_gradients *g)
{
  int idle = 0;
  while (!all_reached(g, true, g->base)) syz_pause(g->nodes->all, &idle);
  /* Whole parts, so that gradients of parameters outside the segments do not accumulate over steps. */
  for (int i = 0; i < PARTS; i++) {
    const part *p = &g->parts->part[i];
    if (p->is_here && p->is_trained) memset(g->block + p->first, 0, (size_t)p->count * sizeof(float));
  }
  for (int i = 0; i < g->parts->n_buckets; i++) g->missing[i] = g->parts->bucket[i].trained;
  g->complete = g->summed = g->done = 0;
  g->complete_early = g->summed_early = 0;
  if (g->leaves) leaf_gradients_begin(g->leaves);
}

void syz_gradients_ready(void *context, int64_t first, int64_t count)
{
  syz_gradients *g = context;
  const parts *p = g->parts;
  if (g->leaves) return;
  for (int i = g->complete; i < p->n_buckets && count > 0; i++) g->missing[i] -= parts_trained(p, i, first, count);
  while (g->complete < p->n_buckets && g->missing[g->complete] <= 0) g->complete++;
  g->complete_early = g->complete;
  tell_complete(g);
  if (!can_end(g) && !can_sum(g)) return;
  if (g->timing) syz_timing_begin(g->timing, "sums beside backward");
  progress(g);
  g->summed_early = g->summed;
  if (g->timing) syz_timing_end(g->timing);
}

void gradients_finish(syz_gradients *g)
{
  const int n = g->parts->n_buckets;
  int idle = 0;
  if (g->leaves) {
    leaf_gradients_sum(g->leaves);
    return;
  }
  g->complete = n;
  tell_complete(g);
  while (g->done < n) {
    if (progress(g))
      idle = 0;
    else
      syz_pause(g->nodes->all, &idle);
  }
  g->base += (uint64_t)n;
}

void gradients_overlap(const syz_gradients *g, int *begun, int *summed, int *all)
{
  *begun = g->complete_early;
  *summed = g->summed_early;
  *all = g->parts->n_buckets;
}
