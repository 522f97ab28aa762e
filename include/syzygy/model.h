/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * model: the two towers. Parameters under their published names, forward and backward passes, model files.
 *
 * All parameters live in one float32 block, which one table describes: names and shapes are in src/model/README.md.
 */
#pragma once

#include "syzygy/base.h"
#include "syzygy/comm.h"
#include "syzygy/h5.h"
#include "syzygy/input.h"
#include "syzygy/nn.h"

enum { SYZ_TOWER_PIXELS = 7781 /**< pixels of a spectrum: the common grid, S of sky.h */ };

typedef enum syz_modality { SYZ_IMAGE, SYZ_SPECTRUM, SYZ_MODALITIES } syz_modality;
/** Quirk: AstroCLIP's image head gets patches without class token and positions (PATCHES); DINOv2's gets both. */
typedef enum syz_tokens { SYZ_TOKENS_PATCHES, SYZ_TOKENS_DINOV2 } syz_tokens;

typedef struct syz_image_config {
  int64_t dim, depth, heads, patch, size; /**< size: pixels per side of the centre crop that the network sees */
  syz_tokens tokens;
  double layerscale; /**< initial value; 0: the tower has none, and no parameters ls*.gamma */
  int64_t registers; /**< `register_tokens` (1,R,D) after the class token (arXiv:2309.16588); DINOV2 only */
} syz_image_config;
typedef struct syz_spectrum_config {
  int64_t dim, depth, heads;
  int64_t section, overlap, max_tokens; /**< a section of `section` pixels begins every section - overlap pixels */
} syz_spectrum_config;
typedef struct syz_embedding_config {
  int64_t dim, heads;
  double dropout;
} syz_embedding_config;
/** Heads of DINO and iBOT (src/model/README.md): layers - 1 hidden GELU layers, bottleneck, L2 norm, prototypes. */
typedef struct syz_dino_config {
  int64_t layers, hidden, bottleneck, prototypes; /**< 3, 2048, 256, 65536 */
  bool has_ibot_head; /**< masked patches have a head of their own; otherwise the DINO head serves both */
} syz_dino_config;
typedef struct syz_model_config {
  syz_image_config image;
  syz_spectrum_config spectrum;
  syz_embedding_config embedding;
  syz_dino_config dino; /**< matters to models with projection heads only */
} syz_model_config;

