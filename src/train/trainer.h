/* SPDX-License-Identifier: BSD-3-Clause */
/** The state of a running training, shared by loop.c and step.c. */
#pragma once

#include "checkpoint.h"
#include "digests.h"
#include "metrics.h"
#include "optimiser.h"
#include "parts.h"
#include "verify.h"

/* Values in the small reduction of a step: the maximum over ranks of each. ODD: the loss is to be verified; LOW: minus
 * the loss. */
typedef enum flag {
  FLAG_STATUS,
  FLAG_STOP,
  FLAG_SAVE,
  FLAG_TIME,
  FLAG_WAIT,
  FLAG_DAMAGE,
  FLAG_ODD,
  FLAG_HIGH,
  FLAG_LOW,
  FLAGS
} flag;

typedef struct trainer {
  const syz_train_config *config;
  const syz_grid *grid;
  syz_comm *world;
  syz_model *model;
  syz_objective *objective;
  syz_timing *timing;
  int threads;
  bool is_first;
  parts parts;
  scalars scalars;
  syz_gradients *gradients;
  state state;
  size_t *counts; /* scratch of the state */
  checkpoint_store store;
  metrics metrics, validation;
  metrics_line line;
  syz_status carried;   /* a failure of rank 0 after the step's last agreement, reported at the next */
  double saved_s, loss; /* clock of the last save; of the last step */
  double longest_step_s, longest_validation_s; /* so far */
  digests *digests;                            /* NULL: nothing is verified */
  verify_past past;
  bool goes_back;                /* to the last checkpoint, the same on all ranks */
  char wrong[VERIFY_TEXT + 128]; /* the reason, if no rank's digests give it */
  int64_t repeated;              /* steps computed again */
  int64_t returned_to;           /* step of the checkpoint that the run last went back to; -1: none */
  int returns;                   /* to that checkpoint */
} trainer;

/** One step; or none, if goes_back is set. flags [FLAGS]: result of its reduction. Collective; agreed. */
syz_status trainer_step(trainer *t, double *flags);
/** Makes anew everything that a computation starts from: packed weights, inputs. Collective; agreed. */
syz_status trainer_begin_again(trainer *t);
