/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * model: the two towers. Parameters under their published names, forward and backward, model files.
 *
 * All parameters live in one float32 block described by one table, in the order image backbone, image head, spectrum
 * backbone, spectrum head; construction, optimiser, reduction and model file all read that table. src/model/README.md
 * "Names" has names and shapes.
 */
#pragma once

#include "syzygy/base.h"
#include "syzygy/comm.h"
#include "syzygy/h5.h"
#include "syzygy/input.h"
#include "syzygy/nn.h"

enum { SYZ_TOWER_PIXELS = 7781 /**< pixels of a spectrum: the common grid, S of sky.h */ };

typedef enum syz_modality { SYZ_IMAGE, SYZ_SPECTRUM, SYZ_MODALITIES } syz_modality;
/** Quirk: AstroCLIP's image head sees the patch embeddings without class token and positions (PATCHES); DINOv2 has
 * both. */
typedef enum syz_tokens { SYZ_TOKENS_PATCHES, SYZ_TOKENS_DINOV2 } syz_tokens;

typedef struct syz_image_config {
  int64_t dim, depth, heads, patch, size; /**< size: pixels a side fed to the network (centre crop) */
  syz_tokens tokens;
  double layerscale; /**< initial value; 0: the tower has none (and no ls*.gamma parameters) */
  int64_t registers; /**< register tokens after the class token (Darcet et al. 2024, arXiv:2309.16588),
                        `register_tokens` (1,R,D); DINOV2 only */
} syz_image_config;
typedef struct syz_spectrum_config {
  int64_t dim, depth, heads, section, overlap,
      max_tokens; /**< sections of `section` pixels begin every section - overlap pixels */
} syz_spectrum_config;
typedef struct syz_embedding_config {
  int64_t dim, heads;
  double dropout;
} syz_embedding_config;
/** Projection heads of DINO and iBOT (src/model/README.md "Projection heads"): layers - 1 hidden layers with GELU,
 * bottleneck, L2 norm, prototypes. */
typedef struct syz_dino_config {
  int64_t layers, hidden, bottleneck, prototypes; /**< 3, 2048, 256, 65536 */
  bool has_ibot_head; /**< a head of its own for masked patches; otherwise the DINO head serves both */
} syz_dino_config;
typedef struct syz_model_config {
  syz_image_config image;
  syz_spectrum_config spectrum;
  syz_embedding_config embedding;
  syz_dino_config dino; /**< matters to models with projection heads only */
} syz_model_config;

/** What a model is for: which parameters it has and which of them take part in the loss. */
typedef enum syz_purpose {
  SYZ_PURPOSE_EMBED, /**< towers with pooling heads: align, embed */
  SYZ_PURPOSE_DINO, /**< image backbone with class token, positions and mask token, and projection heads: pretrain-image
                     */
  SYZ_PURPOSE_MASKED /**< spectrum backbone with its reconstruction `head`: pretrain-spectrum */
} syz_purpose;

/** The contiguous stretches of a model's block, in this order. */
typedef enum syz_part {
  SYZ_PART_IMAGE_BACKBONE,
  SYZ_PART_IMAGE_HEAD, /**< pooling: cross_attention.* and mlp.* */
  SYZ_PART_SPECTRUM_BACKBONE,
  SYZ_PART_SPECTRUM_HEAD,
  SYZ_PART_DINO_HEAD, /**< dino_head.* */
  SYZ_PART_IBOT_HEAD, /**< ibot_head.*, when it is separate */
  SYZ_PARTS
} syz_part;
/** "image_backbone", "dino_head", ...: the name in checkpoints. */
const char *syz_part_name(syz_part part);
/** Which part a parameter's full name ("image_encoder.backbone.norm.weight") belongs to; false: none. */
bool syz_part_of_name(const char *name, syz_part *out);
/** The backbone or the pooling head of a tower. */
syz_part syz_part_of(syz_modality tower, bool is_head);
/** Whether a run trains a part: it may leave backbones frozen, everything else is trained always. */
bool syz_part_trains(syz_part part, bool trains_backbones);

/** The keys of the `model:` section (src/model/config.c), for the application's table and for `model_config` in files.
 */
extern const syz_key syz_model_keys[];
/** SYZ_ERR_INPUT names the contradiction (heads do not divide dim, patch does not divide size, ...). */
syz_status syz_model_config_read(const syz_input *in, syz_model_config *out);
/** The configuration as YAML text that begins with `model:`, the same bytes for the same values; syz_free. NULL without
 * memory. */
