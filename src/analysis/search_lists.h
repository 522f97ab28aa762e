/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * The nearest entries of each query as far as first products tell, and those that were scored in float64.
 *
 * First products say between what limits the true g of an entry lies (search_rows.h). A query keeps the entries that may be among its k nearest in a list
 * of fixed room; `level` is what k entries reach for certain, so that whatever cannot reach it is passed over. A full list is sifted by the level that its
 * own entries give; what is left of it after that, when it is too much, is scored and goes to the heap of the k nearest by score. In the end all is.
 * Near copies of one row, thousands of them, therefore cost time (a float64 product each) and no memory.
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
  int64_t *count;              /**< [block] */
  float *level;                /**< [block] */
} search_lists;

/** Room of a query's list. */
int64_t syz_search_list_room(int64_t k);
/** Sift query q's list; false when it is still so full that its entries had better be scored. */
bool syz_search_list_sift(search_lists *l, int64_t q);

/** Whether a is a worse neighbour than b: of equal ones the higher row is. */
static inline bool syz_search_is_worse(const search_found *a, const search_found *b)
{
  return a->score != b->score ? a->score < b->score : a->row > b->row;
}
/** Keep the k nearest in a heap with the worst on top. */
void syz_search_heap_offer(search_found *heap, int64_t *count, int64_t k, search_found item);
/** For qsort: best first, those that are none last. */
int syz_search_best_first(const void *a, const void *b);
