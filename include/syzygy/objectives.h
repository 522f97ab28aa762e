/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * objectives: the objectives of the training loop (train.h): contrastive alignment, DINOv2, masked modelling of
 * spectra. Each has a step (forward, backward, validation) and a plan of its memory and work. The losses are in loss.h.
 */
#pragma once

#include "syzygy/base.h"
#include "syzygy/comm.h"
#include "syzygy/data.h"
#include "syzygy/loss.h"
#include "syzygy/model.h"
#include "syzygy/plan.h"
#include "syzygy/train.h"

/* ------------------------------------------------------------------ align */

typedef enum syz_cache_place { SYZ_CACHE_DISK, SYZ_CACHE_MEMORY, SYZ_CACHE_NONE } syz_cache_place;

typedef struct syz_align_config {
  uint64_t seed;
  int64_t global_batch;
  int64_t micro_batch; /**< objects per forward pass; a rank with more runs several passes, each twice; 0: see
                          src/objectives/align.c */
  int64_t leaves;      /**< as in syz_train_config */
  bool freezes_backbones, shuffles, learns_logit_scale;
  double logit_scale; /**< s; its initial value when it is learned */
  int64_t ring_pairs; /**< as in syz_infonce_config */
  syz_augment augment;
  syz_cache_place cache;    /**< where the tokens of frozen towers are kept */
  const char *cache_folder; /**< for SYZ_CACHE_DISK */
  int64_t validate_objects; /**< most held-out objects used */
  int loader_ahead;
  const char *folder;  /**< run folder, where a STOP file ends the computation of tokens early; NULL: not checked */
  double time_limit_s; /**< as in syz_train_config */
} syz_align_config;

/** Contradictions within a configuration: SYZ_ERR_INPUT. Not collective; the same on every rank. */
syz_status syz_align_check(const syz_align_config *config);

/**
 * Create the contrastive objective. It uses the objects of `train` with both modalities; `test` (may be NULL) is for
 * validation. Its `begin` plans the towers of `model`; with frozen backbones and a cache, it first computes the tokens
 * of all objects, and returns SYZ_STOPPED when asked to stop meanwhile: tokens on disk are kept. All arguments are
 * borrowed and must outlive the objective. Collective; agreed. SYZ_ERR_DATA when no object has both modalities,
 * SYZ_ERR_INPUT for augmentation with a token cache, SYZ_ERR_MEMORY when activations do not fit; the message names a
 * batch that would.
 */
syz_status syz_align_create(const syz_align_config *config, const syz_grid *grid, const syz_compute *compute,
                            syz_model *model, syz_shardset *train, syz_shardset *test, syz_timing *timing,
                            syz_objective *out);
/** Memory and work per rank of a run in which `ranks` ranks hold the towers of `model`. Not collective. SYZ_ERR_MEMORY
 * when the layers cannot be made. */
syz_status syz_align_plan(const syz_align_config *config, int ranks, const syz_model *model, syz_plan *out);

/* ------------------------------------------------------------------- dino */

/** Figures on held-out objects that another room computes (nearest neighbours: src/features/judge.c). Collective;
 * agreed. */
typedef struct syz_judge {
  void *context;
  syz_status (*judge)(void *context, int64_t step, syz_validation *out);
} syz_judge;

typedef struct syz_dino_options {
  uint64_t seed;
  int64_t global_batch, steps;
  int64_t micro_batch; /**< objects per pass; a rank with more runs several passes, the student's twice; 0: its whole
                          share, or a whole leaf */
  int64_t leaves;      /**< as in syz_train_config */
  bool shuffles;
  syz_crops_augment crops;
  double mask_probability, mask_ratio_min, mask_ratio_max,
      mask_aspect_min; /**< as in syz_block_masks, for the global crops */
  double drop_rate;    /**< stochastic depth of the student */
  double dino_weight, ibot_weight, koleo_weight;
  syz_centring centring;
  int sinkhorn_iterations;
  double centre_momentum, student_temperature;
  double teacher_temperature_start, teacher_temperature; /**< linear over teacher_warmup_steps */
  int64_t teacher_warmup_steps;
  double momentum, momentum_end;       /**< of the teacher; half a cosine over the steps */
  double layer_decay, patch_lr_factor; /**< 0.9, 0.2 */
  int64_t freeze_last_layer_steps;
  int loader_ahead;
} syz_dino_options;

/** SYZ_ERR_INPUT for contradictions. Not collective. */
syz_status syz_dino_check(const syz_dino_options *options, const syz_model_config *model);
/** As syz_align_plan. */
syz_status syz_dino_plan(const syz_dino_options *options, int ranks, const syz_model *student, syz_plan *out);
/**
 * Create the DINOv2 objective. Student and teacher have equal configurations of PURPOSE_DINO; the teacher keeps its
 * present weights as the start. All arguments are borrowed and must outlive the objective; judge may be NULL.
 * Collective; agreed. SYZ_ERR_DATA when no object has an image, SYZ_ERR_MEMORY when a node has too little memory for
 * its ranks.
 */
syz_status syz_dino_create(const syz_dino_options *options, const syz_grid *grid, const syz_compute *compute,
                           syz_model *student, syz_model *teacher, syz_shardset *train, const syz_judge *judge,
                           syz_timing *timing, syz_objective *out);

/* ----------------------------------------------------------------- masked */

typedef struct syz_masked_options {
  uint64_t seed;
  int64_t global_batch, micro_batch; /**< micro_batch: spectra per pass; 0: 16 */
  int64_t leaves;                    /**< as in syz_train_config */
  bool shuffles;
  int64_t runs, run_tokens; /**< masked runs per spectrum, tokens per run: 6, 50 */
  bool weighs_ivar;         /**< squared errors are weighted by ivar over the object's mean ivar */
  bool hides_bad;           /**< pixels with ivar 0 are neither seen nor scored */
  int64_t validate_objects; /**< most held-out spectra used */
  int loader_ahead;
  const char *folder; /**< every validation writes reconstruction.h5 there: held-out spectra, their masks and
                         predictions; NULL: no file */
  const char *created_by, *input_yaml; /**< for that file */
} syz_masked_options;
/** SYZ_ERR_INPUT for contradictions. Not collective. */
syz_status syz_masked_check(const syz_masked_options *options, const syz_model_config *model);
/** As syz_align_plan. */
syz_status syz_masked_plan(const syz_masked_options *options, int ranks, const syz_model *model, syz_plan *out);
/**
 * Create the masked-modelling objective on a model of PURPOSE_MASKED. `test` and `judge` may be NULL. Validation
 * computes the loss on held-out spectra with fixed masks, and the loss of linear interpolation across the same masked
 * runs. All arguments are borrowed and must outlive the objective. Collective; agreed. SYZ_ERR_DATA when no object has
 * a spectrum, SYZ_ERR_INPUT for weights by ivar when there is no ivar, SYZ_ERR_MEMORY when a node has too little memory
 * for its ranks.
 */
syz_status syz_masked_train_create(const syz_masked_options *options, const syz_grid *grid, const syz_compute *compute,
                                   syz_model *model, syz_shardset *train, syz_shardset *test, const syz_judge *judge,
                                   syz_timing *timing, syz_objective *out);
