/* SPDX-License-Identifier: BSD-3-Clause */
/** Inside of room probes: the votes of Galaxy Zoo, all questions at once. */
#pragma once

#include <cjson/cJSON.h>

#include "galaxy_zoo.h"
#include "method.h"
#include "syzygy/h5.h"

/** Figures, of a question or of all. Deviations and errors are of the bootstrap over test objects. */
typedef enum votes_figure {
  VOTES_ACCURACY,    /**< of the commonest answer, objects with more than 34 votes for the question */
  VOTES_WEIGHTED_F1, /**< of the same */
  VOTES_CONFIDENT,   /**< accuracy where one answer has more than 0.8 of the votes, relevant objects */
  VOTES_DEVIATION,   /**< mean |expected - real share| of an answer, relevant objects */
  VOTES_NLL,         /**< mean -ln P of an object's votes, objects that were asked */
  VOTES_FIGURES
} votes_figure;
extern const char *const votes_figure_name[VOTES_FIGURES];

/** What one source knows of the votes; the same on every rank. */
struct votes_heads {
  int source;
  int64_t train, test; /**< objects with a vote */
  double penalty;
  int64_t iterations;
  bool has_converged;
  double *share;     /**< [all test objects, answers] expected */
  double *relevance; /**< [all test objects, questions] */
  /** Objects behind the figures of a question: with more than 34 votes, confident ones, relevant ones, asked ones. */
  int64_t n[ZOO_QUESTIONS][VOTES_FIGURES];
  syz_estimate of[ZOO_QUESTIONS][VOTES_FIGURES];
  syz_estimate all[VOTES_FIGURES]; /**< mean over the questions that have any object, unweighted; NLL: the sum */
  int64_t confusion[ZOO_QUESTIONS][ZOO_OF_ONE * ZOO_OF_ONE]; /**< rows truth; objects as for the accuracy */
};

/** Figures of the test objects. Rank-local; the same on every rank. */
syz_status votes_judge(const job *p, votes_heads *v, const double *raw);
void votes_print(const job *p, const votes_heads *v);
cJSON *votes_json(const job *p, const votes_heads *v);
/** Real votes, and what each source expects. Collective. */
syz_status votes_put(const job *p, syz_h5 *f);
void votes_free(votes_heads *v);
