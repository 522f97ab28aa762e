/* SPDX-License-Identifier: BSD-3-Clause */
/** Whether the ranks of a node fit into its memory together, and what all plans have in common. See memory.c. */
#pragma once

#include "syzygy/train.h"

/** What parameters take besides the layers: weights, gradients, this rank's share of the moments. `trained` of the
 * `weights` elements are trained by `ranks` ranks. */
void plan_add_parameters(syz_plan *p, int64_t weights, int64_t trained, int ranks);
/** Another block of weights (a teacher). */
void plan_add_weights(syz_plan *p, const char *name, int64_t weights);
/** The program itself, its libraries and buffers of MPI and HDF5: what is there by now beside our own blocks. */
void plan_add_process(syz_plan *p);

typedef struct memory_fit {
  int ranks, sharers;        /**< of this node; of them that have shared items together, as in syz_plan */
  int64_t needed, available; /**< bytes of this node: by all of its ranks; still there, or held by them */
  bool fits;
} memory_fit;

/** Collective; each node has its own answer. What the ranks hold already counts as available. nodes: whose ranks have
 * the plan's shared items together, and once each (syz_model_nodes); NULL: every rank has its own. */
syz_status memory_check(syz_comm *world, const syz_nodes *nodes, const syz_plan *plan, memory_fit *out);
/** SYZ_ERR_MEMORY with both figures unless it fits; `advice` is what to do besides taking fewer ranks a node or more
 * nodes ("", or ", or ..."). Not collective: agree on it. */
syz_status memory_refuse(const memory_fit *fit, const char *advice);
