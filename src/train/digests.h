/* SPDX-License-Identifier: BSD-3-Clause */
/** Sums by which a change of weights, moments and the like in memory is noticed. See digests.c. */
#pragma once

#include "parts.h"
#include "syzygy/train.h"

/** Arrays that a stretch of the optimiser has; the summed gradient is compared between the norm and the update. */
enum { DIGEST_WEIGHT, DIGEST_MOMENT1, DIGEST_MOMENT2, DIGEST_ARRAYS, DIGEST_GRADIENT = DIGEST_ARRAYS, DIGEST_KINDS };

/** What of the memory is wrong, in the order in which it is told. */
typedef enum digest_damage {
  DIGEST_SOUND,
  DIGEST_DAMAGED, /**< the last checkpoint has what it should be */
  DIGEST_FROZEN   /**< no checkpoint has it */
} digest_damage;

typedef struct digests digests;

/** Sums of what is in memory now, as digests_renew. model, objective and scalars are borrowed. Rank-local. */
syz_status digests_create(const parts *p, const syz_model *model, const syz_objective *objective, const scalars *s,
                          int threads, digests **out);
void digests_destroy(digests **d);
/** All is as it should be now (a checkpoint was read): take every sum anew but that of frozen weights, and forget what
 * was found. Rank-local. */
void digests_renew(digests *d);

/* For the optimiser; stretches are those of parts.h. Rank-local. */
/** The first stretch of bucket i. */
int64_t digests_first(const digests *d, int i);
/** [DIGEST_ARRAYS] a stretch of each array. */
float *const *digests_arrays(const digests *d, int64_t i);
/** Compare stretches [first, first + n) with what was noted last, but for gradients. */
void digests_check(digests *d, int64_t first, int64_t n);
void digests_note(digests *d, int64_t first, int64_t n);
/** Update them, one thread a stretch: compare what is read, gradients too, with what was noted, and note what is
 * written. gradients: the block. */
void digests_update(digests *d, int64_t first, int64_t n, const syz_adamw *rule, int64_t step, double scale,
                    const float *gradients);
/** For the norm; from several threads, each with its own stretch. */
void digests_note_gradient(digests *d, int64_t i, const float *gradients);
/** Sum of this rank's stretches of the summed gradients; that of all of the trained parts of its block. */
uint64_t digests_of_gradient(const digests *d, const float *gradients, uint64_t *whole);

/* Around the calls that change it. Rank-local. */
void digests_check_scalars(digests *d);
void digests_note_scalars(digests *d);
/** The objective's arrays: this rank's share of what its node shares, all of what it has alone. */
void digests_check_arrays(digests *d);
void digests_note_arrays(digests *d);

/** All of the above, but gradients, against what was noted last: for rare use. Rank-local. */
void digests_check_all(digests *d);
/**
 * Compare over ranks and nodes: all weights that this node shares with what their owners wrote, also those that other
 * nodes own; frozen weights with what they were at the beginning and between nodes; scalars and arrays between ranks
 * and nodes. Collective over world; what it finds is this rank's.
 */
void digests_compare(digests *d);
/** SYZ_ERR_NUMERIC names the array and the parameter of a value of this rank's share that is not finite. Rank-local. */
syz_status digests_check_finite(const digests *d);

/** What this rank found since the last renewal, and in words. */
digest_damage digests_found(const digests *d);
const char *digests_text(const digests *d);

/** Flip a bit of weights, moments and arrays, of a weight while a checkpoint is written, or of this rank's summed
 * gradients, when a test asks for it (syz_flip). */
void digests_plant(const digests *d);
void digests_plant_written(const digests *d);
void digests_plant_gradient(const digests *d, const char *point, float *gradients);