char *syz_model_config_yaml(const syz_model_config *config);
/**
 * What a model computes with: made as the options say, and with AUTO or NATIVE chosen by measuring the layers of the
 * configuration's widest tower, as syz_compute_choose does for `trains` and `earlier`. Collective; agreed.
 */
syz_status syz_model_start_compute(syz_comm *world, const syz_compute_options *options, const syz_model_config *config,
                                   bool trains, const char *earlier, syz_compute **out);
/** Name of a tower in messages and keys: "image" or "spectrum". */
const char *syz_modality_name(syz_modality m);
/** Tokens per object of a tower: image P (+1 with class token), spectrum 778 at full size. */
int64_t syz_model_tokens(const syz_model_config *config, syz_modality m);
/** Floats per object that enter a tower: its planes [3, size, size] or its flux [SYZ_TOWER_PIXELS]. */
int64_t syz_model_input(const syz_model_config *config, syz_modality m);
/** Width D of a tower's tokens, and its blocks. */
int64_t syz_model_width(const syz_model_config *config, syz_modality m);
int64_t syz_model_depth(const syz_model_config *config, syz_modality m);
/** Whether an object of a data set (data.h) has what the tower takes. */
struct syz_object;
bool syz_object_has(const struct syz_object *o, syz_modality m);

/** Operations of a forward pass, by what does them; one multiply-add is two. What is left out: src/model/operations.c.
 */
typedef struct syz_operations {
  double embedding; /**< patches or sections to tokens */
  double products;  /**< linear layers of all blocks */
  double attention; /**< scores and weighted sums of all blocks */
  double head;      /**< pooling head; 0 for crops */
} syz_operations;
/** Of one object through a tower and its pooling head. */
syz_operations syz_model_operations(const syz_model_config *config, syz_modality m);
/** Of one crop of `size` pixels a side through the image backbone (nothing dropped). */
syz_operations syz_crops_operations(const syz_model_config *config, int64_t size);
double syz_operations_forward(const syz_operations *o); /**< the sum */
/** Of the backward pass: twice as many, but for the embedding, whose input has no gradient. */
double syz_operations_backward(const syz_operations *o);
/** Forward pass of one object through a tower: for speeds and for sharing out ranks. */
double syz_model_flops(const syz_model_config *config, syz_modality m);
/** Forward pass of one row through the layers of a projection head, without its prototypes. */
double syz_projection_flops(const syz_model_config *config);

/** One parameter: a view of the block. */
typedef struct syz_parameter {
  char name[112]; /**< full name, e.g. "image_encoder.backbone.blocks.0.attn.qkv.weight" */
  int ndim;
  int64_t shape[4];
  int64_t
      offset; /**< first element in the block; every parameter begins at a multiple of 16 elements (padding is zero) */
  int64_t size; /**< elements */
  syz_modality modality;
  syz_part part;
  /**
   * Whether the loss of the model's purpose depends on it. In PURPOSE_EMBED mask_token, the spectrum's `head` and, with
   * tokens: patches, cls_token, register_tokens and pos_embed are carried for the sake of round trips only: no forward
   * or backward pass touches them, their gradient stays as it is, and as in PyTorch (whose AdamW skips parameters
   * without gradient) the optimiser must leave them alone, weight decay included. In PURPOSE_DINO last_layer.weight_g
   * (fixed at 1) is such a parameter.
   */
  bool is_used;
} syz_parameter;
/** Whether it gets gradients: it is used, and its part is trained. */
bool syz_parameter_trains(const syz_parameter *p, bool trains_backbones);

typedef struct syz_model syz_model;

/**
 * Parameters for the towers wanted (zero-filled) on `compute` (borrowed, must outlive the model). The layers and the
 * engine's packed copies of the weights are made by syz_tower_plan. SYZ_ERR_INPUT for a contradictory configuration,
 * SYZ_ERR_MEMORY. Not collective.
 */
syz_status syz_model_create(const syz_model_config *config, bool has_image, bool has_spectrum,
                            const syz_compute *compute, syz_model **out);
/** The same for another purpose than PURPOSE_EMBED. PURPOSE_DINO wants tokens: dinov2 (SYZ_ERR_INPUT). */
syz_status syz_model_create_for(syz_purpose purpose, const syz_model_config *config, const syz_compute *compute,
                                syz_model **out);
