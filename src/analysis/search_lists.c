/* SPDX-License-Identifier: BSD-3-Clause */
#include <math.h>

#include "search_lists.h"

static int64_t room_of(int64_t k)
{
  enum { SPARE = 96 };
  return 2 * k + SPARE;
}

size_t syz_search_lists_bytes(int64_t block, int64_t k)
{
  return (size_t)block *
         ((size_t)room_of(k) * sizeof(search_candidate) + (size_t)(k + 1) * sizeof(float) + sizeof(int64_t));
}

syz_status syz_search_lists_create(int64_t block, int64_t k, search_lists *out)
{
  syz_status st = SYZ_OK;
  *out = (search_lists){.k = k, .room = room_of(k)};
  SYZ_ALLOC(out->candidate, "candidates", block * out->room);
  SYZ_ALLOC(out->low, "candidate limits", block * k);
  SYZ_ALLOC(out->level, "candidate levels", block);
  SYZ_ALLOC(out->count, "candidate counts", block);
cleanup:
  return st;
}

void syz_search_lists_free(search_lists *l)
{
  syz_free(&l->candidate);
  syz_free(&l->low);
  syz_free(&l->level);
  syz_free(&l->count);
}

void syz_search_list_clear(search_lists *l, int64_t q)
{
  for (int64_t i = 0; i < l->k; i++) l->low[q * l->k + i] = -INFINITY;
  l->level[q] = -INFINITY;
  l->count[q] = 0;
}

bool syz_search_list_sift(search_lists *l, int64_t q)
{
  search_candidate *c = l->candidate + q * l->room;
  int64_t kept = 0;
  for (int64_t i = 0; i < l->count[q]; i++)
    if (c[i].high >= l->level[q]) c[kept++] = c[i];
  l->count[q] = kept;
  return kept <= l->room - l->room / 4;
}

/* In place of the smallest. */
static void replace_smallest(float *heap, int64_t k, float low)
{
  int64_t i = 0;
  for (;;) {
    int64_t child = 2 * i + 1;
    if (child >= k) break;
    if (child + 1 < k && heap[child + 1] < heap[child]) child++;
    if (!(heap[child] < low)) break;
    heap[i] = heap[child];
    i = child;
  }
  heap[i] = low;
}

void syz_search_list_add(search_lists *l, int64_t q, search_candidate c)
{
  float *heap = l->low + q * l->k;
  l->candidate[q * l->room + l->count[q]++] = c;
  if (!(c.low > heap[0])) return;
  replace_smallest(heap, l->k, c.low);
  if (heap[0] > l->level[q]) l->level[q] = heap[0];
}

static void sink(search_found *heap, int64_t count, search_found moved)
{
  int64_t i = 0;
  for (;;) {
    int64_t child = 2 * i + 1;
    if (child >= count) break;
    if (child + 1 < count && syz_search_is_worse(&heap[child + 1], &heap[child])) child++;
    if (!syz_search_is_worse(&heap[child], &moved)) break;
    heap[i] = heap[child];
    i = child;
  }
  heap[i] = moved;
}

void syz_search_heap_offer(search_found *heap, int64_t *count, int64_t k, search_found item)
{
  if (*count == k) {
    if (syz_search_is_worse(&heap[0], &item)) sink(heap, k, item);
    return;
  }
  int64_t i = (*count)++;
  while (i > 0 && syz_search_is_worse(&item, &heap[(i - 1) / 2])) {
    heap[i] = heap[(i - 1) / 2];
    i = (i - 1) / 2;
  }
  heap[i] = item;
}

int syz_search_best_first(const void *a, const void *b)
{
  const search_found *p = a, *q = b;
  if (p->row < 0 || q->row < 0) return (p->row < 0) - (q->row < 0);
  return syz_search_is_worse(p, q) ? 1 : syz_search_is_worse(q, p) ? -1 : 0;
}
