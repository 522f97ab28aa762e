/* SPDX-License-Identifier: BSD-3-Clause */
/** `analyse health`: figures of two spaces of embeddings. All its keys are in analyse.c; the work is syzygy/spaces.h.
 */
#include "analyse.h"

static const syz_key keys[] = {
    {NULL, SYZ_KEY_INT, NULL, NULL, 0, 0, NULL, 0, NULL},
};

static syz_status write_health(void *job) { return syz_spaces_write_health(((syz_analysis_spaces *)job)->spaces); }

const syz_task syz_analysis_health = {
    .keys = keys, .open = syz_app_open_spaces, .write = write_health, .close = syz_app_close_spaces};
