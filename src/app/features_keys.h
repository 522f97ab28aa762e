/* SPDX-License-Identifier: BSD-3-Clause */
/** Options of probe, analyse and the validation of pretraining (syz_judge), from the input. */
#pragma once

#include "app.h"
#include "syzygy/features.h"

/** The keys validate.*. */
extern const syz_key syz_validate_keys[];
syz_judge_options syz_app_judge_options(const syz_input *in);
/** The backbone and the data that the input names. SYZ_ERR_INPUT. Not collective. */
syz_status syz_app_frozen_options(const syz_input *in, bool is_untrained, int64_t batch, syz_frozen_options *out);
