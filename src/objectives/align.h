/* SPDX-License-Identifier: BSD-3-Clause */
/** The contrastive objective, private to this room: align.c (steps), align_plan.c (memory), align_tokens.c (frozen
 * towers), align_validate.c (held-out objects). */
#pragma once

#include <math.h>

#include "syzygy/objectives.h"

/** Objects of a data set that take part, numbered 0 .. n-1, and the tokens that frozen towers make of them. */
typedef struct align_set {
  syz_shardset *shards;
  int64_t *object; /**< [n] numbers in the data set; ascending */
  int64_t n;
  syz_token_cache *cache[SYZ_MODALITIES]; /**< NULL: tokens are not kept, or the tower is on other ranks */
} align_set;

/** One tower as this rank trains it. */
typedef struct align_tower {
  bool is_here;
  int64_t first, count;          /**< this rank's places of the global batch */
  int64_t chunk;                 /**< most objects of a pass: the same on all ranks of the tower */
  syz_passes passes;             /**< of this rank */
  size_t row_bytes;              /**< tokens of one object */
  int64_t input;                 /**< floats of one object's network input */
  unsigned char *tokens;         /**< frozen towers: [count] rows of tokens */
  unsigned char *tokens_ahead;   /**< those of the next step while they are read; NULL without a cache on disk */
  float *embedding, *dembedding; /**< [count, E] */
  int64_t *place, *row;          /**< [count] place in the global batch; number in the set */
} align_tower;

typedef struct align {
  syz_align_config config;
  const syz_grid *grid;
  syz_comm *world;
  const syz_compute *compute;
  syz_model *model;
  syz_timing *timing;
  int64_t width; /**< E */
  align_set train, test;
  uint64_t
      content; /**< digest of data files without checksums, for token caches on disk; 0: all files have checksums */
  syz_sampler sampler;
  int64_t last;    /**< steps below it will be run */
  bool has_tokens; /**< the caches are open and complete */
  align_tower tower[SYZ_MODALITIES];
  syz_loader *loader;
  syz_batch batch;
  syz_infonce *loss;
  /* For objects outside the loader: frozen towers' tokens and validation. */
  int64_t raw_room; /**< objects */
  float *raw_image, *raw_flux, *planes;
  /* Validation. */
  int64_t block, blocks;           /**< held-out objects are taken in `blocks` batches of `block` */
  syz_infonce *test_loss;          /**< NULL: use `loss` */
  float *held_out[SYZ_MODALITIES]; /**< [blocks * block, E] normalised */
} align;

/** Whether frozen towers' tokens are kept. */
static inline bool align_has_cache(const align *a)
{
  return a->config.freezes_backbones && a->config.cache != SYZ_CACHE_NONE;
}

/** s, the inverse temperature of the loss and of the validation: given, or learned as its logarithm. */
static inline double align_scale(const align *a, const double *scalar)
{
  return a->config.learns_logit_scale ? exp(scalar[0]) : a->config.logit_scale;
}

enum { ALIGN_PASS = 32 /**< objects per pass through a tower, unless the input sets another number */ };
/** Objects per pass, when the largest share of a rank is `most`. */
int64_t align_chunk_size(const syz_align_config *c, int64_t most);
syz_tower_mode align_mode_of(const syz_align_config *c);
/** Largest share of any of `ranks` ranks that hold a tower. */
int64_t align_largest_share(const syz_align_config *c, int ranks);
/** Whether all ranks of this node fit together; otherwise the error names the largest pass that would. Collective;
 * agreed. */
syz_status align_check_memory(align *a);

/** Room for `n` raw objects and their network input. Rank-local. */
syz_status align_raw_create(align *a, int64_t n);
/** Network input of n <= raw_room objects of a set, numbered as in align_set. Rank-local; borrowed until the next call.
 */
syz_status align_raw_read(align *a, const align_set *set, syz_modality m, int64_t n, const int64_t *row,
                          const float **input);

/** Compute the tokens of all objects that are not there yet, and plan the heads. Collective; agreed. SYZ_STOPPED when
 * asked to stop. */
syz_status align_tokens_fill(align *a);
enum { CACHE_PASS = 16 /**< objects per pass */ };

/** Plan the validation; rank-local failures. */
syz_status align_validate_plan(align *a);
syz_status align_validate(void *self, int64_t step, const double *scalar, syz_validation *out);
