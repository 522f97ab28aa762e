/* SPDX-License-Identifier: BSD-3-Clause */
/** plan.json of a dry run. See plan_file.c. */
#pragma once

#include "training.h"

/** The numbers of ranks that are planned for: all; those that hold this rank's tower(s); those of a node; and those of
 * a node that share weights and sum together. */
typedef struct syz_layout {
  int64_t world;
  int ranks, node, sharers;
} syz_layout;

/** Write the plan into output.dir, which is created if needed and not locked. Not collective: rank 0. SYZ_ERR_WRITE. */
syz_status syz_plan_file_write(const syz_training *t, const syz_planner *planner, const syz_plan *plan,
                               const syz_layout *l);
