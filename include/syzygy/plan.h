/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * plan: what a run takes and does, before it runs. Passes through a rank's share of a batch, memory item by item and
 * whether the ranks of a node fit, operations and messages of a step, plan.json.
 */
#pragma once

#include "syzygy/base.h"
#include "syzygy/comm.h"
#include "syzygy/loss.h"
#include "syzygy/model.h"

/* ----------------------------------------------------------------- passes */

/**
 * Whether a batch can be cut into leaves for reproducible sums (src/comm/leaves.c): a power of two that divides the
 * batch, and that the number of ranks divides which share it (grid NULL: not looked at yet). 0: none are wanted.
 * SYZ_ERR_INPUT names the numbers that fit. Not collective; ranks of towers that are apart may differ.
 */
syz_status syz_leaves_check(const syz_grid *grid, int64_t global_batch, int64_t leaves);

/**
 * A rank's share of the batch in passes: no pass crosses the border of a leaf, so what is in a pass follows from the
 * global batch, the number of leaves and the largest pass, whatever rank it is on. Without leaves (reproducible: false)
 * the whole share is one. A rank without objects makes one empty pass.
 */
typedef struct syz_passes {
  int64_t count;       /**< objects of this rank */
  int64_t leaf, chunk; /**< objects of a leaf, most of a pass */
  int64_t per_leaf, n; /**< passes of a leaf, of this rank */
} syz_passes;
/** leaves: of the global batch; 0: none. wanted: objects of a pass, >= 1. */
syz_passes syz_passes_of(int64_t global_batch, int64_t leaves, int64_t share, int64_t wanted);
/** Without leaves: as many passes as a rank with `most` objects makes, empty ones behind. Ranks of a tensor group go
 * through their syz_passes together; with leaves all ranks have the same number of them. */
void syz_passes_pad(syz_passes *p, int64_t most, int64_t wanted);
/** Objects *at .. *at + return of pass k. */
int64_t syz_passes_at(const syz_passes *p, int64_t k, int64_t *at);
static inline bool syz_passes_begins_leaf(const syz_passes *p, int64_t k) { return k % p->per_leaf == 0; }
static inline bool syz_passes_ends_leaf(const syz_passes *p, int64_t k) { return (k + 1) % p->per_leaf == 0; }

/* ------------------------------------------------------- memory and work */

/** At which of the rates that `bench` measures an item of a step's work runs. */
typedef enum syz_rate {
  SYZ_RATE_DINO,  /**< networks on crops, of the part pretrain: "dino" */
  SYZ_RATE_IMAGE, /**< a tower: "image", "spectrum" */
  SYZ_RATE_SPECTRUM,
  SYZ_RATE_LOSS, /**< products with prototypes or pairs, in the compute type: "loss" */
  SYZ_RATE_F32,  /**< float32 products that grow with the global batch: "float32" */
  SYZ_RATES
} syz_rate;

/** Operations of one object in a step (one multiply-add is two), on average. */
typedef struct syz_work_item {
  const char *name; /**< "student: attention": a literal */
  syz_rate rate;
  double forward, backward; /**< as a stated speed counts them */
  double again;             /**< run once more, to save memory */
  bool is_of_batch;         /**< it grows with the global batch: no stated speed counts it */
} syz_work_item;

/** Crops of one size under stochastic depth: how many an object has, operations of one of them in one branch. */
typedef struct syz_drop_group {
  double crops, operations;
} syz_drop_group;

/** What a step of the rank with the largest share does, and what it sends. */
enum { SYZ_WORK_ITEMS = 16, SYZ_WORK_CALLS = 12 };
typedef struct syz_work {
  int64_t objects, passes; /**< of the rank: its share of the global batch, in so many passes */
  syz_work_item item[SYZ_WORK_ITEMS];
  int n;
  syz_call call[SYZ_WORK_CALLS];
  int n_calls;
  double weights[SYZ_RATES];  /**< elements that work of each rate reads */
  double trained, teacher;    /**< elements: with a gradient; of a teacher that follows */
  double beside;              /**< operations of an object beside which gradients travel: of the last pass */
  double file_bytes;          /**< read for an object */
  double group_bytes;         /**< sent to the tensor group for an object, and as many received */
  int64_t group_calls, depth; /**< its calls; blocks of the deepest network that trains */
  struct {
    double kept; /**< share of the crops that each branch computes */
    int64_t branches;
    int n; /**< 0: no crops */
    syz_drop_group group[2];
  } drop; /**< stochastic depth and masks: ranks do not all do the same */
  struct {
    double crops, probability, ratio_min, ratio_max, patches; /**< as in syz_block_masks, of an object */
    double operations;                                        /**< of a masked patch */
  } masks;
} syz_work;
/** Operations of one object that a stated speed counts. */
double syz_work_useful(const syz_work *w);

