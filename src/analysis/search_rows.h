/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Rows for exact search: scores in float64, and the rounded copies that first products are made of, with bounds of what
 * these are wrong by.
 *
 * Both metrics rank by the distance of rows, a cosine that of the rows at unit length: cos = 1 - |q - x|^2 / 2. With a
 * point m near all rows and a factor s, a power of two, let a = s (q - m) and y = s (x - m). Then
 *
 *     g = a.y - |y|^2 / 2 = (|a|^2 - s^2 |q - x|^2) / 2
 *
 * falls as the distance grows, and is small where rows differ little, whatever they have in common. The product is
 * formed from a' and y', rounded to the type of the compute context, so that by Cauchy and Schwarz, with da = a - a'
 * and dy = y - y',
 *
 *     |g' - g| <= |da| |y| + |a'| |dy| + c |a'| |y'| + 2^-22 |y|^2 + (smallest numbers)
 *
 * where c = 2^-23 (E + 16) bounds the rounding of sums in whatever order and direction (Higham 2002, section 3.1), and
 * the last term that of |y|^2 / 2 and of what is done with g' in float32. In bfloat16 the first two terms are about
 * 0.0016 |a| |y| each.
 */
#pragma once

#include "syzygy/analysis.h"

/** What a row of the index adds to the bounds of its products. */
typedef struct search_entry {
  float length, rest, own; /**< at least |y| and |y'|, |dy|, the terms of y alone */
} search_entry;

/** And a query: |g' - g| <= length * entry.length + rest * entry.rest + entry.own + own. half: |a|^2 / 2. */
typedef struct search_query {
  float length, rest, own;
  double half;
} search_query;

/** The point and the factor of one rank's rows. They decide how fast a search is, never what it finds. */
typedef struct search_frame {
  syz_metric metric;
  int64_t width;
  double *middle; /**< [E] */
  double factor;
} search_frame;

/** Sums of products and of squared differences, float64, in an order that depends on the width alone. */
double syz_search_product(const float *a, const float *b, int64_t width);
double syz_search_squares(const float *a, const float *b, int64_t width);

/** Score of two rows with these inverse lengths, larger is nearer: the cosine, or minus the squared distance. The
 * result of a search is its order. */
double syz_search_score(const search_frame *f, const float *query, double query_inverse, const float *row,
                        double row_inverse);
/** The same for a cosine from float32 sums, several times as fast, and how far it may be from the score; infinite where
 * nothing is known. */
typedef struct search_estimate {
  double score, error;
} search_estimate;
search_estimate syz_search_cosine_estimate(const float *query, double query_inverse, const float *row,
                                           double row_inverse, int64_t width);
/** 1 / |x| for cosines, else 1; 0 for a row that cannot be compared: NaN, infinite, or a cosine's of zero length. */
double syz_search_inverse(const search_frame *f, const float *x);

/** Choose middle and factor from some of the rows [n, E]; rows of inverse 0 do not count. */
void syz_search_frame_set(search_frame *f, int64_t n, const float *x, const double *inverse);
/** The rounded row y' [E] of type `act`; bias: -|y|^2 / 2. */
search_entry syz_search_entry_make(const search_frame *f, const float *x, double inverse, syz_dtype act, void *rounded,
                                   float *bias);
search_query syz_search_query_make(const search_frame *f, const float *x, double inverse, syz_dtype act, void *rounded);
/** At most the g of this score for this query (is_most: at least), with what float32 comparisons may lose. */
float syz_search_level(const search_frame *f, const search_query *q, double score, bool is_most);

/** |g' - g| at most; infinite where nothing is known. */
static inline float syz_search_bound(const search_query *q, const search_entry *e)
{
  const float bound = q->length * e->length + q->rest * e->rest + e->own + q->own;
  return bound < INFINITY ? bound : INFINITY;
}