void syz_model_destroy(syz_model **m);
const syz_model_config *syz_model_get_config(const syz_model *m);
const syz_compute *syz_model_get_compute(const syz_model *m);
bool syz_model_has(const syz_model *m, syz_modality tower);
/** The table and the block, borrowed. Same layout for the same towers. After writing weights call syz_model_pack. */
const syz_parameter *syz_model_parameters(const syz_model *m, int *n);
float *syz_model_weights(const syz_model *m);
int64_t syz_model_size(const syz_model *m); /**< elements of the block, padding included */
/** First element and count of a part in the block: contiguous; count 0 for a part that is not there. */
void syz_model_range(const syz_model *m, syz_part part, int64_t *first, int64_t *count);
/**
 * One block of weights for the ranks of a node instead of one each: `nodes` (borrowed, must outlive the model) is of
 * all the ranks that hold the same parts. Right after creation; the weights are zero. Where a node cannot have the
 * shared memory, every rank keeps its own, and a warning says so. Then the weights are written by all ranks of the node
 * together (calls of this room, the optimiser), or by syz_model_set_weights. Collective over nodes->all.
 */
syz_status syz_model_share_weights(syz_model *m, syz_nodes *nodes);
/** Whose ranks have the weights together; NULL where each rank has its own. */
syz_nodes *syz_model_nodes(const syz_model *m);
/** The stretch of the block that this rank writes when all of it is written anew: all of it without sharing. */
void syz_model_own_stretch(const syz_model *m, int64_t *first, int64_t *count);
/** Behind it all ranks of the node see what each has written. Collective over the ranks that share the weights; nothing
 * without sharing. */
void syz_model_settle(const syz_model *m);
/** Write [first, first + count) of the block. Collective over the ranks that share the weights, with equal values. Does
 * not pack. */
void syz_model_set_weights(syz_model *m, int64_t first, const float *values, int64_t count);
/** Published initial weights (src/model/initialise.c), a function of (seed, parameter name, element) only. Packs.
 * Collective over the ranks that share the weights. */
void syz_model_initialise(syz_model *m, uint64_t seed);
/** Free the weights of a model that is only planned with: after it, only calls that say sizes. Collective over the
 * ranks that share the weights. */
void syz_model_drop_weights(syz_model *m);
/** Take the weights of the block into the engine's format; only_heads: the backbones have not changed. Nothing for
 * unplanned towers. */
void syz_model_pack(syz_model *m, bool only_heads);
/** The first `n` blocks of each backbone (all, where it has fewer) keep only what enters them when they train, and are
 * run again in the backward pass: the same bits, less memory, more time. For layers made after it (plans, crops, masked
 * modelling). */
void syz_model_recompute(syz_model *m, int64_t n);
int64_t syz_model_recomputed(const syz_model *m); /**< that n */
/**
 * The transformer blocks that train, and those of syz_crops and syz_masked, are computed by the ranks of `tensor`
 * together (nn.h, syz_block; borrowed, must outlive the model's layers; NULL: alone). For layers made after it. Their
 * forward and backward calls below are then collective over the group, also with no objects of one's own, and plans
 * must be for the same most objects on all its ranks. Towers in other modes than TRAIN run alone. SYZ_ERR_INPUT when
 * the group's size does not divide a tower's heads. Not collective.
 */
syz_status syz_model_set_tensor(syz_model *m, syz_comm *tensor);
/** As if such a group of `ranks` were there, to plan memory alone (the *_bytes calls). Not collective. */
syz_status syz_model_plan_tensor(syz_model *m, int ranks);
int syz_model_tensor_ranks(const syz_model *m); /**< of either; 1: each rank alone */

typedef enum syz_tower_mode {
  SYZ_MODE_EMBED,      /**< forward only */
  SYZ_MODE_TRAIN_HEAD, /**< backbone forward only; head backward */
  SYZ_MODE_TRAIN,      /**< everything backward */
  SYZ_MODE_HEAD /**< head only, forward and backward, for tokens from a cache: takes no memory for the backbone */
} syz_tower_mode;

/**
 * Make the layers and plan memory for up to `max_batch` objects a call; replaces an earlier plan; packs the weights as
 * they are. All that the calls below need is allocated here. max_batch 0 (a rank without objects) is planned as 1. A
 * tower without pooling head (pretraining) has mode EMBED only, for syz_tower_backbone. SYZ_ERR_MEMORY. Not collective.
 */
