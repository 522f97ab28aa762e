/* SPDX-License-Identifier: BSD-3-Clause */
/** Inside of room data: one table for all ranks of a node. */
#pragma once

#include "syzygy/comm.h"

/** Zero-filled memory that the ranks of a node share where that can be had, otherwise each rank's own. */
typedef struct shared_table {
  void *bytes;      /* the same contents on every rank once the writers are done and a barrier has passed */
  size_t size;      /* of the mapping; 0: this rank's own memory */
  syz_comm *node;   /* NULL: own memory */
  bool is_writer;   /* this rank fills it: the first of its node, or every rank that has its own */
} shared_table;

/** Collective over `c`. Tables below `threshold` bytes are not worth sharing. SYZ_ERR_MEMORY. */
syz_status shared_table_create(syz_comm *c, const char *label, size_t bytes, size_t threshold, shared_table *out);
/** Collective over the node: what the writer wrote is seen by all behind it. */
void shared_table_settle(shared_table *t);
/** Not collective. */
void shared_table_destroy(shared_table *t);
