/* SPDX-License-Identifier: BSD-3-Clause */
/** `pretrain-spectrum`. */
#include "training.h"

const syz_key syz_pretrain_spectrum_keys[] = {{NULL, SYZ_KEY_INT, "", "", 0, 0, NULL, 0, NULL}};

syz_status syz_command_pretrain_spectrum(syz_app *app)
{
  (void)app;
  return syz_error_set(SYZ_ERR_INPUT, __FILE__, __LINE__, "pretrain-spectrum cannot train yet");
}
