/* SPDX-License-Identifier: BSD-3-Clause */
/** `analyse mutual-information`: of two embeddings. The work is syzygy/spaces.h. */
#include "analyse.h"

static const syz_key keys[] = {
    {"analyse.logit_scale", SYZ_KEY_REAL, "15.5", "", 1e-3, 1e4, NULL, SYZ_USED_BY(analyse),
     "mutual-information: factor of the cosines in InfoNCE. Every value gives a lower bound, and the highest bound is "
     "the "
     "best; that of the alignment is usually near it."},
    {NULL, SYZ_KEY_INT, NULL, NULL, 0, 0, NULL, 0, NULL},
};

static syz_status write_information(void *job)
{
  return syz_spaces_write_information(((syz_analysis_spaces *)job)->spaces);
}

const syz_task syz_analysis_mutual_information = {
    .keys = keys, .open = syz_app_open_spaces, .write = write_information, .close = syz_app_close_spaces};
