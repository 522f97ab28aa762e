/* SPDX-License-Identifier: BSD-3-Clause */
/** Sums that detect changes of weights, moments and similar arrays in memory. See digests.c. */
#pragma once

#include "parts.h"
#include "syzygy/train.h"

/** Arrays of a stretch of the optimiser; the summed gradient is compared between the norm and the update. */
enum { DIGEST_WEIGHT, DIGEST_MOMENT1, DIGEST_MOMENT2, DIGEST_ARRAYS, DIGEST_GRADIENT = DIGEST_ARRAYS, DIGEST_KINDS };

/** What is damaged, in the order of reporting. */
typedef enum digest_damage {
  DIGEST_SOUND,
  DIGEST_DAMAGED, /**< the last checkpoint has the right values */
  DIGEST_FROZEN   /**< no checkpoint has the right values */
} digest_damage;

typedef struct digests digests;

/** Forms the sums of the present memory, as digests_renew does. model, objective and scalars are borrowed. Rank-local.
 */
syz_status digests_create(const parts *p, const syz_model *model, const syz_objective *objective, const scalars *s,
                          int threads, digests **out);
void digests_destroy(digests **d);
/** After a checkpoint was read: form every sum anew except that of frozen weights, and forget earlier findings.
 * Rank-local. */
void digests_renew(digests *d);

/* For the optimiser; stretches are those of parts.h. Rank-local. */
/** The first stretch of bucket i. */
int64_t digests_first(const digests *d, int i);
/** [DIGEST_ARRAYS] a stretch of each array. */
float *const *digests_arrays(const digests *d, int64_t i);
/** Compare stretches [first, first + n), without gradients, with the last sums. */
void digests_check(digests *d, int64_t first, int64_t n);
void digests_note(digests *d, int64_t first, int64_t n);
/** Update them, one thread per stretch: compare what is read, gradients too, with the last sums, and form the sums of
 * what is written. gradients: the block. */
void digests_update(digests *d, int64_t first, int64_t n, const syz_adamw *rule, int64_t step, double scale,
                    const float *gradients);
/** For the norm; from several threads, each with its own stretch. */
void digests_note_gradient(digests *d, int64_t i, const float *gradients);
/** Sum over this rank's stretches of the summed gradients, and over all trained parts of its block. */
uint64_t digests_of_gradient(const digests *d, const float *gradients, uint64_t *whole);

/* To be called around each change of these arrays. Rank-local. */
void digests_check_scalars(digests *d);
void digests_note_scalars(digests *d);
/** The objective's arrays: this rank's share of arrays shared on a node, the whole of others. */
void digests_check_arrays(digests *d);
void digests_note_arrays(digests *d);

/** Compare all of the above, without gradients, with the last sums. Slow. Rank-local. */
void digests_check_all(digests *d);
/**
 * Compare over ranks and nodes: the weights in this node's memory with the sums of their owners, also those on other
 * nodes; frozen weights with their first sum and between nodes; scalars and arrays between ranks and nodes. Collective
 * over world; each rank has its own findings.
 */
void digests_compare(digests *d);
/** SYZ_ERR_NUMERIC names the array and the parameter of a value of this rank's share that is not finite. Rank-local. */
syz_status digests_check_finite(const digests *d);

/** What this rank found since the last renewal, and its text. */
digest_damage digests_found(const digests *d);
const char *digests_text(const digests *d);

/** Flip a bit of weights, moments and arrays, of a weight while a checkpoint is written, or of this rank's summed
 * gradients, when a test asks for it (syz_flip). */
void digests_plant(const digests *d);
void digests_plant_written(const digests *d);
void digests_plant_gradient(const digests *d, const char *point, float *gradients);
