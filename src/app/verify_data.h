/* SPDX-License-Identifier: BSD-3-Clause */
/** Checksums of a data set, as the key data.verify asks for. */
#pragma once

#include "app.h"
#include "syzygy/data.h"

/** Whether data.verify asks for a look at every byte: always, or auto and the files are together smaller than 4 GiB. */
bool syz_app_compares_data(const syz_app *app, const syz_shardset *data);
/** Compares the checksums of the set's files, or says why not; a phase of its own in the timing table. Collective; SYZ_ERR_DATA names file and dataset. */
syz_status syz_app_verify_data(syz_app *app, syz_shardset *data);
