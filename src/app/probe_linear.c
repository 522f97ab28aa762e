/* SPDX-License-Identifier: BSD-3-Clause */
/** `probe linear`: keys of linear heads. The work is syzygy/probes.h. */
#include "probe_table.h"

#define USED SYZ_USED_BY(probe)

static const syz_key keys[] = {
    {"probe.penalty", SYZ_KEY_LIST, "1e-6,1e-5,1e-4,1e-3,1e-2,0.1,1,10,100", "", 0, 0, NULL, USED,
     "linear, classify: penalty per row on the weights of standardised features. Of several numbers each label takes "
     "the one "
     "that "
     "is best in cross-validation."},
    {"probe.softmax_iterations", SYZ_KEY_INT, "500", "", 1, 1000000, NULL, USED,
     "linear, classify: most iterations of L-BFGS in the fit of classes and votes."},
    {NULL, SYZ_KEY_INT, NULL, NULL, 0, 0, NULL, 0, NULL},
};

const syz_task syz_probe_linear = {
    .keys = keys, .open = syz_probe_table_open, .write = syz_probe_table_write, .close = syz_probe_table_close};
