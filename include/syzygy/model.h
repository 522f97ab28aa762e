/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * model: the two towers. Parameters under their published names, forward and backward, model files.
 *
 * All parameters live in one float32 block described by one table, in the order image backbone, image head, spectrum backbone,
 * spectrum head; construction, optimiser, reduction and model file all read that table. recipes.md section 2 and 3 hold names and shapes.
 */
#pragma once

#include "syzygy/base.h"
#include "syzygy/comm.h"
#include "syzygy/nn.h"

enum { SYZ_TOWER_PIXELS = 7781 /**< pixels of a spectrum: the common grid, S of sky.h */ };

typedef enum syz_modality { SYZ_IMAGE, SYZ_SPECTRUM, SYZ_MODALITIES } syz_modality;
/** Quirk: AstroCLIP's image head sees the patch embeddings without class token and positions (PATCHES); DINOv2 has both. */
typedef enum syz_tokens { SYZ_TOKENS_PATCHES, SYZ_TOKENS_DINOV2 } syz_tokens;

typedef struct syz_image_config {
  int64_t dim, depth, heads, patch, size; /**< size: pixels a side fed to the network (centre crop) */
  syz_tokens tokens;
  double layerscale; /**< initial value; 0: the tower has none (and no ls*.gamma parameters) */
} syz_image_config;
typedef struct syz_spectrum_config {
  int64_t dim, depth, heads, section, overlap, max_tokens; /**< sections of `section` pixels begin every section - overlap pixels */
} syz_spectrum_config;
typedef struct syz_embedding_config {
  int64_t dim, heads;
  double dropout;
} syz_embedding_config;
typedef struct syz_model_config {
  syz_image_config image;
  syz_spectrum_config spectrum;
  syz_embedding_config embedding;
} syz_model_config;

/** The keys of the `model:` section (design.md), for the application's table and for `model_config` in files. */
extern const syz_key syz_model_keys[];
/** SYZ_ERR_INPUT names the contradiction (heads do not divide dim, patch does not divide size, ...). */
syz_status syz_model_config_read(const syz_input *in, syz_model_config *out);
/** The configuration as YAML text that begins with `model:`, the same bytes for the same values; syz_free. NULL without memory. */
char *syz_model_config_yaml(const syz_model_config *config);
/** SYZ_ERR_INPUT names the contradiction; for configurations made by hand (syz_model_config_read has checked). */
syz_status syz_model_config_check(const syz_model_config *config);
/** Name of a tower in messages and keys: "image" or "spectrum". */
const char *syz_modality_name(syz_modality m);
/** Tokens per object of a tower: image P (+1 with class token), spectrum 778 at full size. */
int64_t syz_model_tokens(const syz_model_config *config, syz_modality m);
/** Useful operations of one object's forward pass (products and attention), for speeds and for sharing out ranks. */
double syz_model_flops(const syz_model_config *config, syz_modality m);

/** One parameter: a view of the block. */
typedef struct syz_parameter {
  char name[112]; /**< full name, e.g. "image_encoder.backbone.blocks.0.attn.qkv.weight" */
  int ndim;
  int64_t shape[4];
  int64_t offset; /**< first element in the block; every parameter begins at a multiple of 16 elements (padding is zero) */
  int64_t size;   /**< elements */
  syz_modality modality;
  bool is_head; /**< cross_attention.* and mlp.*; otherwise backbone */
  /**
   * Whether the embedding depends on it. mask_token, the spectrum's `head` and, with tokens: patches, cls_token and pos_embed are carried
   * for the sake of round trips only: no forward or backward pass touches them, their gradient stays as it is, and as in PyTorch (whose
   * AdamW skips parameters without gradient) the optimiser must leave them alone, weight decay included.
   */
  bool is_used;
} syz_parameter;

typedef struct syz_model syz_model;

/**
 * Parameters for the towers wanted (zero-filled) on `compute` (borrowed, must outlive the model). The layers and the engine's packed copies
 * of the weights are made by syz_tower_plan. SYZ_ERR_INPUT for a contradictory configuration, SYZ_ERR_MEMORY. Not collective.
 */
syz_status syz_model_create(const syz_model_config *config, bool has_image, bool has_spectrum, const syz_compute *compute, syz_model **out);
void syz_model_destroy(syz_model **m);
const syz_model_config *syz_model_get_config(const syz_model *m);
bool syz_model_has(const syz_model *m, syz_modality tower);
/** The table and the block, borrowed. Same layout for the same towers. After writing weights call syz_model_pack. */
const syz_parameter *syz_model_parameters(const syz_model *m, int *n);
float *syz_model_weights(const syz_model *m);
int64_t syz_model_size(const syz_model *m); /**< elements of the block, padding included */
/** First element and count of one tower's backbone or head in the block: contiguous; count 0 for a tower that is not there. */
void syz_model_range(const syz_model *m, syz_modality tower, bool is_head, int64_t *first, int64_t *count);
/** Published initial weights (src/model/initialise.c), a function of (seed, parameter name, element) only. Packs. */
void syz_model_initialise(syz_model *m, uint64_t seed);
/** Take the weights of the block into the engine's format; only_heads: the backbones have not changed. Nothing for unplanned towers. */
void syz_model_pack(syz_model *m, bool only_heads);

typedef enum syz_tower_mode {
  SYZ_MODE_EMBED,      /**< forward only */
  SYZ_MODE_TRAIN_HEAD, /**< backbone forward only; head backward */
  SYZ_MODE_TRAIN,      /**< everything backward */
  SYZ_MODE_HEAD        /**< head only, forward and backward, for tokens from a cache: takes no memory for the backbone */
} syz_tower_mode;

