/* SPDX-License-Identifier: BSD-3-Clause */
/** Checksums of a data set, as the key data.verify asks for. */
#pragma once

#include "app.h"
#include "syzygy/data.h"

/** Compares the checksums of the set's files, or says why not; a phase of its own in the timing table. Collective; SYZ_ERR_DATA names file and dataset. */
syz_status syz_app_verify_data(syz_app *app, syz_shardset *data);