syz_status syz_tower_plan(syz_model *m, syz_modality tower, int64_t max_batch, syz_tower_mode mode);
/**
 * What a plan would take: packed weights of the blocks (those of the few other layers are small), activations,
 * workspace. Nothing stays allocated. 0 when the layers can't be made (syz_error_text says why).
 */
size_t syz_tower_plan_bytes(const syz_model *m, syz_modality tower, int64_t max_batch, syz_tower_mode mode);

/** Dropout of the head in training; NULL elsewhere. */
typedef struct syz_dropout_key {
  uint64_t seed, step;
  const int64_t *sample; /**< [B] position of each object in the global batch */
} syz_dropout_key;

/**
 * All calls below: 0 <= batch <= max_batch of the plan; nothing is allocated; an object's result does not depend on the
 * batch it is in, bit for bit. Not collective.
 *
 * Backbone: input -> tokens [B, T, D] act (after the final norm).
 * Image input: [B, 3, size, size] float32, colour-mapped planes z, r, g. Spectrum input: [B, SYZ_TOWER_PIXELS] float32
 * flux, 1e-17 erg/s/cm2/Angstrom; normalisation and sectioning happen here.
 */
void syz_tower_backbone(syz_model *m, syz_modality tower, int64_t batch, const float *input, void *tokens);
/** Head: tokens [B, T, D] act -> embedding [B, E] float32 (not normalised). Keeps what its backward pass needs (not in
 * mode EMBED). */
void syz_tower_head(syz_model *m, syz_modality tower, int64_t batch, const void *tokens, const syz_dropout_key *dropout,
                    float *embedding);
/** Head backward: gradients (same layout as the block) +=; same tokens as in the forward call. Not in mode EMBED. */
void syz_tower_head_backward(syz_model *m, syz_modality tower, int64_t batch, const void *tokens,
                             const float *dembedding, const syz_dropout_key *dropout, float *gradients);
/** Backbone and head in one (tokens stay inside). */
void syz_tower_forward(syz_model *m, syz_modality tower, int64_t batch, const float *input,
                       const syz_dropout_key *dropout, float *embedding);
/**
 * Whole tower backward (mode TRAIN), after syz_tower_forward of the same batch. `ready` (may be NULL) is called as the
 * gradients [first, first + count) of the block become final, in the same order on every rank, so that they can be
 * summed while the rest runs; and with count = 0 now and then so that messages progress. The ranges cover the tower's
 * part of the block exactly once, also with batch 0 (whose gradients stay as they are), so that ranks without objects
 * take part in the sums.
 */
void syz_tower_backward(syz_model *m, syz_modality tower, int64_t batch, const float *dembedding,
                        const syz_dropout_key *dropout, float *gradients,
                        void (*ready)(void *context, int64_t first, int64_t count), void *context);

/* ----------------------------------------------- int8 products of a tower */

/**
 * The products of a planned tower's blocks can run in 8-bit integers (syz_linear_quantise), each by itself: product p
 * is number p % SYZ_BLOCK_PRODUCTS of block p / SYZ_BLOCK_PRODUCTS. The embedding of the input's pieces (22 or 432
 * numbers, under 2 % of the work, where the data enter), attention and the head keep the activation type. For mode
 * EMBED. What is made here goes with the plan. Not collective.
 */
int64_t syz_tower_products(const syz_model *m, syz_modality tower);
/** Numbers that a token brings into product p, and operations of the product per token. */
int64_t syz_tower_product_inputs(const syz_model *m, syz_modality tower, int64_t p);
double syz_tower_product_flops(const syz_model *m, syz_modality tower, int64_t p);
/** "blocks.3.mlp.fc2": the published name of its weights without ".weight". Returns text. */
const char *syz_tower_product_name(const syz_model *m, syz_modality tower, int64_t p, char *text, size_t n);
/** Forward calls raise most [inputs of product 0, of product 1, ...] to the largest |x| of each input; NULL: no longer.
 */
void syz_tower_observe(syz_model *m, syz_modality tower, float *most);
/** Make the int8 form of every product, none of which is used yet. most as above; NULL: ranges stay where they are.
 * SYZ_ERR_INPUT, SYZ_ERR_MEMORY. */
