/* SPDX-License-Identifier: BSD-3-Clause */
/** Probes of labels from embeddings: what knn, linear, flow and table have in common. */
#pragma once

#include "probe.h"

/** The functions of their rows. Which methods are run follows from probe.task. */
syz_status syz_probe_table_open(syz_app *app, void **job);
syz_status syz_probe_table_write(void *job);
void syz_probe_table_close(void **job);
