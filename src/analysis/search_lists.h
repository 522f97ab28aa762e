/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * The nearest entries of each query as far as first products tell, and those that were scored in float64.
 *
 * First products say between what limits the true g of an entry lies (search_rows.h). A query keeps the entries that
 * may be among its k nearest in a list of fixed room, and the k largest lower limits in a heap: the smallest of these
 * is its `level`, which k entries reach for certain, so that whatever cannot reach it is passed over. A full list is
 * filtered by the current level; when too much of it remains, it is scored and goes to the heap of the k nearest by
 * score. At the end all remaining candidates are scored. Thousands of rows that differ by less than the bounds
 * therefore cost time (a float64 product each) and no memory.
 */
#pragma once

#include "search_rows.h"

/** An entry that was scored. Inside an index `row` is local. */
typedef struct search_found {
  int64_t row, id; /**< -1: there is none */
  double score;    /**< larger is nearer */
} search_found;

typedef struct search_candidate {
  float low, high; /**< limits of g */
  int32_t row;     /**< local */
} search_candidate;

typedef struct search_lists {
  int64_t k, room;
  search_candidate *candidate; /**< [block, room] */
  float *low;                  /**< [block, k]: heaps with the smallest on top; -infinity where there is none yet */
  float *level;                /**< [block] */
  int64_t *count;              /**< [block] candidates */
} search_lists;

/** Bytes of the lists of so many queries. */
size_t syz_search_lists_bytes(int64_t block, int64_t k);
syz_status syz_search_lists_create(int64_t block, int64_t k, search_lists *out);
void syz_search_lists_free(search_lists *l);
/** Query q's list, empty. */
void syz_search_list_clear(search_lists *l, int64_t q);
/** Leave out of query q's list what cannot reach its level; whether it is then short enough to go on with. */
bool syz_search_list_sift(search_lists *l, int64_t q);
/** One more, for which there is room. */
void syz_search_list_add(search_lists *l, int64_t q, search_candidate c);
/** Prefetch the memory that the next addition to query q's list writes. */
static inline void syz_search_list_fetch(const search_lists *l, int64_t q)
{
  __builtin_prefetch(l->low + q * l->k, 1);
  __builtin_prefetch(l->candidate + q * l->room + l->count[q], 1);
}

/** Whether a is a worse neighbour than b: of equal ones the higher row is. */
static inline bool syz_search_is_worse(const search_found *a, const search_found *b)
{
  return a->score != b->score ? a->score < b->score : a->row > b->row;
}
/** Keep the k nearest in a heap with the worst on top. */
void syz_search_heap_offer(search_found *heap, int64_t *count, int64_t k, search_found item);
/** For qsort: best first, those that are none last. */
int syz_search_best_first(const void *a, const void *b);
