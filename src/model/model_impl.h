/* SPDX-License-Identifier: BSD-3-Clause */
/** Private to the model room: offsets of the parameters, and what a planned tower owns. */
#pragma once

#include "syzygy/model.h"

#include "blocks.h"
#include "pool.h"

enum { BLOCK_PARAMETERS = 14, PROJECTION_LAYERS = 8 };

/** Offsets of one transformer block's parameters in the block of all, in the order of syz_block_parameters; -1: not
 * there. */
typedef struct block_layout {
  int64_t offset[BLOCK_PARAMETERS];
  int64_t first, count; /**< the whole transformer block, contiguous */
} block_layout;

/** Offsets of a tower's other backbone parameters. */
typedef struct backbone_layout {
  int64_t first, count;
  int64_t embed_first, embed_count; /**< everything before the transformer blocks */
  int64_t class_token, position;    /**< position: the image's pos_embed or the spectrum's table */
  int64_t registers, mask_token;    /**< of the image tower; registers -1: has none */
  int64_t embed_weight, embed_bias; /**< patch_embed.proj or data_embed */
  int64_t last_first, last_count;   /**< everything after the transformer blocks */
  int64_t norm_gain, norm_bias;
  int64_t head_weight, head_bias; /**< of the spectrum tower: reconstruction */
  block_layout *block;            /**< [depth]; owned */
} backbone_layout;

/** Offsets of a projection head's parameters. */
typedef struct projection_layout {
  int64_t weight[PROJECTION_LAYERS], bias[PROJECTION_LAYERS];
  int64_t prototypes; /**< last_layer.weight_v */
} projection_layout;

enum { PROJECTIONS = 2 /**< DINO's head and iBOT's own */ };

/** Offsets of all parameters, found in one pass over the table. */
typedef struct model_layout {
  backbone_layout backbone[SYZ_MODALITIES];
  head_layout head[SYZ_MODALITIES];
  projection_layout projection[PROJECTIONS];
  struct {
    int64_t first, count; /**< count 0: the part is not there */
  } part[SYZ_PARTS];
} model_layout;

/** The description of a tower and, once planned, its layers and memory. */
typedef struct tower {
  bool is_there, is_planned;
  bool has_head; /**< pooling: absent in pretraining */
  syz_modality modality;
  int64_t dim, depth, heads, tokens;
  int64_t embed_width; /**< numbers of one token's input: 3 patch^2 or section + 2 */
  int64_t extra;       /**< tokens in front that do not come from the input's pieces: class token and registers */
  bool has_position;
  float eps;
  backbone_layout backbone;
  head_layout head;

  syz_tower_mode mode;
  int64_t max_batch;
  syz_linear *embed;
  blocks blocks; /**< none in mode HEAD */
  pool *pool;    /**< NULL without a head */

  syz_arena arena;
  void *pieces;       /**< [B, T - extra, embed_width] act */
  float *x;           /**< [B, T, D] residual stream; in mode TRAIN kept for the last norm's backward pass */
  void *tokens_act;   /**< [B, T, D] act, after the last norm */
  float *mean, *rstd; /**< [B, T] of the last norm, TRAIN */
  float *dx;          /**< [B, T, D], TRAIN */
  float *dtokens;     /**< [T, D] of one object, TRAIN */
  void *dpieces;      /**< [B, T - extra, D] act, TRAIN */
} tower;

struct syz_model {
  syz_model_config config;
  syz_purpose purpose;
  const syz_compute *compute;
  tower tower[SYZ_MODALITIES];
  model_layout layout; /* the towers have copies of their own parts of it */
  syz_parameter *parameter;
  int n_parameters;
  float *weights; /* owned, or in `shared` */
  int64_t size;
  syz_shared shared;
  syz_nodes *nodes;   /**< whose ranks share one copy of the weights; NULL: each has its own */
  syz_comm *tensor;   /**< borrowed; NULL: alone */
  int planned_ranks;  /**< size of a tensor group in a plan without its ranks */
  int64_t recomputed; /**< first blocks of each backbone that keep no activations */
};

/**
 * The table of parameters of the parts wanted, the only list of names and shapes in the program. `out` NULL: count
 * only. `layout` is NULL or has room for the blocks of the backbones wanted. *size: elements of the block.
 */
int model_table(const syz_model_config *config, syz_purpose purpose, const bool has[SYZ_PARTS], syz_parameter *out,
                model_layout *layout, int64_t *size);

/** Whether this rank initialises parameter number `parameter`: of the ranks that share the weights, one does. */
bool model_writes(const syz_model *m, int parameter);

/** Addresses of a transformer block's parameters inside `base` (weights or gradients). */
syz_block_parameters block_at(const block_layout *layout, float *base);

/** Images [B, 3, size, size] -> patches [B, P, 3 patch^2] act, in the order of the published convolution's weight. */
void image_pieces(int64_t size, int64_t patch, syz_dtype act, int64_t batch, const float *planes, void *pieces,
                  int threads);
/** Flux [B, SYZ_TOWER_PIXELS] -> [B, T, section + 2] act: normalised sections and the token of mean and deviation. */
void spectrum_pieces(const syz_model_config *config, syz_dtype act, int64_t batch, const float *flux, void *pieces,
                     int threads);

/** Drop layers and memory of a plan. */
void tower_unplan(tower *t);