syz_status syz_tower_quantise(syz_model *m, syz_modality tower, const float *most);
/** is_int8 [products]: which products run in int8 from now on. */
void syz_tower_use_int8(syz_model *m, syz_modality tower, const uint8_t *is_int8);
/** Drop the form of each product's weights that is not in use: until the next plan the tower cannot be packed or
 * switched. */
void syz_tower_settle(syz_model *m, syz_modality tower);
/** Compute with another context from now on (borrowed). Drops all plans. */
void syz_model_use_compute(syz_model *m, const syz_compute *compute);

/* ------------------------------------------------ image tower on crops */

/**
 * The image backbone of a model on crops of several sizes: [class, registers, patches] a crop, positions interpolated
 * to its grid, masked patches replaced by mask_token, all crops through the linear layers in one batch, attention per
 * crop, stochastic depth. Layers and memory of its own; the model's weights are borrowed. Crops of group g are numbered
 * crop = object * (crops an object) + c, so that a rank's objects have a contiguous range of them.
 */
typedef struct syz_crops syz_crops;
typedef struct syz_crops_config {
  int groups; /**< 1 .. SYZ_GROUPS_MAX */
  int64_t size[SYZ_GROUPS_MAX],
      most[SYZ_GROUPS_MAX]; /**< pixels a side (a multiple of the patch); most crops of a call */
  int64_t most_rows;        /**< most rows that syz_crops_rows is asked for */
  double drop_rate;         /**< stochastic depth, every block; 0 <= rate < 1; 0 when it does not train */
  bool trains;
} syz_crops_config;
/** SYZ_ERR_INPUT for contradictions, SYZ_ERR_MEMORY. Not collective. */
syz_status syz_crops_create(syz_model *m, const syz_crops_config *config, syz_crops **out);
void syz_crops_destroy(syz_crops **c);
/** What a create would take in all (activations, workspace, packed weights). Nothing stays allocated. 0 when it can't
 * be made. */
size_t syz_crops_bytes(const syz_model *m, const syz_crops_config *config);
/** Take the model's weights as they are now: once a step. */
void syz_crops_pack(syz_crops *c);

typedef struct syz_crops_input {
  int64_t count[SYZ_GROUPS_MAX];
  const float *planes[SYZ_GROUPS_MAX]; /**< [count, 3, size, size] planes z, r, g after the colour mapping */
  const uint8_t *mask[SYZ_GROUPS_MAX]; /**< [count, patches], 1 = masked; NULL: none */
  uint64_t seed, step;                 /**< of stochastic depth */
  int64_t first_crop[SYZ_GROUPS_MAX];  /**< number of the first crop in the global batch, for stochastic depth */
} syz_crops_input;

/** Through all blocks; keeps what the backward pass needs when it trains. Nothing is allocated. Not collective. */
void syz_crops_forward(syz_crops *c, const syz_crops_input *input);
/** Number of a token among the rows of the last call: group, crop within this call, token (0 class, then registers,
 * then patches). */
int64_t syz_crops_row(const syz_crops *c, int group, int64_t crop, int64_t token);
/** Tokens after the last norm, float32 [n, D], for chosen rows (of the last forward call), each at most once,
 * ascending. */
void syz_crops_rows(syz_crops *c, int64_t n, const int64_t *row, float *out);
/** Backward of the whole: drows [n, D] float32 for the rows of the last syz_crops_rows call; other tokens have no
 * gradient. ready as in syz_tower_backward. Gradients +=. With no crops or rows at all only calls ready. Once for a
 * forward call: its gradient takes the stream's place. */
void syz_crops_backward(syz_crops *c, const float *drows, float *gradients,
                        void (*ready)(void *context, int64_t first, int64_t count), void *context);

/* -------------------------------------------------------- projection head */

/** MLP of a DINO or iBOT head up to the L2-normalised bottleneck; the prototypes behind it are a loss's business
 * (train). */
typedef struct syz_projection syz_projection;
syz_status syz_projection_create(const syz_model *m, syz_part part, int64_t max_rows, bool trains,
                                 syz_projection **out);
void syz_projection_destroy(syz_projection **p);
size_t syz_projection_bytes(const syz_model *m, syz_part part, int64_t max_rows, bool trains);
void syz_projection_pack(syz_projection *p);
/** x [rows, D] float32 -> z [rows, bottleneck] float32 of length 1 (eps 1e-12). A row's bits do not depend on the
 * others. */
