/* SPDX-License-Identifier: BSD-3-Clause */
/** `probe flow`: keys of joint posteriors. The work is syzygy/probes.h. */
#include "probe_table.h"

#define USED SYZ_USED_BY(probe)

static const syz_key keys[] = {
    {"probe.flow", SYZ_KEY_CHOICE, "autoregressive", "", 0, 0, "elementwise|autoregressive|coupling", USED,
     "flow: each label given the features alone; given the labels before it, too; or half of them given the other "
     "half."},
    {"probe.epochs", SYZ_KEY_INT, "25", "", 1, 100000, NULL, USED, "flow, outliers: passes over the training objects."},
    {"probe.draws", SYZ_KEY_INT, "1000", "draws", 2, 1000000, NULL, USED, "flow: draws from each posterior."},
    {"probe.positive", SYZ_KEY_LIST, "", "", 0, 0, NULL, USED,
     "flow: labels that are positive by nature: modelled in their logarithm."},
    {"probe.fractions", SYZ_KEY_LIST, "", "", 0, 0, NULL, USED,
     "flow: labels between 0 and 1 by nature: modelled in their logit."},
    {"probe.recalibrate", SYZ_KEY_BOOL, "false", "", 0, 0, NULL, USED,
     "flow: widen or narrow all posteriors by one factor, chosen on the validation objects."},
    {"probe.grid", SYZ_KEY_INT, "-1", "cells", -1, 100000, NULL, USED,
     "flow: cells of the grid on which the probability density of each label is written for each test object; 0: none; "
     "-1: 200, but none where they would take more than 256 MiB."},
    {"probe.samples", SYZ_KEY_INT, "0", "draws", 0, 1000000, NULL, USED,
     "flow: how many of the draws from each posterior are written, all labels of a draw together."},
    {NULL, SYZ_KEY_INT, NULL, NULL, 0, 0, NULL, 0, NULL},
};

const syz_task syz_probe_flow = {
    .keys = keys, .open = syz_probe_table_open, .write = syz_probe_table_write, .close = syz_probe_table_close};
