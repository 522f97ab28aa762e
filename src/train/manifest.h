/* SPDX-License-Identifier: BSD-3-Clause */
/** The manifest that makes a checkpoint folder complete, and folders of checkpoints. See manifest.c. */
#pragma once

#include "syzygy/train.h"

/** Sum of block checksums of a file, formed by all ranks. Collective; agreed. */
syz_status manifest_sum_file(syz_comm *world, const char *path, int64_t *bytes, uint64_t *sum);
/** Write <folder>/manifest.json for one file. Rank-local (rank 0). */
syz_status manifest_write(const char *folder, const char *file, int64_t bytes, uint64_t sum, const syz_checkpoint_summary *about,
                          const char *created_by);
/** Steps of the complete checkpoints below `folder`, newest first; incomplete ones and leftovers are removed and their number given; n_removed NULL:
 * nothing is touched. Rank-local (rank 0). *step: owned by the caller. */
syz_status manifest_list(const char *folder, int64_t **step, int *n, int *n_removed);
/** Remove a checkpoint folder, manifest first, so that a half-removed one is incomplete. Missing is fine. Rank-local. */
syz_status manifest_remove_folder(const char *path);
/** "<folder>/step-00001000" into path. */
syz_status manifest_step_path(const char *folder, int64_t step, char *path, size_t room);