enum { SYZ_PLAN_ITEMS = 20 };
typedef struct syz_plan_item {
  const char *name; /**< "weights", "activations": a literal */
  size_t bytes;
  bool is_of_node;    /**< once a node, shared by its ranks; otherwise of each rank */
  bool is_shared_out; /**< of each rank, and half of it on twice the ranks */
} syz_plan_item;
/** What a run takes of the rank with the largest share: memory item by item, and a step's work. */
typedef struct syz_plan {
  syz_plan_item item[SYZ_PLAN_ITEMS];
  int n;
  syz_work work;
  int sharers; /**< at most so many ranks of a node have such items together (parallel.ranks_per_node); 0: all of them
                */
} syz_plan;
/** Add an item that each rank has; bytes 0: nothing is added. */
void syz_plan_add(syz_plan *p, const char *name, size_t bytes);
size_t syz_plan_rank_bytes(const syz_plan *p);   /**< without what the node shares */
size_t syz_plan_shared_bytes(const syz_plan *p); /**< what the node shares */
size_t syz_plan_node_bytes(const syz_plan *p, int ranks);
struct cJSON;
/** The plan for so many ranks as a JSON object, which the caller deletes: bytes, and operations of one object. NULL
 * without memory. */
struct cJSON *syz_plan_json(const syz_plan *p, int ranks);
/** For those who write more beside it: a number, a text, the next object of a list. *is_whole becomes false where
 * memory ends; what is NULL for lack of it may go on to the next call. */
void syz_plan_put(struct cJSON *to, const char *name, double x, bool *is_whole);
void syz_plan_put_text(struct cJSON *to, const char *name, const char *text, bool *is_whole);
struct cJSON *syz_plan_put_item(struct cJSON *list, bool *is_whole);

/* ------------------------------------------------- for those who fill it in */

/** What parameters take besides the layers: weights, gradients, this rank's share of the moments. `trained` of the
 * `weights` elements are trained by `ranks` ranks. */
void syz_plan_add_parameters(syz_plan *p, int64_t weights, int64_t trained, int ranks);
/** Another block of weights (a teacher). */
void syz_plan_add_weights(syz_plan *p, const char *name, int64_t weights);
/** The program itself, its libraries and buffers of MPI and HDF5: what is there by now beside our own blocks. */
void syz_plan_add_process(syz_plan *p);

typedef struct syz_memory_fit {
  int ranks, sharers;        /**< of this node; of them that have shared items together, as in syz_plan */
  int64_t needed, available; /**< bytes of this node: by all of its ranks; still there, or held by them */
  bool fits;
} syz_memory_fit;

/** Collective; each node has its own answer. What the ranks hold already counts as available. nodes: whose ranks have
 * the plan's shared items together, and once each (syz_model_nodes); NULL: every rank has its own. */
syz_status syz_memory_check(syz_comm *world, const syz_nodes *nodes, const syz_plan *plan, syz_memory_fit *out);
/** SYZ_ERR_MEMORY with both figures unless it fits; `advice` is what to do besides taking fewer ranks a node or more
 * nodes ("", or ", or ..."). Not collective: agree on it. */
syz_status syz_memory_refuse(const syz_memory_fit *fit, const char *advice);

/** Objects of the largest share and their passes; what every step sends; trained elements of the model, the backbones
 * among them when they train. */
void syz_work_begin(syz_work *w, const syz_passes *p, const syz_model *model, bool trains_backbones);
/** Nothing is added for an item without operations. */
void syz_work_add(syz_work *w, const char *name, syz_rate rate, double forward, double backward, double again);
/** An item for a loss, and its calls `times` over. */
void syz_work_add_loss(syz_work *w, const char *name, syz_rate rate, const syz_loss_work *l, double times,
                       bool is_of_batch);
/** Elements of a part of the model, 0 when it is not there; those of them that get gradients. */
double syz_work_elements(const syz_model *model, syz_part part);
double syz_work_trained(const syz_model *model, syz_part part, bool trains_backbones);
/** Blocks of a backbone that run forward again in the backward pass, of all of them. */
double syz_work_recomputed(const syz_model *model, int64_t depth);
/** Passes that run forward again before their backward pass, of all of them: all but the last. */
static inline double syz_work_repeated(const syz_work *w) { return 1 - 1 / (double)w->passes; }
/** What a backbone that trains sends to its tensor group: rows of an object, `forwards` passes forward. */
void syz_work_add_group(syz_work *w, const syz_model *model, syz_modality tower, double rows, double forwards);
