/* SPDX-License-Identifier: BSD-3-Clause */
/** The state of a training and of its members, for train.c and train_member.c. */
#pragma once

#include "internal.h"

/* Places in a state's counters. */
enum { EPOCHS, STEPS, BEST_EPOCH, IS_DONE, HAS_DIVERGED, COUNTERS };

typedef struct flow_state {
  void *weight, *moment1, *moment2, *best;
  int64_t *counters;
  double *train_loss, *valid_loss; /* [epochs] */
} flow_state;

typedef struct flow_rows {
  int64_t n;
  const float *context;
  double *s; /* [n, D] */
} flow_rows;

struct syz_flow_training {
  syz_comm *comm;
  syz_flow *flow;
  syz_flow_training_options options;
  flow_rows train, valid;
  flow_state *state; /* [M] */
};

/* What a thread needs. */
typedef struct flow_worker {
  void *work, *gradient;
  int64_t *order;
} flow_worker;

/** One epoch of a member, with its validation; moves its state alone. */
void flow_train_epoch(syz_flow_training *t, const flow_worker *w, int member);
