/* SPDX-License-Identifier: BSD-3-Clause */
/** `probe few-label`: keys of curves over few labels. The work is syzygy/probes.h. */
#include "probe_table.h"

#define USED SYZ_USED_BY(probe)

static const syz_key keys[] = {
    {"probe.sizes", SYZ_KEY_LIST, "10,20,50,100,200,600,2000", "objects", 0, 0, NULL, USED,
     "few-label: numbers of labelled objects."},
    {"probe.repeats", SYZ_KEY_INT, "20", "draws", 1, 10000, NULL, USED,
     "few-label: draws of labelled objects of each number; their spread is the error."},
    {"probe.few_penalty", SYZ_KEY_REAL, "0.01", "", 0, 1e6, NULL, USED,
     "few-label: penalty l2/2 |W|^2 of the linear head, on features standardised by all training objects."},
    {"probe.contamination", SYZ_KEY_REAL, "0.22", "", 0, 1, NULL, USED,
     "few-label: share of the other objects that may be taken for the class when its completeness is read."},
    {NULL, SYZ_KEY_INT, NULL, NULL, 0, 0, NULL, 0, NULL},
};

const syz_task syz_probe_few_label = {
    .keys = keys, .open = syz_probe_table_open, .write = syz_probe_table_write, .close = syz_probe_table_close};