/** What a model is for decides which parameters it has and which of them enter the loss. */
typedef enum syz_purpose {
  SYZ_PURPOSE_EMBED,  /**< towers with pooling heads: align, embed */
  SYZ_PURPOSE_DINO,   /**< pretrain-image: image backbone with class token, positions, mask token; projection heads */
  SYZ_PURPOSE_MASKED, /**< pretrain-spectrum: spectrum backbone with its reconstruction `head` */
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

/** The keys of the section `model:` (src/model/config.c), for the application's table and `model_config` in files. */
extern const syz_key syz_model_keys[];
/** SYZ_ERR_INPUT names the contradiction (heads do not divide dim, patch does not divide size, ...). */
syz_status syz_model_config_read(const syz_input *in, syz_model_config *out);
/** The configuration as YAML text that begins with `model:`, always the same bytes (syz_free); NULL without memory. */
char *syz_model_config_yaml(const syz_model_config *config);
/** Make the compute context of a model as the options say. AUTO and NATIVE are decided by measuring the layers of the
 * configuration's widest tower, as syz_compute_choose does with `trains` and `earlier`. Collective; agreed. */
syz_status syz_model_start_compute(syz_comm *world, const syz_compute_options *options, const syz_model_config *config,
                                   bool trains, const char *earlier, syz_compute **out);
/** Name of a tower in messages and keys: "image" or "spectrum". */
const char *syz_modality_name(syz_modality m);
/** Tokens per object of a tower: P patches of an image (and its class token), 778 of a spectrum at full size. */
int64_t syz_model_tokens(const syz_model_config *config, syz_modality m);
/** Floats per object that enter a tower: its planes [3, size, size] or its flux [SYZ_TOWER_PIXELS]. */
int64_t syz_model_input(const syz_model_config *config, syz_modality m);
int64_t syz_model_width(const syz_model_config *config, syz_modality m); /**< D of a tower's tokens */
int64_t syz_model_depth(const syz_model_config *config, syz_modality m); /**< blocks of a tower */
struct syz_object;                                                       /**< of data.h */
/** Whether an object of a data set has what the tower takes. */
bool syz_object_has(const struct syz_object *o, syz_modality m);

/** Operations of a forward pass by kind; one multiply-add is two. src/model/operations.c lists what is not counted. */
typedef struct syz_operations {
  double embedding; /**< patches or sections to tokens */
  double products;  /**< linear layers of all blocks */
  double attention; /**< scores and weighted sums of all blocks */
  double head;      /**< pooling head; 0 for crops */
} syz_operations;
/** One object through a tower and its pooling head. */
syz_operations syz_model_operations(const syz_model_config *config, syz_modality m);
/** One crop of `size` pixels per side through the image backbone, with no branch dropped. */
syz_operations syz_crops_operations(const syz_model_config *config, int64_t size);
double syz_operations_forward(const syz_operations *o); /**< the sum */
/** Operations of the backward pass: twice as many, except for the embedding, whose input has no gradient. */
double syz_operations_backward(const syz_operations *o);
/** Forward pass of one object through a tower: for stated speeds, and to divide ranks between towers. */
double syz_model_flops(const syz_model_config *config, syz_modality m);
/** Forward pass of one row through the layers of a projection head, without its prototypes. */
double syz_projection_flops(const syz_model_config *config);

/** One parameter: a view of the block. */
typedef struct syz_parameter {
  char name[112]; /**< full name, e.g. "image_encoder.backbone.blocks.0.attn.qkv.weight" */
  int ndim;
  int64_t shape[4];
  int64_t offset; /**< first element in the block, a multiple of 16; the padding between parameters is zero */
  int64_t size;   /**< elements */
  syz_modality modality;
  syz_part part;
  /** Whether the loss of the model's purpose depends on it. The others only travel from file to file, and the optimiser
   * leaves them alone (as PyTorch's AdamW). PURPOSE_EMBED: mask_token, the spectrum's `head`, with tokens: patches also
   * cls_token, register_tokens, pos_embed. PURPOSE_DINO: last_layer.weight_g, which is 1. */
  bool is_used;
} syz_parameter;
/** Whether it gets gradients: it is used, and its part is trained. */
bool syz_parameter_trains(const syz_parameter *p, bool trains_backbones);

typedef struct syz_model syz_model;

/** Parameters of the towers wanted, zero-filled, on `compute` (borrowed; must outlive the model). syz_tower_plan makes
 * the layers and packs weights. SYZ_ERR_INPUT for a contradictory configuration, SYZ_ERR_MEMORY. Not collective. */
syz_status syz_model_create(const syz_model_config *config, bool has_image, bool has_spectrum,
                            const syz_compute *compute, syz_model **out);
/** The same for any purpose. PURPOSE_DINO needs tokens: dinov2 (otherwise SYZ_ERR_INPUT). */
syz_status syz_model_create_for(syz_purpose purpose, const syz_model_config *config, const syz_compute *compute,
                                syz_model **out);
void syz_model_destroy(syz_model **m);
const syz_model_config *syz_model_get_config(const syz_model *m);
const syz_compute *syz_model_get_compute(const syz_model *m);
bool syz_model_has(const syz_model *m, syz_modality tower);
/** The table and the block, borrowed; equal towers have equal layouts. After writing weights call syz_model_pack. */
const syz_parameter *syz_model_parameters(const syz_model *m, int *n);
float *syz_model_weights(const syz_model *m);
int64_t syz_model_size(const syz_model *m); /**< elements of the block, padding included */
/** First element and number of elements of a part, which is contiguous; 0 elements when the model lacks the part. */
void syz_model_range(const syz_model *m, syz_part part, int64_t *first, int64_t *count);
/** Keep one block of weights per node instead of one per rank. `nodes` (borrowed; must outlive the model) is of all
 * ranks that hold the same parts. Call it while the weights are zero. Without shared memory each rank keeps its own
 * block, with a warning. All ranks of a node then write the weights together or by syz_model_set_weights. Collective
 * over nodes->all; "over the sharers" below means over the ranks of one node, and each rank alone without sharing. */
syz_status syz_model_share_weights(syz_model *m, syz_nodes *nodes);
/** The ranks that share the weights; NULL where each rank has its own. */
syz_nodes *syz_model_nodes(const syz_model *m);
/** What this rank writes when the whole block is rewritten; all of it without sharing. */
void syz_model_own_stretch(const syz_model *m, int64_t *first, int64_t *count);
/** After this call each rank sees what the other sharers wrote. Collective over the sharers. */
void syz_model_settle(const syz_model *m);
/** Write [first, first + count) of the block without packing. Collective over the sharers, with equal values. */
void syz_model_set_weights(syz_model *m, int64_t first, const float *values, int64_t count);
/** Set and pack initial weights (initialise.c), a function of (seed, name, element). Collective over the sharers. */
void syz_model_initialise(syz_model *m, uint64_t seed);
/** Free the weights of a model that only serves planning, whose sizes stay known. Collective over the sharers. */
void syz_model_drop_weights(syz_model *m);
/** Copy the weights of planned towers into the engine's format; only_heads: the backbones have not changed. */
void syz_model_pack(syz_model *m, bool only_heads);
/** Recompute the first `n` blocks of each backbone in the backward pass: the same bits, less memory, more time. Applies
 * to layers made afterwards (plans, crops, masked modelling). */
void syz_model_recompute(syz_model *m, int64_t n);
int64_t syz_model_recomputed(const syz_model *m); /**< that n */
/** Let the ranks of `tensor` compute together the transformer blocks of towers in mode TRAIN, of syz_crops and of
 * syz_masked (nn.h, syz_block; borrowed, must outlive the model's layers; NULL: each rank computes alone). Applies to
 * layers made afterwards; their passes are collective over the group, also without objects, and its ranks must plan for
 * equal sizes. SYZ_ERR_INPUT when the group's size does not divide a tower's heads. Not collective. */
syz_status syz_model_set_tensor(syz_model *m, syz_comm *tensor);
/** Plan memory (the *_bytes calls) as if there were such a group of `ranks`. Not collective. */
syz_status syz_model_plan_tensor(syz_model *m, int ranks);
int syz_model_tensor_ranks(const syz_model *m); /**< ranks of that group, real or planned; 1: no group */

typedef enum syz_tower_mode {
  SYZ_MODE_EMBED,      /**< forward only */
  SYZ_MODE_TRAIN_HEAD, /**< backbone forward only; head backward */
  SYZ_MODE_TRAIN,      /**< everything backward */
  SYZ_MODE_HEAD        /**< head only, forward and backward, on cached tokens: no memory for the backbone */
} syz_tower_mode;

/** Make the layers and plan memory for up to `max_batch` objects per call (0, a rank without objects, counts as 1),
 * replace an earlier plan, and pack the present weights. All memory of the calls below is allocated here. A tower
 * without pooling head (pretraining) has mode EMBED only, for syz_tower_backbone. SYZ_ERR_MEMORY. Not collective. */
syz_status syz_tower_plan(syz_model *m, syz_modality tower, int64_t max_batch, syz_tower_mode mode);
/** Bytes of a plan: packed weights of the blocks, activations, workspace. Nothing stays allocated. 0 when the layers
 * cannot be made (syz_error_text has the reason). */
size_t syz_tower_plan_bytes(const syz_model *m, syz_modality tower, int64_t max_batch, syz_tower_mode mode);

/** Dropout of the head in training; NULL elsewhere. */
typedef struct syz_dropout_key {
  uint64_t seed, step;
  const int64_t *sample; /**< [B] position of each object in the global batch */
} syz_dropout_key;

/** Called during a backward pass as soon as gradients [first, first + count) of the block are final, in the same order
 * on every rank, so that they are summed while the rest is computed; with count = 0 so that messages progress. */
typedef void (*syz_ready)(void *context, int64_t first, int64_t count);

/** All calls below: 0 <= batch <= max_batch of the plan; nothing is allocated; an object's result does not depend on
 * its batch, bit for bit. Not collective. Backbone: input -> tokens [B, T, D] act, after the final norm. Image input:
 * [B, 3, size, size] float32, colour-mapped planes z, r, g. Spectrum input: [B, SYZ_TOWER_PIXELS] float32 flux in 1e-17
 * erg/s/cm2/Angstrom, normalised and cut into sections here. */
void syz_tower_backbone(syz_model *m, syz_modality tower, int64_t batch, const float *input, void *tokens);
/** Head: tokens [B, T, D] act -> embedding [B, E] float32, not normalised. */
void syz_tower_head(syz_model *m, syz_modality tower, int64_t batch, const void *tokens, const syz_dropout_key *dropout,
                    float *embedding);
/** Head backward, with the tokens of the forward call: gradients (layout of the block) +=. Not in mode EMBED. */
void syz_tower_head_backward(syz_model *m, syz_modality tower, int64_t batch, const void *tokens,
                             const float *dembedding, const syz_dropout_key *dropout, float *gradients);
/** Backbone and head in one; the tokens stay inside. */
void syz_tower_forward(syz_model *m, syz_modality tower, int64_t batch, const float *input,
                       const syz_dropout_key *dropout, float *embedding);
/** Whole tower backward (mode TRAIN), after syz_tower_forward of the same batch: gradients +=. The ranges of `ready`
 * (may be NULL) cover the tower's part of the block exactly once, also with batch 0, as such ranks join the sums. */
void syz_tower_backward(syz_model *m, syz_modality tower, int64_t batch, const float *dembedding,
                        const syz_dropout_key *dropout, float *gradients, syz_ready ready, void *context);

/* ----------------------------------------------- int8 products of a tower */

/** Each product of a planned tower's blocks can run in 8-bit integers by itself (syz_linear_quantise). Product p is
 * number p % SYZ_BLOCK_PRODUCTS of block p / SYZ_BLOCK_PRODUCTS. The embedding of the input's pieces (under 2 % of the
 * work), attention and head do not. Mode EMBED only. The int8 forms last as long as the plan. Not collective. */
int64_t syz_tower_products(const syz_model *m, syz_modality tower);
/** Input numbers per token of product p, and its operations per token. */
int64_t syz_tower_product_inputs(const syz_model *m, syz_modality tower, int64_t p);
double syz_tower_product_flops(const syz_model *m, syz_modality tower, int64_t p);
/** "blocks.3.mlp.fc2": the published name of its weights without ".weight". Returns text. */
const char *syz_tower_product_name(const syz_model *m, syz_modality tower, int64_t p, char *text, size_t n);
/** Later forward calls record the largest |x| of each input in most [inputs of product 0, 1, ...]; NULL: stop. */
void syz_tower_observe(syz_model *m, syz_modality tower, float *most);
/** Make every product's int8 form, not yet used; most as recorded, or NULL. SYZ_ERR_INPUT, SYZ_ERR_MEMORY. */
syz_status syz_tower_quantise(syz_model *m, syz_modality tower, const float *most);
/** is_int8 [products]: which products later calls compute in int8. */
void syz_tower_use_int8(syz_model *m, syz_modality tower, const uint8_t *is_int8);
/** Free each product's unused form of the weights: no packing or switching until the next plan. */
void syz_tower_settle(syz_model *m, syz_modality tower);
/** Use another compute context (borrowed) for layers made afterwards. Drops all plans. */
void syz_model_use_compute(syz_model *m, const syz_compute *compute);

/* ------------------------------------------------ image tower on crops */

/** The image backbone of a model on crops of several sizes: [class, registers, patches] per crop, positions
 * interpolated to its grid, masked patches replaced by mask_token, all crops through the linear layers in one batch,
 * attention within each crop, stochastic depth. It has its own layers and memory and borrows the model's weights. Crops
 * of group g are numbered crop = object * (crops per object) + c, so that a rank's objects have a contiguous range. */
typedef struct syz_crops syz_crops;
typedef struct syz_crops_config {
  int groups;                   /**< 1 .. SYZ_GROUPS_MAX */
  int64_t size[SYZ_GROUPS_MAX]; /**< pixels per side, a multiple of the patch */
  int64_t most[SYZ_GROUPS_MAX]; /**< most crops per call */
  int64_t most_rows;            /**< most rows of a syz_crops_rows call */
  double drop_rate;             /**< stochastic depth of every block; 0 <= rate < 1; 0 when it does not train */
  bool trains;
} syz_crops_config;
/** SYZ_ERR_INPUT for contradictions, SYZ_ERR_MEMORY. Not collective. */
syz_status syz_crops_create(syz_model *m, const syz_crops_config *config, syz_crops **out);
void syz_crops_destroy(syz_crops **c);
/** Bytes of activations, workspace and packed weights together. Nothing stays allocated. 0 when it cannot be made. */
size_t syz_crops_bytes(const syz_model *m, const syz_crops_config *config);
/** Copy the model's present weights: once per step. */
void syz_crops_pack(syz_crops *c);

typedef struct syz_crops_input {
  int64_t count[SYZ_GROUPS_MAX];
  const float *planes[SYZ_GROUPS_MAX]; /**< [count, 3, size, size] planes z, r, g after the colour mapping */
  const uint8_t *mask[SYZ_GROUPS_MAX]; /**< [count, patches], 1 = masked; NULL: none */
  uint64_t seed, step;                 /**< of stochastic depth */
  int64_t first_crop[SYZ_GROUPS_MAX];  /**< number of the first crop in the global batch, for stochastic depth */
} syz_crops_input;

/** Through all blocks; when it trains, it keeps what the backward pass needs. Allocates nothing. Not collective. */
void syz_crops_forward(syz_crops *c, const syz_crops_input *input);
/** Row of a token in the last call. crop: within the call; token: 0 class, then registers, then patches. */
int64_t syz_crops_row(const syz_crops *c, int group, int64_t crop, int64_t token);
/** Tokens after the last norm, float32 [n, D], of chosen rows of the last forward call, ascending and distinct. */
void syz_crops_rows(syz_crops *c, int64_t n, const int64_t *row, float *out);
/** Whole backward pass: drows [n, D] float32 for the rows of the last syz_crops_rows call; other tokens have no
 * gradient. gradients +=. Without crops or rows it only calls ready. Once per forward call, as it overwrites that. */
void syz_crops_backward(syz_crops *c, const float *drows, float *gradients, syz_ready ready, void *context);

/* -------------------------------------------------------- projection head */

/** MLP of a DINO or iBOT head up to the L2-normalised bottleneck. The loss has the prototypes (loss.h). */
typedef struct syz_projection syz_projection;
syz_status syz_projection_create(const syz_model *m, syz_part part, int64_t max_rows, bool trains,
                                 syz_projection **out);
void syz_projection_destroy(syz_projection **p);
size_t syz_projection_bytes(const syz_model *m, syz_part part, int64_t max_rows, bool trains);
void syz_projection_pack(syz_projection *p);
/** x [rows, D] float32 -> z [rows, bottleneck] float32 of length 1 (eps 1e-12). No row depends on another. */
void syz_projection_forward(syz_projection *p, int64_t rows, const float *x, float *z);
/** dz [rows, bottleneck] -> dx [rows, D] float32 (written); gradients +=. After forward of the same rows. */
void syz_projection_backward(syz_projection *p, int64_t rows, const float *dz, float *gradients, float *dx);
/** Offset in the block of last_layer.weight_v [prototypes, bottleneck]. */
int64_t syz_projection_prototypes(const syz_model *m, syz_part part);

/* ------------------------------------------------ masked spectrum modelling */

/** The spectrum backbone with its reconstruction head on tokens of which some are set to zero. It has its own layers
 * and memory and borrows the model's weights. Sections: src/model/README.md "Spectrum tower". */
typedef struct syz_masked syz_masked;
/** most: spectra per call; most_rows: masked tokens per call. SYZ_ERR_INPUT, SYZ_ERR_MEMORY. Not collective. */
syz_status syz_masked_create(syz_model *m, int64_t most, int64_t most_rows, bool trains, syz_masked **out);
void syz_masked_destroy(syz_masked **k);
size_t syz_masked_bytes(const syz_model *m, int64_t most, int64_t most_rows, bool trains);
void syz_masked_pack(syz_masked *k);
/** Network input of one spectrum: piece [T, section + 2] float32 of flux [SYZ_TOWER_PIXELS]. good [SYZ_TOWER_PIXELS] 0:
 * the pixel does not enter mean and deviation and is 0 in the pieces; NULL: all are good. deviation may be NULL. */
void syz_masked_pieces(const syz_model_config *config, const float *flux, const uint8_t *good, float *piece,
                       float *deviation);
/** pieces [batch, T, section + 2] float32, not masked; row [n]: ascending numbers b * T + t of the masked tokens, which
 * the network sees as zeros -> prediction [n, section + 2] float32 of these tokens alone. */
void syz_masked_forward(syz_masked *k, int64_t batch, const float *pieces, int64_t n, const int64_t *row,
                        float *prediction);
/** dprediction [n, section + 2]; gradients +=; batch 0 only calls ready. */
void syz_masked_backward(syz_masked *k, const float *dprediction, float *gradients, syz_ready ready, void *context);

/* -------------------------------------------------------------- model file */

/** The parts of a model file: each is complete or absent. */
typedef struct syz_model_parts {
  bool has[SYZ_PARTS];
} syz_model_parts;

/** Write `path` (src/data/README.md "Models": parameter/<name>, model_config) with all towers that any rank has.
 * Collective; each rank writes a share of the rows of its towers, so their weights must be equal on all ranks that have
 * them, and the configuration on all ranks. created_by, input_yaml: provenance. SYZ_ERR_WRITE. */
syz_status syz_model_file_write(syz_comm *c, const char *path, const syz_model *m, const char *created_by,
                                const char *input_yaml);
/** Configuration and parts of a model file, from model_config and the names and shapes of its parameters, all checked.
 * Keys that it lacks have published values. Collective. SYZ_ERR_DATA names file, object, reason. */
syz_status syz_model_file_parts(syz_comm *c, const char *path, syz_model_config *config, syz_model_parts *parts);
/** Check that model_config and the recorded input of an open file without a checksum of its attributes agree
 * (src/model/model_check.c). Rank-local. SYZ_ERR_DATA names the key. */
syz_status syz_model_file_agrees(syz_h5 *file);
/** Read the parameters of the towers that `m` has into its block, on every rank, and pack. SYZ_ERR_DATA for unknown,
 * missing and ill-shaped parameters, values that are not finite, gains of prototypes other than 1, and wrong checksums.
 * The file's configuration must be that of `m` for the towers read (size, layerscale and dropout may differ; positions
 * are interpolated to the model's grid); otherwise SYZ_ERR_INPUT names the key. A backbone or head that the file lacks
 * is SYZ_ERR_DATA, or with `allow_missing` stays unchanged. Collective: rank 0 of c reads and the others receive. */
syz_status syz_model_file_read(syz_comm *c, const char *path, syz_model *m, bool allow_missing);
