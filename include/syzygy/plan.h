/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * plan: predicts a run before it starts. Passes through a rank's share of a batch, memory by item and whether a node
 * has enough, operations and messages of a step, plan.json.
 */
#pragma once

#include "syzygy/base.h"
#include "syzygy/comm.h"
#include "syzygy/loss.h"
#include "syzygy/model.h"

/* ----------------------------------------------------------------- passes */

/**
 * Check whether a batch can be divided into `leaves` leaves for reproducible sums (src/comm/leaves.c): a power of two
 * that divides the batch and is a multiple of the number of data ranks (grid NULL: not checked yet). 0: no leaves.
 * SYZ_ERR_INPUT names the numbers that fit. Not collective; with towers apart, ranks may get different results.
 */
syz_status syz_leaves_check(const syz_grid *grid, int64_t global_batch, int64_t leaves);

/**
 * A rank's share of the batch, divided into passes. No pass crosses the border of a leaf, so the objects of a pass
 * depend on the global batch, the number of leaves and the largest pass, but not on the ranks. Without leaves
 * (reproducible: false) the whole share counts as one leaf. A rank without objects makes one empty pass.
 */
typedef struct syz_passes {
  int64_t count;       /**< objects of this rank */
  int64_t leaf, chunk; /**< objects per leaf, most objects per pass */
  int64_t per_leaf, n; /**< passes per leaf, passes of this rank */
} syz_passes;
/** leaves: of the global batch; 0: none. share: objects of this rank. wanted: most objects per pass, >= 1. */
syz_passes syz_passes_of(int64_t global_batch, int64_t leaves, int64_t share, int64_t wanted);
/** Without leaves, add empty passes at the end to reach the number of a rank with `most` objects: ranks of a tensor
 * group make their passes together. With leaves all ranks have equal numbers of passes already. */
void syz_passes_pad(syz_passes *p, int64_t most, int64_t wanted);
/** Pass k has the objects *at .. *at + n - 1 of this rank; returns n. */
int64_t syz_passes_at(const syz_passes *p, int64_t k, int64_t *at);
static inline bool syz_passes_begins_leaf(const syz_passes *p, int64_t k) { return k % p->per_leaf == 0; }
static inline bool syz_passes_ends_leaf(const syz_passes *p, int64_t k) { return (k + 1) % p->per_leaf == 0; }

/* ------------------------------------------------------- memory and work */

/** The rate, as `bench` measures it, at which an item of a step's work runs. */
typedef enum syz_rate {
  SYZ_RATE_DINO,  /**< networks on crops, of the part pretrain: "dino" */
  SYZ_RATE_IMAGE, /**< a tower: "image", "spectrum" */
  SYZ_RATE_SPECTRUM,
  SYZ_RATE_LOSS, /**< products with prototypes or pairs, in the compute type: "loss" */
  SYZ_RATE_F32,  /**< float32 products that grow with the global batch: "float32" */
  SYZ_RATES
} syz_rate;

/** Mean operations per object in a step; one multiply-add is two. */
typedef struct syz_work_item {
  const char *name; /**< "student: attention": a literal */
  syz_rate rate;
  double forward, backward; /**< as a stated speed counts them */
  double again;             /**< repeated to save memory */
  bool is_of_batch;         /**< whether it grows with the global batch: stated speeds do not count it */
} syz_work_item;

/** Crops of one size under stochastic depth: crops per object, operations per crop and branch. */
typedef struct syz_drop_group {
  double crops, operations;
} syz_drop_group;

/** Work and messages of a step, on the rank with the largest share. */
enum { SYZ_WORK_ITEMS = 16, SYZ_WORK_CALLS = 12 };
typedef struct syz_work {
  int64_t objects, passes; /**< the rank's share of the global batch, and its passes */
  syz_work_item item[SYZ_WORK_ITEMS];
  int n;
  syz_call call[SYZ_WORK_CALLS];
  int n_calls;
  double weights[SYZ_RATES];  /**< elements of weights that the work of each rate reads */
  double trained, teacher;    /**< elements with a gradient; elements of a teacher */
  double beside;              /**< operations per object of the last pass, during which gradients travel */
  double file_bytes;          /**< read per object */
  double group_bytes;         /**< sent to the tensor group per object; as many are received */
  int64_t group_calls, depth; /**< calls to the tensor group; blocks of the deepest network that trains */
  struct {
    double kept; /**< fraction of the crops that each branch computes */
    int64_t branches;
    int n; /**< 0: no crops */
    syz_drop_group group[2];
  } drop; /**< stochastic depth, which makes the work of ranks differ */
  struct {
    double crops, probability, ratio_min, ratio_max, patches; /**< as in syz_block_masks, per object */
    double operations;                                        /**< per masked patch */
  } masks;
} syz_work;
/** Operations per object that a stated speed counts. */
double syz_work_useful(const syz_work *w);