void syz_projection_forward(syz_projection *p, int64_t rows, const float *x, float *z);
/** dz [rows, bottleneck] -> dx [rows, D] float32 (written), gradients +=. After syz_projection_forward of the same
 * rows. */
void syz_projection_backward(syz_projection *p, int64_t rows, const float *dz, float *gradients, float *dx);
/** Offset in the block of last_layer.weight_v [prototypes, bottleneck]. */
int64_t syz_projection_prototypes(const syz_model *m, syz_part part);

/* ------------------------------------------------ masked spectrum modelling */

/**
 * The spectrum backbone with its reconstruction head on tokens of which some are set to zero. Sections of 22 numbers as
 * src/model/README.md "Spectrum tower" makes them; layers and memory of its own; the model's weights are borrowed.
 */
typedef struct syz_masked syz_masked;
/** most: spectra of a call; most_rows: masked tokens of a call. SYZ_ERR_INPUT, SYZ_ERR_MEMORY. Not collective. */
syz_status syz_masked_create(syz_model *m, int64_t most, int64_t most_rows, bool trains, syz_masked **out);
void syz_masked_destroy(syz_masked **k);
size_t syz_masked_bytes(const syz_model *m, int64_t most, int64_t most_rows, bool trains);
void syz_masked_pack(syz_masked *k);
/**
 * Network input of one spectrum: piece [T, section + 2] float32; flux [SYZ_TOWER_PIXELS]. good NULL: all pixels count.
 * Otherwise [SYZ_TOWER_PIXELS], 0 = bad: bad pixels take no part in mean and deviation and are 0 (the mean) in the
 * pieces. deviation may be NULL.
 */
void syz_masked_pieces(const syz_model_config *config, const float *flux, const uint8_t *good, float *piece,
                       float *deviation);
/** pieces [batch, T, section + 2] float32 (not masked); row [n] ascending numbers b * T + t of the masked tokens, fed
 * as zeros -> prediction [n, section + 2] float32 for these tokens alone. */
void syz_masked_forward(syz_masked *k, int64_t batch, const float *pieces, int64_t n, const int64_t *row,
                        float *prediction);
/** dprediction [n, section + 2]; gradients +=; ready as in syz_tower_backward; batch 0 only calls ready. */
void syz_masked_backward(syz_masked *k, const float *dprediction, float *gradients,
                         void (*ready)(void *context, int64_t first, int64_t count), void *context);

/* -------------------------------------------------------------- model file */

/** The parts of a model file: each is complete or absent. */
typedef struct syz_model_parts {
  bool has[SYZ_PARTS];
} syz_model_parts;

/**
 * Write `path` (src/data/README.md "Models": parameter/<name>, model_config). Collective; each rank writes a share of
 * the rows of the towers it has, so `m` must hold equal weights on all ranks that have a tower; towers missing here are
 * taken from the ranks that have them (apart), and a tower that no rank has is left out. The configuration must be the
 * same on all ranks. created_by, input_yaml: provenance. SYZ_ERR_WRITE.
 */
syz_status syz_model_file_write(syz_comm *c, const char *path, const syz_model *m, const char *created_by,
                                const char *input_yaml);
/** The same, telling backbones and heads apart (a converted DINOv2 checkpoint has no head). */
syz_status syz_model_file_parts(syz_comm *c, const char *path, syz_model_config *config, syz_model_parts *parts);
/** Of an open model file without a checksum of its attributes: that its model_config and the input that it was made
 * from do not contradict each other. Rank-local. SYZ_ERR_DATA names the key. See src/model/model_check.c. */
struct syz_h5;
syz_status syz_model_file_agrees(struct syz_h5 *file);
/**
 * Read the parameters of the towers that `m` has into its block, on every rank, and pack.
 *
 * Unknown, missing and ill-shaped parameters, values that are not finite, gains of prototypes other than 1 (pretraining
 * has them fixed there), and checksums that do not hold (where the file has them) are SYZ_ERR_DATA. The file's
 * configuration must be that of `m` for the towers read (size: positions are interpolated to the model's grid;
 * layerscale and dropout may differ); otherwise SYZ_ERR_INPUT names the key. A backbone or head that is not in the file
 * is SYZ_ERR_DATA unless `allow_missing`: then it is left as it is. Collective: rank 0 of c reads and the others
 * receive.
 */
syz_status syz_model_file_read(syz_comm *c, const char *path, syz_model *m, bool allow_missing);
