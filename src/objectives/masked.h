/* SPDX-License-Identifier: BSD-3-Clause */
/** Masked modelling, private to this room: masked.c (steps), masked_plan.c (memory), masked_score.c (masking, scores,
 * interpolation), masked_pass.c, masked_validate.c, masked_write.c. */
#pragma once

#include "syzygy/objectives.h"

/** Sizes that follow from options and model. */
typedef struct masked_shape {
  const syz_model_config *config;
  int64_t tokens, width; /**< T, section + 2 */
  int64_t section, step; /**< pixels of a section, pixels between the beginnings of two */
  int64_t runs, run_tokens;
  int64_t rows; /**< masked tokens of a spectrum: runs * run_tokens */
  bool weighs_ivar, hides_bad;
} masked_shape;
masked_shape masked_shape_of(const syz_masked_options *o, const syz_model_config *config);

/** Spectra prepared for the network. */
typedef struct masked_room {
  float *piece;     /**< [n, T, width] before masking */
  int64_t *token;   /**< [n, rows] numbers of the masked tokens, ascending */
  float *weight;    /**< [n, rows, width] of each number of a masked token in the loss; 0: not scored */
  float *deviation; /**< [n] */
} masked_room;
syz_status masked_room_create(const masked_shape *s, int64_t n, masked_room *room);
void masked_room_destroy(masked_room *room);
size_t masked_room_bytes(const masked_shape *s, int64_t n);

/** The contribution of a spectrum to a loss; float64 sums over its own numbers alone, so that they do not depend on the
 * batch. */
typedef struct masked_sums {
  double numbers, weight, squares;
} masked_sums;

/** Prepare spectrum i of the room: pieces, mask of (seed, step, place), weights. ivar NULL: every pixel is good and
 * weighs the same. Fills numbers and weight of *sums. */
void masked_prepare(const masked_shape *s, masked_room *room, int64_t i, const float *flux, const float *ivar,
                    uint64_t seed, int64_t step, int64_t place, masked_sums *sums);
/** Sum of weighted squares of spectrum i: prediction [rows, width]. A NaN gives a NaN. */
double masked_squares(const masked_shape *s, const masked_room *room, int64_t i, const float *prediction);
/** Replaces the prediction by the gradient of (sum of all squares) / total. */
void masked_slope(const masked_shape *s, const masked_room *room, int64_t i, double total, float *prediction);

/** Which pixels are hidden: [SYZ_TOWER_PIXELS], 1 where every section that has the pixel is masked or no section has
 * it. */
void masked_hidden(const masked_shape *s, const masked_room *room, int64_t i, uint8_t *hidden);
/** Linear interpolation between the nearest visible pixels on both sides (good ones, with hides_bad), constant beyond
 * the last: value [SYZ_TOWER_PIXELS] in normalised units; visible pixels keep their values. */
void masked_interpolate(const masked_shape *s, const masked_room *room, int64_t i, const uint8_t *hidden,
                        const float *flux, const float *ivar, float *value);
/** The same sums over the pixels among the scored numbers, without the token of mean and deviation. value: a prediction
 * [rows, width], or, if is_by_pixel, one value per pixel. */
masked_sums masked_pixel_sums(const masked_shape *s, const masked_room *room, int64_t i, const float *value,
                              bool is_by_pixel);
/** Sum of weight / (ivar deviation^2) over them: the part of the loss that comes from the noise of the scored pixels,
 * which no predictor can avoid. */
double masked_noise(const masked_shape *s, const masked_room *room, int64_t i, const float *ivar);

/** Objects of a data set that have a spectrum. */
typedef struct masked_set {
  syz_shardset *shards;
  int64_t *object; /**< [n] numbers in the data set; ascending */
  int64_t n;
} masked_set;

/** The held-out spectra in reconstruction.h5: [pictures, SYZ_TOWER_PIXELS] each, in flux units; zeros where another
 * rank has the spectrum, NaN in the last two where the network saw the pixel. */
typedef struct masked_picture {
  float *flux, *ivar, *reconstruction, *interpolation;
} masked_picture;

typedef struct masked {
  syz_masked_options options;
  masked_shape shape;
  const syz_grid *grid;
  syz_comm *world;
  const syz_compute *compute;
  const syz_judge *judge;
  syz_model *model;
  syz_masked *network;
  syz_timing *timing;
  masked_set train, test;
  bool wants_ivar; /**< for the loss */
  bool has_ivar;   /**< the held-out set holds some */
  syz_sampler sampler;
  syz_loader *loader;
  syz_batch batch;
  int64_t first, count;               /**< this rank's places of the global batch */
  int64_t chunk;                      /**< most spectra of a pass */
  syz_passes passes;                  /**< of this rank */
  syz_gradients *gradients;           /**< of the loop; the forward pass adds to them */
  masked_room room;                   /**< [count] spectra of the step */
  int64_t *row;                       /**< [chunk * rows] */
  float *prediction;                  /**< [chunk * rows, width] */
  double *numbers, *weight, *squares; /**< [global_batch] by place, the same on every rank after a reduction; weight is
                                         numbers' second half */
  double total;                       /**< sum of the step's weights */
  /* For held-out spectra. */
  masked_room test_room;      /**< [chunk] */
  float *flux, *ivar, *value; /**< [chunk, pixels], [chunk, pixels], [pixels] */
  uint8_t *hidden;            /**< [pixels] */
  double *test_sums;          /**< [test.n, MASKED_SUMS] */
  int64_t pictures;           /**< spectra in reconstruction.h5 */
  masked_picture picture;
  float *redshift; /**< of all objects of the test set; NULL: unknown */
} masked;

/** Per held-out spectrum. */
enum { SUM_WEIGHT, SUM_SQUARES, SUM_PIXEL_WEIGHT, SUM_PIXEL_SQUARES, SUM_INTERPOLATION, SUM_NOISE, MASKED_SUMS };

/** The step number that the masks of held-out spectra are drawn with: no training step has it. */
#define MASKED_VALIDATION_STEP ((int64_t)0xffffffff)

/** Forward pass of n spectra of a room from `at` on, into k->prediction. */
void masked_forward_pass(masked *k, const masked_room *room, int64_t at, int64_t n);

/** The redshift of held-out objects where the data have it. Collective; agreed. */
syz_status masked_read_redshift(masked *k);
/** Room for validation; rank-local failures. */
syz_status masked_validate_plan(masked *k);
size_t masked_validate_bytes(const masked_shape *s, int64_t chunk);
/** Most spectra of a pass. */
int64_t masked_chunk_size(const syz_masked_options *o, int ranks);
/** Whether all ranks of this node fit together. Collective; agreed. */
syz_status masked_check_memory(masked *k);
syz_status masked_validate(void *self, int64_t step, const double *scalar, syz_validation *out);
/** Write <folder>/reconstruction.h5 from the pictures that the ranks hold parts of. Collective; agreed. */
syz_status masked_write(masked *k, int64_t step);
/** Which held-out spectrum is picture i. */
static inline int64_t masked_picture_object(const masked *k, int64_t i) { return i * k->test.n / k->pictures; }
