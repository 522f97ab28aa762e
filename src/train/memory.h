/* SPDX-License-Identifier: BSD-3-Clause */
/** Whether the ranks of a node fit into its memory together. See memory.c. */
#pragma once

#include "syzygy/comm.h"

typedef struct memory_fit {
  int ranks;                 /**< of this node */
  int64_t needed, available; /**< bytes of this node: by all of its ranks; still there, or held by them */
  bool fits;
} memory_fit;

/** `bytes`: what this rank will need in all; `held`: the part of it that it has taken already (weights), which the machine no longer counts as
 * available. Collective; each node has its own answer. */
syz_status memory_check(syz_comm *world, size_t bytes, size_t held, memory_fit *out);
/** SYZ_ERR_MEMORY with both figures unless it fits; `advice` is what to do besides taking fewer ranks a node or more nodes ("", or ", or ..."). Not
 * collective: agree on it. */
syz_status memory_refuse(const memory_fit *fit, const char *advice);
