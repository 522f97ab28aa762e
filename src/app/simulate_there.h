/* SPDX-License-Identifier: BSD-3-Clause */
/** Whether a shard or brick that `simulate` would write exists already, undamaged and from the same input. */
#pragma once

#include "app.h"
#include "syzygy/simulator.h"

/** The text that identifies a unit's input: the resolved input and a digest of the emulator's file, if one is used.
 * Owned by the caller (syz_free). Rank-local. SYZ_ERR_DATA, SYZ_ERR_MEMORY. */
syz_status syz_simulate_make_mark(syz_app *app, char **mark);
/** Whether a shard of this mark and program exists and its checksums hold. *is_damaged: they do not hold. Rank-local.
 */
bool syz_simulate_has_shard(const char *path, const char *mark, bool *is_damaged);
/** Write a brick's note, after all its files: the mark, the program, and a digest of every file of the brick.
 * Rank-local. */
syz_status syz_simulate_write_note(const char *note, const char *folder, const char *mark,
                                   const syz_survey_files *files);
/** Whether a brick has a note of this mark and program, and its files are unchanged. */
bool syz_simulate_has_brick(const char *note, const char *folder, const char *mark, bool *is_damaged);
