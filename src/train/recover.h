/* SPDX-License-Identifier: BSD-3-Clause */
/** Checkpoints that cannot be used as they are: recovered, or set aside. See recover.c. */
#pragma once

#include "checkpoint.h"
#include "manifest.h"

/** A checkpoint folder, the same on all ranks. */
typedef struct recover_step {
  int64_t step;
  bool has_manifest, is_bad;
} recover_step;

/** The checkpoints of a store, newest first. Collective; agreed. *list: owned by the caller. */
syz_status recover_list(checkpoint_store *store, recover_step **list, int *n);
/** The summary of a checkpoint whose manifest and content hold. With train.recover, one with a state whose own
 * checksums hold is accepted too, and its manifest is written again. SYZ_ERR_CHECKPOINT, SYZ_ERR_DATA. Collective;
 * agreed. */
syz_status recover_check(checkpoint_store *store, const recover_step *one, const char *path,
                         syz_checkpoint_summary *about);
/** When the run continues from another checkpoint: renames bad ones and removes unfinished ones. Collective; agreed. */
syz_status recover_tidy(checkpoint_store *store, const recover_step *list, int n);
