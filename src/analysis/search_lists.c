/* SPDX-License-Identifier: BSD-3-Clause */
#include <math.h>

#include "search_lists.h"

int64_t syz_search_list_room(int64_t k)
{
  enum { SPARE = 96 };
  return 2 * k + SPARE;
}

/* Moves the k entries with the largest lower limits to the front; the smallest of those limits (Hoare 1961). */
static float select_largest(search_candidate *c, int64_t n, int64_t k)
{
  int64_t first = 0, last = n - 1;
  while (first < last) {
    const float pivot = c[first + (last - first) / 2].low;
    int64_t i = first, j = last;
    while (i <= j) {
      while (c[i].low > pivot) i++;
      while (c[j].low < pivot) j--;
      if (i > j) break;
      const search_candidate other = c[i];
      c[i++] = c[j];
      c[j--] = other;
    }
    if (k - 1 <= j)
      last = j;
    else if (k - 1 >= i)
      first = i;
    else
      break;
  }
  return c[k - 1].low;
}

bool syz_search_list_sift(search_lists *l, int64_t q)
{
  search_candidate *c = l->candidate + q * l->room;
  const int64_t n = l->count[q];
  if (n >= l->k) {
    const float level = select_largest(c, n, l->k);
    if (level > l->level[q]) l->level[q] = level;
  }
  int64_t kept = 0;
  for (int64_t i = 0; i < n; i++)
    if (c[i].high >= l->level[q]) c[kept++] = c[i];
  l->count[q] = kept;
  return kept <= l->room - l->room / 4;
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
