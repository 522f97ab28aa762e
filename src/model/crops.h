/* SPDX-License-Identifier: BSD-3-Clause */
/** Inside of the model room: the choice of stochastic depth. */
#pragma once

#include "syzygy/model.h"

/**
 * Whether stochastic depth keeps a crop: systematic sampling. Crop i of a group is kept when floor((i + 1) q + u) >
 * floor(i q + u), q = 1 - rate, u uniform in [0, 1) from (seed, DROP_PATH, step, block, branch, group). Each crop is
 * kept with probability q, and any n crops in a row hold n q to within one: ranks have equal work, and the choice does
 * not depend on how many there are. What is kept is scaled by 1 / q. This differs from the published code (a random
 * subset of floor(B q) for each process, scaled by B / kept), whose result depends on the number of processes.
 */
bool syz_drop_path_keeps(uint64_t seed, uint64_t step, int64_t block, int branch, int group, double rate, int64_t crop);
