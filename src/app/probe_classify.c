/* SPDX-License-Identifier: BSD-3-Clause */
/** `probe classify`: the method votes of syzygy/probes.h alone. Its keys are those of `probe linear`. */
#include "probe_table.h"

static const syz_key keys[] = {
    {NULL, SYZ_KEY_INT, NULL, NULL, 0, 0, NULL, 0, NULL},
};

const syz_task syz_probe_classify = {
    .keys = keys, .open = syz_probe_table_open, .write = syz_probe_table_write, .close = syz_probe_table_close};
