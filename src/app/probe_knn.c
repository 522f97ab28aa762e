/* SPDX-License-Identifier: BSD-3-Clause */
/** `probe knn`: keys of nearest neighbours. The work is syzygy/probes.h. */
#include "probe_table.h"

#define USED SYZ_USED_BY(probe)

static const syz_key keys[] = {
    {"probe.k", SYZ_KEY_LIST, "64", "", 0, 0, NULL, USED,
     "knn: neighbours of a prediction. Of several numbers each label takes the one that is best in cross-validation."},
    {"probe.metric", SYZ_KEY_CHOICE, "euclidean", "", 0, 0, "euclidean|cosine|raw", USED,
     "knn: euclidean: distance of standardised features; cosine: of features as they are; raw: distance of features as "
     "they are."},
    {"probe.weights", SYZ_KEY_CHOICE, "distance", "", 0, 0, "distance|uniform", USED,
     "knn: neighbours count by 1/distance, or all alike."},
    {NULL, SYZ_KEY_INT, NULL, NULL, 0, 0, NULL, 0, NULL},
};

const syz_task syz_probe_knn = {
    .keys = keys, .open = syz_probe_table_open, .write = syz_probe_table_write, .close = syz_probe_table_close};
