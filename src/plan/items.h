/* SPDX-License-Identifier: BSD-3-Clause */
/** Inside of room plan: the items of memory that a node shares or its ranks share out. */
#pragma once

#include "syzygy/plan.h"

/** An item that a node has once, for all its ranks. */
void syz_plan_add_shared(syz_plan *p, const char *name, size_t bytes);
/** An item that each rank has, half as large on twice the ranks. */
void syz_plan_add_shared_out(syz_plan *p, const char *name, size_t bytes);
