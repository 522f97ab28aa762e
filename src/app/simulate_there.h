/* SPDX-License-Identifier: BSD-3-Clause */
/** Whether a shard or brick that `simulate` would write is there already, from the same input, and whole. */
#pragma once

#include "app.h"
#include "syzygy/simulator.h"

/** What a unit remembers of where it is from: the resolved input and a digest of the emulator's file, if one is used.
 * Owned by the caller (syz_free). Rank-local. SYZ_ERR_DATA, SYZ_ERR_MEMORY. */
syz_status syz_simulate_make_mark(syz_app *app, char **mark);
/** A shard of this mark and program whose checksums hold. *is_damaged: its mark is right and they do not. Rank-local.
 */
bool syz_simulate_has_shard(const char *path, const char *mark, bool *is_damaged);
/** A brick's note: the mark, the program, and a digest of every file of the brick; the last that is written of a brick.
 * Rank-local. */
syz_status syz_simulate_write_note(const char *note, const char *folder, const char *mark,
                                   const syz_survey_files *files);
/** A brick with a note of this mark and program whose files are what they were. */
bool syz_simulate_has_brick(const char *note, const char *folder, const char *mark, bool *is_damaged);