/**
 * Make the layers and plan memory for up to `max_batch` objects a call; replaces an earlier plan; packs the weights as they are. All that the
 * calls below need is allocated here. max_batch 0 (a rank without objects) is planned as 1. SYZ_ERR_MEMORY. Not collective.
 */
syz_status syz_tower_plan(syz_model *m, syz_modality tower, int64_t max_batch, syz_tower_mode mode);
/**
 * What a plan would take: activations and workspace of this tower, without the packed weights (about the size of the parameters in the
 * activation type, twice that in mode TRAIN). Nothing stays allocated. 0 when the layers can't be made (syz_error_text says why).
 */
size_t syz_tower_plan_bytes(const syz_model *m, syz_modality tower, int64_t max_batch, syz_tower_mode mode);

/** Dropout of the head in training; NULL elsewhere. */
typedef struct syz_dropout_key {
  uint64_t seed, step;
  const int64_t *sample; /**< [B] position of each object in the global batch */
} syz_dropout_key;

/**
 * All calls below: 0 <= batch <= max_batch of the plan; nothing is allocated; an object's result does not depend on the batch it is in, bit
 * for bit. Not collective.
 *
 * Backbone: input -> tokens [B, T, D] act (after the final norm).
 * Image input: [B, 3, size, size] float32, colour-mapped planes z, r, g. Spectrum input: [B, SYZ_TOWER_PIXELS] float32 flux, 1e-17
 * erg/s/cm2/Angstrom; normalisation and sectioning happen here.
 */
void syz_tower_backbone(syz_model *m, syz_modality tower, int64_t batch, const float *input, void *tokens);
/** Head: tokens [B, T, D] act -> embedding [B, E] float32 (not normalised). Keeps what its backward pass needs (not in mode EMBED). */
void syz_tower_head(syz_model *m, syz_modality tower, int64_t batch, const void *tokens, const syz_dropout_key *dropout, float *embedding);
/** Head backward: gradients (same layout as the block) +=; same tokens as in the forward call. Not in mode EMBED. */
void syz_tower_head_backward(syz_model *m, syz_modality tower, int64_t batch, const void *tokens, const float *dembedding,
                             const syz_dropout_key *dropout, float *gradients);
/** Backbone and head in one (tokens stay inside). */
void syz_tower_forward(syz_model *m, syz_modality tower, int64_t batch, const float *input, const syz_dropout_key *dropout, float *embedding);
/**
 * Whole tower backward (mode TRAIN), after syz_tower_forward of the same batch. `ready` (may be NULL) is called as the gradients
 * [first, first + count) of the block become final, in the same order on every rank, so that they can be summed while the rest runs;
 * and with count = 0 now and then so that messages progress. The ranges cover the tower's part of the block exactly once, also with batch 0
 * (whose gradients stay as they are), so that ranks without objects take part in the sums.
 */
void syz_tower_backward(syz_model *m, syz_modality tower, int64_t batch, const float *dembedding, const syz_dropout_key *dropout, float *gradients,
                        void (*ready)(void *context, int64_t first, int64_t count), void *context);

/** Positions of one grid on another, as DINOv2 does it (bicubic, scale factor (to + 0.1) / from): in [from, from, D], out [to, to, D]. */
void syz_positions_interpolate(float *out, int64_t to, const float *in, int64_t from, int64_t dim);

/* -------------------------------------------------------------- model file */

/** The parts of a model file: each is complete or absent. */
typedef struct syz_model_parts {
  bool has_backbone[SYZ_MODALITIES], has_head[SYZ_MODALITIES];
} syz_model_parts;

/**
 * Write `path` (design.md: parameter/<name>, model_config). Collective; each rank writes a share of the rows of the towers it has, so `m` must
 * hold equal weights on all ranks that have a tower; towers missing here are taken from the ranks that have them (apart), and a tower that no
 * rank has is left out. The configuration must be the same on all ranks. created_by, input_yaml: provenance. SYZ_ERR_WRITE.
 */
syz_status syz_model_file_write(syz_comm *c, const char *path, const syz_model *m, const char *created_by, const char *input_yaml);
/**
 * What is in a model file: its configuration and which towers (at least a backbone or a head of them), from model_config and the names and
 * shapes of its parameters, all of which are checked. Keys that its model_config leaves out have published values. Collective. SYZ_ERR_DATA
 * names file, object, reason.
 */
syz_status syz_model_file_config(syz_comm *c, const char *path, syz_model_config *config, bool has[SYZ_MODALITIES]);
/** The same, telling backbones and heads apart (a converted DINOv2 checkpoint has no head). */
syz_status syz_model_file_parts(syz_comm *c, const char *path, syz_model_config *config, syz_model_parts *parts);
/**
 * Read the parameters of the towers that `m` has into its block, on every rank, and pack.
 *
 * Unknown, missing and ill-shaped parameters, values that are not finite, and checksums that do not hold (where the file has them) are
 * SYZ_ERR_DATA. The file's configuration must be that of `m` for the towers read (size: positions are interpolated to the model's grid;
 * layerscale and dropout may differ); otherwise SYZ_ERR_INPUT names the key. A backbone or head that is not in the file is SYZ_ERR_DATA unless
 * `allow_missing`: then it is left as it is. Collective: rank 0 of c reads and the others receive.
 */
syz_status syz_model_file_read(syz_comm *c, const char *path, syz_model *m, bool allow_missing);
