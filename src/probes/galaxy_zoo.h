/* SPDX-License-Identifier: BSD-3-Clause */
/** Inside of room probes: the questions of Galaxy Zoo DECaLS, and when each is asked. */
#pragma once

#include "syzygy/base.h"

enum { ZOO_QUESTIONS = 10, ZOO_ANSWERS = 34, ZOO_OF_ONE = 6 /* most answers of a question */ };

typedef struct zoo_question {
  const char *name; /**< columns are NAME_ANSWER */
  int answers;
  const char *answer[ZOO_OF_ONE];
  int after, by; /**< asked of those who gave this answer to that question; -1: of all */
} zoo_question;

/** Each comes after the one that it follows. */
extern const zoo_question zoo[ZOO_QUESTIONS];
/** Answers of question q are begin[q] .. begin[q + 1] - 1. */
extern const int zoo_begin[ZOO_QUESTIONS + 1];
/** Names of all columns: NAME_ANSWER. */
syz_texts zoo_columns(void);
/** Share of volunteers who come to each question, [questions], from the shares of the answers [answers]. */
void zoo_relevance(const double *share, double *relevance);
