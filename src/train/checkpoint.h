/* SPDX-License-Identifier: BSD-3-Clause */
/** Writing and reading the state of a run. See checkpoint.c. */
#pragma once

#include "digests.h"
#include "optimiser.h"
#include "parts.h"
#include "syzygy/train.h"

/** The complete state of a run, besides its input. */
typedef struct state {
  int64_t step; /**< updates done */
  double best;  /**< best validation figure so far; infinite without any */
  parts *parts;
  float *weights; /**< the model's block */
  float *scratch; /**< the gradient block, free between steps; with several ranks two shares of any part fit */
  size_t *counts; /**< [2 * data ranks] scratch */
  scalars *scalars;
  digests *digests; /**< NULL: not verified */
} state;

typedef struct checkpoint_store {
  syz_comm *world;
  const syz_train_config *config;
  const syz_objective *objective;
  char folder[4096];    /**< <run folder>/checkpoints */
  int64_t last, before; /**< steps of the newest two good checkpoints; -1: none */
  double write_s;       /**< duration of the last write */
} checkpoint_store;

/** Collective; agreed. Makes the folder and removes unfinished checkpoints of an earlier run. */
syz_status checkpoint_open(syz_comm *world, const syz_train_config *config, const syz_objective *objective,
                           checkpoint_store *out);
/**
 * Continue from the newest good checkpoint: fills the state and sets *found. Bad ones are named in the log, skipped and
 * set aside. Collective; agreed. SYZ_ERR_CHECKPOINT when there are checkpoints and none is good (then no file is
 * changed), SYZ_ERR_INPUT when the input contradicts the newest good one.
 */
syz_status checkpoint_resume(checkpoint_store *store, state *s, bool *found);
/** Write the state; then only this checkpoint and the previous one remain. Collective; agreed. On failure everything
 * older is intact. SYZ_ERR_NUMERIC: the state in memory was damaged meanwhile. */
syz_status checkpoint_write(checkpoint_store *store, const state *s);
