/* SPDX-License-Identifier: BSD-3-Clause */
/** Inside of room probes: strange objects, by two scores of each source, with a person's ratings where there are some.
 */
#pragma once

#include <cjson/cJSON.h>

#include "method.h"
#include "neighbours.h"

/** How strange objects are by one source. Arrays are [rows], the same on every rank; NaN where the object has no such
 * features, or is cut. Ranks count from 1, the strangest; equal ones share the mean of their ranks. */
typedef struct strangeness {
  int source;
  int64_t n, train, validation;
  int64_t components, neighbours; /**< as many as there are, at most those wished for */
  double explained;               /**< share of the variance in the components */
  double agreement;               /**< Spearman's correlation of the two scores */
  uint8_t *is_usable;
  double *mean, *deviation; /**< [width] by which features are standardised */
  double *surprise;         /**< -ln density of the standardised components */
  double *distance;         /**< mean distance to the nearest other objects, in standardised features */
  double *surprise_rank, *distance_rank, *combined_rank;
  double *score; /**< 5 (strangest) .. 0, linear in combined_rank */
  /** With ratings: the predicted (or own) one, the distance to the nearest rated object, the mean of all such
   * distances, and the score after them. */
  double *rating, *nearest, mean_nearest, *rated_score;
} strangeness;

/** What a person said, as read: rows without a rating are left out. */
typedef struct ratings {
  int64_t n, known; /**< known: rows whose object is scored */
  int64_t *id;      /**< [n] */
  double *value;    /**< [n] 0 .. 5 */
} ratings;

struct outliers {
  int n;
  strangeness of[SYZ_PROBE_SOURCES];
  ratings said;
  double *rating;         /**< [rows] of objects that are rated, NaN elsewhere; NULL: no ratings are given */
  int64_t n_rated;        /**< objects */
  double *score;          /**< [rows] mean over the sources that know an object, after the ratings */
  int64_t listed, *order; /**< [listed] objects, strangest first */
  int64_t n_next, *next;  /**< [n_next] objects that are worth a rating, best first */
};

/** Who is scored, and the ratings of them. Collective; agreed. */
syz_status outliers_open(job *p);
void outliers_close(outliers **o);
/** From the scores of all sources to one ranking. Collective; agreed. */
syz_status outliers_rank(job *p);
/** outliers.h5, outliers.csv and ratings_next.csv. Collective; agreed. */
syz_status outliers_write(job *p);
cJSON *outliers_json(const job *p);

/** -ln density by a flow of principal components. Collective; agreed. */
syz_status outliers_density(job *p, strangeness *s);
/** Ratings from the input's table. Collective; agreed. */
syz_status ratings_read(job *p);
/** What the ratings say of all objects of a source. Collective; agreed. */
syz_status ratings_weigh(job *p, strangeness *s);
/** A score with the rating and the distance to the nearest rated object. */
double ratings_apply(double score, double rating, double nearest, double mean_nearest);
/** Choose objects to be rated next. Collective; agreed. */
syz_status ratings_choose_next(job *p);
