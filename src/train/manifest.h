/* SPDX-License-Identifier: BSD-3-Clause */
/** The manifest that makes a checkpoint folder complete, and folders of checkpoints. See manifest.c. */
#pragma once

#include "syzygy/train.h"

/** Sum of block checksums of a file, formed by all ranks. Collective; agreed. */
syz_status manifest_sum_file(syz_comm *world, const char *path, int64_t *bytes, uint64_t *sum);
/** Write <folder>/manifest.json for one file. Rank-local (rank 0). */
syz_status manifest_write(const char *folder, const char *file, int64_t bytes, uint64_t sum,
                          const syz_checkpoint_summary *about, const char *created_by);
/** The name of a checkpoint's file besides its manifest: "state.h5". */
extern const char manifest_state_name[];
/** A folder step-N that holds a manifest or at least a state. */
typedef struct manifest_step {
  int64_t step;
  bool has_manifest;
} manifest_step;
/** The checkpoints below `folder`, newest first; no file is changed. SYZ_ERR_WRITE names one that is a symbolic link.
 * Rank-local (rank 0). *list: owned by the caller. */
syz_status manifest_list(const char *folder, manifest_step **list, int *n);
/** Remove what an earlier run did not finish writing or removing. Rank-local. */
syz_status manifest_clear(const char *folder, int *n_removed);
/** Remove a checkpoint that is no longer needed. It is renamed first, so that a half-removed one is recognised.
 * Rank-local. */
syz_status manifest_prune(const char *folder, int64_t step);
/** Rename an unusable checkpoint to `aside`; this program never changes it again. Rank-local. */
syz_status manifest_set_aside(const char *folder, int64_t step, char *aside, size_t room);
/** Remove a folder of this kind, manifest first. Missing is fine; SYZ_ERR_WRITE when it is a symbolic link. Rank-local.
 */
syz_status manifest_remove_folder(const char *path);
/** "<folder>/step-00001000" into path; and its temporary name. */
syz_status manifest_step_path(const char *folder, int64_t step, char *path, size_t room);
syz_status manifest_temporary_path(const char *folder, int64_t step, char *path, size_t room);
