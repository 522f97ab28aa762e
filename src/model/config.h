/* SPDX-License-Identifier: BSD-3-Clause */
/** Inside of the model room: configurations, made by hand or found in files. */
#pragma once

#include "syzygy/model.h"

/** SYZ_ERR_INPUT names the contradiction. For configurations made by hand: syz_model_config_read has checked its own.
 */
syz_status syz_model_config_check(const syz_model_config *config);
/** As syz_model_file_parts, for each tower whether the file has at least a backbone or a head of it. */
syz_status syz_model_file_config(syz_comm *c, const char *path, syz_model_config *config, bool has[SYZ_MODALITIES]);