enum { SYZ_PLAN_ITEMS = 20 };
typedef struct syz_plan_item {
  const char *name; /**< "weights", "activations": a literal */
  size_t bytes;
  bool is_of_node;    /**< once per node, shared by its ranks; otherwise once per rank */
  bool is_shared_out; /**< each rank has a part, half as large on twice the ranks */
} syz_plan_item;
/** What a run needs on the rank with the largest share: memory by item, and the work of a step. */
typedef struct syz_plan {
  syz_plan_item item[SYZ_PLAN_ITEMS];
  int n;
  syz_work work;
  int sharers; /**< most ranks that share an item of a node (parallel.ranks_per_node); 0: all ranks of the node */
} syz_plan;
/** Add an item that each rank has; nothing for 0 bytes. */
void syz_plan_add(syz_plan *p, const char *name, size_t bytes);
size_t syz_plan_rank_bytes(const syz_plan *p);   /**< without shared items */
size_t syz_plan_shared_bytes(const syz_plan *p); /**< shared items only */
size_t syz_plan_node_bytes(const syz_plan *p, int ranks);
struct cJSON;
/** The plan for `ranks` ranks as a JSON object: bytes, and operations per object. The caller deletes it; NULL without
 * memory. */
struct cJSON *syz_plan_json(const syz_plan *p, int ranks);
/** For those who write more beside it: a number, a text, the next object of a list. *is_whole becomes false where
 * memory ends; what is NULL for lack of it may go on to the next call. */
void syz_plan_put(struct cJSON *to, const char *name, double x, bool *is_whole);
void syz_plan_put_text(struct cJSON *to, const char *name, const char *text, bool *is_whole);
struct cJSON *syz_plan_put_item(struct cJSON *list, bool *is_whole);

/* ------------------------------------------------- to fill in a plan */

/** Add the memory of parameters outside the layers: weights, gradients, this rank's share of the moments. `ranks` ranks
 * train `trained` of the `weights` elements. */
void syz_plan_add_parameters(syz_plan *p, int64_t weights, int64_t trained, int ranks);
/** Add another block of weights (a teacher). */
void syz_plan_add_weights(syz_plan *p, const char *name, int64_t weights);
/** Add the program, its libraries and the buffers of MPI and HDF5: memory now in use besides blocks of syz_alloc. */
void syz_plan_add_process(syz_plan *p);

typedef struct syz_memory_fit {
  int ranks, sharers;        /**< ranks of this node, and `sharers` as in syz_plan */
  int64_t needed, available; /**< bytes that all ranks of this node need, and bytes that are free or that they hold */
  bool fits;
} syz_memory_fit;

/** Check whether a node has enough memory. Collective; the result is per node. Memory that the ranks hold already
 * counts as available. nodes: the ranks that share items (syz_model_nodes); NULL: every rank has its own. */
syz_status syz_memory_check(syz_comm *world, const syz_nodes *nodes, const syz_plan *plan, syz_memory_fit *out);
/** SYZ_ERR_MEMORY with both figures unless it fits. `advice` ("" or ", or ...") follows the advice to use fewer ranks
 * per node or more nodes. Not collective: the caller must agree on it. */
syz_status syz_memory_refuse(const syz_memory_fit *fit, const char *advice);

/** Begin with the objects of the largest share and their passes, the messages of every step, and the trained elements
 * of the model (backbones only when they train). */
void syz_work_begin(syz_work *w, const syz_passes *p, const syz_model *model, bool trains_backbones);
/** Add an item; nothing without operations. */
void syz_work_add(syz_work *w, const char *name, syz_rate rate, double forward, double backward, double again);
/** Add an item for a loss, with `times` times its calls. */
void syz_work_add_loss(syz_work *w, const char *name, syz_rate rate, const syz_loss_work *l, double times,
                       bool is_of_batch);
/** Elements of a part of the model, 0 when it is not there; those of them that get gradients. */
double syz_work_elements(const syz_model *model, syz_part part);
double syz_work_trained(const syz_model *model, syz_part part, bool trains_backbones);
/** Blocks of a backbone that run forward again in the backward pass, of all of them. */
double syz_work_recomputed(const syz_model *model, int64_t depth);
/** Fraction of the passes that run forward again before their backward pass: all but the last. */
static inline double syz_work_repeated(const syz_work *w) { return 1 - 1 / (double)w->passes; }
/** Add the messages of a training backbone to its tensor group: rows per object, forward passes. */
void syz_work_add_group(syz_work *w, const syz_model *model, syz_modality tower, double rows, double forwards);
