/* SPDX-License-Identifier: BSD-3-Clause */
/** `probe mlp`: keys of small networks. The work is syzygy/probes.h. */
#include "probe_table.h"

#define USED SYZ_USED_BY(probe)

static const syz_key keys[] = {
    {"probe.mlp_hidden", SYZ_KEY_LIST, "64,64", "", 0, 0, NULL, USED,
     "mlp: widths of the hidden layers, at most 8; empty: none. This key and the next ones are those of the sound "
     "protocol; astroclip has the published numbers."},
    {"probe.mlp_dropout", SYZ_KEY_REAL, "0.1", "", 0, 0.99, NULL, USED,
     "mlp: share of the hidden numbers that is dropped in training."},
    {"probe.mlp_epochs", SYZ_KEY_INT, "100", "", 1, 100000, NULL, USED, "mlp: most passes over the training objects."},
    {"probe.mlp_batch", SYZ_KEY_INT, "64", "objects", 1, 1048576, NULL, USED, "mlp: objects of a step."},
    {"probe.mlp_rate", SYZ_KEY_REAL, "1e-3", "", 1e-12, 1, NULL, USED, "mlp: learning rate of Adam."},
    {"probe.mlp_patience", SYZ_KEY_INT, "10", "epochs", 1, 100000, NULL, USED,
     "mlp: a network stops after so many epochs without a better validation loss, and keeps its best weights."},
    {NULL, SYZ_KEY_INT, NULL, NULL, 0, 0, NULL, 0, NULL},
};

const syz_task syz_probe_mlp = {
    .keys = keys, .open = syz_probe_table_open, .write = syz_probe_table_write, .close = syz_probe_table_close};
